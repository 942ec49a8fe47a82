"""kill -9 at every boundary of a rebase that has everything: database, gates in the sandbox, next branches, a branch on
trunk, a delta pull request. What is there afterwards is whole, and the next run finishes it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.rebases import TRUNK, World, theirs
from tests.support.tools import tool
from upkeep.database.locks import holder_of
from upkeep.database.server import Database, connect
from upkeep.forges.base import PullRequest
from upkeep.forks import lock as folder_lock
from upkeep.forks import service
from upkeep.forks.gating import SandboxedGates
from upkeep.forks.report import Report

ROOT = Path(__file__).parents[3]
RUN = """
import json, os, signal, sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tests.support.rebases import make_desk
from upkeep.database.server import connect
from upkeep.forks import service
from upkeep.forks.gating import SandboxedGates
from upkeep.forks.report import Draft, Report

home, url, settings, bwrap, at = sys.argv[1:]
Path(home).with_name("child.pid").write_text(str(os.getpid()))
inside, asked = [], Counter()

def die(point):
    if point == at:
        os.kill(os.getpid(), signal.SIGKILL)

def may():
    if inside:
        asked[inside[-1]] += 1
        die(f"within {inside[-1]} {asked[inside[-1]]}")

class Killing(Draft):
    @contextmanager
    def step(self, name, command=""):
        die(f"before {name}")
        inside.append(name)
        with super().step(name, command):
            yield
        inside.pop()
        die(f"after {name}")

    def finish(self, outcome, error=None):
        die("before report")
        return super().finish(outcome, error)

gates = SandboxedGates(bwrap=bwrap, user_home=Path(home))
desk = make_desk(Path(home), "child", json.loads(settings), gates=gates, may=may)
desk.draft = Killing("fork", "child", trigger="cli")
for found in service.rebase(desk, service.opened(desk, connect(Path(home), url), trigger="cli")):
    if isinstance(found, Report):
        die("after report")
print(found.exit_code, found.error)
"""
STEPS = ("lock", "snapshot", "verify", "look ahead", "gates", "apply", "stack", "delta")
WITHIN = {"gates": 1, "apply": 3, "stack": 1, "delta": 2}
"""How often a step asks whether it may go on: before everything that leaves or moves, and before each gate."""
POINTS = (
    *(
        point
        for step in STEPS
        for point in (
            f"before {step}",
            *(f"within {step} {number}" for number in range(1, WITHIN.get(step, 0) + 1)),
            f"after {step}",
        )
    ),
    "before report",
    "after report",
)
FIRST_PUSH = POINTS.index("within apply 1")
QUICK = ("after snapshot", "after verify", "within gates 1", "within apply 3", "after delta")


@dataclass
class Whole:
    """A fork that has everything, on the day on which upstream changed."""

    world: World
    database: Database
    bwrap: str

    def child(self, at: str, *, path: str = "") -> subprocess.Popen[str]:
        """A rebase in a process of its own, which kills itself at `at`, after its end; `path` is put before PATH."""
        settings = json.dumps({"path": str(self.world.work.path), **self.world.settings})
        argv = [sys.executable, "-c", RUN, str(self.world.home), self.database.url, settings, self.bwrap, at]
        environment = {**os.environ, "PATH": os.pathsep.join(filter(None, (path, os.environ["PATH"])))}
        output = self.world.home.with_name("child.log")
        with output.open("w") as log:
            child = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=log, stderr=log, text=True)
            child.wait(240)
        assert child.returncode in (0, -9), output.read_text()
        return child

    def run(self) -> Report:
        gates = SandboxedGates(bwrap=self.bwrap, user_home=self.world.home)
        desk = self.world.desk(gates=gates)
        opened = service.opened(desk, connect(self.world.home, self.database.url), trigger="cli")
        *_, report = service.rebase(desk, opened)
        assert isinstance(report, Report)
        return report

    def pulls(self) -> list[PullRequest]:
        return self.world.desk(database=self.database).forge.pull_requests("o/fork")

    def at_rest(self) -> bool:
        """Whether nothing is half done in the person's working copy."""
        git = self.world.work.git
        return git("status", "--porcelain") == "" and git("symbolic-ref", "HEAD") == TRUNK


