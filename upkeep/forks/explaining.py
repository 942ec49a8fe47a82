"""What the next rebase of a fork will do, and what the last ones did, in plain words.

What belongs here: putting together what is known now. What does not: looking ahead (`forecast.py`), and printing
(`cli/state.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from upkeep.config import Settings
from upkeep.cron import machine_zone
from upkeep.database import events
from upkeep.database.events import Event, EventType
from upkeep.database.locks import holder_of
from upkeep.database.server import Database
from upkeep.errors import UpkeepError
from upkeep.forks import forecast
from upkeep.forks.records import Forecast, Outlook, Record
from upkeep.settings.forks import Fork

RUNS_SHOWN = 5
PATCHES_SHOWN = 10


class Explanation(Record):
    """`code` says what a run would do now: `up_to_date`, `will_rebase`, `will_break`, `needs_person`, `cannot_tell`, or
    the code of the error that kept us from looking. `lines` are for people."""

    fork: str
    code: str
    lines: tuple[str, ...]
    forecast: Forecast | None = None


def explain(settings: Settings, name: str, database: Database) -> Explanation:
    """Look ahead now, and back at the last runs. Raises ConfigError for an unknown fork."""
    fork = settings.fork(name)
    lines: list[str] = []
    found: Forecast | None = None
    try:
        found = forecast.look(settings, name, database)
        code = _code(found)
        lines += _ahead(fork, found)
    except UpkeepError as error:
        code = error.reason
        lines += [f"Nothing can be said about the next rebase: {error.message}.", *filter(None, [error.remedy])]
    lines += _schedule(name, fork)
    if (holder := holder_of(database, f"fork:{name}")) is not None:
        lines.append(f"The fork is locked: {holder.words}.")
    with database.session() as session:
        changed = events.newest_of(session, "forks", f"fork:{name}", EventType.FORECAST_CHANGED)
        history = events.of_subject(session, "forks", f"fork:{name}", limit=200)
    if changed is not None:
        lines.append(f"The hourly look ahead has said so since {changed.at:%Y-%m-%d %H:%M} UTC: {_noted(changed)}.")
    lines += _runs(history)
    return Explanation(fork=name, code=code, lines=tuple(lines), forecast=found)


def _code(found: Forecast) -> str:
    tonight = found.tonight
    if tonight.unknown:
        return "cannot_tell"
    if tonight.breaks:
        return "will_break"
    if not found.behind.commits:
        return "up_to_date"
    return "needs_person" if tonight.escalated else "will_rebase"


def _ahead(fork: Fork, found: Forecast) -> Iterator[str]:
    tonight = found.tonight
    yield f"{fork.trunk} is at {found.trunk[:12]}, upstream's {tonight.branch} at {tonight.head[:12]}."
    if found.behind.since is None:
        yield "Trunk has all of upstream."
    else:
        days = found.behind.days(datetime.now(UTC))
        yield f"Trunk lacks {found.behind.commits} upstream commit(s), the oldest for {days:.1f} days."
    yield f"A rebase now: {tonight.words}."
    yield from _broken(tonight)
    if tonight.escalated and found.behind.commits:
        yield (
            f"Upstream changed {len(tonight.escalated)} path(s) that a person wants to see, such as "
            f"{tonight.escalated[0]}: the run will stop there."
        )
    for each in found.outlooks[1:]:
        yield f"Once {each.branch} is merged upstream: {each.words}."
        yield from _broken(each)


def _broken(outlook: Outlook) -> Iterator[str]:
    for each in outlook.conflicts[:PATCHES_SHOWN]:
        by = f", since {each.broken_by.sha[:12]} {each.broken_by.subject}" if each.broken_by else ""
        yield f"  Patch {each.number}, {each.subject}: {', '.join(each.conflicts)}{by}"


def _schedule(name: str, fork: Fork) -> Iterator[str]:
    if fork.schedule is None:
        yield f"It has no schedule: `upkeep rebase {name}` rebases it."
    else:
        zone = fork.time_zone or machine_zone()
        yield f"It runs by `{fork.schedule}` ({zone}) while `upkeep up` does; `upkeep rebase {name}` does it now."


def _noted(changed: Event) -> str:
    branches = changed.summary.get("branches") or {}
    if not branches:
        return "every patch goes"
    named = (
        f"{branch}: patch {', '.join(str(each['number']) for each in broken)}" for branch, broken in branches.items()
    )
    return "; ".join(named)


def _runs(history: list[Event]) -> Iterator[str]:
    """The newest runs, newest first, by how they ended."""
    ended = [event for event in history if event.type in (EventType.RUN_ENDED, EventType.RUN_SKIPPED)]
    if not ended:
        yield "No run of this fork is recorded yet."
    for event in ended[:RUNS_SHOWN]:
        outcome, reason = event.summary.get("outcome", "?"), event.summary.get("reason")
        said = f"Run at {event.at:%Y-%m-%d %H:%M:%S} UTC: {outcome}"
        yield said + (f", {reason}" if reason and reason != outcome else "")
