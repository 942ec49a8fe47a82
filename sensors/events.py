"""Tells Dagster what happened without a run: rows of `events` become materializations.

What belongs here: reading the events behind the cursor, whatever system they are of, and handing them on. What does
not: what an event means for an asset, which each system says beside its sensor (`sync_events.py`).

Idempotent by its cursor: an event is told once. If a daemon dies between telling and remembering, what it told is told
again: a materialization says what was so at a time, and twice says nothing else. Without a cursor (the first tick, or
one that was reset) what is so now is told, and not the whole history.

https://docs.dagster.io/guides/build/assets/external-assets
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dagster import (
    AddDynamicPartitionsRequest,
    AssetCheckEvaluation,
    AssetMaterialization,
    AssetObservation,
    DagsterInstance,
    DefaultSensorStatus,
    DeleteDynamicPartitionsRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)
from sqlalchemy.orm import Session

from resources.database import open_database
from upkeep.config import Settings
from upkeep.database import events
from upkeep.database.events import Event, EventType

NAME: Final = "events"
TICK_SECONDS = 10
EVENTS_PER_TICK = 500
CURSOR_VERSION = 1
MANY = 20
"""Materializations of one asset in one tick."""

AssetEvent = AssetMaterialization | AssetObservation | AssetCheckEvaluation


@dataclass
class Told:
    """What events become. `partitions`: requests that make dynamic partitions fit."""

    asset_events: list[AssetEvent] = field(default_factory=list)
    partitions: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = field(default_factory=list)


Translate = Callable[[Session, DagsterInstance, Sequence[Event] | None], Told]
"""What a system makes of its events, oldest first; None: of what is so now. Events of runs that Dagster knows have told
their story there."""


def parse_cursor(text: str | None) -> int | None:
    """The id of the last event that was told; None for anything that this version did not write."""
    try:
        value = json.loads(text or "null")
        after = value["after"] if value["v"] == CURSOR_VERSION else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return after if isinstance(after, int) and not isinstance(after, bool) and after >= 0 else None


def dump_cursor(after: int) -> str:
    return json.dumps({"v": CURSOR_VERSION, "after": after})


def tell(
    session: Session, instance: DagsterInstance, translators: Mapping[str, Translate], after: int | None
) -> tuple[Told, int, int]:
    """What is to be told, the cursor behind it, and how many events that were."""
    newest = events.newest(session)
    found: list[Event] = []
    told = Told()
    if after is not None:
        types = (EventType.STATE_WRITTEN,)
        found = events.after(session, after, types=types, systems=tuple(translators), limit=EVENTS_PER_TICK)
    for system, translate in translators.items():
        mine = [event for event in found if event.system == system]
        if after is None or mine:
            each = translate(session, instance, None if after is None else mine)
            told.asset_events += each.asset_events
            told.partitions += each.partitions
    # What is not ours need not be looked at again, unless some of ours may lie behind it.
    full = len(found) == EVENTS_PER_TICK
    return told, found[-1].id if full else max(newest, after or 0), len(found)


def events_sensor(settings: Settings, translators: Mapping[str, Translate]) -> SensorDefinition:
    """The sensor over all systems of `translators`."""

    @sensor(
        name=NAME,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Shows what commands, hooks and timers did as materializations of the assets that they changed.",
    )
    def told_without_a_run(context: SensorEvaluationContext) -> SensorResult:
        after = parse_cursor(context.cursor)
        with open_database(settings) as database, database.session() as session:
            told, cursor, count = tell(session, context.instance, translators, after)
        return SensorResult(
            asset_events=store_many(context.instance, told.asset_events),
            dynamic_partitions_requests=told.partitions,
            skip_reason=SkipReason(f"{count} events, {len(told.asset_events)} told of"),
            cursor=dump_cursor(cursor),
        )

    return told_without_a_run


def store_many(instance: DagsterInstance, told: Sequence[AssetEvent]) -> list[AssetEvent]:
    """Store materializations of one asset that are many here and at once, and return the rest. What a tick returns is
    stored by Dagster one by one: two thousand confirmations are half a minute in which no other sensor is told."""
    together = getattr(instance.event_log_storage, "together", None)
    counts = Counter(each.asset_key for each in told if isinstance(each, AssetMaterialization))
    many = {key for key, count in counts.items() if count >= MANY}
    if together is None or not many:
        return list(told)
    for key in many:
        with together():
            for each in told:
                if isinstance(each, AssetMaterialization) and each.asset_key == key:
                    instance.report_runless_asset_event(each)
    return [each for each in told if not (isinstance(each, AssetMaterialization) and each.asset_key in many)]


def known_runs(instance: DagsterInstance, found: Sequence[Event]) -> frozenset[str]:
    """The ids among the events' runs that Dagster has a run of."""
    ids: Any = {event.run_id for event in found if event.run_id is not None}
    return frozenset(run_id for run_id in ids if instance.has_run(run_id))
