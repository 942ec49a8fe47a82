"""What of Dagster's own records is deleted, and when.

What belongs here: the rule and the deletion. What does not: the `events` of `upkeep`, which are kept for ever, and
ticks, whose retention is Dagster's own setting in `dagster.yaml`.

Dagster never prunes its event log: a run writes about a hundred rows, of which people look at materializations, checks
and the run's own start and end. Those stay, so that plots over time do; the rest goes after `CHATTER_DAYS`.

Materializations of which only the newest says anything (sync confirms every quiet repository every 15 minutes, and two
thousand of them are 200,000 rows a day) carry a tag, and go after `NEWEST_DAYS` where a newer one is there.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from resources.database import open_database
from sensors.sync_events import KEEP_TAG, NEWEST
from upkeep.config import Settings
from upkeep.database.server import Database

CHATTER_DAYS = 30
NEWEST_DAYS = 2
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

_DELETE_OVERTAKEN = sa.text(
    """
    DELETE FROM dagster.event_logs WHERE id IN (
        SELECT old.id FROM dagster.event_logs AS old
        WHERE old.run_id = '' AND old.dagster_event_type = 'ASSET_MATERIALIZATION' AND old.timestamp < :before
          AND old.event LIKE :tag
          AND CASE WHEN old.partition IS NULL THEN EXISTS (
                SELECT FROM dagster.event_logs AS newer
                WHERE newer.asset_key = old.asset_key AND newer.dagster_event_type = old.dagster_event_type
                  AND newer.partition IS NULL AND newer.id > old.id
            ) ELSE EXISTS (
                SELECT FROM dagster.event_logs AS newer
                WHERE newer.asset_key = old.asset_key AND newer.dagster_event_type = old.dagster_event_type
                  AND newer.partition = old.partition AND newer.id > old.id
            ) END
        LIMIT :batch
    )
    """
)
"""Dagster keeps such a tag in the event's text alone."""


@dataclass(frozen=True)
class Pruned:
    events: int
    runs: int


def prune(settings: Settings, instance: DagsterInstance, *, now: datetime | None = None) -> Pruned:
    """Delete old log lines and very old runs. Idempotent; what an interrupted pruning left goes with the next."""
    now = now or datetime.now(UTC)
    with open_database(settings) as database:
        events = _prune_events(database, now - timedelta(days=CHATTER_DAYS))
        events += _prune_overtaken(database, now - timedelta(days=NEWEST_DAYS))
    expired = RunsFilter(statuses=FINISHED, created_before=now - timedelta(days=RUN_DAYS))
    runs = instance.get_runs(filters=expired, limit=1000)
    for run in runs:
        instance.delete_run(run.run_id)
    return Pruned(events, len(runs))


def _prune_events(database: Database, before: datetime) -> int:
    return _delete(database, _DELETE, before, kept=sorted(KEPT))


def _prune_overtaken(database: Database, before: datetime) -> int:
    return _delete(database, _DELETE_OVERTAKEN, before, tag=f'%"{KEEP_TAG}": "{NEWEST}"%')


def _delete(database: Database, statement: sa.TextClause, before: datetime, **more: Any) -> int:
    # Dagster's column is a timestamp without zone, in UTC.
    parameters = {"before": before.replace(tzinfo=None), "batch": BATCH, **more}
    deleted = 0
    while True:
        with database.session() as session:
            gone: int = session.execute(statement, parameters).rowcount  # type: ignore[attr-defined]
        deleted += gone
        if gone < BATCH:
            return deleted
