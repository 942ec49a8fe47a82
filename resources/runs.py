"""What the resources of every system ask of the run that they belong to.

What belongs here: the tags of a run, who started it, and whether it may go on. What does not: what one system works
with (`content.py`, `forks.py`).
"""

from collections.abc import Callable, Mapping
from typing import Final, cast, get_args

from dagster import DagsterInstance, DagsterRunStatus

from upkeep.database.events import Trigger
from upkeep.errors import RunCancelled

PARTITION_TAG: Final = "dagster/partition"
SENSOR_TAG: Final = "dagster/sensor_name"
SCHEDULE_TAG: Final = "dagster/schedule_name"
TRIGGER_TAG: Final = "upkeep/trigger"
SUBJECT_TAG: Final = "upkeep/subject"
ENGINE_TAG: Final = "upkeep/engine"

STATEMENT_TIMEOUT_MS = 60_000
POOL_RECYCLE_SECONDS = 3600
POOL_OVERFLOW = 20


def keep_connections(instance: DagsterInstance) -> None:
    """Let the instance keep its connections open, as the webserver's does: each of a run's 170 calls would make its own
    otherwise, at 5 ms and a server process each. For a process that ends with the run: one that lives on would stumble
    over kept ones when the database has restarted."""
    instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW)


def trigger_of(tags: Mapping[str, str]) -> Trigger:
    """Who started a run: what the command line wrote down, else a sensor or a schedule, else a person in the UI."""
    for known in get_args(Trigger):
        if tags.get(TRIGGER_TAG) == known:
            return cast("Trigger", known)
    if SCHEDULE_TAG in tags:
        return "schedule"
    return "sensor" if SENSOR_TAG in tags else "ui"


def was_cancelled(instance: DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)


def may_continue(instance: DagsterInstance, run_id: str, remedy: str) -> Callable[[str], None]:
    """The question that is asked before each step that leaves the house. Raises RunCancelled, with `remedy`, once a
    person has cancelled the run: the signal that cancels it may still be on its way."""

    def before(step: str) -> None:
        if was_cancelled(instance, run_id):
            raise RunCancelled(f"the run was cancelled before it could {step}", remedy=remedy)

    return before
