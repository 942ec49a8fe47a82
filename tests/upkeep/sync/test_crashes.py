"""A sync that is killed (SIGKILL) at each of its steps, or that others write under: nothing is half-written or lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.workplans import plan, task
from tests.upkeep.sync.conftest import FILE, Managing
from upkeep.database import events
from upkeep.database.locks import holder_of
from upkeep.metrics import runs
from upkeep.sync import markers, recorded, registry, store, survey
from upkeep.sync.records import Hub

KILLED = """
import os, sys
from pathlib import Path
from upkeep.database.server import connect
from upkeep.runs import Run
from upkeep.sync import recorded, registry, service, store
from upkeep.sync.workingtree import WorkingTree

def killed(*_, **__):
    os.kill(os.getpid(), 9)

def after(work):
    def done(*arguments, **options):
        work(*arguments, **options)
        killed()
    return done

step = sys.argv[3]
if step == "lock taken":
    service._attempt = killed
elif step == "files read":
    service.plan.plan = killed
elif step == "new text beside the file":
    WorkingTree._write_beside = after(WorkingTree._write_beside)
elif step == "one file of two written":
    WorkingTree.replace = after(WorkingTree.replace)
elif step == "files written":
    store.apply = killed
elif step == "rows written":
    store.apply = after(store.apply)
elif step == "attempt recorded":
    recorded.record_attempt = after(recorded.record_attempt)
elif step == "hub committed":
    Run.finish = killed
elif step == "written by somebody else":
    def beside(tree, place, data, work=WorkingTree._write_beside):
        with place.real.open("a") as file:
            file.write("one more line\\n")
        return work(tree, place, data)
    WorkingTree._write_beside = beside
with connect(Path("/nonexistent"), sys.argv[1]) as database:
    with database.session() as session:
        managed = registry.find(session, "sample")
    service.sync_waiting(database, Path(sys.argv[2]), managed, fix=True, trigger="hook")
"""

STEPS = [
    *("lock taken", "files read", "new text beside the file", "one file of two written", "files written"),
    *("rows written", "attempt recorded", "hub committed"),
]
SECOND = "workplans/b.md"


def hub_of(managing: Managing) -> Hub:
    with managing.database.session() as session:
        return store.load(session, "sample", set())


def texts(managing: Managing) -> list[str]:
    return [(managing.path / name).read_text() for name in (FILE, SECOND)]


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_the_next_sync_completes_what_a_killed_one_began(managing: Managing, tmp_path: Path, step: str) -> None:
    managing.sync()
    with managing.database.session() as session:
        store.set_status(session, "A-1", "blocked", by="ada")
    managing.write(plan("B", "active", task("B-1")), SECOND)
    (markers.prepare(tmp_path, "sample") / "4711").touch()
    before = texts(managing)

    command = [sys.executable, "-c", KILLED, managing.database.url, str(tmp_path), step]
    ended = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert ended.returncode == -9, ended.stderr
    assert markers.waiting(tmp_path) == ["sample"]
    for text, was in zip(texts(managing), before, strict=True):
        # Each file is what it was, or all that it is to be.
        assert text == was or text.count("state_hub_task_id") == text.count("```task")
    if step != "hub committed":
        assert survey.check(managing.database).drifted.keys() == {"sample"}

    with markers.taken(tmp_path, "sample") as count:
        assert count == 1
        assert managing.sync(fix=True).reason is None
    assert markers.waiting(tmp_path) == []
    done, hub = texts(managing), hub_of(managing)
    assert "id: A-1\nstatus: blocked\n" in done[0]
    assert sum(text.count("state_hub_task_id") for text in done) == 3
    assert {row.local_id: row.status for row in hub.tasks.values()} == {"A-1": "blocked", "A-2": "todo", "B-1": "todo"}

    again = managing.sync(fix=True)
    assert (again.changed_rows, again.edited_files) == (0, ())
    assert (texts(managing), hub_of(managing)) == (done, hub)
    assert survey.check(managing.database).agree == ("sample",)
    assert "upkeep-sync" not in managing.builder.git("status", "--porcelain", "--ignored")
    assert holder_of(managing.database, "repository:sample") is None


def test_a_file_that_somebody_else_keeps_writing_is_synced_and_left_alone(managing: Managing, tmp_path: Path) -> None:
    before = (managing.path / FILE).read_text()
    command = [sys.executable, "-c", KILLED, managing.database.url, str(tmp_path), "written by somebody else"]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    # Two tries to write, each of which found another text than it had read; the third only told.
    assert (managing.path / FILE).read_text() == before + "one more line\n" * 2
    with managing.database.session() as session:
        assert {str(each.code) for each in recorded.last_findings(session, "sample")} == {"C-17"}
    assert {row.local_id for row in hub_of(managing).tasks.values()} == {"A-1", "A-2"}
    assert managing.row.last_attempt_reason is None
    assert managing.sync(fix=True).edited_files == (FILE,)


def test_the_row_of_a_killed_sync_is_closed_by_the_next_start(managing: Managing, tmp_path: Path) -> None:
    with managing.database.session() as session:
        registry.find(session, "sample")
    command = [sys.executable, "-c", KILLED, managing.database.url, str(tmp_path), "files read"]
    assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == -9
    with managing.database.session() as session:
        (run_id,) = events.reconcile(session, is_alive=lambda event: False)
    with managing.database.session() as session:
        found = runs.one(session, run_id)
    assert found is not None
    assert (found.system, found.trigger, found.outcome) == ("sync", "hook", "killed")
