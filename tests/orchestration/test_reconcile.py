"""Runs whose process is gone are closed, runs that may be alive are not."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from pydantic import SecretStr

from orchestration.inprocess import PROCESS_TAG
from orchestration.reconcile import JUST_STARTED, reconcile
from upkeep.agents.budget import Account, Limits
from upkeep.agents.ledger import DatabaseLedger
from upkeep.database import events
from upkeep.database.events import EventType, Outcome
from upkeep.database.locks import hold
from upkeep.database.server import Database
from upkeep.database.tables import events as events_table
from upkeep.reaper import owner_token


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as made:
        yield made


def add(instance: DagsterInstance, status: DagsterRunStatus, **tags: str) -> str:
    return instance.add_run(DagsterRun(job_name="content_update", status=status, tags=tags)).run_id


def status_of(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def start(database: Database, run_id: str, *, ago: timedelta) -> None:
    with database.session() as session:
        session.execute(
            sa.insert(events_table).values(
                at=datetime.now(UTC) - ago,
                system="content",
                subject="watch:app",
                type=EventType.RUN_STARTED.value,
                run_id=run_id,
            )
        )


def open_runs(database: Database) -> list[str | None]:
    with database.session() as session:
        return [event.run_id for event in events.open_runs(session)]


def test_a_run_of_a_launcher_that_was_left_started_has_failed(database: Database, instance: DagsterInstance) -> None:
    run_id = add(instance, DagsterRunStatus.STARTED)

    assert reconcile(database, instance).dagster == (run_id,)

    assert status_of(instance, run_id) == DagsterRunStatus.FAILURE
    assert reconcile(database, instance).dagster == ()


def test_a_run_that_was_being_cancelled_is_cancelled(database: Database, instance: DagsterInstance) -> None:
    run_id = add(instance, DagsterRunStatus.CANCELING)

    reconcile(database, instance)

    assert status_of(instance, run_id) == DagsterRunStatus.CANCELED


def test_a_run_of_a_command_that_is_alive_is_left_alone(database: Database, instance: DagsterInstance) -> None:
    alive = add(instance, DagsterRunStatus.STARTED, **{PROCESS_TAG: owner_token(os.getpid())})
    gone = owner_token(os.getpid()).replace(":", ":1", 1)
    dead = add(instance, DagsterRunStatus.STARTED, **{PROCESS_TAG: gone})

    assert reconcile(database, instance).dagster == (dead,)

    assert status_of(instance, alive) == DagsterRunStatus.STARTED


def test_a_run_that_waits_for_its_start_stays(database: Database, instance: DagsterInstance) -> None:
    run_id = add(instance, DagsterRunStatus.NOT_STARTED)

    assert reconcile(database, instance).dagster == ()
    assert status_of(instance, run_id) == DagsterRunStatus.NOT_STARTED


def test_events_of_a_killed_run_are_closed_as_killed(database: Database, instance: DagsterInstance) -> None:
    start(database, "old", ago=2 * JUST_STARTED)

    assert reconcile(database, instance).events == ("old",)

    with database.session() as session:
        assert events.of_run(session, "old")[-1].summary["outcome"] == Outcome.KILLED


def test_events_of_a_run_that_holds_its_lock_or_is_about_to_stay_open(
    database: Database, instance: DagsterInstance
) -> None:
    start(database, "working", ago=2 * JUST_STARTED)
    start(database, "fresh", ago=timedelta())
    with hold(database, "watch:app", run_id="working"):
        assert reconcile(database, instance).events == ()

    assert open_runs(database) == ["working", "fresh"]


def test_what_an_agent_had_reserved_when_everything_was_killed_counts_as_spent(
    database: Database, instance: DagsterInstance
) -> None:
    limits = Limits(per_run_usd=1, per_subject_day_usd=2, per_agent_month_usd=3)
    account = Account(database_url=SecretStr(database.url), agent="writer", subject="app", run_id="gone", limits=limits)
    ledger = DatabaseLedger(account)
    ledger.reserve(Decimal("0.1"), Decimal("0.4"), model="m")
    assert reconcile(database, instance).requests == 0, "its holder lives"
    ledger.close()

    deadline = time.monotonic() + 60
    while not (closed := reconcile(database, instance).requests):
        assert time.monotonic() < deadline, "the server does not notice that the connection is gone"
        time.sleep(0.05)

    assert closed == 1
    with database.session() as session:
        spent = session.execute(sa.text("SELECT spent_usd FROM upkeep.spending WHERE scope = 'agent_month'")).scalar()
    assert spent == Decimal("0.4")
