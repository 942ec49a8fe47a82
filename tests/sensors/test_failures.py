"""Runs that ended without saying so are closed, and only those."""

from sensors.failures import close_run
from upkeep.database import events
from upkeep.database.events import EventType, Outcome, Reason
from upkeep.database.server import Database


def started(database: Database, run_id: str) -> None:
    with database.session() as session:
        events.record(
            session, system="content", subject="watch:app", type=EventType.RUN_STARTED, run_id=run_id, trigger="sensor"
        )


def test_a_run_that_was_left_open_is_closed_with_the_outcome_of_its_end(database: Database) -> None:
    started(database, "one")

    assert close_run(database, "one", Outcome.KILLED)

    with database.session() as session:
        last = events.of_run(session, "one")[-1]
        assert events.open_runs(session) == []
    assert last.type == EventType.RUN_ENDED
    assert (last.summary["outcome"], last.summary["reason"]) == (Outcome.KILLED, Reason.PROCESS_GONE)


def test_a_run_is_closed_once_and_others_stay_open(database: Database) -> None:
    started(database, "one")
    started(database, "two")

    assert close_run(database, "one", Outcome.CANCELLED)
    assert not close_run(database, "one", Outcome.KILLED)

    with database.session() as session:
        assert [event.run_id for event in events.open_runs(session)] == ["two"]
        assert len(events.of_run(session, "one")) == 2


def test_a_run_without_events_is_none_of_ours(database: Database) -> None:
    assert not close_run(database, "stranger", Outcome.KILLED)
