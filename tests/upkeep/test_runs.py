"""The frame around a run: one word about its end, whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from upkeep.database import events
from upkeep.database.events import EventType, Outcome
from upkeep.database.locks import holder_of
from upkeep.database.server import Database
from upkeep.errors import AgentTimedOut, ContentInvalid, GuardrailRefused, LockError, RunCancelled
from upkeep.metrics import runs as metrics
from upkeep.runs import open_run

SUBJECT = "watch:app"


def history(database: Database, run_id: str = "r1") -> list[tuple[str, str | None]]:
    with database.session() as session:
        return [(event.type, event.summary.get("outcome")) for event in events.of_run(session, run_id)]


def start(database: Database, **options: object):  # type: ignore[no-untyped-def]
    return open_run(database, system="content", subject=SUBJECT, run_id="r1", trigger="cli", **options)  # type: ignore[arg-type]


def test_a_finished_run_says_so_once_and_frees_its_lock(database: Database) -> None:
    with start(database) as run:
        with run.step("observe"):
            pass
        run.finish(Outcome.DONE, "created", pr_url="u")
        run.finish(Outcome.FAILED, "later")
    assert history(database) == [("run.started", None), ("step.ended", None), ("run.ended", "done")]
    assert holder_of(database, SUBJECT) is None


def test_a_run_that_forgets_to_say_how_it_ended_has_failed(database: Database) -> None:
    with start(database):
        pass
    assert history(database)[-1] == ("run.ended", "failed")


def raised_by(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ContentInvalid("x"), "validation_failed"),
        (GuardrailRefused("x"), "guardrail_refused"),
        (AgentTimedOut("x"), "agent_failed"),
        (RunCancelled("x"), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_an_error_ends_the_run_with_its_outcome(database: Database, error: BaseException, outcome: str) -> None:
    def whole() -> None:
        with start(database) as run, run.step("write"):
            raised_by(error)()

    with pytest.raises(type(error)):
        whole()
    assert history(database)[-1] == ("run.ended", outcome)
    assert holder_of(database, SUBJECT) is None


def test_a_second_run_of_the_subject_is_recorded_as_locked(database: Database) -> None:
    def second() -> None:
        with open_run(database, system="content", subject=SUBJECT, run_id="r2", trigger="cli"):
            pass

    with start(database) as run:
        with pytest.raises(LockError):
            second()
        run.finish(Outcome.DONE)
    assert history(database, "r2") == [("run.started", None), ("run.ended", "locked")]
    assert history(database)[-1] == ("run.ended", "done")


def test_a_skipped_run_is_a_row_of_the_metrics_with_its_reason(database: Database) -> None:
    with start(database) as run:
        run.finish(Outcome.SKIPPED, "not_relevant")
    with database.session() as session:
        row = metrics.one(session, "r1")
    assert row is not None
    assert (row.outcome, row.reason, row.trigger) == (Outcome.SKIPPED, "not_relevant", "cli")


def test_a_dry_run_leaves_no_events(database: Database) -> None:
    with start(database, recorded=False) as run:
        run.event(EventType.STATE_WRITTEN)
        run.finish(Outcome.DONE)
    assert history(database) == []


def test_what_was_put_on_closing_is_closed_also_after_an_error(database: Database) -> None:
    closed: list[str] = []

    def whole() -> None:
        with start(database) as run:
            run.closing.callback(closed.append, "yes")
            raised_by(ValueError())()

    with pytest.raises(ValueError):
        whole()
    assert closed == ["yes"]