@pytest.fixture
def whole(world: World, database: Database) -> Whole:
    bwrap = tool("bwrap")
    world.work.switch("feat/a", "trunk")
    world.work.commit({"new.txt": "a\n"}, "On trunk")
    world.work.git("switch", "-q", "trunk")
    world.upstream.git("branch", "next", "main")
    world.settings |= {
        "stack": "plain",
        "stack_branches": ["feat/*"],
        "next_branches": ["next"],
        "gates": ["grep -q theirs a.txt && grep -q ours a.txt"],
    }
    world.commit_upstream({"a.txt": theirs()})
    return Whole(world, database, bwrap)


def everything(world: World, *, worktrees: bool = True) -> dict[str, Any]:
    found = world.everything()
    return found if worktrees else {name: value for name, value in found.items() if name != "worktrees"}


@pytest.mark.parametrize(
    "at", [at if at in QUICK else pytest.param(at, marks=pytest.mark.long) for at in POINTS], ids=lambda at: at
)
def test_kill_9_leaves_everything_whole_and_the_next_run_finishes(whole: Whole, at: str) -> None:
    world, work = whole.world, whole.world.work
    # In the middle of the gates there is the temporary worktree that they work in, and the next run removes it.
    seen = {"worktrees": not at.startswith("within gates")}
    before, old = everything(world, **seen), world.fork.head("trunk")

    child = whole.child(at)

    assert child.returncode == -9
    if POINTS.index(at) <= FIRST_PUSH:
        assert everything(world, **seen) == before
    assert whole.at_rest()
    assert work.head() in (old, world.fork.head("trunk"))
    assert work.head("feat/a^") in (old, work.head())
    held = at != "before lock"
    assert (holder_of(whole.database, "fork:fork") is not None) == held
    left = folder_lock.holder_of(world.home / "forks/fork/lock")
    assert (left.run_id if left else None) == ("child" if held else None)

    report = whole.run()

    assert (report.takeover is not None) == held
    assert old in world.fork.refs("refs/upkeep/backup/").values()
    finished(whole, report, child.pid)


def finished(whole: Whole, report: Report, pid: int) -> None:
    """What every day ends with, whatever was killed on it before; `pid` is what was."""
    world, work = whole.world, whole.world.work
    assert (report.exit_code, report.error) == (0, None)
    assert world.fork.head("main") == world.upstream.head("main") == work.head("main")
    assert world.fork.head("trunk") == work.head() == work.head("feat/a^")
    expected = world.upstream.read("main", "a.txt").decode().replace("line 3\n", "ours\n")
    assert world.fork.read("trunk", "a.txt").decode() == expected
    assert whole.at_rest()
    assert len(work.git("worktree", "list").splitlines()) == 1
    (pull,) = whole.pulls()
    assert (pull.state, pull.labels) == ("open", ("fork-delta",))
    assert report.delta_pull_request == pull.url
    assert holder_of(whole.database, "fork:fork") is None
    assert not (world.home / "forks/fork/lock").exists()
    assert not list((world.home / "forks/fork").glob("trees/*"))
    assert not [left for folder in ("/dev/shm", "/tmp") for left in Path(folder).glob(f"upkeep-verify-{pid}-*")]


@pytest.mark.long
@pytest.mark.timeout(1100)
def test_kill_9_as_git_starts_anywhere_is_finished_by_the_next_run(whole: Whole, tmp_path: Path) -> None:
    """Every eleventh start of git in a rebase, each on a day of its own: there are some 150."""
    world, counter = whole.world, tmp_path / "count"
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    for number, at in enumerate(itertools.count(1, 11)):
        counter.write_text("0")
        kill = f"if [ $n = {at} ]; then kill -9 $(cat {tmp_path}/child.pid); sleep 60; fi"
        count = f"n=$(($(cat {counter}) + 1))\necho $n > {counter}"
        wrapper.write_text(f'#!/bin/sh\n{count}\n{kill}\nexec {shutil.which("git")} "$@"\n')
        wrapper.chmod(0o755)
        child = whole.child("", path=str(wrapper.parent))
        assert whole.at_rest()
        if child.returncode == 0:
            break
        finished(whole, whole.run(), child.pid)
        world.commit_upstream({"a.txt": theirs(15, f"theirs {number}")})
    finished(whole, whole.run(), child.pid)
    assert number > 8, "a rebase starts git more often than that"
