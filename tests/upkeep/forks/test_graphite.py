"""Stacks of Graphite: the real `gt`, which needs no account for what is asked of it here, and scripts around it where
it has to misbehave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.rebases import World, copy_world, make_world, theirs
from tests.support.tools import tool
from upkeep.config import Settings
from upkeep.forks import graphite
from upkeep.forks.outcomes import Outcome
from upkeep.forks.report import Report, Restack


@dataclass
class Stack:
    """A person's working copy with Graphite in it: `a` on trunk, `b` on `a`, `c` on trunk."""

    world: World
    bin: Path
    calls: Path
    real: str

    def gt(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.real, *arguments, "--no-interactive"],
            cwd=self.world.work.path,
            env={**os.environ, "HOME": str(self.world.home.parent)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def branch(self, name: str, changes: dict[str, str], on: str) -> None:
        self.world.work.switch(name, on)
        self.world.work.commit(changes, name)
        self.gt("track", "--parent", on)
        self.world.work.git("switch", "-q", "trunk")

    def wrap(self, program: str, script: str) -> None:
        """Put a script before a program on the path; `$real` is the program."""
        real = self.real if program == "gt" else str(tool(program))
        file = self.bin / program
        file.write_text(f"#!/bin/bash\nreal={real}\n{script}\n")
        file.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        """What gt was asked for."""
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def parents(self) -> dict[str, str]:
        return {name: known.parent for name, known in graphite.look(self.world.desk().place).tracked.items()}

    def at_rest(self, branch: str | None = "trunk") -> bool:
        """Whether the checkout is clean, on its branch, and nobody is in the middle of anything."""
        here = graphite.position(self.world.desk().place)
        return here.branch == branch and not here.obstacle


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The repositories of a `Stack`, made once: each call of gt takes a second of processor time."""
    folder = tmp_path_factory.mktemp("drawn")
    made = Stack(make_world(folder), folder, folder, tool("gt"))
    made.world.work.git("config", "user.name", "Ada Person")
    made.world.work.git("config", "user.email", "ada@example.com")
    made.gt("init", "--trunk", "trunk")
    made.branch("a", {"new.txt": "a\n"}, "trunk")
    made.branch("b", {"b.txt": theirs(17, "b").replace("line 3\n", "ours\n")}, "a")
    made.branch("c", {"more.txt": "c\n"}, "trunk")
    return made.world


@pytest.fixture
def stack(drawn: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    made = Stack(copy_world(drawn, tmp_path), folder, calls, tool("gt"))
    made.wrap("gt", f'echo "$*" >> {calls}; exec $real "$@"')
    return made


def results(report: Report) -> dict[str, Restack]:
    assert report.stack is not None
    return {each.branch: each for each in report.stack.branches}


def outcomes(report: Report) -> dict[str, str]:
    return {name: each.result for name, each in results(report).items()}


def test_every_branch_comes_along_and_keeps_its_parent(stack: Stack) -> None:
    world = stack.world
    parents = stack.parents()
    world.commit_upstream({"a.txt": theirs()})

    report = world.run()

    assert (report.outcome, report.exit_code) == (Outcome.REBASED, 0)
    assert report.stack is not None
    assert report.stack.kind == "graphite"
    assert outcomes(report) == dict.fromkeys("abc", "restacked")
    assert results(report)["b"].after == world.work.head("b")
    assert world.work.git("rev-parse", "a^", "c^").split() == [world.fork.head("trunk")] * 2
    assert world.work.git("rev-parse", "b^") == world.work.head("a")
    assert stack.parents() == parents == {"a": "trunk", "b": "a", "c": "trunk"}
    assert graphite.marked(world.desk().place) == frozenset()
    assert stack.at_rest()
    assert not any(call.startswith("sync") for call in stack.asked)
    assert all(call.endswith("--no-interactive") for call in stack.asked)


@pytest.mark.long
def test_a_starting_branch_within_the_stack_is_where_the_checkout_ends(stack: Stack) -> None:
    stack.world.work.git("switch", "-q", "b")
    stack.world.commit_upstream({"a.txt": theirs()})

    assert stack.world.run().outcome is Outcome.REBASED

    assert stack.at_rest("b")
    assert stack.world.work.git("status", "--porcelain") == ""
    assert "theirs" in (stack.world.work.path / "a.txt").read_text()


def test_a_stack_that_conflicts_is_not_touched_and_the_other_goes(stack: Stack) -> None:
    world = stack.world
    before = {name: world.work.head(name) for name in "ab"}
    world.commit_upstream({"b.txt": theirs(17, "upstream")})

    report = world.run()

    assert (report.outcome, report.exit_code) == (Outcome.STACK_FAILED, 13)
    assert outcomes(report) == {"a": "left", "b": "conflict", "c": "restacked"}
    assert [each.subject for each in results(report)["b"].conflicts] == ["b"]
    assert {name: world.work.head(name) for name in "ab"} == before
    assert [call for call in stack.asked if call.startswith("restack")] == [
        "restack --branch c --upstack --no-interactive"
    ]
    assert world.work.head("trunk") == world.fork.head("trunk")


def test_no_descendants_is_a_no_op_that_says_so_and_asks_gt_for_nothing(stack: Stack) -> None:
    for name in "bac":
        stack.gt("untrack", name, "--force")
    stack.world.commit_upstream({"a.txt": theirs()})

    report = stack.world.run()

    assert report.outcome is Outcome.REBASED
    assert report.stack is not None
    assert "No branch stands on trunk" in report.stack.note
    assert not any(call.startswith("restack") for call in stack.asked)


def test_a_day_without_news_does_not_let_gt_work(stack: Stack) -> None:
    assert outcomes(stack.world.run()) == dict.fromkeys("abc", "unchanged")
    assert {call.split()[0] for call in stack.asked} == {"state"}


@pytest.mark.long
def test_a_checkout_with_changes_is_left_alone(stack: Stack) -> None:
    world = stack.world
    world.work.git("switch", "-q", "c")
    (world.work.path / "more.txt").write_text("not committed\n")
    before = {name: world.work.head(name) for name in "abc"}
    world.commit_upstream({"a.txt": theirs()})

    report = world.run()

    assert report.exit_code == 13
    assert set(outcomes(report).values()) == {"failed"}
    assert "1 changed file(s)" in results(report)["a"].note
    assert {name: world.work.head(name) for name in "abc"} == before
    assert (world.work.path / "more.txt").read_text() == "not committed\n"


@pytest.mark.long
def test_gt_that_is_killed_strands_nobody_and_the_next_run_finishes(stack: Stack) -> None:
    world = stack.world
    stack.wrap("git", '[ "$1 $2" = "update-ref refs/heads/b" ] && kill -9 $PPID && exit 1; exec $real "$@"')
    world.commit_upstream({"a.txt": theirs()})

    report = world.run()

    assert (report.outcome, report.exit_code) == (Outcome.STACK_FAILED, 13)
    assert outcomes(report)["b"] == "failed"
    assert "gt restack" in results(report)["b"].note
    assert stack.at_rest()
    assert world.fork.head("trunk") == world.work.head("trunk")
    (stack.bin / "git").unlink()
    assert world.run().exit_code == 0
    assert world.work.git("rev-parse", "b^") == world.work.head("a")
    assert stack.parents() == {"a": "trunk", "b": "a", "c": "trunk"}


@pytest.mark.long
def test_gt_that_stops_in_a_rebase_is_aborted_and_the_checkout_is_back(stack: Stack) -> None:
    world = stack.world
    stack.branch("d", {"b.txt": theirs(17, "d").replace("line 3\n", "ours\n")}, "trunk")
    stack.wrap("gt", 'case "$*" in restack*) git checkout -q d; git rebase -q b; exit 1;; esac; exec $real "$@"')
    world.commit_upstream({"a.txt": theirs()})

    report = world.run()

    assert report.exit_code == 13
    assert "ended with status 1" in results(report)["a"].note
    assert stack.at_rest()
    assert world.run(verify_only=True).exit_code == 0


@pytest.mark.long
def test_a_parent_that_drifts_is_reported_with_the_command_that_sets_it_right(stack: Stack) -> None:
    stack.wrap(
        "gt",
        '$real "$@"; rc=$?; case "$*" in "restack --branch a"*) '
        "git checkout -q b; $real track --parent trunk --no-interactive >&2; git checkout -q trunk;; esac; exit $rc",
    )
    stack.world.commit_upstream({"a.txt": theirs()})

    report = stack.world.run()

    assert report.exit_code == 13
    assert "it stands on trunk, and stood on a: `gt track b --parent a`" in results(report)["b"].note
    assert outcomes(report)["a"] == "restacked"
    assert any("gt track b --parent a" in action for action in report.next_actions)


@pytest.mark.long
def test_what_gt_makes_otherwise_than_verified_is_a_failure(stack: Stack) -> None:
    stack.wrap(
        "gt",
        '$real "$@"; rc=$?; case "$*" in "restack --branch c"*) '
        "git update-ref refs/heads/c $(git commit-tree -p trunk -m other trunk^{tree});; esac; exit $rc",
    )
    stack.world.commit_upstream({"a.txt": theirs()})

    report = stack.world.run()

    assert report.exit_code == 13
    assert outcomes(report)["c"] == "failed"


@pytest.mark.long
def test_gt_that_hangs_is_ended_at_its_deadline(stack: Stack) -> None:
    stack.wrap("gt", 'case "$*" in restack*) sleep 300;; esac; exec $real "$@"')
    place = stack.world.desk().place

    with pytest.raises(graphite.GraphiteError, match="did not end within 1 s"):
        graphite.restack(place, "a", stack.world.home / "mark", deadline=1.0)

    assert stack.at_rest()
    assert not (stack.world.home / "mark").exists()


def stop_in_a_rebase(stack: Stack) -> None:
    """Leave a rebase of `d` in progress, as gt does at a conflict, and a person too."""
    stack.branch("d", {"b.txt": theirs(17, "d").replace("line 3\n", "ours\n")}, "trunk")
    stack.world.work.git("switch", "-q", "d")
    stopped = subprocess.run(["git", "-C", str(stack.world.work.path), "rebase", "-q", "b"], capture_output=True)
    assert stopped.returncode == 1


def leave_mark(stack: Stack, began: float) -> Path:
    """What a run leaves that is killed while gt works."""
    mark = stack.world.home / "forks/fork/graphite.json"
    mark.parent.mkdir(parents=True)
    mark.write_text(json.dumps({"branch": "trunk", "head": "0"}))
    os.utime(mark, (began, began))
    return mark


@pytest.mark.long
def test_a_run_that_was_killed_while_gt_worked_is_cleaned_up_by_the_next(stack: Stack) -> None:
    stop_in_a_rebase(stack)
    mark = leave_mark(stack, time.time() - 60)
    stack.world.commit_upstream({"a.txt": theirs()})

    report = stack.world.run()

    assert any("was killed while `gt` worked" in note for note in report.notes)
    assert stack.at_rest("trunk")
    assert not mark.exists()
    assert report.exit_code == 0


@pytest.mark.long
def test_kill_9_while_gt_works_is_finished_by_the_next_run(stack: Stack, tmp_path: Path) -> None:
    world = stack.world
    world.commit_upstream({"a.txt": theirs()})
    pid = tmp_path / "pid"
    stack.wrap("git", f'[ "$1 $2" = "update-ref refs/heads/b" ] && kill -9 $(cat {pid}) && sleep 60; exec $real "$@"')
    program = """
import os, sys
from pathlib import Path
from tests.support.rebases import make_desk, rebase
Path(sys.argv[3]).write_text(str(os.getpid()))
rebase(make_desk(Path(sys.argv[2]), "killed", {"path": sys.argv[1]}))
"""
    argv = [sys.executable, "-c", program, str(world.work.path), str(world.home), str(pid)]
    killed = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert (world.home / "forks/fork/graphite.json").exists()
    (stack.bin / "git").unlink()

    report = world.run()

    assert report.exit_code == 0
    assert report.takeover is not None
    assert world.work.git("rev-parse", "b^") == world.work.head("a")
    assert stack.parents() == {"a": "trunk", "b": "a", "c": "trunk"}
    assert stack.at_rest()
    assert not (world.home / "forks/fork/graphite.json").exists()


def test_a_rebase_that_a_person_began_after_that_is_refused_and_untouched(stack: Stack) -> None:
    stop_in_a_rebase(stack)
    leave_mark(stack, time.time() - 7 * 24 * 3600)
    before = stack.world.everything()

    report = stack.world.run()

    assert report.exit_code == 11
    assert report.error is not None
    assert report.error["code"] == "forks.in_progress"
    assert stack.world.everything() == before


class TestWhereThereIsNoGraphite:
    def test_auto_leaves_the_branches_alone(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        report = world.run()
        assert report.outcome is Outcome.REBASED
        assert report.stack is not None
        assert (report.stack.kind, report.stack.note) == ("none", "")

    def test_graphite_that_is_asked_for_says_how_to_set_it_up(self, world: World) -> None:
        world.settings["stack"] = "graphite"
        world.commit_upstream({"a.txt": theirs()})
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.STACK_FAILED, 13)
        assert "gt init --trunk trunk" in report.next_actions[0]
        assert world.fork.head("trunk") == world.work.head("trunk")

    def test_auto_says_that_gt_is_missing(self, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (world.work.path / ".git/.graphite_repo_config").write_text(json.dumps({"trunk": "trunk"}))
        monkeypatch.setenv("PATH", _path_without_gt(tmp_path))
        report = world.run()
        assert report.exit_code == 0
        assert report.stack is not None
        assert "`gt` is not installed" in report.stack.note

    def test_a_gt_that_answers_nonsense_is_no_reason_to_leave_trunk(
        self, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (world.work.path / ".git/.graphite_repo_config").write_text("{}")
        fake = tmp_path / "bin" / "gt"
        fake.parent.mkdir()
        fake.write_text("#!/bin/sh\necho nonsense\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
        world.commit_upstream({"a.txt": theirs()})
        report = world.run()
        assert report.exit_code == 13
        assert world.fork.head("trunk") == world.work.head("trunk")

    def test_a_fork_by_url_is_refused_it_in_the_configuration(self) -> None:
        place = {"url": "https://x/y.git", "remotes": {"upstream": "https://x/z.git"}, "trunk": "t"}
        fork = {**place, "forge": "here", "repo": "o/r", "stack": "graphite"}
        with pytest.raises(ValueError, match="needs a checkout"):
            Settings.model_validate({"home": "/nowhere", "forks": {"f": fork}})


def _path_without_gt(folder: Path) -> str:
    """A PATH that has git and what it starts, and no gt."""
    place = folder / "few"
    place.mkdir()
    for program in ("git", "sh", "stdbuf", "sed"):
        (place / program).symlink_to(tool(program))
    return str(place)
