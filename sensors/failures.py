"""Closes in our own records what a run left open when it ended without saying so.

What belongs here: sensors on the status of runs. What does not: deciding what an open run means (`upkeep/runs.py`). A
worker that is killed writes no last event; Dagster's monitoring notices, and these sensors pass the news on.
"""

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    RunStatusSensorContext,
    SensorDefinition,
    SkipReason,
    run_status_sensor,
)

from resources.database import open_database
from upkeep.config import Settings
from upkeep.database import events
from upkeep.database.events import Outcome
from upkeep.database.server import Database

OUTCOMES = {DagsterRunStatus.FAILURE: Outcome.KILLED, DagsterRunStatus.CANCELED: Outcome.CANCELLED}


def failure_sensors(settings: Settings) -> list[SensorDefinition]:
    """One sensor for failed and one for cancelled runs, whoever started them."""
    return [_sensor(settings, status) for status in OUTCOMES]


def _sensor(settings: Settings, status: DagsterRunStatus) -> SensorDefinition:
    word = status.value.lower()

    @run_status_sensor(
        run_status=status,
        name=f"close_runs_{word}",
        default_status=DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=10,
        # A run that the command line started belongs to no code location.
        monitor_all_code_locations=True,
        description=f"Closes the events of a run that ended as {word} without saying so itself.",
    )
    def close(context: RunStatusSensorContext) -> SkipReason:
        run_id = context.dagster_run.run_id
        with open_database(settings) as database:
            closed = close_run(database, run_id, OUTCOMES[status])
        return SkipReason(f"run {run_id}: {'closed' if closed else 'had closed itself'}")

    return close


def close_run(database: Database, run_id: str, outcome: Outcome) -> bool:
    """Record the end of a run that has none; False where it has one. A run without events was none of ours."""
    with database.session() as session:
        return events.close(session, run_id, outcome)
