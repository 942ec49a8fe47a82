"""One row a run, out of events."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from upkeep.agents.base import Usage
from upkeep.agents.budget import Account, Limits
from upkeep.agents.ledger import DatabaseLedger
from upkeep.database import events
from upkeep.database.events import EventType, Outcome, Reason
from upkeep.database.server import Database
from upkeep.metrics import runs


def tell(database: Database, run_id: str | None, type: EventType, **summary: Any) -> None:
    with database.session() as session:
        events.record(session, system="content", subject="a", type=type, run_id=run_id, **summary)


def row(database: Database, run_id: str) -> runs.Run:
    with database.session() as session:
        found = runs.one(session, run_id)
    assert found is not None
    return found


def test_a_whole_run_is_one_row(database: Database) -> None:
    usage = Usage(
        engine="codex", model="m", requests=2, input_uncached=10, cache_read=5, output=3, cost_priced_usd=0.25
    )
    tell(database, "r", EventType.RUN_STARTED, trigger="sensor", head="b" * 40)
    tell(database, "r", EventType.STEP_ENDED, step="fetch", seconds=0.5)
    tell(database, "r", EventType.STEP_ENDED, step="agent", seconds=2.0)
    tell(database, "r", EventType.AGENT_ENDED, **usage.model_dump())
    tell(database, "r", EventType.STEP_ENDED, step="agent", seconds=1.0)
    tell(database, "r", EventType.AGENT_ENDED, **usage.model_dump())
    tell(database, "r", EventType.PR_CREATED, url="https://forge/1")
    tell(database, "r", EventType.RUN_ENDED, outcome=Outcome.DONE, base="a" * 40, head="b" * 40, counts={"added": 2})
    found = row(database, "r")
    assert (found.system, found.subject, found.trigger) == ("content", "a", "sensor")
    assert (found.outcome, found.reason) == (Outcome.DONE, None)
    assert found.seconds == {"fetch": 0.5, "agent": 3.0}
    assert (found.engine, found.model, found.basis, found.complete) == ("codex", "m", "none", True)
    assert (found.requests, found.input_uncached, found.cache_read, found.output) == (4, 20, 10, 6)
    assert (found.cost_priced_usd, found.cost_reported_usd, found.cost_usd) == (0.5, None, 0.5)
    assert (found.pr_url, found.base, found.head) == ("https://forge/1", "a" * 40, "b" * 40)
    assert found.counts == {"added": 2}
    assert found.ended_at is not None
    assert found.seconds_total == pytest.approx((found.ended_at - found.started_at).total_seconds())


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_way_to_end_is_in_the_table(database: Database, outcome: Outcome) -> None:
    tell(database, "r", EventType.RUN_STARTED, trigger="cli")
    tell(database, "r", EventType.RUN_ENDED, outcome=outcome, reason=Reason.UNEXPECTED)
    assert (row(database, "r").outcome, row(database, "r").reason) == (outcome, "unexpected")


def test_a_run_that_goes_on_has_no_outcome_and_a_killed_one_gets_it_later(database: Database) -> None:
    tell(database, "r", EventType.RUN_STARTED, trigger="cli")
    assert (row(database, "r").outcome, row(database, "r").ended_at) == (None, None)
    with database.session() as session:
        events.reconcile(session, is_alive=lambda _: False)
    assert (row(database, "r").outcome, row(database, "r").reason) == (Outcome.KILLED, "process_gone")


def test_what_a_run_says_of_its_own_end_counts_more_than_the_guess_before(database: Database) -> None:
    tell(database, "r", EventType.RUN_STARTED, trigger="cli")
    tell(database, "r", EventType.RUN_ENDED, outcome=Outcome.KILLED, reason=Reason.PROCESS_GONE)
    tell(database, "r", EventType.RUN_ENDED, outcome=Outcome.DONE)
    assert row(database, "r").outcome is Outcome.DONE


def test_a_skip_is_a_row_with_its_reason(database: Database) -> None:
    tell(database, "r", EventType.RUN_SKIPPED, reason=Reason.NOT_RELEVANT)
    assert (row(database, "r").outcome, row(database, "r").reason) == (Outcome.SKIPPED, "not_relevant")


def test_nothing_new_is_not_a_skip(database: Database) -> None:
    tell(database, "r", EventType.RUN_SKIPPED, outcome=Outcome.NOTHING_NEW, reason=Reason.EMPTY_RANGE)
    assert (row(database, "r").outcome, row(database, "r").reason) == (Outcome.NOTHING_NEW, "empty_range")


def test_events_of_no_run_make_no_row(database: Database) -> None:
    tell(database, None, EventType.STATE_REBUILT)
    tell(database, "loose", EventType.STATE_WRITTEN)
    with database.session() as session:
        assert runs.newest(session) == []
        assert runs.one(session, "loose") is None


def test_runs_are_listed_newest_first_and_by_subject(database: Database) -> None:
    for run in ("first", "second"):
        tell(database, run, EventType.RUN_STARTED, trigger="cli")
    with database.session() as session:
        assert [run.run_id for run in runs.newest(session, system="content", subject="a")] == ["second", "first"]
        assert [run.run_id for run in runs.newest(session, limit=1)] == ["second"]
        assert runs.newest(session, system="forks") == []
        assert runs.newest(session, subject="b") == []


def test_a_killed_run_costs_what_the_ledger_booked_for_it(database: Database) -> None:
    """Its agent never said how it ended."""
    tell(database, "r", EventType.RUN_STARTED, trigger="sensor")
    limits = Limits(per_run_usd=1, per_subject_day_usd=2, per_agent_month_usd=3)
    url = SecretStr(database.url)
    ledger = DatabaseLedger(Account(database_url=url, agent="w", subject="a", run_id="r", limits=limits))
    ledger.settle(ledger.reserve(Decimal("0.1"), Decimal("0.1"), model="m"), Decimal("0.05"), Usage(engine="codex"))
    ledger.settle(ledger.reserve(Decimal("0.1"), Decimal("0.1"), model="m"), Decimal("0.1"), None)
    ledger.reserve(Decimal("0.2"), Decimal("0.2"), model="m")
    found = row(database, "r")
    assert (found.requests, found.cost_booked_usd, found.cost_usd) == (None, 0.15, 0.15)
    ledger.close()


def test_the_model_the_view_and_the_usage_of_agents_name_the_same_things(database: Database) -> None:
    columns = {column["name"] for column in sa.inspect(database.engine).get_columns("runs", schema="metrics")}
    assert columns == set(runs.Run.model_fields) == {column.name for column in runs.view.columns}
    # The cross-check with the CLI's own count stands in the event; the table has the normal form alone.
    assert set(Usage.model_fields) - {"gap"} <= columns
