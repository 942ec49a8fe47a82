"""Reading and writing one repository, hostile ones included."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.repositories import PERSON, MakeRepository, RepoBuilder
from upkeep.errors import BranchGone, GitError, RepositoryNotReady
from upkeep.git import EMPTY_TREE, Repository
from upkeep.plumbing.checkout import is_unsafe
from upkeep.plumbing.command import display_url, environment, error_of, gitpython, separate_credentials

# Latin-1 `é` alone is no UTF-8; a newline, a tab and a quote need NUL-separated reading.
ODD = os.fsdecode(b"caf\xe9\n\t\"'\\.txt")


@pytest.fixture
def builder(make_repository: MakeRepository) -> RepoBuilder:
    return make_repository()


@pytest.fixture
def repository(builder: RepoBuilder) -> Repository:
    return Repository.open(builder.path)


class TestOpening:
    def test_a_folder_that_is_no_repository_says_what_to_do(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "gone"):
            with pytest.raises(RepositoryNotReady) as caught:
                Repository.open(path)
            assert caught.value.reason == "git.not_a_repository"
            assert caught.value.remedy

    def test_a_folder_inside_of_a_repository_is_none(self, builder: RepoBuilder) -> None:
        builder.commit({"inner/file": "x"})
        with pytest.raises(RepositoryNotReady):
            Repository.open(builder.path / "inner")

    def test_making_a_bare_repository_twice_keeps_what_is_there(self, tmp_path: Path) -> None:
        first = Repository.init_bare(tmp_path / "x.git")
        blob = first.write_blob(b"kept")
        again = Repository.init_bare(tmp_path / "x.git")
        assert again.bare
        assert dict(again.blobs([blob])) == {blob: b"kept"}

    def test_a_linked_work_tree_opens(self, builder: RepoBuilder, tmp_path: Path) -> None:
        head = builder.commit({"a": "1"})
        builder.git("worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
        assert Repository.open(tmp_path / "linked").resolve("HEAD") == head

    def test_gitpython_runs_git_through_us(self, builder: RepoBuilder) -> None:
        head = builder.commit({"a": "1"})
        repo = gitpython()(builder.path)
        assert repo.git.rev_parse("HEAD") == head
        assert repo.git.version_info[0] >= 2
        with pytest.raises(GitError) as failed:
            repo.git.rev_parse("nope", verify=True)
        assert failed.value.reason == "git.unknown_revision"
        # Its object database keeps processes open, which nobody would end: refused.
        with pytest.raises(GitError) as refused:
            repo.head.commit  # noqa: B018
        assert refused.value.reason == "git.internal"
        repo.close()


class TestHistory:
    def test_revisions_resolve_to_commits_and_nothing_else_does(
        self, builder: RepoBuilder, repository: Repository
    ) -> None:
        head = builder.commit({"a": "1"})
        builder.git("tag", "-a", "v1", "-m", "one")
        for rev in ("HEAD", "main", "refs/heads/main", head[:10], "v1"):
            assert repository.resolve(rev) == head
        for rev in ("nope", "0" * 40, "--all", "HEAD:a", "HEAD^", ""):
            assert repository.resolve(rev) is None

    def test_a_commit_is_read_with_its_trailers(self, builder: RepoBuilder, repository: Repository) -> None:
        sha = builder.commit({"a": "1"}, "Subjekt – ünï\n\nBody.\n\nUpdate-Id: 7\nSeen-By: A\nSeen-By: B\n")
        commit = repository.commit(sha)
        assert commit.subject == "Subjekt – ünï"
        assert commit.message.startswith("Subjekt – ünï\n\nBody.\n")
        assert commit.trailers == {"Update-Id": ["7"], "Seen-By": ["A", "B"]}
        assert f"{commit.author_name} <{commit.author_email}>" == PERSON
        assert commit.authored_at == builder.clock
        assert commit.parents == ()

    def test_a_body_that_only_looks_like_fields_stays_a_body(
        self, builder: RepoBuilder, repository: Repository
    ) -> None:
        sha = builder.commit({"a": "1"}, "Subject\n\nUpdate-Id: in the body\n\nplain end\x1e\x1f\n")
        commit = repository.commit(sha)
        assert commit.trailers == {}
        assert "Update-Id: in the body" in commit.message

    def test_commits_come_newest_first_and_only_those_of_the_range(
        self, builder: RepoBuilder, repository: Repository
    ) -> None:
        one, two = builder.commit({"a": "1"}, "1"), builder.commit({"a": "2"}, "2")
        builder.switch("side", one)
        side = builder.commit({"b": "1"}, "side")
        builder.switch("main")
        merge = builder.merge("side")
        assert repository.commits(one, merge)[0].sha == merge
        assert {commit.sha for commit in repository.commits(one, merge)} == {two, side, merge}
        assert repository.commit(merge).parents == (two, side)
        assert repository.count(one, merge) == 3
        assert [commit.sha for commit in repository.commits(None, two)] == [two, one]
        assert [commit.sha for commit in repository.commits(None, merge, limit=1)] == [merge]
        assert repository.commits(merge, merge) == []

    def test_ancestry_and_merge_bases(self, builder: RepoBuilder, repository: Repository) -> None:
        one, two = builder.commit({"a": "1"}), builder.commit({"a": "2"})
        builder.switch("side", one)
        side = builder.commit({"b": "1"})
        assert repository.merge_base(two, side) == one
        assert repository.is_ancestor(one, two)
        assert repository.is_ancestor(one, one)
        assert not repository.is_ancestor(two, side)
        builder.git("checkout", "-q", "--orphan", "other")
        other = builder.commit({"c": "1"})
        assert repository.merge_base(other, two) is None

    def test_an_unknown_revision_is_an_error_with_its_own_code(
        self, builder: RepoBuilder, repository: Repository
    ) -> None:
        builder.commit({"a": "1"})
        for question in (
            lambda: repository.commits(None, "nope"),
            lambda: repository.commit("nope"),
            lambda: repository.tree("nope"),
            lambda: repository.read("nope", "a"),
            lambda: repository.merge_base("nope", "HEAD"),
            lambda: repository.is_ancestor("nope", "HEAD"),
            lambda: repository.changes("nope", "HEAD"),
        ):
            with pytest.raises(GitError) as caught:
                question()
            assert caught.value.reason == "git.unknown_revision"


class TestContent:
    def test_paths_that_are_no_utf8_survive(self, builder: RepoBuilder, repository: Repository) -> None:
        base = builder.commit({"a": "1"})
        head = builder.commit({f"d/{ODD}": "x\n", "a": None})
        assert [entry.path for entry in repository.tree(head)] == [f"d/{ODD}"]
        assert repository.read(head, f"d/{ODD}") == b"x\n"
        assert repository.read_folder(head, "d") == {ODD: b"x\n"}
        assert {change.path for change in repository.changes(base, head)} == {"a", f"d/{ODD}"}
        tree = repository.tree_with(head, {f"d/{ODD}": b"y\n"})
        assert repository.read(repository.commit_tree(tree, [head], "odd"), f"d/{ODD}") == b"y\n"

    def test_a_prefix_is_a_folder_and_not_a_pattern(self, builder: RepoBuilder, repository: Repository) -> None:
        head = builder.commit({"a/x": "1", "ab/x": "2", "[a]/x": "3", "a/deep/y": "4"})
        assert [entry.path for entry in repository.tree(head, "a/")] == ["a/deep/y", "a/x"]
        assert repository.read_folder(head, "a") == {"x": b"1", "deep/y": b"4"}
        assert repository.read_folder(head, "[a]") == {"x": b"3"}
        assert repository.read_folder(head, "none") == {}
        assert repository.read_folder(head, "a/x") == {}
        assert len(repository.read_folder(head, "")) == 4

    def test_one_file_or_none(self, builder: RepoBuilder, repository: Repository) -> None:
        head = builder.commit({"a/x": b"\x00\xff", "empty": ""})
        assert repository.read(head, "a/x") == b"\x00\xff"
        assert repository.read(head, "empty") == b""
        assert repository.read(head, "a") is None
        assert repository.read(head, "a/none") is None

    def test_many_blobs_come_in_order_repeated_and_large_ones_too(
        self, builder: RepoBuilder, repository: Repository
    ) -> None:
        large = os.urandom(3_000_000)
        shas = [repository.write_blob(str(number).encode()) for number in range(3)] + [repository.write_blob(large)]
        wanted = shas * 200
        found = list(repository.blobs(wanted))
        assert [sha for sha, _ in found] == wanted
        assert found[0][1] == b"0"
        assert found[3][1] == large

    def test_a_reader_that_stops_early_leaves_no_process(self, builder: RepoBuilder, repository: Repository) -> None:
        sha = repository.write_blob(b"x" * 100_000)
        blobs = repository.blobs([sha] * 300)
        assert next(blobs)[1][:1] == b"x"
        blobs.close()  # type: ignore[attr-defined]
        assert list(repository.blobs([])) == []

    def test_a_missing_object_is_named(self, repository: Repository) -> None:
        with pytest.raises(GitError, match="1111111") as caught:
            list(repository.blobs(["1" * 40]))
        assert caught.value.reason == "git.missing_object"

    def test_changes_tell_renames_modes_and_deletions(self, builder: RepoBuilder, repository: Repository) -> None:
        text = "".join(f"line {number}\n" for number in range(30))
        a = builder.commit({"old": text, "gone": "1", "tool": "#!\n", "same": "s"})
        (builder.path / "old").rename(builder.path / "new")
        (builder.path / "tool").chmod(0o755)
        b = builder.commit({"gone": None, "added": "1\n2\n"})
        found = {change.path: change for change in repository.changes(a, b)}
        assert {path: change.status for path, change in found.items()} == {
            "added": "A",
            "gone": "D",
            "new": "R",
            "tool": "M",
        }
        assert found["new"].old_path == "old"
        assert (found["tool"].old_mode, found["tool"].mode) == ("100644", "100755")
        assert found["gone"].sha == "0" * 40
        assert repository.stat(a, b) == (4, 2, 1)
        assert [change.path for change in repository.changes(EMPTY_TREE, a)] == ["gone", "old", "same", "tool"]
        assert repository.changes(a, b, "added") == [found["added"]]
        assert repository.changes(b, b) == []

    def test_a_patch_applies_elsewhere_binary_files_included(
        self, builder: RepoBuilder, repository: Repository, make_repository: MakeRepository
    ) -> None:
        a = builder.commit({"text": "1\n", "blob": b"\x00\x01"})
        b = builder.commit({"text": "2\n", "blob": b"\x00\x02" * 50, "sub/new": "n"})
        other = make_repository("other")
        other.commit({"text": "1\n", "blob": b"\x00\x01"})
        other.git("apply", "--index", "-", data=repository.patch(a, b))
        assert other.git("write-tree") == repository.commit(b).tree
        assert b"text" not in repository.patch(a, b, "sub")


class TestWriting:
    def test_a_tree_keeps_what_was_not_named(self, builder: RepoBuilder, repository: Repository) -> None:
        builder.commit({"keep": "k", "edit": "1", "drop": "d", "dir/tool": "#!\n"})
        (builder.path / "dir/tool").chmod(0o755)
        base = builder.commit({})
        tree = repository.tree_with(base, {"edit": b"2", "drop": None, "a/b/new": b"n", "dir/tool": b"#!2\n"})
        found = {entry.path: entry.mode for entry in repository.tree(tree)}
        assert found == {"keep": "100644", "edit": "100644", "a/b/new": "100644", "dir/tool": "100755"}
        assert repository.read_folder(tree, "a") == {"b/new": b"n"}
        assert repository.tree_with(base, {}) == repository.commit(base).tree
        assert repository.tree_with(EMPTY_TREE, {"one": b"1"}) != EMPTY_TREE
        assert builder.git("status", "--porcelain") == "", "index and work tree of the repository are untouched"

    def test_a_file_may_take_the_place_of_a_folder(self, builder: RepoBuilder, repository: Repository) -> None:
        base = builder.commit({"a/x": "1", "b": "2"})
        tree = repository.tree_with(base, {"a": b"file", "b/y": b"folder"})
        assert [entry.path for entry in repository.tree(tree)] == ["a", "b/y"]

    @pytest.mark.parametrize(
        "path", ["../out", "/etc/x", ".git/hooks/x", "a/.GIT/x", "a//b", "", "a/git~1/x", ".g\u200cit/x"]
    )
    def test_a_path_that_must_not_be_written_is_refused(
        self, builder: RepoBuilder, repository: Repository, path: str
    ) -> None:
        base = builder.commit({"a": "1"})
        with pytest.raises(GitError) as caught:
            repository.tree_with(base, {path: b"x"})
        assert caught.value.reason == "git.unsafe_path"

    def test_a_commit_carries_its_trailers_and_the_same_input_gives_the_same_sha(
        self, builder: RepoBuilder, repository: Repository
    ) -> None:
        base = builder.commit({"a": "1"})
        when = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

        def make() -> str:
            tree = repository.tree_with(base, {"a": b"2"})
            trailers = {"Upstream-Head": "f" * 40, "Update-Id": "x"}
            return repository.commit_tree(tree, [base], "Subject\n\nBody", trailers=trailers, when=when)

        commit = repository.commit(make())
        assert commit.sha == make()
        assert commit.trailers == {"Upstream-Head": ["f" * 40], "Update-Id": ["x"]}
        assert commit.parents == (base,)
        assert (commit.authored_at, commit.author_name) == (when, "Upkeep")

    def test_a_trailer_cannot_smuggle_in_another_one(self, builder: RepoBuilder, repository: Repository) -> None:
        base = builder.commit({"a": "1"})
        for key, value in (("Update-Id", "x\nSigned-off-by: you"), ("Update Id", "x"), ("", "x")):
            with pytest.raises(GitError):
                repository.commit_tree(repository.commit(base).tree, [base], "S", trailers={key: value})

    def test_a_ref_moves_only_from_where_it_was_expected(self, builder: RepoBuilder, repository: Repository) -> None:
        one, two = builder.commit({"a": "1"}), builder.commit({"a": "2"})
        repository.set_ref("refs/upkeep/x", one, None)
        repository.set_ref("refs/upkeep/x", one, None)
        with pytest.raises(GitError) as caught:
            repository.set_ref("refs/upkeep/x", two, None)
        assert (caught.value.reason, caught.value.details["actual"]) == ("git.ref_moved", one)
        repository.set_ref("refs/upkeep/x", two, one)
        assert repository.refs("refs/upkeep/") == {"refs/upkeep/x": two}
        for _ in range(2):
            repository.delete_ref("refs/upkeep/x")
        assert repository.refs("refs/upkeep/") == {}

    def test_refs_follow_annotated_tags(self, builder: RepoBuilder, repository: Repository) -> None:
        head = builder.commit({"a": "1"})
        builder.git("tag", "-a", "v1", "-m", "one")
        assert repository.refs("refs/tags") == {"refs/tags/v1": head}

    @given(
        before=st.dictionaries(st.from_regex(r"[a-c](/[a-c]){0,2}", fullmatch=True), st.binary(max_size=8), max_size=6),
        after=st.dictionaries(
            st.from_regex(r"[a-c](/[a-c]){0,2}", fullmatch=True), st.none() | st.binary(max_size=8), max_size=6
        ),
    )
    @settings(
        max_examples=15, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_trees_hold_what_was_written(
        self, tmp_path: Path, before: dict[str, bytes], after: dict[str, bytes | None]
    ) -> None:
        def without_clashes(files: dict[str, bytes | None]) -> dict[str, bytes]:
            kept = {path: content for path, content in files.items() if content is not None}
            return {path: kept[path] for path in kept if not any(other.startswith(f"{path}/") for other in kept)}

        repository = Repository.init_bare(tmp_path / "model.git")
        first = without_clashes(dict(before))
        tree = repository.tree_with(EMPTY_TREE, first)
        assert repository.read_folder(tree, "") == first
        changes = {**dict.fromkeys(first), **without_clashes(after)}
        second = repository.tree_with(tree, changes)
        assert repository.read_folder(second, "") == without_clashes(after)


class TestHostileRepositories:
    """A repository whose own configuration wants to run something."""

    @pytest.fixture
    def trap(self, builder: RepoBuilder, tmp_path: Path) -> Path:
        """The file that appears when anything planted was run."""
        sprung = tmp_path / "sprung"
        script = tmp_path / "planted.sh"
        script.write_text(f'#!/bin/sh\necho "$0 $@" >>{sprung}\ncat\n')
        script.chmod(0o755)
        builder.commit({"a.txt": "1\n", ".gitattributes": "*.txt diff=evil filter=evil\n"})
        for key in ("core.fsmonitor", "core.pager", "core.editor", "diff.external", "diff.evil.textconv"):
            builder.git("config", key, str(script))
        for key in ("diff.evil.command", "core.alternateRefsCommand", "gpg.program", "core.sshCommand"):
            builder.git("config", key, str(script))
        builder.git("config", "commit.gpgSign", "true")
        for name in (
            "post-checkout",
            "post-merge",
            "pre-push",
            "reference-transaction",
            "post-index-change",
            "pre-commit",
        ):
            hook = builder.path / ".git" / "hooks" / name
            hook.write_text(script.read_text())
            hook.chmod(0o755)
        sprung.unlink(missing_ok=True)
        return sprung

    def test_reading_and_writing_run_nothing_of_it(
        self, builder: RepoBuilder, trap: Path, tmp_path: Path, make_repository: MakeRepository
    ) -> None:
        repository = Repository.open(builder.path)
        base = repository.resolve("HEAD")
        assert base is not None
        sha = repository.commit_tree(repository.tree_with(base, {"a.txt": b"2\n"}), [base], "Ours")
        repository.set_ref("refs/upkeep/x", sha, None)
        assert b"+2" in repository.patch(base, sha)
        repository.stat(base, sha)
        repository.changes(base, sha)
        repository.commits(None, sha)
        repository.export(sha, tmp_path / "out")
        assert (tmp_path / "out" / "a.txt").read_text() == "2\n"
        with repository.worktree(sha) as tree:
            assert (tree / "a.txt").read_text() == "2\n"
        target = make_repository("target").bare_clone(tmp_path / "target.git")
        repository.push(target.url, sha, "x", expect=None)
        assert not trap.exists(), trap.read_text()
        builder.git("status")
        assert trap.exists(), "the trap is one: plain git springs it"

    def test_pulling_a_working_copy_runs_no_hook_and_no_monitor(
        self, builder: RepoBuilder, trap: Path, tmp_path: Path
    ) -> None:
        origin = builder.bare_clone(tmp_path / "origin.git")
        builder.git("remote", "add", "origin", origin.url)
        pusher = origin.clone(tmp_path / "pusher")
        new = pusher.commit({"b.txt": "new\n"})
        pusher.git("push", "-q", "origin", "main")
        trap.unlink(missing_ok=True)
        assert Repository.update_working_copy(builder.path, "main") == new
        assert (builder.path / "b.txt").read_text() == "new\n"
        assert not trap.exists(), trap.read_text()

    def test_a_bare_repository_hidden_in_a_tree_is_not_entered(self, builder: RepoBuilder, tmp_path: Path) -> None:
        builder.commit({"a": "1"})
        inner = builder.bare_clone(builder.path / "inner")
        outer = Repository.open(builder.path)
        assert outer.resolve("HEAD") == builder.head()
        assert outer.path != inner.path


class TestExport:
    def test_a_folder_of_a_commit_becomes_plain_files(
        self, builder: RepoBuilder, repository: Repository, tmp_path: Path
    ) -> None:
        builder.commit({"docs/a.md": "a\n", "docs/tool": "#!\n", "other": "o", ".gitattributes": "* text eol=crlf\n"})
        (builder.path / "docs/tool").chmod(0o755)
        (builder.path / "docs/link").symlink_to("a.md")
        (builder.path / "docs/away").symlink_to("../../../../etc/passwd")
        (builder.path / "docs/absolute").symlink_to("/etc/passwd")
        head = builder.commit({})
        out = tmp_path / "out"
        assert repository.export(head, out, prefix="docs") == ["absolute", "away"]
        assert sorted(path.name for path in out.iterdir()) == ["a.md", "link", "tool"]
        assert (out / "a.md").read_bytes() == b"a\n", "the blob as it is, no end-of-line conversion"
        assert (out / "link").read_bytes() == b"a\n"
        assert os.access(out / "tool", os.X_OK)
        assert not os.access(out / "a.md", os.X_OK)

    def test_submodules_are_left_out_and_said(
        self, builder: RepoBuilder, repository: Repository, tmp_path: Path
    ) -> None:
        head = builder.commit({"a": "1"})
        builder.git("update-index", "--add", "--cacheinfo", f"160000,{head},vendor/lib")
        builder.git("commit", "-q", "-m", "Submodule")
        assert repository.export("HEAD", tmp_path / "out") == ["vendor/lib"]

    def test_a_folder_with_something_in_it_is_left_alone(
        self, builder: RepoBuilder, repository: Repository, tmp_path: Path
    ) -> None:
        head = builder.commit({"a": "1"})
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "a").write_text("precious")
        with pytest.raises(GitError) as caught:
            repository.export(head, tmp_path / "mine")
        assert caught.value.reason == "git.not_empty"
        assert (tmp_path / "mine" / "a").read_text() == "precious"

    @pytest.mark.parametrize("name", [b".git", b"..", b".GiT", b".git ", b"GIT~1", b".git::$INDEX_ALLOCATION"])
    def test_a_hostile_tree_is_refused_before_anything_is_written(
        self, builder: RepoBuilder, repository: Repository, tmp_path: Path, name: bytes
    ) -> None:
        # Written past git's own checks, as a server could send it.
        blob = repository.write_blob(b"[core] fsmonitor = evil\n")
        inner = builder.git("mktree", data=f"100644 blob {blob}\tconfig\n".encode())
        raw = b"40000 " + name + b"\0" + bytes.fromhex(inner)
        tree = builder.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", data=raw)
        with pytest.raises(GitError) as caught:
            repository.export(tree, tmp_path / "out")
        assert caught.value.reason == "git.unsafe_path"
        assert not (tmp_path / "out").exists()

    def test_a_link_and_a_folder_of_one_name_cannot_lead_outside(
        self, builder: RepoBuilder, repository: Repository, tmp_path: Path
    ) -> None:
        (tmp_path / "victim").mkdir()
        link, blob = repository.write_blob(b"../victim"), repository.write_blob(b"planted")
        inner = builder.git("mktree", data=f"100644 blob {blob}\tfile\n".encode())
        raw = b"120000 a\0" + bytes.fromhex(link) + b"40000 a\0" + bytes.fromhex(inner)
        tree = builder.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", data=raw)
        assert repository.export(tree, tmp_path / "out") == ["a"]
        assert list((tmp_path / "victim").iterdir()) == []

    @given(st.text(max_size=20))
    @settings(max_examples=200, derandomize=True, deadline=None)
    def test_a_safe_path_stays_below_its_folder(self, path: str) -> None:
        if not is_unsafe(path):
            assert os.path.normpath(f"/base/{path}").startswith("/base/")
            assert ".git" not in path.casefold().split("/")

    def test_a_work_tree_is_gone_afterwards_after_an_error_too(
        self, builder: RepoBuilder, repository: Repository, tmp_path: Path
    ) -> None:
        head = builder.commit({"a": "1"})
        seen = []

        def fail() -> None:
            with repository.worktree(head, folder=tmp_path / "trees") as tree:
                seen.append((tree / "a").read_text())
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert seen == ["1"]
        assert list((tmp_path / "trees").iterdir()) == []
        assert builder.git("worktree", "list", "--porcelain").count("worktree ") == 1


class TestWorkingCopies:
    @pytest.fixture
    def origin(self, builder: RepoBuilder, tmp_path: Path) -> RepoBuilder:
        builder.commit({"a": "1\n"})
        builder.branch("release")
        return builder.bare_clone(tmp_path / "origin.git")

    @pytest.fixture
    def copy(self, origin: RepoBuilder, tmp_path: Path) -> RepoBuilder:
        return origin.clone(tmp_path / "copy")

    @pytest.fixture
    def colleague(self, origin: RepoBuilder, tmp_path: Path) -> RepoBuilder:
        return origin.clone(tmp_path / "colleague")

    def refusal(self, copy: RepoBuilder, branch: str = "main") -> str:
        before = copy.refs()
        with pytest.raises(RepositoryNotReady) as caught:
            Repository.update_working_copy(copy.path, branch)
        assert caught.value.remedy
        assert str(copy.path) in str(caught.value)
        assert copy.refs() == before, "no branch moved"
        return caught.value.reason

    def test_it_is_pulled(self, copy: RepoBuilder, colleague: RepoBuilder) -> None:
        new = colleague.commit({"a": "2\n"})
        colleague.git("push", "-q")
        (copy.path / "untracked").write_text("mine")
        assert Repository.update_working_copy(copy.path, "main") == new
        assert copy.head() == new
        assert (copy.path / "a").read_text() == "2\n"
        assert Repository.update_working_copy(copy.path, "main") == new

    def test_a_remote_with_a_relative_path_is_found(self, copy: RepoBuilder, origin: RepoBuilder) -> None:
        copy.git("remote", "set-url", "origin", "../origin.git")
        assert Repository.update_working_copy(copy.path, "main") == origin.head("main")

    def test_the_branch_is_checked_out_when_another_one_is(self, copy: RepoBuilder, colleague: RepoBuilder) -> None:
        colleague.switch("release")
        new = colleague.commit({"r": "1"})
        colleague.git("push", "-q")
        assert Repository.update_working_copy(copy.path, "release") == new
        assert copy.git("symbolic-ref", "--short", "HEAD") == "release"
        assert Repository.update_working_copy(copy.path, "main") == copy.head("main")

    def test_uncommitted_changes_are_in_the_way(self, copy: RepoBuilder) -> None:
        (copy.path / "a").write_text("edited\n")
        assert self.refusal(copy) == "git.dirty"
        assert (copy.path / "a").read_text() == "edited\n"
        copy.git("add", "a")
        assert self.refusal(copy) == "git.dirty"

    def test_a_diverged_branch_is_left_as_it_is(self, copy: RepoBuilder, colleague: RepoBuilder) -> None:
        colleague.commit({"a": "theirs\n"})
        colleague.git("push", "-q")
        copy.commit({"b": "mine\n"})
        before = copy.refs()
        with pytest.raises(RepositoryNotReady) as caught:
            Repository.update_working_copy(copy.path, "main")
        assert caught.value.reason == "git.diverged"
        assert copy.refs() == before

    def test_commits_that_are_not_pushed_stay_and_are_not_taken_for_published(self, copy: RepoBuilder) -> None:
        published = copy.head()
        mine = copy.commit({"b": "mine\n"})
        assert Repository.update_working_copy(copy.path, "main") == published
        assert copy.head() == mine

    def test_a_repository_without_remote_says_so(self, builder: RepoBuilder) -> None:
        builder.commit({"a": "1"})
        assert self.refusal(builder) == "git.no_remote"

    def test_several_remotes_and_none_chosen_is_not_guessed(self, copy: RepoBuilder) -> None:
        copy.git("remote", "rename", "origin", "one")
        copy.git("remote", "add", "two", "/nowhere")
        copy.git("config", "--unset", "branch.main.remote")
        assert self.refusal(copy) == "git.no_remote"

    def test_a_merge_in_progress_is_in_the_way(self, copy: RepoBuilder) -> None:
        (copy.path / ".git" / "MERGE_HEAD").write_text(copy.head() + "\n")
        assert self.refusal(copy) == "git.in_progress"

    def test_a_detached_head_with_commits_of_its_own_is_not_left(self, copy: RepoBuilder) -> None:
        copy.git("checkout", "-q", "--detach")
        assert Repository.update_working_copy(copy.path, "main") == copy.head("main")
        copy.git("checkout", "-q", "--detach")
        mine = copy.commit({"b": "mine\n"})
        with pytest.raises(RepositoryNotReady) as caught:
            Repository.update_working_copy(copy.path, "main")
        assert caught.value.reason == "git.detached"
        assert copy.head() == mine

    def test_a_branch_that_another_work_tree_has_is_not_taken_away(self, copy: RepoBuilder, tmp_path: Path) -> None:
        copy.git("branch", "release", "origin/release")
        copy.git("worktree", "add", "-q", str(tmp_path / "linked"), "release")
        with pytest.raises(RepositoryNotReady) as caught:
            Repository.update_working_copy(copy.path, "release")
        assert caught.value.reason == "git.checked_out_elsewhere"

    def test_an_untracked_file_in_the_way_is_not_overwritten(self, copy: RepoBuilder, colleague: RepoBuilder) -> None:
        colleague.commit({"new": "theirs\n"})
        colleague.git("push", "-q")
        (copy.path / "new").write_text("mine\n")
        with pytest.raises(GitError):
            Repository.update_working_copy(copy.path, "main")
        assert (copy.path / "new").read_text() == "mine\n"

    def test_a_branch_that_the_remote_lost_is_gone(self, copy: RepoBuilder, origin: RepoBuilder) -> None:
        origin.git("branch", "-D", "release")
        with pytest.raises(BranchGone):
            Repository.update_working_copy(copy.path, "release")

    def test_a_shallow_working_copy_is_deepened(
        self, origin: RepoBuilder, colleague: RepoBuilder, tmp_path: Path
    ) -> None:
        colleague.commit({"a": "2\n"})
        colleague.git("push", "-q")
        origin.git("clone", "-q", "--depth=1", origin.url, str(tmp_path / "shallow"))
        head = Repository.update_working_copy(tmp_path / "shallow", "main")
        assert len(Repository.open(tmp_path / "shallow").commits(None, head)) == 2


class TestWordsAndEnvironment:
    def test_a_password_in_a_url_becomes_a_header(self) -> None:
        url, config = separate_credentials("https://ada:p%40ss@host.example:8443/o/r.git")
        assert url == "https://host.example:8443/o/r.git"
        assert config == {f"http.{url}.extraHeader": "Authorization: Basic YWRhOnBAc3M="}
        for plain in ("https://ada@host.example/r", "git@host.example:o/r", "ssh://a:b@host/x", "/some/path"):
            assert separate_credentials(plain) == (plain, {})

    def test_a_url_is_shown_without_its_userinfo(self) -> None:
        assert display_url("https://ada:secret@host.example/r.git") == "https://host.example/r.git"
        assert display_url("git@host.example:o/r") == "git@host.example:o/r"

    def test_secrets_of_a_call_are_not_in_its_error(self, tmp_path: Path) -> None:
        header = {"http.http://127.0.0.1:9/.extraHeader": "Authorization: Bearer very-secret-token"}
        with pytest.raises(GitError) as caught:
            Repository.remote_heads(
                "http://ada:hidden-word@127.0.0.1:9/x", ["HEAD"], config=header, env={"GH_TOKEN": "very-secret-token"}
            )
        assert "very-secret" not in str(caught.value.as_record())
        assert "hidden-word" not in str(caught.value.as_record())

    def test_variables_of_a_calling_hook_do_not_reach_git(
        self, builder: RepoBuilder, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = builder.commit({"a": "1"})
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_CONFIG_PARAMETERS"):
            monkeypatch.setenv(name, "/nowhere")
        assert repository.resolve("HEAD") == head
        assert repository.read(head, "a") == b"1"
        assert "GIT_DIR" not in environment({}, {}, personal=True)

    def test_the_users_own_configuration_counts_for_remotes_only(self) -> None:
        assert environment({}, {}, personal=False)["GIT_CONFIG_GLOBAL"] == os.devnull
        assert "GIT_CONFIG_GLOBAL" not in environment({}, {}, personal=True)

    @pytest.mark.parametrize(
        ("words", "code", "transient"),
        [
            ("fatal: Authentication failed for 'https://h/r'", "git.authentication", False),
            ("git@h: Permission denied (publickey).\nfatal: Could not read from remote", "git.authentication", False),
            ("fatal: could not read Username for 'https://h': terminal prompts disabled", "git.authentication", False),
            (
                "remote: Repository not found.\nfatal: repository 'https://h/r/' not found",
                "git.remote_not_found",
                False,
            ),
            ("fatal: unable to access 'x': Could not resolve host: h", "git.remote_unavailable", True),
            ("error: RPC failed; curl 56 GnuTLS recv error\nfatal: early EOF", "git.remote_unavailable", True),
            ("fatal: unable to access 'x': The requested URL returned error: 503", "git.remote_unavailable", True),
            ("fatal: write error: No space left on device", "git.disk_full", False),
            ("fatal: Unable to create '/r/index.lock': File exists.", "git.locked", False),
            ("fatal: detected dubious ownership in repository at '/r'", "git.ownership", False),
            ("error: object file .git/objects/aa/bb is empty", "git.corrupt", False),
            ("fatal: something new", "git", False),
        ],
    )
    def test_gits_words_become_codes(self, words: str, code: str, transient: bool) -> None:
        error = error_of("fetch", 128, words, "https://h/r")
        assert (error.reason, error.transient) == (code, transient)
