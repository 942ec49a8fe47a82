"""The local forge: rows in a real database beside a real bare repository, and a whole publish on it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.repositories import MakeRepository, RepoBuilder
from upkeep.config import Settings
from upkeep.database.server import Database
from upkeep.errors import ConfigError, ForgeError, RepositoryNotReady
from upkeep.forges.base import Label, PullRequest
from upkeep.forges.local import LocalForge, local_path
from upkeep.forges.registry import open_forge
from upkeep.git import Repository
from upkeep.publish import Proposal, publish, superseded_by

REPO = "demo/dashboard"


class Place:
    """A local forge with one repository; `bare` is its git side."""

    def __init__(self, database: Database, source: RepoBuilder, root: Path) -> None:
        self.forge = LocalForge("here", database, root)
        self.bare = source.bare_clone(self.forge.place(REPO))
        self.root = root

    def opened(self, branch: str = "bot/1", **over: str) -> PullRequest:
        text = {"base": "main", "title": "Update", "body": "What changed\n"} | over
        return self.forge.create_pull_request(REPO, head=branch, **text)

    def push(self, branch: str, changes: dict[str, str | None], message: str = "Change") -> str:
        """A person commits to a branch and pushes it."""
        clone = self.bare.clone(self.root / f"clone-{len(list(self.root.iterdir()))}", branch=branch)
        sha = clone.commit(changes, message)
        clone.git("push", "-q", "origin", branch)
        return sha


@pytest.fixture
def place(database: Database, make_repository: MakeRepository, tmp_path: Path) -> Place:
    source = make_repository("source")
    source.commit({"README.md": "one\ntwo\nthree\n"})
    for branch in ("bot/1", "bot/2"):
        source.switch(branch, "main")
        source.commit({f"{branch}.txt": branch}, f"Add {branch}")
    source.switch("main")
    return Place(database, source, tmp_path / "forge")


def test_a_created_pull_request_is_read_back_as_it_is(place: Place) -> None:
    made = place.opened()
    assert made == place.forge.pull_request(REPO, made.number)
    assert (made.number, made.state, made.author, made.head_sha) == (1, "open", "upkeep", place.bare.head("bot/1"))
    assert made.created_at.tzinfo == UTC
    assert made.url == f"{place.bare.url}#1"


def test_an_existing_open_pull_request_is_adopted(place: Place) -> None:
    assert place.opened().number == place.opened(title="Another").number == 1


def test_racers_make_one_pull_request(place: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = {made.number for made in pool.map(lambda _: place.opened(), range(8))}
    assert numbers == {1}
    assert len(place.forge.pull_requests(REPO)) == 1


def test_racers_on_two_branches_get_numbers_of_their_own(place: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = {made.number for made in pool.map(lambda n: place.opened(f"bot/{n % 2 + 1}"), range(8))}
    assert numbers == {1, 2}


def test_the_list_is_newest_first_by_prefix_state_and_date(place: Place) -> None:
    first, second = place.opened("bot/1"), place.opened("bot/2")
    place.forge.close(REPO, first.number, by="ada")
    assert [one.number for one in place.forge.pull_requests(REPO)] == [2, 1]
    assert [one.number for one in place.forge.pull_requests(REPO, state="open")] == [2]
    assert [one.number for one in place.forge.pull_requests(REPO, branch_prefix="bot/1")] == [1]
    assert [one.number for one in place.forge.pull_requests(REPO, since=second.created_at)] == [2]


@pytest.mark.parametrize(
    ("over", "words"),
    [({"base": "gone"}, "no branch gone"), ({"branch": "gone"}, "no branch gone"), ({"branch": "main"}, "no commits")],
)
def test_a_pull_request_that_cannot_be_made_says_why(place: Place, over: dict[str, str], words: str) -> None:
    with pytest.raises(ForgeError, match=words) as caught:
        place.opened(**over)
    assert caught.value.reason == "forge.invalid"


def test_a_head_that_moves_is_followed(place: Place) -> None:
    made = place.opened()
    theirs = place.push("bot/1", {"mine.txt": "mine\n"})
    seen = place.forge.pull_request(REPO, made.number)
    assert seen.head_sha == theirs
    assert seen.updated_at > made.updated_at


def test_a_pull_request_whose_branch_is_deleted_is_closed(place: Place) -> None:
    made = place.opened()
    place.bare.git("branch", "-D", "bot/1")
    seen = place.forge.pull_request(REPO, made.number)
    assert (seen.state, seen.head_sha) == ("closed", made.head_sha)


@pytest.mark.parametrize("delete", [False, True])
def test_a_head_that_somebody_pushed_to_the_base_is_merged(place: Place, delete: bool) -> None:
    made = place.opened()
    place.bare.git("update-ref", "refs/heads/main", made.head_sha)
    if delete:
        place.bare.git("branch", "-D", "bot/1")
    seen = place.forge.pull_requests(REPO)[0]
    assert (seen.state, seen.merge_commit_sha) == ("merged", made.head_sha)


# Merging -----------------------------------------------------------------------------------------------------------


def test_a_merge_commit_has_both_parents_and_names_the_person(place: Place) -> None:
    made = place.opened()
    main = place.push("main", {"README.md": "one\ntwo\nthree\nfour\n"})
    merged = place.forge.merge(REPO, made.number, by="ada")
    assert merged.state == "merged"
    assert merged.merged_at is not None
    assert place.bare.head("main") == merged.merge_commit_sha
    assert place.bare.git("log", "-1", "--format=%P", "main").split() == [main, made.head_sha]
    assert place.bare.message("main") == "Merge pull request #1 from bot/1\n\nUpdate"
    assert place.bare.git("log", "-1", "--format=%cn", "main") == "ada"
    assert sorted(place.bare.files("main")) == ["README.md", "bot/1.txt"]


def test_a_squash_is_one_commit_without_the_branchs_messages(place: Place) -> None:
    place.push("bot/1", {"more.txt": "more\n"}, "Add more\n\nUpdate-Id: 7")
    made = place.opened()
    base = place.bare.head("main")
    place.forge.merge(REPO, made.number, by="ada", strategy="squash")
    assert place.bare.git("log", "-1", "--format=%P", "main") == base
    assert place.bare.message("main") == "Update (#1)"
    assert place.bare.read("main", "more.txt") == b"more\n"


def test_a_rebase_keeps_each_commit_with_its_author_and_trailers(place: Place) -> None:
    place.push("bot/1", {"more.txt": "more\n"}, "Add more\n\nUpdate-Id: 7")
    made = place.opened()
    main = place.push("main", {"README.md": "zero\none\ntwo\nthree\n"})
    place.forge.merge(REPO, made.number, by="eve", strategy="rebase")
    assert place.bare.git("log", "--format=%s by %an", f"{main}..main").splitlines() == [
        "Add more by Ada Person",
        "Add bot/1 by Ada Person",
    ]
    assert place.bare.message("main").endswith("Update-Id: 7")
    assert place.bare.read("main", "README.md") == b"zero\none\ntwo\nthree\n"


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase"])
def test_a_conflict_names_the_files_and_changes_nothing(place: Place, strategy: str) -> None:
    place.push("bot/1", {"README.md": "one\nTWO\nthree\n"})
    made = place.opened()
    main = place.push("main", {"README.md": "one\n2\nthree\n"})
    with pytest.raises(ForgeError, match=r"README\.md") as caught:
        place.forge.merge(REPO, made.number, by="ada", strategy=strategy)  # type: ignore[arg-type]
    assert caught.value.reason == "forge.merge_conflict"
    assert caught.value.details["files"] == ["README.md"]
    assert place.bare.head("main") == main
    assert place.forge.pull_request(REPO, made.number).state == "open"


@pytest.mark.parametrize("strategy", ["merge", "squash", "rebase"])
def test_merging_what_the_base_has_already_moves_nothing(place: Place, strategy: str) -> None:
    """What a merge leaves that died between moving the base and noting it."""
    made = place.opened()
    tree = place.bare.git("rev-parse", "bot/1^{tree}")
    main = place.bare.git("commit-tree", tree, "-p", "main", "-m", "The same, squashed")
    place.bare.git("update-ref", "refs/heads/main", main)
    merged = place.forge.merge(REPO, made.number, by="ada", strategy=strategy)  # type: ignore[arg-type]
    assert (merged.state, merged.merge_commit_sha) == ("merged", main)
    assert place.forge.merge(REPO, made.number, by="ada") == merged


# Persons -----------------------------------------------------------------------------------------------------------


def test_a_comment_or_review_counts_as_a_person_from_then_on(place: Place) -> None:
    made = place.opened()
    assert not place.forge.touched_by_person(made)
    seen = place.forge.comment(REPO, made.number, by="ada", body="Hm.")
    assert place.forge.touched_by_person(seen, since=made.updated_at)
    assert not place.forge.touched_by_person(seen, since=seen.updated_at)
    assert place.forge.notes(REPO, made.number)[0]["body"] == "Hm."


def test_our_own_closing_leaves_the_note_and_is_no_persons(place: Place) -> None:
    made = place.opened()
    closed = place.forge.close_pull_request(REPO, made.number, note="> Note", body=made.body)
    assert (closed.state, closed.body) == ("closed", "> Note\n\nWhat changed\n")
    again = place.forge.close_pull_request(REPO, made.number, note="> Note")
    assert (again.body, again.closed_at) == (closed.body, closed.closed_at)
    assert not place.forge.touched_by_person(closed)


def test_a_closed_one_can_be_opened_again_while_nothing_stands_in_its_place(place: Place) -> None:
    made = place.opened()
    place.forge.close(REPO, made.number, by="ada")
    with pytest.raises(ForgeError, match="is closed"):
        place.forge.close(REPO, made.number, by="ada")
    opened = place.forge.reopen(REPO, made.number, by="ada")
    assert (opened.state, opened.closed_at) == ("open", None)
    assert place.forge.touched_by_person(opened)
    place.forge.close(REPO, made.number, by="ada")
    place.opened()
    with pytest.raises(ForgeError, match="has another one"):
        place.forge.reopen(REPO, made.number, by="ada")


def test_ours_is_opened_again_without_a_trace_of_a_person(place: Place) -> None:
    made = place.opened()
    place.forge.close(REPO, made.number, by="ada")
    opened = place.forge.reopen_pull_request(REPO, made.number)
    assert opened.state == "open"
    assert not place.forge.touched_by_person(opened)
    assert place.forge.reopen_pull_request(REPO, made.number) == opened


def test_title_and_body_are_edited_in_place_and_only_a_change_counts(place: Place) -> None:
    made = place.opened()
    assert place.forge.edit_pull_request(REPO, made.number, title=made.title, body=made.body) == made
    edited = place.forge.edit_pull_request(REPO, made.number, body="New\n")
    assert (edited.title, edited.body) == (made.title, "New\n")
    assert edited.updated_at > made.updated_at


def test_labels_are_kept_and_added_once(place: Place) -> None:
    labels = [Label(name="fork-delta")]
    text = {"title": "T", "body": ""}
    made = place.forge.create_pull_request(REPO, head="bot/1", base="main", **text, labels=labels)
    assert made.labels == ("fork-delta",) == place.forge.pull_request(REPO, made.number).labels
    assert place.forge.create_pull_request(REPO, head="bot/1", base="main", **text, labels=labels) == made
    assert place.forge.add_labels(REPO, made.number, [Label(name="Fork-Delta"), Label(name="b")]) == ("fork-delta", "b")
    changed = place.forge.label(REPO, made.number, add=["c"], remove=["FORK-DELTA", "none"])
    assert changed.labels == ("b", "c")
    adopted = place.forge.create_pull_request(REPO, head="bot/1", base="main", **text, labels=labels)
    assert adopted.labels == ("b", "c", "fork-delta")
    with pytest.raises(ForgeError, match="is no label"):
        place.forge.label(REPO, made.number, add=[" "])


def test_one_to_another_base_is_not_adopted(place: Place) -> None:
    first, second = place.opened(base="bot/2"), place.opened()
    assert (first.base_branch, second.base_branch, second.number) == ("bot/2", "main", 2)


def test_a_merged_one_stays_merged(place: Place) -> None:
    made = place.opened()
    place.forge.merge(REPO, made.number, by="ada")
    with pytest.raises(ForgeError, match="it is merged"):
        place.forge.reopen(REPO, made.number, by="ada")
    with pytest.raises(ForgeError, match="is merged"):
        place.forge.close(REPO, made.number, by="ada")


# Where repositories lie --------------------------------------------------------------------------------------------


def test_an_unknown_number_or_repository_is_an_error_with_a_way_out(place: Place) -> None:
    with pytest.raises(ForgeError) as caught:
        place.forge.pull_request(REPO, 7)
    assert "upkeep pr list" in caught.value.remedy
    with pytest.raises(ForgeError) as caught:
        place.forge.create_pull_request("none", head="a", base="b", title="", body="")
    assert "git clone --bare" in caught.value.remedy


@pytest.mark.parametrize("repo", ["../escape", "/etc", "a//b", "", "a/../b", ".git"])
def test_a_name_never_leaves_the_forges_folder(place: Place, repo: str) -> None:
    with pytest.raises(ForgeError, match="no name of a repository"):
        place.forge.repository(repo)


def test_a_working_copy_is_no_place_for_a_forge(database: Database, make_repository: MakeRepository) -> None:
    working = make_repository("working")
    forge = LocalForge("here", database, working.path.parent, {"w": working.path})
    with pytest.raises(RepositoryNotReady) as caught:
        forge.repository("w")
    assert caught.value.reason == "forge.not_bare"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///srv/git/a%20b.git", Path("/srv/git/a b.git")),
        ("/srv/git/d.git", Path("/srv/git/d.git")),
        ("https://example.com/d.git", None),
        ("git@example.com:d.git", None),
        ("file://other/d.git", None),
        ("d.git", None),
    ],
)
def test_a_target_by_path_or_file_url_is_where_the_repository_lies(url: str, path: Path | None) -> None:
    assert local_path(url) == path


def settings_with(tmp_path: Path, **forges: object) -> Settings:
    target = {"url": str(tmp_path / "target.git"), "forge": "here", "repo": "elsewhere"}
    return Settings.model_validate(
        {
            "home": str(tmp_path / "home"),
            "forges": forges,
            "watches": {"w": {"upstream": {"path": str(tmp_path)}, "target": target}},
        }
    )


def test_forges_are_made_from_their_settings(database: Database, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, github={"kind": "github", "host": "git.example.com", "token": "x" * 20})
    here = open_forge("here", settings, database)
    assert isinstance(here, LocalForge)
    assert here.place("elsewhere") == tmp_path / "target.git"
    assert here.place("a/b") == tmp_path / "home" / "forges" / "here" / "a" / "b.git"
    github = open_forge("github", settings, database)
    assert (github.kind, github.name) == ("github", "github")
    assert github.git_environment()["GH_ENTERPRISE_TOKEN"] == "x" * 20


def test_a_forge_that_cannot_be_opened_is_a_configuration_error(database: Database, tmp_path: Path) -> None:
    settings = settings_with(tmp_path, hub={"kind": "gitea", "url": "git.example.com"})
    with pytest.raises(ConfigError, match="plain address") as caught:
        open_forge("hub", settings, database)
    assert caught.value.reason == "config.forge_url"
    with pytest.raises(ConfigError, match="did you mean here"):
        open_forge("heer", settings, database)


# A publish ---------------------------------------------------------------------------------------------------------


class Held:
    def check(self) -> None:
        """Never lost."""


@pytest.mark.parametrize("step", ["search", "commit", "push", "create", "read_back", "close", None])
def test_a_publish_on_the_local_forge_survives_a_crash_at_every_step(
    place: Place, tmp_path: Path, step: str | None
) -> None:
    mirror = Repository.mirror(place.bare.url, tmp_path / "mirror", branches=["main"])
    main = place.bare.head("main")

    def proposal(head: str, supersedes: tuple[PullRequest, ...] = ()) -> Proposal:
        return Proposal(
            repo=REPO,
            url=place.bare.url,
            base_branch="main",
            branch=f"autoupdate/analytics/{head}",
            tree=mirror.tree_with(main, {"docs.txt": head.encode()}),
            parents=(main,),
            title="Update",
            body="What changed\n",
            message="Update docs",
            trailers={"Upstream-Head": head, "Update-Id": head},
            at=datetime(2026, 3, 1, tzinfo=UTC),
            supersedes=supersedes,
        )

    def die(at: str) -> None:
        if at == step:
            raise KeyboardInterrupt

    old = publish(mirror, place.forge, Held(), proposal("1" * 40)).pull_request
    assert old is not None
    new = proposal("2" * 40, (old,))
    if step is not None:
        with pytest.raises(KeyboardInterrupt):
            publish(mirror, place.forge, Held(), new, before=die)
    done = publish(mirror, place.forge, Held(), new)
    assert done.outcome == ("adopted" if step in ("read_back", "close") else "created")
    assert done.pull_request is not None
    assert [(one.number, one.state) for one in place.forge.pull_requests(REPO)] == [(2, "open"), (1, "closed")]
    assert superseded_by(place.forge.pull_request(REPO, 1)) == 2
    assert done.commit == place.bare.head(new.branch) == done.pull_request.head_sha
