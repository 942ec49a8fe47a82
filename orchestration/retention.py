"""What of Dagster's own records is deleted, and when.

What belongs here: the rule and the deletion. What does not: the `events` of `upkeep`, which are kept for ever, and
ticks, whose retention is Dagster's own setting in `dagster.yaml`.

Dagster never prunes its event log: a run writes about a hundred rows, of which people look at materializations, checks
and the run's own start and end. Those stay, so that plots over time do; the rest goes after `CHATTER_DAYS`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from resources.database import open_database
from upkeep.config import Settings

CHATTER_DAYS = 30
RUN_DAYS = 730
BATCH = 20_000
"""Rows a transaction: a first pruning of a large table must not hold its locks for minutes."""

FINISHED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]

KEPT = frozenset(
    kind.value
    for kind in DagsterEventType
    if kind.value.startswith(("ASSET_", "PIPELINE_", "RUN_")) and not kind.value.endswith("_PLANNED")
)

_DELETE = sa.text(
    """
    DELETE FROM dagster.event_logs WHERE id IN (
        SELECT id FROM dagster.event_logs
        WHERE timestamp < :before AND (dagster_event_type IS NULL OR NOT dagster_event_type = ANY(:kept))
        LIMIT :batch
    )
    """
)


@dataclass(frozen=True)
class Pruned:
    events: int
    runs: int


def prune(settings: Settings, instance: DagsterInstance, *, now: datetime | None = None) -> Pruned:
    """Delete old log lines and very old runs. Idempotent; what an interrupted pruning left goes with the next."""
    now = now or datetime.now(UTC)
    events = _prune_events(settings, now - timedelta(days=CHATTER_DAYS))
    expired = RunsFilter(statuses=FINISHED, created_before=now - timedelta(days=RUN_DAYS))
    runs = instance.get_runs(filters=expired, limit=1000)
    for run in runs:
        instance.delete_run(run.run_id)
    return Pruned(events, len(runs))


def _prune_events(settings: Settings, before: datetime) -> int:
    # Dagster's column is a timestamp without zone, in UTC.
    parameters = {"before": before.replace(tzinfo=None), "kept": sorted(KEPT), "batch": BATCH}
    deleted = 0
    with open_database(settings) as database:
        while True:
            with database.session() as session:
                gone: int = session.execute(_DELETE, parameters).rowcount  # type: ignore[attr-defined]
            deleted += gone
            if gone < BATCH:
                return deleted
