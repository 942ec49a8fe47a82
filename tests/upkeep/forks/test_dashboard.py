"""The one long-lived pull request of a fork, on GitHub and on the local forge, over whole rebases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.github import BOT, GitHub, Hosted
from tests.support.rebases import LINES, World, dies, rebase, theirs
from tests.support.repositories import RepoBuilder
from upkeep.database.server import Database
from upkeep.forks import dashboard, delta
from upkeep.forks.desk import Desk, GateFailed
from upkeep.forks.outcomes import Outcome
from upkeep.forks.records import Verification
from upkeep.forks.report import Gate, Report
from upkeep.forks.snapshot import Snapshot

REPO = "o/fork"


@dataclass
class Hub:
    """A fork that is hosted on GitHub. `run` is one day."""

    world: World
    github: GitHub
    hosted: Hosted
    database: Database

    def desk(self, **options: Any) -> Desk:
        desk = self.world.desk(database=self.database, **options)
        desk.forge = self.github.forge(sleep=lambda _: None, jitter=lambda: 0.0)
        return desk

    def run(self, **options: Any) -> Report:
        return rebase(self.desk(**options))

    def day(self, text: str = "theirs") -> Report:
        """A day on which upstream changed, and the rebase goes."""
        self.world.commit_upstream({"a.txt": theirs(text=text)})
        report = self.run()
        assert report.outcome is Outcome.REBASED
        return report

    def pull(self, number: int = 1) -> Any:
        return self.hosted.pulls[number]

    def writes(self) -> list[str]:
        return [str(each) for each in self.github.requests if each.method != "GET"]


@pytest.fixture
def hub(world: World, github: GitHub, database: Database) -> Hub:
    hosted = github.repo(REPO, world.fork)
    world.fork = RepoBuilder(hosted.bare.path, create=False)
    world.work.git("remote", "set-url", "origin", str(hosted.bare.path))
    return Hub(world, github, hosted, database)


def test_a_day_makes_it_with_label_and_links_it_in_the_report(hub: Hub) -> None:
    report = hub.day()
    pull = hub.pull()
    assert report.delta_pull_request == f"https://github.com/{REPO}/pull/1"
    assert (pull.head, pull.base, pull.labels, pull.author) == ("trunk", "main", ["fork-delta"], BOT)
    assert report.verification is not None
    sha = report.verification.kept[0].new_sha[:12]
    for part in ("## 1. First patch", "## 2. Second patch", "- `b.txt` +1 −1", f"`{sha}`"):
        assert part in pull.body
    assert "(range-diff)" in pull.body
    assert report.notes == ()


def test_a_day_without_news_sends_nothing(hub: Hub) -> None:
    hub.day()
    written, body = hub.writes(), hub.pull().body
    calls = len(hub.github.requests)
    report = hub.run()
    assert report.outcome is Outcome.NO_CHANGE
    assert report.delta_pull_request == f"https://github.com/{REPO}/pull/1"
    assert (hub.writes(), hub.pull().body) == (written, body)
    assert len(hub.github.requests) - calls == 1


def test_another_day_edits_it_in_place(hub: Hub) -> None:
    hub.day()
    hub.world.commit_fork({"c.txt": "new\n"}, "Third patch\n\nWhy it is there.")
    hub.world.work.git("pull", "-q", "--ff-only", "origin", "trunk")
    hub.day("again")
    assert list(hub.hosted.pulls) == [1]
    assert hub.pull().title == "Fork delta of fork: 3 patches"
    assert "> Why it is there." in hub.pull().body
    assert hub.writes()[-1] == f"PATCH /repos/{REPO}/pulls/1"


def test_a_conflict_day_says_which_patch_does_not_go_and_later_when_that_was(hub: Hub) -> None:
    hub.day()
    sha = hub.world.commit_upstream({"a.txt": theirs(3)}, "Break it (#5)")
    assert hub.run().outcome is Outcome.NEEDS_HUMAN
    first, second = hub.pull().body.split("\n## ")[1:]
    assert "**It does not go onto upstream's head.**" in first
    assert "Last conflict: " in first
    assert f"in `a.txt`, broken by `{sha[:12]}` Break it" in first
    assert "(range-diff)" in second, "trunk did not move: how it was moved last is still true"
    assert "does not go" not in second
    hub.world.commit_upstream({"a.txt": theirs(text="theirs")}, "Mend it")
    assert hub.run().outcome is Outcome.REBASED
    first = hub.pull().body.split("\n## ")[1]
    assert "does not go" not in first
    assert "Last conflict: " in first


def test_a_day_on_which_a_gate_fails_opens_it_again_as_well(hub: Hub) -> None:
    hub.day()
    hub.hosted.closes(1)
    hub.world.commit_upstream({"a.txt": theirs(text="again")})

    def gates(desk: Desk, snapshot: Snapshot, verification: Verification) -> tuple[str, tuple[Gate, ...]]:
        raise GateFailed("make test failed")

    report = hub.run(gates=gates)
    assert (report.outcome, report.stopped_at) == (Outcome.GATES_FAILED, "gates")
    assert (hub.pull().state, report.delta_pull_request) == ("open", f"https://github.com/{REPO}/pull/1")
    assert "2 patches" in hub.pull().title


def test_only_verified_sends_nothing(hub: Hub) -> None:
    hub.world.commit_upstream({"a.txt": theirs()})
    report = hub.run(verify_only=True)
    assert (report.outcome, report.delta_pull_request, hub.github.requests) == (Outcome.VERIFIED, None, [])


def test_turned_off_it_sends_nothing(hub: Hub) -> None:
    hub.world.settings["delta_pull_request"] = False
    assert hub.day().delta_pull_request is None
    assert hub.github.requests == []


def test_a_closed_one_is_opened_again_before_trunk_is_rewritten(hub: Hub) -> None:
    hub.day()
    hub.hosted.closes(1)
    report = hub.day("again")
    assert [number for number, pull in hub.hosted.pulls.items() if pull.state == "open"] == [1]
    assert report.delta_pull_request == f"https://github.com/{REPO}/pull/1"


def test_one_that_github_opens_no_more_is_replaced(hub: Hub) -> None:
    hub.day()
    hub.hosted.closes(1)
    base = hub.world.fork.head("main")
    tree = hub.world.fork.git("rev-parse", "trunk^{tree}")
    rewritten = hub.world.fork.git("commit-tree", tree, "-p", base, "-m", "One patch now")
    hub.world.fork.git("update-ref", "refs/heads/trunk", rewritten)
    hub.world.work.git("fetch", "-q", "origin")
    hub.world.work.reset("origin/trunk")
    report = hub.run()
    assert {number: pull.state for number, pull in hub.hosted.pulls.items()} == {1: "closed", 2: "open"}
    assert report.delta_pull_request == f"https://github.com/{REPO}/pull/2"
    assert hub.day("again").delta_pull_request == f"https://github.com/{REPO}/pull/2"


def test_one_that_was_merged_is_replaced_once_trunk_carries_something(hub: Hub) -> None:
    hub.day()
    hub.pull().state, hub.pull().merged_at = "closed", hub.github.server.clock
    assert hub.day("again").delta_pull_request == f"https://github.com/{REPO}/pull/2"


def test_a_lost_memory_is_found_again(hub: Hub) -> None:
    hub.day()
    (hub.world.home / "forks/fork/delta.json").unlink()
    assert hub.run().delta_pull_request == f"https://github.com/{REPO}/pull/1"
    (hub.world.home / "forks/fork/delta.json").write_text("{")
    assert hub.day("again").delta_pull_request == f"https://github.com/{REPO}/pull/1"
    assert list(hub.hosted.pulls) == [1]


def test_a_person_s_own_is_left_alone_until_it_has_the_label(hub: Hub) -> None:
    hub.hosted.opens("trunk", title="Mine", body="My words", login="ada")
    report = hub.day()
    assert (hub.pull().title, hub.pull().body, hub.pull().labels) == ("Mine", "My words", [])
    assert report.delta_pull_request is None
    assert "is a person's and was left alone" in report.notes[0]
    hub.pull().labels.append("fork-delta")
    assert hub.run().delta_pull_request == f"https://github.com/{REPO}/pull/1"
    assert hub.pull().title == "Fork delta of fork: 2 patches"


def test_a_pull_request_from_trunk_to_elsewhere_is_not_it(hub: Hub) -> None:
    hub.world.fork.git("branch", "release", "main")
    hub.hosted.opens("trunk", base="release", body="<!-- upkeep:fork-delta fork 0123456789abcdef -->")
    assert hub.day().delta_pull_request == f"https://github.com/{REPO}/pull/2"


def test_a_secret_in_a_message_stays_at_home(hub: Hub) -> None:
    token = "ghp_" + "Zx9" * 12
    hub.world.commit_fork({"c.txt": "new\n"}, f"Use {token}")
    hub.world.work.git("pull", "-q", "--ff-only", "origin", "trunk")
    hub.day()
    assert token not in hub.pull().body
    assert "*A part is left out here: " in hub.pull().body


@pytest.mark.parametrize(
    ("route", "fault"),
    [("POST .*/pulls$", {"status": 502, "times": 9}), ("labels", {"status": 403, "times": 9})],
)
def test_a_forge_that_is_in_a_bad_mood_is_a_note_and_no_failure(hub: Hub, route: str, fault: dict[str, Any]) -> None:
    strike = hub.github.fault(route, **fault)
    report = hub.day()
    assert (report.exit_code, report.error) == (0, None)
    assert "The delta pull request was not brought up to date" in report.notes[0]
    strike.times = 0
    assert hub.run().notes == ()
    assert hub.pull().labels == ["fork-delta"]


def test_the_link_stands_in_the_report_of_a_run_that_came_to_nothing(hub: Hub) -> None:
    hub.day()
    hub.world.work.git("remote", "set-url", "upstream", "/nonexistent")
    report = hub.run()
    assert report.exit_code == 12
    assert report.delta_pull_request == f"https://github.com/{REPO}/pull/1"


@pytest.mark.parametrize("at", range(3, 8))
def test_a_run_that_ends_at_any_write_is_finished_by_the_next(hub: Hub, at: int) -> None:
    hub.world.commit_upstream({"a.txt": theirs()})
    hub.run(may=dies(at))
    report = hub.run()
    assert report.exit_code == 0
    assert [pull.state for pull in hub.hosted.pulls.values()] == ["open"]
    assert (hub.pull().labels, delta.fork_of(hub.pull().body)) == (["fork-delta"], "fork")
    assert report.delta_pull_request == f"https://github.com/{REPO}/pull/1"


def test_a_fork_that_carries_nothing_has_none(hub: Hub) -> None:
    hub.world.fork.git("update-ref", "refs/heads/trunk", hub.world.fork.head("main"))
    hub.world.work.reset("origin/main")
    hub.world.commit_upstream({"c.txt": LINES})
    report = hub.run()
    assert (report.outcome, report.notes, hub.hosted.pulls) == (Outcome.REBASED, (), {})


def test_on_the_local_forge_it_is_a_row_that_moves_along(world: World, database: Database) -> None:
    world.settings |= {"url": str(world.fork.path), "remotes": {"upstream": str(world.upstream.path)}}
    world.commit_upstream({"a.txt": theirs()})
    rebase(world.desk(database=database))
    desk = world.desk(database=database)
    (made,) = desk.forge.pull_requests(REPO)
    assert (made.state, made.labels, made.head_sha) == ("open", ("fork-delta",), world.fork.head("trunk"))
    assert made.base_branch == "main"
    report = rebase(desk)
    assert report.delta_pull_request == made.url
    assert dashboard.link(desk) == made.url
