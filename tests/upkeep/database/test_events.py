"""The append-only history."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tests.support.waiting import until
from upkeep.database import events
from upkeep.database.events import EventType, Outcome
from upkeep.database.server import Database
from upkeep.errors import DatabaseError


@pytest.mark.parametrize(
    "change", ["UPDATE upkeep.events SET type = 'x'", "DELETE FROM upkeep.events", "TRUNCATE upkeep.events"]
)
def test_an_event_cannot_be_changed_or_removed(database: Database, change: str) -> None:
    with database.session() as session:
        events.record(session, system="content", subject="a", type=EventType.RUN_STARTED, run_id="1", trigger="cli")
    with pytest.raises(DBAPIError, match="append-only"), database.session() as session:
        session.execute(sa.text(change))
    with database.session() as session:
        assert [event.type for event in events.of_run(session, "1")] == ["run.started"]


def test_an_event_of_a_rolled_back_transaction_never_was(database: Database) -> None:
    with database.session() as session:
        events.record(session, system="content", subject="a", type=EventType.STATE_WRITTEN)
        session.rollback()
    with database.session() as session:
        assert events.of_subject(session, "content", "a") == []


def test_text_that_json_refuses_comes_back_as_it_was(database: Database) -> None:
    path = b"caf\xe9\x00".decode(errors="surrogateescape") + "\u241b0000"
    with database.session() as session:
        events.record(session, system="content", subject="a", type=EventType.STATE_WRITTEN, path=path, nothing=None)
    with database.session() as session:
        (event,) = events.of_subject(session, "content", "a")
    assert event.summary == {"path": path}


def test_a_payload_is_refused(database: Database) -> None:
    with pytest.raises(DatabaseError, match="holds none") as refused, database.session() as session:
        events.record(session, system="content", subject="a", type=EventType.STATE_WRITTEN, log="x" * 40_000)
    assert refused.value.reason == "database.event_too_large"


def test_a_reader_with_a_cursor_misses_nothing_that_commits_late(database: Database, database_url: str) -> None:
    with psycopg.connect(database_url) as slow:
        slow.execute("INSERT INTO upkeep.events (system, subject, type) VALUES ('content', 'slow', 'state.written')")
        with database.session() as session:
            events.record(session, system="content", subject="quick", type=EventType.STATE_WRITTEN)
        with database.session() as session:
            assert events.after(session, 0) == []
        slow.commit()

    # Transactions of other tests on this server hold rows back, too: it counts them without looking where they are.
    def both() -> list[events.Event]:
        with database.session() as session:
            found = events.after(session, 0)
        return found if len(found) == 2 else []

    seen = until(both)
    assert [event.subject for event in seen] == ["slow", "quick"]
    with database.session() as session:
        assert events.after(session, seen[-1].id) == []
        assert events.after(session, 0, types=[EventType.RUN_ENDED]) == []


def test_a_killed_run_is_closed_once_and_a_living_one_left_alone(database: Database) -> None:
    with database.session() as session:
        for run in ("dead", "alive", "over"):
            events.record(session, system="content", subject=run, type=EventType.RUN_STARTED, run_id=run, trigger="cli")
        events.record(
            session, system="content", subject="over", type=EventType.RUN_ENDED, run_id="over", outcome=Outcome.DONE
        )
    for expected in (["dead"], []):
        with database.session() as session:
            assert events.reconcile(session, is_alive=lambda event: event.run_id == "alive") == expected
    with database.session() as session:
        assert [event.run_id for event in events.open_runs(session, system="content")] == ["alive"]
        assert events.open_runs(session, system="forks") == []
        closed = events.of_run(session, "dead")[-1]
        assert closed.summary == {"outcome": "killed", "reason": "process_gone"}
