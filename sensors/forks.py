"""Looks ahead for every fork, once an hour: which patches the next rebase will break on.

What belongs here: whose turn it is, and saying what was looked at. What does not: looking
(`upkeep/forks/forecast.py`), and how it is shown (`assets/early_warning.py`).

No run is started: a look takes a fraction of the time that a run takes to start. A tick takes no lock and moves no
ref. What it writes says what was seen: a forecast that changed is a row in the events, and once it is there it is not
written again. A fork that cannot be looked at is tried again sooner and keeps nobody else waiting.

The first look at a large upstream may not end within a tick. A rebase, or a run that a person starts of the asset, has
the time to fetch it, and the next look finds it there.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dagster import (
    AssetCheckEvaluation,
    AssetMaterialization,
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from assets.early_warning import EARLY_WARNING, told
from resources.database import open_database
from upkeep.config import Settings
from upkeep.errors import UpkeepError
from upkeep.forks.records import Forecast

NAME = "fork_early_warning"
TICK_SECONDS = 60
EVERY_SECONDS = 3600.0
AGAIN_SECONDS = 600.0
"""After a look that failed."""
DEADLINE_SECONDS = 40.0
"""Of one tick, from its entry. Dagster gives up at 60 s and then loses everything that the tick saw."""
LEAST_SECONDS = 10.0
"""A look is not begun with less."""
CURSOR_VERSION = 1

Look = Callable[[str, float], Forecast]
"""`(fork, seconds)`: look ahead for a fork within so many seconds. Raises UpkeepError."""


@dataclass(frozen=True)
class Round:
    """What a tick saw and why not more, and when each fork is due next (seconds since 1970)."""

    seen: tuple[Forecast, ...]
    notes: tuple[str, ...]
    due: Mapping[str, float] = field(default_factory=dict)


def parse(cursor: str | None) -> dict[str, float]:
    """When each fork is due. Anything that this version did not write means: now."""
    try:
        value = json.loads(cursor or "null")
        if value["v"] != CURSOR_VERSION:
            return {}
        return {str(name): float(at) for name, at in value["due"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {}


def dump(due: Mapping[str, float]) -> str:
    return json.dumps({"v": CURSOR_VERSION, "due": {name: round(at) for name, at in sorted(due.items())}})


def look_around(
    forks: Mapping[str, object], due: Mapping[str, float], look: Look, clock: Callable[[], float], *, deadline: float
) -> Round:
    """Look at the forks whose time has come, the most overdue first, until `deadline` seconds have passed."""
    began = clock()
    # A clock that was set back must not put a fork off for years.
    known = {name: at for name, at in due.items() if name in forks and at <= began + EVERY_SECONDS}
    waiting = sorted((name for name in forks if known.get(name, 0.0) <= began), key=lambda name: known.get(name, 0.0))
    seen: list[Forecast] = []
    notes: list[str] = []
    for name in waiting:
        left = deadline - (clock() - began)
        if left < LEAST_SECONDS:
            notes.append(f"{name}: not reached in time, first in the next tick")
            continue
        try:
            seen.append(look(name, left))
            known[name] = clock() + EVERY_SECONDS
        except UpkeepError as error:
            notes.append(f"{name}: {error.message}")
            known[name] = clock() + AGAIN_SECONDS
    return Round(tuple(seen), tuple(notes), known)


def explain(settings: Settings, done: Round) -> str:
    """What a tick found, for a person."""
    if not settings.forks:
        return "no fork is configured"
    said = [f"{each.fork}: {each.tonight.branch}: {each.tonight.words}" for each in done.seen]
    return "; ".join([*said, *done.notes]) or "no fork is due"


def early_warning_sensor(settings: Settings) -> SensorDefinition:
    """The sensor that looks ahead for every fork of `settings`, once an hour."""

    @sensor(
        name=NAME,
        asset_selection=[EARLY_WARNING],
        minimum_interval_seconds=TICK_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Looks every hour which patches of a fork the next rebase will break on. Starts no run.",
    )
    def early_warning(context: SensorEvaluationContext) -> SensorResult:
        due = parse(context.cursor)
        events: list[AssetMaterialization | AssetCheckEvaluation] = []
        done = Round((), (), due)
        if any(due.get(name, 0.0) <= time.time() for name in settings.forks):
            from upkeep.forks import forecast

            with open_database(settings) as database:

                def look(name: str, seconds: float) -> Forecast:
                    found = forecast.look(settings, name, database, deadline=seconds)
                    forecast.note(database, found)
                    return found

                done = look_around(settings.forks, due, look, time.time, deadline=DEADLINE_SECONDS)
            events = [event for found in done.seen for event in told(settings, found)]
        said = explain(settings, done)
        if done.notes and events:
            context.log.info(said)
        return SensorResult(
            asset_events=events,
            skip_reason=None if events else SkipReason(said),
            cursor=dump(done.due),
        )

    return early_warning
