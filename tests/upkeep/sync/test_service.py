"""Syncing real repositories with a real database: order, faults, timestamps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.workplans import EXAMPLE, TASK, plan, task
from tests.upkeep.sync.conftest import FILE, Managing
from upkeep.database import events
from upkeep.database.locks import hold
from upkeep.database.server import Database, connect
from upkeep.database.tables import tasks
from upkeep.errors import ConfigError, LockError
from upkeep.sync import recorded, registry, service, store
from upkeep.sync.findings import Code
from upkeep.sync.service import Synced
from upkeep.sync.workingtree import WorkingTree


def status_of(managing: Managing, name: str) -> str:
    with managing.database.session() as session:
        found = session.execute(sa.select(tasks.c.status).where(tasks.c.local_id == name)).scalar_one()
    return str(found)


def by_hand(managing: Managing, name: str, status: str) -> None:
    with managing.database.session() as session:
        store.set_status(session, name, status, by="ada")


def test_a_first_sync_with_fix_gives_ids_and_a_second_changes_nothing(managing: Managing) -> None:
    assert managing.row.last_state_synced_at is None
    first = managing.sync(fix=True)
    assert (first.findings, first.reason, first.edited_files) == ((), None, (FILE,))
    assert (first.workstreams, first.tasks) == (1, 2)
    text = (managing.path / FILE).read_bytes()
    assert text.count(b"state_hub_task_id") == 2
    second = managing.sync(fix=True)
    assert (second.changed_rows, second.edited_files, second.findings) == (0, (), ())
    assert (managing.path / FILE).read_bytes() == text
    assert managing.builder.git("status", "--porcelain") == f"M {FILE}"


def test_the_example_of_the_guide_round_trips(managing: Managing, database: Database) -> None:
    (managing.path / FILE).write_bytes(EXAMPLE.encode())
    with database.session() as session:
        registry.register(session, managing.path, slug="the-custodian")
    managing.slug = "the-custodian"
    assert managing.sync(fix=True).findings == ()
    assert (managing.path / FILE).read_bytes() == EXAMPLE.encode()
    by_hand(managing, "CUST-WP-0014-T02", "in_progress")
    assert managing.codes(fix=True) == [Code.CHANGED_IN_HUB]
    assert (managing.path / FILE).read_bytes() == EXAMPLE.replace("status: todo", "status: in_progress").encode()
    with database.session() as session:
        assert session.execute(sa.select(tasks.c.id)).scalar_one() == TASK


def test_without_fix_no_file_is_written(managing: Managing) -> None:
    before = (managing.path / FILE).read_bytes()
    assert managing.codes() == [Code.NO_HUB_ID] * 3
    assert (managing.path / FILE).read_bytes() == before
    assert managing.row.last_state_synced_at is not None


def test_with_errors_the_rest_is_synced_and_only_the_attempt_moves(managing: Managing) -> None:
    managing.sync(fix=True)
    before = managing.row
    text = (managing.path / FILE).read_text()
    text = text.replace("id: A-1\nstatus: todo", "id: A-1\nstatus: wip")
    managing.write(text.replace("id: A-2\nstatus: todo", "id: A-2\nstatus: done"))
    done = managing.sync()
    after = managing.row
    assert done.reason == "C-08 workplans/a.md:12 there is no status 'wip'"
    assert status_of(managing, "A-2") == "done"
    assert after.last_state_synced_at == before.last_state_synced_at
    assert after.last_attempt_at is not None
    assert before.last_attempt_at is not None
    assert after.last_attempt_at > before.last_attempt_at
    assert after.last_attempt_reason == done.reason
    with managing.database.session() as session:
        assert recorded.last_findings(session, "sample") == done.findings


def test_a_sync_leaves_an_event_with_both_times_in_the_same_transaction(managing: Managing) -> None:
    done = managing.sync(fix=True)
    with managing.database.session() as session:
        told = events.of_subject(session, "sync", "repository:sample")
    states = [event for event in told if event.type == "state.written"]
    assert done.last_state_synced_at is not None
    assert states[0].summary["changes"]["last_state_synced_at"] == done.last_state_synced_at.isoformat()
    ended = told[0]
    assert (ended.type, ended.summary["outcome"], ended.run_id) == ("run.ended", "done", states[0].run_id)


@pytest.mark.parametrize("folder", ["rebase-merge", "rebase-apply"])
def test_a_repository_in_the_middle_of_a_rebase_is_left_alone(managing: Managing, folder: str) -> None:
    (managing.path / ".git" / folder).mkdir()
    before = (managing.path / FILE).read_bytes()
    done = managing.sync(fix=True)
    assert [(finding.code, finding.message) for finding in done.findings] == [
        (Code.REPOSITORY, "a rebase is in progress")
    ]
    assert (managing.path / FILE).read_bytes() == before
    assert managing.row.last_state_synced_at is None
    (managing.path / ".git" / folder).rmdir()
    assert managing.sync(fix=True).reason is None


def test_a_real_conflict_in_a_rebase_is_left_alone(managing: Managing) -> None:
    builder = managing.builder
    text = (managing.path / FILE).read_text()
    builder.switch("other", "main")
    builder.commit({FILE: text.replace("status: todo", "status: blocked")})
    builder.switch("main")
    builder.commit({FILE: text.replace("status: todo", "status: done")})
    with pytest.raises(AssertionError, match="could not apply"):
        builder.git("rebase", "other")
    before = (managing.path / FILE).read_bytes()
    assert b"<<<<<<<" in before
    assert managing.codes(fix=True) == [Code.REPOSITORY]
    assert (managing.path / FILE).read_bytes() == before


def test_a_locked_index_is_waited_for_and_then_told(managing: Managing) -> None:
    lock = managing.path / ".git" / "index.lock"
    lock.touch()
    tree = WorkingTree.open(managing.path)
    assert "index.lock" in str(tree.busy(wait=0.05))
    threading.Timer(0.2, lock.unlink).start()
    assert managing.sync(fix=True).reason is None


def test_an_index_that_stays_locked_is_a_finding_and_nothing_is_written(managing: Managing) -> None:
    (managing.path / ".git" / "index.lock").touch()
    before = (managing.path / FILE).read_bytes()
    (finding,) = managing.sync(fix=True).findings
    assert (finding.code, finding.severity) == (Code.REPOSITORY, "error")
    assert "index.lock" in finding.message
    assert (managing.path / FILE).read_bytes() == before
    assert managing.row.last_state_synced_at is None


def test_a_repository_that_is_gone_is_a_finding_and_the_hub_stays(managing: Managing) -> None:
    managing.sync(fix=True)
    managing.path.rename(managing.path.with_name("elsewhere"))
    done = managing.sync(fix=True)
    (finding,) = done.findings
    assert (finding.code, finding.severity) == (Code.REPOSITORY, "error")
    assert "no working tree of a git repository" in finding.message
    assert status_of(managing, "A-1") == "todo"
    assert managing.row.last_attempt_reason is not None


def test_files_that_cannot_be_read_are_told_and_hide_no_row(managing: Managing, tmp_path: Path) -> None:
    managing.sync(fix=True)
    text = (managing.path / FILE).read_text()
    secret = tmp_path / "secret.md"
    secret.write_text(plan("SECRET"))
    folder = managing.path / "workplans"
    (folder / "outside.md").symlink_to(secret)
    (folder / "config.md").symlink_to(managing.path / ".git" / "config")
    (folder / "loop.md").symlink_to("loop.md")
    (folder / "broken.md").symlink_to("nowhere")
    (folder / "binary.md").write_bytes(b"\x00\x01")
    (folder / "latin.md").write_bytes(b"caf\xe9")
    (folder / "huge.md").write_bytes(b"x")
    os.truncate(folder / "huge.md", 50_000_000)
    os.mkfifo(folder / "pipe.md")
    (folder / os.fsdecode(b"\xff.md")).write_text("x")
    (folder / "folder.md").mkdir()
    managing.write(text[: text.index("## Task: A-2")])
    findings = managing.sync(fix=True).findings
    assert {finding.code for finding in findings} == {Code.UNREADABLE}
    assert sorted(finding.file for finding in findings) == sorted(
        f"workplans/{name}.md"
        for name in ("outside", "config", "loop", "broken", "binary", "latin", "huge", "pipe", "\\xff")
    )
    assert status_of(managing, "A-2") == "todo"
    with managing.database.session() as session:
        assert session.execute(sa.select(tasks.c.present).where(tasks.c.local_id == "A-2")).scalar_one()


def test_a_link_inside_of_the_repository_is_one_file_with_its_target(managing: Managing) -> None:
    (managing.path / "workplans" / "0-link.md").symlink_to("a.md")
    assert managing.sync(fix=True).findings == ()
    assert (managing.path / "workplans" / "0-link.md").is_symlink()
    assert (managing.path / FILE).read_text().count("state_hub_task_id") == 2


def test_a_readme_is_no_workplan(managing: Managing) -> None:
    managing.write("# About\n", "workplans/README.md")
    assert managing.sync(fix=True).findings == ()


def test_a_pattern_that_leads_out_is_refused(managing: Managing, database: Database) -> None:
    for pattern in ("../*.md", "/etc/*.md", ".git/*", ""):
        with pytest.raises(ConfigError, match="leads out"), database.session() as session:
            registry.register(session, managing.path, workplans=[pattern])


def test_a_file_keeps_its_rights_and_nothing_is_left_beside_it(managing: Managing) -> None:
    file = managing.path / FILE
    file.chmod(0o640)
    managing.sync(fix=True)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in file.parent.iterdir()] == ["a.md"]
    assert list((managing.path / ".git").glob("upkeep-*")) == []


def test_a_file_that_changed_meanwhile_is_left_alone(managing: Managing) -> None:
    tree = WorkingTree.open(managing.path)
    (place,) = tree.files(["workplans/*.md"]).places
    before = (managing.path / FILE).read_text()
    managing.write(before + "more\n")
    assert tree.replace(place, before, "other") is None
    assert (managing.path / FILE).read_text() == before + "more\n"
    assert list((managing.path / ".git").glob("upkeep-*")) == []


def test_two_syncs_at_once_do_not_mix(managing: Managing) -> None:
    with hold(managing.database, "repository:sample", system="sync"), pytest.raises(LockError):
        managing.sync(fix=True)
    assert managing.sync(fix=True).reason is None


def test_of_two_syncs_at_once_the_second_waits_for_the_first(managing: Managing, tmp_path: Path) -> None:
    row = managing.row
    done: list[Synced] = []

    def sync() -> None:
        with connect(tmp_path, managing.database.url) as database:
            done.append(service.sync_waiting(database, tmp_path, row, fix=True, trigger="cli"))

    both = [threading.Thread(target=sync) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert [each.reason for each in done] == [None, None]
    assert sorted(each.changed_rows for each in done) == [0, 3]
    assert (managing.path / FILE).read_text().count("state_hub_task_id") == 2


KILLED = """
import os, sys
from pathlib import Path
from upkeep.database.server import connect
from upkeep.sync import recorded, registry, service, store

