"""The drift check of all repositories: what is looked at, what follows, and that one costs the others nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.repositories import MakeRepository
from tests.support.workplans import plan, task
from tests.upkeep.sync.conftest import FILE, Managing
from upkeep.database import events
from upkeep.database.tables import repositories
from upkeep.sync import attempts, drift, recorded, registry, store, survey
from upkeep.sync.drift import Look, Looker, Target
from upkeep.sync.recorded import Known
from upkeep.sync.registry import Managed
from upkeep.sync.survey import Checked


def check(managing: Managing) -> Checked:
    return survey.check(managing.database)


def by_hand(managing: Managing, name: str, status: str) -> None:
    with managing.database.session() as session:
        store.set_status(session, name, status, by="ada")


def row_of(managing: Managing, slug: str) -> Managed:
    with managing.database.session() as session:
        return registry.find(session, slug)


def rewind(managing: Managing, **ago: float) -> datetime:
    """As if the last sync was so long ago."""
    then = datetime.now(UTC) - timedelta(**ago)
    values = {"last_attempt_at": then}
    if managing.row.last_state_synced_at is not None:
        values["last_state_synced_at"] = then
    with managing.database.session() as session:
        session.execute(sa.update(repositories).values(values))
    return then


def another(managing: Managing, make_repository: MakeRepository, name: str) -> None:
    with managing.database.session() as session:
        registry.register(session, make_repository(name).path)


def test_an_untouched_repository_agrees_and_is_fresh_again(managing: Managing) -> None:
    managing.sync(fix=True)
    long_ago = rewind(managing, days=2)
    checked = check(managing)
    assert (checked.agree, dict(checked.drifted), checked.more) == (("sample",), {}, None)
    now = managing.row
    assert now.last_state_synced_at is not None
    assert now.last_state_synced_at > long_ago
    assert now.last_attempt_at == now.last_state_synced_at
    with managing.database.session() as session:
        (told,) = events.of_subject(session, "sync", attempts.ALL)
        assert survey.confirmed(session, now.last_state_synced_at) == ["sample"]
    counts = {"agree": 1, "drifted": 0, "failing": 0, "unreachable": 0, "complete": True}
    assert told.summary == {"confirmed_at": now.last_state_synced_at.isoformat(), **counts}


@pytest.mark.parametrize("seconds", [0, 10])
def test_what_differs_is_drift(managing: Managing, seconds: int) -> None:
    file = managing.path / FILE
    managing.sync(fix=True)
    old = datetime.now().timestamp() - seconds
    os.utime(file, (old, old))
    assert check(managing).agree == ("sample",)
    text = file.read_text()
    state = file.stat()
    # As long as before, and with the same time: only the content tells.
    file.write_text(text.replace("todo", "done", 1))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + (0 if seconds == 0 else 1)))
    assert check(managing).drifted == {"sample": f"{FILE} changed"}
    file.write_text(text)
    assert check(managing).agree == ("sample",)
    managing.write(plan("B"), "workplans/b.md")
    assert check(managing).drifted == {"sample": "workplans/b.md is new"}
    (managing.path / "workplans/b.md").unlink()
    managing.builder.commit({"other.txt": "x"})
    assert check(managing).drifted == {"sample": "the head moved"}


def test_what_was_never_synced_is_drift(managing: Managing) -> None:
    assert check(managing).drifted == {"sample": "it was never synced"}


def test_a_change_by_hand_is_drift_until_a_sync_has_seen_it(managing: Managing) -> None:
    managing.sync(fix=True)
    by_hand(managing, "A-1", "blocked")
    assert check(managing).drifted == {"sample": "it was changed in the hub"}
    # Without --fix the file keeps its status: that was told, and another sync would tell nothing new.
    assert managing.codes() == ["C-12"]
    assert check(managing).agree == ("sample",)
    with managing.database.session() as session:
        registry.register(session, managing.path, fix=True)
    assert check(managing).drifted == {"sample": "it was changed in the hub"}


def test_ids_that_a_sync_may_write_and_did_not_are_drift(managing: Managing) -> None:
    managing.sync()
    assert check(managing).agree == ("sample",)
    with managing.database.session() as session:
        session.execute(sa.update(repositories).values(fix=True))
    assert check(managing).drifted == {"sample": "its files lack what the sync may write"}
    managing.sync(fix=True)
    assert check(managing).agree == ("sample",)


def test_ids_that_cannot_be_written_are_no_drift(managing: Managing) -> None:
    managing.write(plan("A", "active", "```task\n{id: A-1, status: todo}\n```\n"))
    with managing.database.session() as session:
        registry.register(session, managing.path, fix=True)
    assert managing.codes(fix=True) == ["C-17"]
    assert check(managing).agree == ("sample",)


def test_an_answer_is_drift(managing: Managing) -> None:
    managing.write(plan("A", "active", task("A-1", "todo", "needs_human: true", "question: Which?")))
    managing.sync(fix=True)
    with managing.database.session() as session:
        (asked,) = store.asked(session)
        store.answer(session, str(asked.id), "this one", by="ada")
    assert check(managing).drifted == {"sample": "it was changed in the hub"}


def test_errors_that_did_not_change_ask_for_no_sync_until_a_day_has_passed(managing: Managing) -> None:
    managing.sync(fix=True)
    kept = (managing.path / FILE).read_text()
    managing.write(kept.replace("status: todo", "status: wip", 1))
    assert check(managing).drifted == {"sample": f"{FILE} changed"}
    managing.sync()
    before = managing.row
    checked = check(managing)
    assert (dict(checked.drifted), checked.agree) == ({}, ())
    assert "C-08" in checked.failing["sample"]
    assert managing.row == before
    # Ahead of the clock, too: it was set back.
    for ago in (25, -25):
        rewind(managing, hours=ago)
        assert "C-08" in check(managing).drifted["sample"]
    managing.sync()
    managing.write(kept)
    assert check(managing).drifted == {"sample": f"{FILE} changed"}


def test_files_that_cannot_be_read_are_no_drift_as_long_as_that_stays_so(managing: Managing, tmp_path: Path) -> None:
    folder = managing.path / "workplans"
    (folder / "outside.md").symlink_to(tmp_path)
    (folder / "latin.md").write_bytes(b"caf\xe9")
    (folder / "large.md").write_bytes(b"x")
    os.truncate(folder / "large.md", 5_000_000)
    managing.sync(fix=True)
    assert list(check(managing).failing) == ["sample"]
    (folder / "outside.md").unlink()
    assert check(managing).drifted == {"sample": "workplans/outside.md can be looked at again"}
    managing.sync(fix=True)
    (folder / "latin.md").write_bytes(b"caf\xe8")
    assert check(managing).drifted == {"sample": "workplans/latin.md changed"}


def test_a_sync_that_did_not_end_is_tried_again_after_an_hour(managing: Managing) -> None:
    managing.sync(fix=True)
    with managing.database.session() as session:
        recorded.record_attempt(session, "sample", findings=(), reason="sync.not_writable: the disk is full")
    assert list(check(managing).failing) == ["sample"]
    rewind(managing, hours=2)
    assert "the disk is full" in check(managing).drifted["sample"]


def test_what_cannot_be_reached_is_a_finding_of_its_own_that_is_told_once(managing: Managing) -> None:
    managing.sync(fix=True)
    before = managing.row
    away = managing.path.with_name("elsewhere")
    managing.path.rename(away)
    for _ in range(3):
        assert "no working tree" in check(managing).unreachable["sample"]
    now = managing.row
    assert now.last_state_synced_at == before.last_state_synced_at
    assert now.last_attempt_at is not None
    assert before.last_attempt_at is not None
    assert now.last_attempt_at > before.last_attempt_at
    assert str(now.last_attempt_reason).startswith("C-24 there is no working tree")
    with managing.database.session() as session:
        (finding,) = recorded.last_findings(session, "sample")
        told = [each for each in events.of_subject(session, "sync", "repository:sample") if not each.run_id]
    assert (finding.code, finding.severity) == ("C-24", "error")
    assert len([each for each in told if "last_attempt_at" in each.summary["changes"]]) == 1
    away.rename(managing.path)
    assert check(managing).drifted == {"sample": "it can be synced again"}


def test_a_repository_in_the_middle_of_a_rebase_is_drift_once(managing: Managing) -> None:
    managing.sync(fix=True)
    (managing.path / ".git" / "rebase-merge").mkdir()
    managing.builder.commit({"other.txt": "x"})
    assert check(managing).drifted == {"sample": "the head moved"}
    assert managing.codes(fix=True) == ["C-24"]
    assert check(managing).failing == {"sample": "C-24 a rebase is in progress"}
    (managing.path / ".git" / "rebase-merge").rmdir()
    assert check(managing).drifted == {"sample": "it can be synced again"}


def test_a_pattern_that_leads_out_is_that_repositorys_own_drift(managing: Managing) -> None:
    managing.sync(fix=True)
    with managing.database.session() as session:
        session.execute(sa.update(repositories).values(workplans=["../*.md"]))
    assert "leads out" in check(managing).drifted["sample"]


def test_a_named_pipe_in_the_folder_of_git_holds_nobody(managing: Managing) -> None:
    managing.sync(fix=True)
    (managing.path / ".git" / "refs" / "heads" / "main").unlink()
    os.mkfifo(managing.path / ".git" / "packed-refs")
    assert check(managing).drifted == {"sample": "the head moved"}


def test_a_disk_that_does_not_answer_costs_its_own_repository_only(
    managing: Managing, make_repository: MakeRepository
) -> None:
    another(managing, make_repository, "healthy")
    another(managing, make_repository, "hanging")
    hanging, go = managing.path.with_name("hanging"), threading.Event()
    asked: list[str] = []

    def look(path: Path, patterns: Sequence[str], known: Known) -> Look:
        asked.append(path.name)
        if path == hanging:
            assert go.wait(60)
        return drift.look(path, patterns, known)

    try:
        for _ in range(2):
            checked = survey.check(managing.database, looker=Looker(look, seconds=5.0))
            assert checked.drifted.keys() == {"healthy", "sample"}
            assert "does not answer" in checked.unreachable["hanging"]
        assert asked.count("hanging") == 1
    finally:
        go.set()
    assert "does not answer" in str(row_of(managing, "hanging").last_attempt_reason)


def test_an_error_of_a_look_is_raised_where_it_was_asked_for() -> None:
    def look(path: Path, patterns: Sequence[str], known: Known) -> Look:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        list(Looker(look)([Target(Path("/nowhere"), ["*.md"], Known(None, {}))]))


def test_a_check_stops_at_its_deadline_and_the_next_goes_on_behind_it(
    managing: Managing, make_repository: MakeRepository
) -> None:
    for name in ("a", "z"):
        another(managing, make_repository, name)
    seen: list[str] = []
    after = ""
    for _ in range(3):
        checked = survey.check(managing.database, after=after, deadline=0.0)
        seen += checked.drifted
        after = checked.more or ""
    assert (seen, after) == (["a", "sample", "z"], "")


def test_what_somebody_changes_meanwhile_is_not_confirmed(managing: Managing) -> None:
    managing.sync(fix=True)

    def look(path: Path, patterns: Sequence[str], known: Known) -> Look:
        found = drift.look(path, patterns, known)
        by_hand(managing, "A-1", "blocked")
        return found

    long_ago = rewind(managing, days=2)
    survey.check(managing.database, looker=Looker(look))
    assert managing.row.last_state_synced_at == long_ago
    assert check(managing).drifted == {"sample": "it was changed in the hub"}
