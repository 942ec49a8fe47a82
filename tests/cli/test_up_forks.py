"""Forks under the real `upkeep up`: the schedule rebases with no command typed, and a run that is killed with -9 stands
in the metrics as killed, while the next one of the schedule takes its lock over and does the work."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_up import Up, alive, processes_of
from tests.support.rebases import World, theirs
from tests.support.tools import tool
from tests.support.waiting import until
from upkeep.database import events
from upkeep.database.events import EventType, Reason
from upkeep.database.events import Outcome as Ended
from upkeep.database.server import connect
from upkeep.forks import lock as folder_lock
from upkeep.forks import report as reporting
from upkeep.forks.outcomes import Outcome
from upkeep.metrics import runs as metrics

pytestmark = [pytest.mark.long, pytest.mark.timeout(1100)]

SUBJECT = "fork:fork"


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """What the gate looks at: it waits for the file `go`."""
    folder = tmp_path / "signs"
    folder.mkdir()
    return folder


@pytest.fixture
def up(world: World, signs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    bwrap = Path(tool("bwrap")).parent
    monkeypatch.setenv("PATH", f"{bwrap}{os.pathsep}{os.environ['PATH']}")
    world.commit_upstream({"a.txt": theirs()})
    fork = {
        "path": str(world.work.path),
        "trunk": "trunk",
        "forge": "here",
        "repo": "o/fork",
        "schedule": "* * * * *",
        "gates": [f"until test -e {signs}/go; do sleep 0.2; done; grep -q theirs a.txt"],
        "gate_mounts": [str(signs)],
    }
    config = tmp_path / "upkeep.yaml"
    config.write_text(json.dumps({"home": str(world.home), "forks": {"fork": fork}}))
    started = Up(config, world.home)
    try:
        started.wait_until_ready()
        yield started
    finally:
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGTERM)
            started.process.wait()
        until(lambda: not processes_of(started.home), "the end of every process", pause=0.2)


def gate_of(home: Path, run_id: str) -> Path | None:
    """What the gate of a run has printed so far; None: it has not begun."""
    return next(home.glob(f"runs/forks/fork/{run_id}/gates/tip/*"), None)


def rebased(home: Path) -> Iterator[reporting.Report]:
    """Reports of runs that rebased trunk."""
    found = map(reporting.read, home.glob("reports/rebase/fork/*/*/report.json"))
    return (report for report in found if report.outcome is Outcome.REBASED)


def test_the_schedule_rebases_and_a_run_that_is_killed_is_made_good_by_the_next(
    world: World, up: Up, signs: Path
) -> None:
    before, old = world.everything(), world.fork.head("trunk")
    lock = world.home / "forks/fork/lock"
    killed = until(lambda: folder_lock.holder_of(lock), "the first run of the schedule", pause=0.2)
    until(lambda: gate_of(world.home, killed.run_id), "its gate", pause=0.2)
    os.kill(killed.pid, signal.SIGKILL)

    def row() -> metrics.Run | None:
        with connect(world.home) as database, database.session() as session:
            found = metrics.one(session, killed.run_id)
        return found if found is not None and found.outcome is not None else None

    ended = until(row, "the end of the killed run in the metrics", pause=1.0)
    assert (ended.outcome, ended.reason) == (Ended.KILLED, Reason.PROCESS_GONE)
    assert (ended.system, ended.subject, ended.trigger) == ("forks", SUBJECT, "schedule")
    statuses = {run["runId"]: run["status"] for run in up.runs_of(SUBJECT)}
    assert statuses[killed.run_id] == "FAILURE"
    assert not alive(killed.pid)
    now = {name: value for name, value in world.everything().items() if name != "worktrees"}
    assert now == {name: value for name, value in before.items() if name != "worktrees"}

    (signs / "go").touch()
    until(lambda: world.work.head() == world.fork.head("trunk") != old, "the rebase", pause=0.2)
    report = until(lambda: next(rebased(world.home), None), "its report", pause=0.2)
    assert (report.exit_code, report.trigger) == (0, "schedule")
    assert report.takeover is not None
    assert report.takeover.holder is not None
    assert (report.takeover.holder.run_id, report.takeover.forced) == (killed.run_id, False)
    assert world.fork.read("trunk", "a.txt").decode() == theirs().replace("line 3\n", "ours\n")
    assert len(world.work.git("worktree", "list").splitlines()) == 1

    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(240) == 0
    with connect(world.home) as database, database.session() as session:
        told = events.of_run(session, killed.run_id)
        assert [each.type for each in told if each.type == EventType.RUN_ENDED] == [EventType.RUN_ENDED]
        assert events.open_runs(session) == []