def killed(*_):
    os.kill(os.getpid(), 9)

store.apply = killed
with connect(Path("/nonexistent"), sys.argv[1]) as database:
    with database.session() as session:
        managed = registry.find(session, "sample")
    service.sync(database, managed, fix=True, trigger="cli")
"""


def test_a_sync_killed_between_files_and_hub_is_completed_by_the_next(managing: Managing) -> None:
    managing.sync()
    by_hand(managing, "A-1", "blocked")
    managing.write(plan("B", "active", task("B-1")), "workplans/b.md")
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, managing.database.url], capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == -9, ended.stderr
    text = (managing.path / FILE).read_text()
    assert "id: A-1\nstatus: blocked" in text
    assert set(managing.codes(fix=True)) == {Code.NEW}
    assert (managing.path / FILE).read_text() == text
    assert (status_of(managing, "A-1"), status_of(managing, "B-1")) == ("blocked", "todo")


def test_a_conflict_is_decided_by_a_person_and_carried_out_by_the_next_sync(managing: Managing) -> None:
    for said, wanted in (("file", "done"), ("hub", "blocked"), ("cancelled", "cancelled")):
        managing.write(plan("A", "active", task("A-1"), task("A-2"), front=(f"updated: {said}",)))
        with managing.database.session() as session:
            reset = {"status": "todo", "base_status": "todo"}
            session.execute(sa.update(tasks).where(tasks.c.local_id == "A-1").values(reset))
        managing.sync(fix=True)
        by_hand(managing, "A-1", "blocked")
        text = (managing.path / FILE).read_text()
        managing.write(text.replace("id: A-1\nstatus: todo", "id: A-1\nstatus: done"))
        assert Code.CONFLICT in managing.codes(fix=True)
        with managing.database.session() as session:
            (asked,) = store.asked(session, "sample")
            with pytest.raises(ConfigError, match="does not decide"):
                store.answer(session, str(asked.id), "perhaps", by="ada")
            answered = store.answer(session, str(asked.id)[:8], said, by="ada")
            assert (answered.answer, answered.answered_by, answered.state) == (said, "ada", "answered")
            assert answered.closed_at is not None
        assert Code.CONFLICT not in managing.codes(fix=True)
        assert status_of(managing, "A-1") == wanted
        assert f"id: A-1\nstatus: {wanted}\n" in (managing.path / FILE).read_text()
