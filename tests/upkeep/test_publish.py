"""A publish end to end: real git, the real gh, the fake GitHub; and what is left when it dies at any boundary."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.github import GitHub, Hosted
from tests.support.repositories import MakeRepository, RepoBuilder
from upkeep.errors import ForgeError, ForgeUnavailable, LockLost, PushRefused, RemoteUnavailable
from upkeep.forges.github import GitHubForge
from upkeep.git import Repository
from upkeep.publish import Proposal, Publication, close_superseded, link, publish, recover, superseded_by

REPO = "o/dashboard"
PREFIX = "autoupdate/analytics/"
OLD, NEW, NEXT = "1" * 40, "2" * 40, "3" * 40
STEPS = ["search", "commit", "push", "create", "read_back", "close"]


class Held:
    """A lock that is lost after `checks` looks at it."""

    def __init__(self, checks: int = 99) -> None:
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LockLost("the lock is gone")


class Killed(BaseException):
    """What `kill -9` is to the code: nothing catches it."""


class Desk:
    """A dashboard on GitHub, our mirror of it, and proposals for it."""

    def __init__(self, github: GitHub, hosted: Hosted, folder: Path) -> None:
        self.github = github
        self.hosted = hosted
        self.forge: GitHubForge = github.forge()
        self.mirror = Repository.mirror(hosted.url, folder / "mirror", branches=["main"])

    def proposal(self, head: str, *, text: str = "", parent: str | None = None, **over: Any) -> Proposal:
        start = parent or self.hosted.bare.head("main")
        self.mirror.fetch(self.hosted.url, ["+refs/heads/*:refs/heads/*"])
        tree = self.mirror.tree_with(start, {"content/docs.txt": (text or f"docs for {head}\n").encode()})
        proposal = Proposal(
            repo=REPO,
            url=self.hosted.url,
            base_branch="main",
            branch=PREFIX + head,
            tree=tree,
            parents=(start,),
            title=f"Update to {head[:7]}",
            body=f"What changed for {head}\n",
            message=f"Update docs\n\nFor {head}",
            trailers={"Upstream-Base": "0" * 40, "Upstream-Head": head, "Update-Id": f"id-{head}"},
            at=datetime(2026, 3, 1, tzinfo=UTC),
        )
        return dataclasses.replace(proposal, **over)

    def publish(self, proposal: Proposal, **over: Any) -> Publication:
        return publish(self.mirror, over.pop("forge", self.forge), over.pop("lock", Held()), proposal, **over)

    def listed(self) -> Any:
        return self.forge.pull_requests(REPO, branch_prefix=PREFIX)

    def branches(self) -> dict[str, str]:
        return self.hosted.bare.refs(f"refs/heads/{PREFIX}")

    def person(self, folder: Path, branch: str) -> RepoBuilder:
        """A person's clone with `branch` checked out."""
        return self.hosted.bare.clone(folder / "person", branch=branch)

    def states(self) -> dict[str, str]:
        return {one.head.removeprefix(PREFIX): one.state for one in self.hosted.pulls.values()}


@pytest.fixture
def desk(github: GitHub, make_repository: MakeRepository, tmp_path: Path) -> Desk:
    source = make_repository("dashboard")
    source.commit({"README.md": "A dashboard\n", "content/docs.txt": "docs\n"})
    return Desk(github, github.repo(REPO, source), tmp_path)


# The way it goes ---------------------------------------------------------------------------------------------------


def test_an_update_that_supersedes_another_costs_four_calls(desk: Desk) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    desk.github.requests.clear()
    forge = desk.github.forge()

    listed = forge.pull_requests(REPO, branch_prefix=PREFIX)
    body = f"Supersedes {link(listed[0])}.\n"
    done = desk.publish(desk.proposal(NEW, supersedes=(listed[0],), body=body), forge=forge, listed=listed)

    assert [str(request) for request in desk.github.requests] == [
        f"GET /repos/{REPO}/pulls",
        f"POST /repos/{REPO}/pulls",
        f"GET /repos/{REPO}/pulls",
        f"PATCH /repos/{REPO}/pulls/{old.number}",  # type: ignore[union-attr]
    ]
    assert (done.outcome, done.calls, done.kept) == ("created", 3, ())
    assert desk.states() == {OLD: "closed", NEW: "open"}
    assert [superseded_by(one) for one in done.superseded] == [done.pull_request.number]  # type: ignore[union-attr]
    assert done.superseded[0].body.endswith(f"\n\nWhat changed for {OLD}\n")


