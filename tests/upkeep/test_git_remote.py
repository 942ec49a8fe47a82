"""Exchange with remotes over real smart HTTP: mirror, fetch, push, and what happens when it breaks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.git_server import GitServer
from tests.support.repositories import MakeRepository, RepoBuilder
from upkeep.errors import BranchGone, GitError, PushRefused, RemoteUnavailable, RepositoryNotReady
from upkeep.git import Repository

BRANCH = "autoupdate/analytics/1"


@pytest.fixture
def upstream(make_repository: MakeRepository) -> RepoBuilder:
    repository = make_repository("upstream")
    repository.commit({"a.txt": "one\n"}, "One")
    repository.commit({"a.txt": "two\n"}, "Two")
    return repository


@pytest.fixture
def mirror(git_server: GitServer, upstream: RepoBuilder, tmp_path: Path) -> Repository:
    return Repository.mirror(git_server.add(upstream, "target.git"), tmp_path / "mirror.git", branches=["main"])


def new_commit(repository: Repository, text: bytes = b"ours\n") -> str:
    base = repository.resolve("main")
    assert base is not None
    return repository.commit_tree(repository.tree_with(base, {"ours.txt": text}), [base], "Ours")


def test_a_mirror_is_made_and_then_follows_its_remote(
    git_server: GitServer, upstream: RepoBuilder, tmp_path: Path
) -> None:
    url = git_server.add(upstream, "up.git")
    mirror = Repository.mirror(url, tmp_path / "m.git", branches=["main"])
    assert mirror.bare
    assert mirror.resolve("main") == upstream.head()
    third = upstream.commit({"b.txt": "b"}, "Three")
    upstream.git("push", "-q", str(git_server.root / "up.git"), "main")
    assert Repository.mirror(url, tmp_path / "m.git", branches=["main"]).resolve("main") == third


def test_rewritten_history_replaces_the_branch_and_keeps_the_old_commits_readable(
    git_server: GitServer, upstream: RepoBuilder, tmp_path: Path
) -> None:
    url = git_server.add(upstream, "up.git")
    old = Repository.mirror(url, tmp_path / "m.git", branches=["main"]).resolve("main")
    assert old is not None
    upstream.reset("HEAD~1")
    rewritten = upstream.commit({"a.txt": "other\n"}, "Rewritten")
    upstream.git("push", "-q", "--force", str(git_server.root / "up.git"), "main")
    mirror = Repository.mirror(url, tmp_path / "m.git", branches=["main"])
    assert mirror.resolve("main") == rewritten
    assert mirror.merge_base(old, rewritten) == upstream.head("HEAD~1")
    assert not mirror.is_ancestor(old, rewritten)


def test_a_mirror_whose_clone_broke_off_is_not_used_and_the_next_attempt_succeeds(
    git_server: GitServer, upstream: RepoBuilder, tmp_path: Path
) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.fail("drop-response", where="git-upload-pack", times=9)
    with pytest.raises(RemoteUnavailable):
        Repository.mirror(url, tmp_path / "m.git", branches=["main"])
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith((".git", ".new"))] == []
    git_server.mend()
    assert Repository.mirror(url, tmp_path / "m.git", branches=["main"]).resolve("main") == upstream.head()


def test_the_leftover_of_a_killed_clone_is_cleared_away(upstream: RepoBuilder, tmp_path: Path) -> None:
    leftover = tmp_path / ".m.git.0123.new"
    leftover.mkdir()
    (leftover / "HEAD").write_text("ref: refs/heads/main\n")
    Repository.mirror(upstream.url, tmp_path / "m.git", branches=["main"])
    assert not leftover.exists()


def test_concurrent_creators_share_one_mirror(upstream: RepoBuilder, tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def make(_: int) -> str | None:
        barrier.wait()
        return Repository.mirror(upstream.url, tmp_path / "m.git", branches=["main"]).resolve("main")

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(make, range(4))) == {upstream.head()}


def test_a_folder_that_is_no_repository_is_never_overwritten_by_a_mirror(upstream: RepoBuilder, tmp_path: Path) -> None:
    (tmp_path / "m.git").mkdir()
    (tmp_path / "m.git" / "notes.txt").write_text("mine")
    with pytest.raises(RepositoryNotReady) as caught:
        Repository.mirror(upstream.url, tmp_path / "m.git", branches=["main"])
    assert caught.value.reason == "git.not_a_repository"
    assert (tmp_path / "m.git" / "notes.txt").read_text() == "mine"


def test_a_branch_that_is_gone_is_an_error_that_names_it(mirror: Repository, git_server: GitServer) -> None:
    before = mirror.refs()
    with pytest.raises(BranchGone, match="no branch gone"):
        Repository.mirror(git_server.url("target.git"), mirror.path, branches=["main", "gone"])
    assert mirror.refs() == before


def test_a_missing_repository_and_a_silent_port_are_told_apart(git_server: GitServer, tmp_path: Path) -> None:
    with pytest.raises(GitError) as caught:
        Repository.mirror(git_server.url("nothing.git"), tmp_path / "m.git", branches=["main"])
    assert caught.value.reason == "git.remote_not_found"
    with pytest.raises(RemoteUnavailable):
        Repository.mirror("http://127.0.0.1:9/x.git", tmp_path / "m.git", branches=["main"])


def test_a_remote_that_hangs_costs_no_more_than_the_deadline(git_server: GitServer, upstream: RepoBuilder) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.fail("hang", times=9)
    with pytest.raises(RemoteUnavailable, match="did not answer"):
        Repository.remote_heads(url, ["refs/heads/main"], deadline=0.5)


def test_a_server_error_is_transient(git_server: GitServer, upstream: RepoBuilder) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.fail("status", status=502)
    with pytest.raises(RemoteUnavailable) as caught:
        Repository.remote_heads(url, ["refs/heads/main"])
    assert caught.value.transient


def test_remote_heads_answers_only_the_refs_that_were_asked_for(upstream: RepoBuilder) -> None:
    upstream.branch("odd/refs/heads/main")
    assert Repository.remote_heads(upstream.url, ["refs/heads/main", "refs/heads/none"]) == {
        "refs/heads/main": upstream.head()
    }


def test_a_login_in_the_url_works_and_is_in_no_message(
    git_server: GitServer, upstream: RepoBuilder, tmp_path: Path
) -> None:
    git_server.add(upstream, "up.git")
    git_server.login = ("ada", "correct-horse")
    url = git_server.url("up.git", login="ada:correct-horse")
    mirror = Repository.mirror(url, tmp_path / "m.git", branches=["main"])
    assert mirror.resolve("main") == upstream.head()
    assert "correct-horse" not in (tmp_path / "m.git" / "config").read_text()
    with pytest.raises(GitError) as caught:
        Repository.mirror(git_server.url("up.git", login="ada:wrong-horse"), tmp_path / "n.git", branches=["main"])
    assert caught.value.reason == "git.authentication"
    assert "wrong-horse" not in str(caught.value.as_record())
    assert caught.value.remedy


def test_a_remote_that_asks_for_a_login_fails_at_once_and_does_not_ask_a_terminal(
    git_server: GitServer, upstream: RepoBuilder
) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.login = ("ada", "correct-horse")
    with pytest.raises(GitError) as caught:
        Repository.remote_heads(url, ["refs/heads/main"])
    assert caught.value.reason == "git.authentication"


def test_a_header_from_configuration_reaches_the_server_and_no_argument_list(
    git_server: GitServer, upstream: RepoBuilder
) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.login = ("ada", "correct-horse")
    header = "Authorization: Basic YWRhOmNvcnJlY3QtaG9yc2U="
    found = Repository.remote_heads(url, ["refs/heads/main"], config={f"http.{url}.extraHeader": header})
    assert found == {"refs/heads/main": upstream.head()}


def test_a_shallow_mirror_is_deepened(git_server: GitServer, upstream: RepoBuilder, tmp_path: Path) -> None:
    url = git_server.add(upstream, "up.git")
    shallow = Repository.init_bare(tmp_path / "m.git")
    shallow.fetch(url, ["+refs/heads/main:refs/heads/main"], depth=1)
    assert shallow.is_shallow
    head = upstream.head()
    assert shallow.commit(head).parents == (upstream.head("HEAD~1"),)
    for question in (lambda: shallow.commits(None, head), lambda: shallow.count(None, head)):
        with pytest.raises(GitError) as caught:
            question()
        assert caught.value.reason == "git.shallow"
    mirror = Repository.mirror(url, tmp_path / "m.git", branches=["main"])
    assert not mirror.is_shallow
    assert [commit.subject for commit in mirror.commits(None, head)] == ["Two", "One"]


def test_a_remote_that_is_shallow_itself_gives_its_branch_and_its_edge_is_not_a_root(
    upstream: RepoBuilder, tmp_path: Path
) -> None:
    upstream.git("clone", "-q", "--bare", "--depth=1", upstream.url, str(tmp_path / "remote.git"))
    mirror = Repository.mirror((tmp_path / "remote.git").as_uri(), tmp_path / "m.git", branches=["main"])
    assert mirror.resolve("main") == upstream.head()
    assert mirror.commit("main").parents == (upstream.head("HEAD~1"),)
    with pytest.raises(GitError) as caught:
        mirror.commits(None, "main")
    assert caught.value.reason == "git.shallow"


def test_no_common_ancestor_is_not_claimed_of_a_shallow_history(
    git_server: GitServer, upstream: RepoBuilder, tmp_path: Path
) -> None:
    upstream.switch("side", upstream.head("HEAD~1"))
    side = upstream.commit({"s.txt": "s"}, "Side")
    shallow = Repository.init_bare(tmp_path / "m.git")
    url = git_server.add(upstream, "up.git")
    shallow.fetch(url, ["+refs/heads/*:refs/heads/*"], depth=1)
    with pytest.raises(GitError, match="shallow"):
        shallow.merge_base("main", side)
    with pytest.raises(GitError, match="shallow"):
        shallow.is_ancestor(side, "main")
    shallow.unshallow(url)
    assert shallow.merge_base("main", side) == upstream.head("main~1")


def test_a_new_branch_is_pushed_and_pushing_it_again_is_success(mirror: Repository, git_server: GitServer) -> None:
    sha = new_commit(mirror)
    for _ in range(2):
        mirror.push(git_server.url("target.git"), sha, BRANCH, expect=None)
    assert git_server.repository("target.git").refs()[f"refs/heads/{BRANCH}"] == sha


def test_a_branch_that_somebody_moved_is_not_overwritten(mirror: Repository, git_server: GitServer) -> None:
    url = git_server.url("target.git")
    first = new_commit(mirror)
    mirror.push(url, first, BRANCH, expect=None)
    second = new_commit(mirror, b"other\n")
    for expect in (None, mirror.resolve("main")):
        with pytest.raises(PushRefused) as caught:
            mirror.push(url, second, BRANCH, expect=expect)
        assert caught.value.reason == "git.lease_refused"
        assert caught.value.details["expected"] == expect
        assert caught.value.details["actual"] == first
    assert git_server.repository("target.git").refs()[f"refs/heads/{BRANCH}"] == first
    mirror.push(url, second, BRANCH, expect=first)
    assert git_server.repository("target.git").refs()[f"refs/heads/{BRANCH}"] == second


def test_a_lease_on_a_branch_that_was_deleted_is_refused(mirror: Repository, git_server: GitServer) -> None:
    with pytest.raises(PushRefused) as caught:
        mirror.push(git_server.url("target.git"), new_commit(mirror), BRANCH, expect=mirror.resolve("main"))
    assert caught.value.reason == "git.lease_refused"
    assert caught.value.details["actual"] is None


def test_a_race_that_the_server_sees_is_a_refused_lease(mirror: Repository, git_server: GitServer) -> None:
    # The hook moves the branch after our look at it and before the update.
    sha, other = new_commit(mirror), mirror.resolve("main")
    git_server.hook(
        "target.git", "pre-receive", f"unset GIT_QUARANTINE_PATH; git update-ref refs/heads/{BRANCH} {other}"
    )
    with pytest.raises(PushRefused) as caught:
        mirror.push(git_server.url("target.git"), sha, BRANCH, expect=None)
    assert caught.value.reason == "git.lease_refused"
    assert caught.value.details["actual"] == other


def test_a_hook_that_refuses_is_quoted(mirror: Repository, git_server: GitServer) -> None:
    git_server.hook("target.git", "pre-receive", "echo 'branch is protected' >&2; exit 1")
    with pytest.raises(PushRefused, match="branch is protected") as caught:
        mirror.push(git_server.url("target.git"), new_commit(mirror), BRANCH, expect=None)
    assert caught.value.reason == "git.push_rejected"
    assert not caught.value.transient


def test_a_push_that_breaks_off_before_it_was_done_can_be_repeated(mirror: Repository, git_server: GitServer) -> None:
    sha, url = new_commit(mirror), git_server.url("target.git")
    git_server.fail("drop-request", where="/git-receive-pack", times=2)  # curl tries a second time by itself
    with pytest.raises(RemoteUnavailable) as caught:
        mirror.push(url, sha, BRANCH, expect=None)
    assert caught.value.details["outcome"] == "unknown"
    assert Repository.remote_heads(url, [f"refs/heads/{BRANCH}"]) == {}
    mirror.push(url, sha, BRANCH, expect=None)
    assert Repository.remote_heads(url, [f"refs/heads/{BRANCH}"]) == {f"refs/heads/{BRANCH}": sha}


def test_a_push_whose_answer_was_lost_was_done_and_repeating_it_is_success(
    mirror: Repository, git_server: GitServer
) -> None:
    sha, url = new_commit(mirror), git_server.url("target.git")
    git_server.fail("drop-response", where="/git-receive-pack", times=2)
    with pytest.raises(RemoteUnavailable):
        mirror.push(url, sha, BRANCH, expect=None)
    assert Repository.remote_heads(url, [f"refs/heads/{BRANCH}"]) == {f"refs/heads/{BRANCH}": sha}
    mirror.push(url, sha, BRANCH, expect=None)


def test_a_push_that_curl_repeats_because_the_answer_was_lost_is_success(
    mirror: Repository, git_server: GitServer
) -> None:
    sha, url = new_commit(mirror), git_server.url("target.git")
    git_server.fail("drop-response", where="/git-receive-pack", times=1)
    mirror.push(url, sha, BRANCH, expect=None)
    assert Repository.remote_heads(url, [f"refs/heads/{BRANCH}"]) == {f"refs/heads/{BRANCH}": sha}