def test_the_commit_carries_the_trailers_and_touches_no_other_branch(desk: Desk) -> None:
    main = desk.hosted.bare.head("main")
    done = desk.publish(desk.proposal(NEW))
    assert done.commit == desk.branches()[f"refs/heads/{PREFIX}{NEW}"]
    assert desk.hosted.bare.head("main") == main
    message = desk.hosted.bare.message(done.commit)
    assert message == (
        f"Update docs\n\nFor {NEW}\n\nUpstream-Base: {'0' * 40}\nUpstream-Head: {NEW}\nUpdate-Id: id-{NEW}"
    )
    assert desk.hosted.bare.git("log", "-1", "--format=%an %ae %cI", done.commit) == (
        "Upkeep upkeep@localhost 2026-03-01T00:00:00+00:00"
    )


def test_a_second_run_adopts_and_changes_nothing(desk: Desk) -> None:
    first = desk.publish(desk.proposal(NEW))
    second = desk.publish(desk.proposal(NEW, text="another try by a model\n"))
    assert (second.outcome, second.commit) == ("adopted", first.commit)
    assert len(desk.hosted.pulls) == 1


def test_a_tree_that_is_there_already_publishes_nothing(desk: Desk) -> None:
    done = desk.publish(desk.proposal(NEW, text="docs\n"))
    assert (done.outcome, done.pull_request, desk.branches(), desk.hosted.pulls) == ("nothing", None, {}, {})


def test_each_step_is_asked_for_before_it_is_taken(desk: Desk) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    asked: list[str] = []
    desk.publish(desk.proposal(NEW, supersedes=(old,)), before=asked.append)
    assert asked == STEPS


# What persons did --------------------------------------------------------------------------------------------------


def test_what_a_person_closed_is_not_made_again(desk: Desk) -> None:
    first = desk.publish(desk.proposal(NEW)).pull_request
    desk.hosted.closes(first.number)  # type: ignore[union-attr]
    desk.hosted.bare.git("branch", "-D", PREFIX + NEW)
    done = desk.publish(desk.proposal(NEW))
    assert (done.outcome, done.pull_request.number) == ("declined", first.number)  # type: ignore[union-attr]
    assert desk.branches() == {}


def test_what_was_merged_is_not_made_again(desk: Desk) -> None:
    first = desk.publish(desk.proposal(NEW)).pull_request
    desk.hosted.merges(first.number)  # type: ignore[union-attr]
    assert desk.publish(desk.proposal(NEW, text="more\n")).outcome == "merged"
    assert len(desk.hosted.pulls) == 1


def test_what_we_superseded_ourselves_may_be_made_again(desk: Desk) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    desk.publish(desk.proposal(NEW, supersedes=(old,)))
    again = desk.publish(desk.proposal(OLD, text="history went back\n"))
    assert again.outcome == "created"
    assert again.commit == desk.branches()[f"refs/heads/{PREFIX}{OLD}"]


def test_a_persons_commit_on_the_branch_is_never_pushed_over(desk: Desk, tmp_path: Path) -> None:
    done = desk.publish(desk.proposal(NEW))
    del desk.hosted.pulls[done.pull_request.number]  # type: ignore[union-attr]
    clone = desk.person(tmp_path, PREFIX + NEW)
    theirs = clone.commit({"note.txt": "mine\n"}, "My edit")
    clone.git("push", "-q", "origin", PREFIX + NEW)
    with pytest.raises(PushRefused) as caught:
        desk.publish(desk.proposal(NEW))
    assert caught.value.reason == "git.person_on_branch"
    assert caught.value.details["commits"] == [theirs]
    assert desk.branches() == {f"refs/heads/{PREFIX}{NEW}": theirs}
    assert desk.hosted.pulls == {}


def test_our_commit_that_a_person_amended_is_theirs(desk: Desk, tmp_path: Path) -> None:
    done = desk.publish(desk.proposal(NEW))
    del desk.hosted.pulls[done.pull_request.number]  # type: ignore[union-attr]
    clone = desk.person(tmp_path, PREFIX + NEW)
    clone.git("commit", "-q", "--amend", "--no-edit")
    clone.git("push", "-q", "--force", "origin", PREFIX + NEW)
    with pytest.raises(PushRefused):
        desk.publish(desk.proposal(NEW))
    assert desk.branches() == {f"refs/heads/{PREFIX}{NEW}": clone.head()}


def test_a_pull_request_that_a_person_commits_to_is_adopted_as_it_is(desk: Desk, tmp_path: Path) -> None:
    desk.publish(desk.proposal(NEW))
    clone = desk.person(tmp_path, PREFIX + NEW)
    theirs = clone.commit({"note.txt": "mine\n"}, "My edit")
    clone.git("push", "-q", "origin", PREFIX + NEW)
    done = desk.publish(desk.proposal(NEW))
    assert (done.outcome, done.commit) == ("adopted", theirs)
    assert desk.branches() == {f"refs/heads/{PREFIX}{NEW}": theirs}


def comments(desk: Desk, number: int, folder: Path) -> None:
    desk.hosted.comments(number)


def commits(desk: Desk, number: int, folder: Path) -> None:
    branch = desk.hosted.pulls[number].head
    clone = desk.person(folder, branch)
    clone.commit({"note.txt": "mine\n"}, "My edit")
    clone.git("push", "-q", "origin", branch)


@pytest.mark.parametrize("touch", [comments, commits])
def test_one_that_a_person_touches_while_the_update_is_made_stays_open(desk: Desk, tmp_path: Path, touch: Any) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    touch(desk, old.number, tmp_path)  # type: ignore[union-attr]
    done = desk.publish(desk.proposal(NEW, supersedes=(old,)))
    assert [one.number for one in done.kept] == [old.number]  # type: ignore[union-attr]
    assert done.superseded == ()
    assert desk.states() == {OLD: "open", NEW: "open"}


def test_a_superseded_one_that_a_person_opened_again_stays_open(desk: Desk) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    desk.publish(desk.proposal(NEW, supersedes=(old,)))
    desk.hosted.reopens(old.number)  # type: ignore[union-attr]
    now = desk.forge.pull_request(REPO, old.number)  # type: ignore[union-attr]
    done = desk.publish(desk.proposal(NEXT, supersedes=(now,)))
    assert done.kept == (now,)
    assert desk.states()[OLD] == "open"


def test_an_edit_of_the_body_by_a_person_survives_the_closing(desk: Desk) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    desk.hosted.pulls[old.number].body = "Edited by Ada"  # type: ignore[union-attr]
    done = desk.publish(desk.proposal(NEW, supersedes=(old,)))
    assert done.superseded[0].body.endswith("\n\nEdited by Ada")


def test_one_that_was_merged_while_the_update_was_made_is_left_alone(desk: Desk) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    desk.hosted.merges(old.number)  # type: ignore[union-attr]
    done = desk.publish(desk.proposal(NEW, text="both\n", supersedes=(old,)))
    assert (done.superseded, done.kept) == ((), ())
    assert desk.hosted.pulls[old.number].body == f"What changed for {OLD}\n"  # type: ignore[union-attr]


# Crashes and faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_dies_at_a_step_is_completed_by_the_next(desk: Desk, step: str) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request

    def die(at: str) -> None:
        if at == step:
            raise Killed

    with pytest.raises(Killed):
        desk.publish(desk.proposal(NEW, supersedes=(old,)), before=die)
    assert desk.states()[OLD] == "open"  # What it covers is always still proposed by somebody.

    listed = desk.listed()
    done = desk.publish(desk.proposal(NEW, supersedes=(old,)), listed=listed)
    assert done.outcome == ("adopted" if step in ("read_back", "close") else "created")
    assert desk.states() == {OLD: "closed", NEW: "open"}
    assert len(desk.hosted.pulls) == 2
    again = desk.publish(desk.proposal(NEW, supersedes=(old,)))
    assert (again.outcome, again.commit, again.superseded) == ("adopted", done.commit, ())


def test_a_run_that_died_after_the_push_is_completed_with_what_the_next_one_wrote(desk: Desk) -> None:
    """A model writes something else each time: the branch is our own and nobody has seen it."""

    def die(at: str) -> None:
        if at == "create":
            raise Killed

    with pytest.raises(Killed):
        desk.publish(desk.proposal(NEW, text="first try\n"), before=die)
    done = desk.publish(desk.proposal(NEW, text="second try\n"))
    assert done.outcome == "created"
    assert desk.hosted.bare.read(PREFIX + NEW, "content/docs.txt") == b"second try\n"


def test_a_repeated_attempt_with_an_old_list_finds_what_a_person_did_to_the_first(desk: Desk) -> None:
    before = desk.listed()
    first = desk.publish(desk.proposal(NEW), listed=before).pull_request
    desk.hosted.closes(first.number)  # type: ignore[union-attr]
    assert desk.publish(desk.proposal(NEW), listed=before).outcome == "declined"
    assert len(desk.hosted.pulls) == 1


@pytest.mark.parametrize(("checks", "left"), [(0, {}), (1, {}), (2, {NEW: "open"})])
def test_a_lost_lock_stops_before_the_next_change(desk: Desk, checks: int, left: dict[str, str]) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    with pytest.raises(LockLost):
        desk.publish(desk.proposal(NEW, supersedes=(old,)), lock=Held(checks))
    assert desk.states() == {OLD: "open", **left}


@pytest.mark.parametrize("fault", [{"status": 502, "after": True}, {"drop": True}, {"status": 409}, {"status": 429}])
@pytest.mark.parametrize("route", ["POST", "PATCH"])
def test_a_faulty_forge_gets_exactly_one_pull_request(desk: Desk, route: str, fault: dict[str, Any]) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    desk.github.fault(route, **{"headers": {"Retry-After": "1"} if fault.get("status") == 429 else {}, **fault})
    done = desk.publish(desk.proposal(NEW, supersedes=(old,)), forge=desk.github.forge(sleep=lambda _: None))
    assert done.outcome == "created"
    assert desk.states() == {OLD: "closed", NEW: "open"}
    assert len(desk.hosted.pulls) == 2


def test_a_forge_that_stays_away_leaves_work_that_the_next_run_finishes(desk: Desk) -> None:
    fault = desk.github.fault("POST", status=503, times=99)
    with pytest.raises(ForgeUnavailable):
        desk.publish(desk.proposal(NEW), forge=desk.github.forge(sleep=lambda _: None))
    assert list(desk.branches()) == [f"refs/heads/{PREFIX}{NEW}"]
    fault.times = 0
    assert desk.publish(desk.proposal(NEW)).outcome == "created"


def test_a_push_that_happened_although_the_connection_broke_is_success(desk: Desk) -> None:
    class Breaking(Repository):
        """Loses the connection after the push, or before it."""

        after = True

        def push(self, *arguments: Any, **options: Any) -> None:
            if self.after:
                super().push(*arguments, **options)
            raise RemoteUnavailable("the connection broke")

    breaking = Breaking(desk.mirror.path, desk.mirror.git_dir, bare=True)
    done = publish(breaking, desk.forge, Held(), desk.proposal(NEW))
    assert done.outcome == "created"
    breaking.after = False
    with pytest.raises(RemoteUnavailable):
        publish(breaking, desk.forge, Held(), desk.proposal(NEXT))
    assert NEXT not in desk.states()


def test_a_branch_that_appears_in_between_is_not_pushed_over(desk: Desk) -> None:
    main = desk.hosted.bare.head("main")

    def race(at: str) -> None:
        if at == "push":
            desk.hosted.bare.branch(PREFIX + NEW, main)

    with pytest.raises(PushRefused) as caught:
        desk.publish(desk.proposal(NEW), before=race)
    assert caught.value.reason == "git.lease_refused"
    assert desk.branches() == {f"refs/heads/{PREFIX}{NEW}": main}


def test_a_pull_request_that_is_not_as_it_was_sent_is_an_error_that_says_what_differs(desk: Desk) -> None:
    desk.hosted.bare.branch("release", "main")

    def meddle(at: str) -> None:
        if at == "read_back":
            desk.hosted.pulls[1].base = "release"

    with pytest.raises(ForgeError, match="base branch is release, not main") as caught:
        desk.publish(desk.proposal(NEW), before=meddle)
    assert caught.value.reason == "forge.not_as_sent"
    assert caught.value.details["differs"] == {"base branch": {"sent": "main", "found": "release"}}


def test_one_that_is_closed_the_moment_it_is_made_is_declined(desk: Desk) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request

    def close(at: str) -> None:
        if at == "read_back":
            desk.hosted.closes(2)

    done = desk.publish(desk.proposal(NEW, supersedes=(old,)), before=close)
    assert (done.outcome, done.superseded) == ("declined", ())
    assert desk.states()[OLD] == "open"


def test_a_predecessor_that_a_dead_run_left_open_is_closed_later(desk: Desk) -> None:
    old = desk.publish(desk.proposal(OLD)).pull_request
    new = desk.publish(desk.proposal(NEW)).pull_request
    closed, kept = close_superseded(desk.forge, Held(), new, [old])  # type: ignore[arg-type, list-item]
    assert ([one.number for one in closed], kept) == ([old.number], ())  # type: ignore[union-attr]
    assert close_superseded(desk.forge, Held(), new, [old]) == ((), ())  # type: ignore[arg-type, list-item]


# What can be told afterwards ---------------------------------------------------------------------------------------


def test_lost_state_is_told_by_the_newest_pull_request(desk: Desk) -> None:
    desk.publish(desk.proposal(OLD))
    new = desk.publish(desk.proposal(NEW)).pull_request
    found = recover(desk.listed(), desk.mirror, recorded=OLD)
    assert (found.last_processed_commit, found.source) == (NEW, "branch")
    assert found.pull_request == new


def test_where_the_branch_is_named_otherwise_the_trailer_tells(desk: Desk) -> None:
    desk.publish(desk.proposal(NEW, branch="bot/update"))
    found = recover(desk.forge.pull_requests(REPO), desk.mirror, recorded=OLD)
    assert (found.last_processed_commit, found.source) == (NEW, "trailer")


def test_without_pull_requests_the_content_tells_or_nothing_does(desk: Desk) -> None:
    assert recover([], desk.mirror, recorded=OLD).source == "content"
    assert recover([], desk.mirror, recorded=OLD).last_processed_commit == OLD
    nothing = recover([], desk.mirror, recorded=None)
    assert (nothing.last_processed_commit, nothing.source) == (None, "nothing")
