"""Sees that an upstream has moved and asks for an update: one sensor for all watches.

What belongs here: comparing what is wanted with what is recorded, and saying what was looked at. What does not:
changing anything. A tick has no side effect; rows are claimed inside the run.

Level-triggered: every look asks whether the head that is there now has been dealt with, so a missed tick, a lost run
or a restart costs one poll interval and nothing else. `plan_requests` holds the decisions and is pure.

https://docs.dagster.io/guides/automate/sensors
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from resources.content import subject_of
from resources.database import open_database
from resources.runs import SUBJECT_TAG
from sensors.runs import ATTEMPT_TAG, ended_at, partitions_in_flight, repeated
from upkeep.config import Settings
from upkeep.database.state import read_watch

if TYPE_CHECKING:
    # `upkeep update` loads this module with the other definitions and polls nothing: an HTTP client less to import.
    from upkeep.content.watching import Wanted
    from upkeep.heads import HeadResult

JOB: Final = "content_update"

DEADLINE_SECONDS = 40.0
"""Of one tick, from its entry. Dagster gives up at 60 s and then loses everything that the tick saw."""

SHORTEST_TICK_SECONDS, LONGEST_TICK_SECONDS = 1, 30
CURSOR_VERSION = 1
LATE_KEPT = 200
NOTES_SHOWN = 20
Decide = Callable[[str, str], "Wanted"]
"""`(watch, sha)`: whether that head needs a run, which attempt it would be, and why or why not."""

Ended = Callable[[str, str, int], Sequence[float]]
"""`(watch, sha, attempt)`: when runs of exactly this attempt ended that the state knows nothing of (seconds since
1970). They died, or were refused the lock, before they could record that they had begun."""


@dataclass(frozen=True)
class Cursor:
    """What a tick remembers: when the last one looked, and which watches it did not get to."""

    looked_at: float = 0.0
    late: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Read a cursor. Anything that this version did not write means: look at everything."""
        try:
            value = json.loads(text or "null")
            if value["v"] != CURSOR_VERSION:
                return cls()
            looked_at, late = float(value["at"]), value["late"]
            if not (0 <= looked_at < float("inf")) or not isinstance(late, list):
                return cls()
            return cls(looked_at, tuple(name for name in late if isinstance(name, str)))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return cls()

    def dump(self) -> str:
        return json.dumps({"v": CURSOR_VERSION, "at": round(self.looked_at, 3), "late": list(self.late[:LATE_KEPT])})


@dataclass(frozen=True)
class Request:
    """One run to ask for. Dagster deduplicates `key` for ever, failed runs included: the attempt is part of it."""

    watch: str
    sha: str
    attempt: int
    key: str


@dataclass(frozen=True)
class Plan:
    """What follows from one look. `notes` say of every watch that was looked at why nothing is asked for."""

    requests: tuple[Request, ...]
    notes: tuple[str, ...]
    late: tuple[str, ...]


def due_watches(settings: Settings, cursor: Cursor, now: float) -> list[str]:
    """Watches whose poll interval has come round since the last look, those that it did not get to first.

    Each watch has slots of `poll_minutes` with an offset of its own, so that a thousand watches spread over the
    interval and the cursor needs no entry for each.
    """
    late = [name for name in cursor.late if name in settings.watches]
    came_round = [
        name
        for name, watch in settings.watches.items()
        if _slot(name, watch.poll_minutes * 60, now) != _slot(name, watch.poll_minutes * 60, cursor.looked_at)
    ]
    return [*late, *(name for name in came_round if name not in set(late))]


def _slot(name: str, seconds: float, at: float) -> int:
    offset = int.from_bytes(sha256(name.encode()).digest()[:4]) / 2**32
    return int(at / seconds + offset)


def plan_requests(
    due: Iterable[str],
    heads: "Mapping[str, HeadResult]",
    *,
    in_flight: frozenset[str],
    decide: Decide,
    ended: Ended,
    now: float,
) -> Plan:
    """Decide for every watch that was due. A head that could not be read is not an absent head: it says nothing."""
    requests: list[Request] = []
    notes: list[str] = []
    late: list[str] = []
    for name in due:
        head = heads.get(name)
        if head is None:
            late.append(name)
            notes.append(f"{name}: not reached in time, first in the next look")
            continue
        found = _plan_one(name, head, in_flight, decide, ended, now)
        if isinstance(found, Request):
            requests.append(found)
        else:
            notes.append(f"{name}: {found}")
    return Plan(tuple(requests), tuple(notes), tuple(late))


def _plan_one(
    name: str, head: "HeadResult", in_flight: frozenset[str], decide: Decide, ended: Ended, now: float
) -> Request | str:
    if head.sha is None:
        return f"could not be read: {head.error}"
    if subject_of(name) in in_flight:
        return "a run is in flight"
    decision = decide(name, head.sha)
    if not decision.run:
        return decision.reason
    lost = ended(name, head.sha, decision.attempt)
    key = f"{name}@{head.sha}#{decision.attempt}"
    # An attempt that was never recorded cannot be counted against the cap; it is asked for again, ever more slowly.
    key, wait = repeated(key, lost, now)
    if wait > 0:
        return f"{len(lost)} runs ended before they began their work; the next in {wait:.0f} s"
    return Request(name, head.sha, decision.attempt, key)


def explain_plan(plan: Plan, settings: Settings, due: Sequence[str]) -> str:
    """What a look found, for a person."""
    if not settings.watches:
        return "no watch is configured; `upkeep init` writes a commented upkeep.yaml"
    if not due:
        return f"none of {len(settings.watches)} watches is due"
    shown = plan.notes[:NOTES_SHOWN]
    rest = [f"… and {len(plan.notes) - NOTES_SHOWN} more"] if len(plan.notes) > NOTES_SHOWN else []
    return "; ".join([f"looked at {len(due)} of {len(settings.watches)} watches", *shown, *rest])


def content_sensor(
    settings: Settings, *, poll: "Callable[..., Mapping[str, HeadResult]] | None" = None
) -> SensorDefinition:
    """The sensor that polls every watch of `settings` which is due, with `watching.poll_heads` or with `poll`."""

    @sensor(
        name="content_heads",
        job_name=JOB,
        minimum_interval_seconds=tick_seconds(settings),
        default_status=DefaultSensorStatus.RUNNING,
        description="Looks at the head of every watched upstream and asks for one update where it has moved.",
    )
    def content_heads(context: SensorEvaluationContext) -> SensorResult:
        now = time.time()
        cursor = Cursor.parse(context.cursor)
        due = due_watches(settings, cursor, now)
        plan = Plan((), (), ())
        if due:
            from upkeep.content.watching import poll_heads

            heads = (poll or poll_heads)(_only(settings, due), deadline=DEADLINE_SECONDS)
            plan = _plan(context.instance, settings, due, heads, now)
        said = explain_plan(plan, settings, due)
        if plan.requests and plan.notes:
            context.log.info(said)
        return SensorResult(
            run_requests=[run_request(request) for request in plan.requests],
            skip_reason=None if plan.requests else SkipReason(said),
            cursor=Cursor(now, plan.late).dump(),
        )

    return content_heads


def run_request(request: Request) -> RunRequest:
    return RunRequest(
        run_key=request.key,
        partition_key=request.watch,
        tags=tags_of(request.watch, request.sha, request.attempt),
    )


def tags_of(watch: str, sha: str, attempt: int) -> dict[str, str]:
    """The tags of a run, by which the next look knows it again."""
    return {SUBJECT_TAG: subject_of(watch), ATTEMPT_TAG: f"{sha}.{attempt}"}


def tick_seconds(settings: Settings) -> int:
    """How often to tick so that the most eager watch is polled as often as it asks for."""
    eager = min((watch.poll_minutes * 60 for watch in settings.watches.values()), default=LONGEST_TICK_SECONDS)
    return max(SHORTEST_TICK_SECONDS, min(int(eager), LONGEST_TICK_SECONDS))


def _only(settings: Settings, names: Sequence[str]) -> Settings:
    """The same settings with these watches, in this order."""
    return settings.model_copy(update={"watches": {name: settings.watches[name] for name in names}})


def _plan(
    instance: DagsterInstance, settings: Settings, due: Sequence[str], heads: "Mapping[str, HeadResult]", now: float
) -> Plan:
    from upkeep.content.watching import wanted

    moment = datetime.fromtimestamp(now, UTC)
    with open_database(settings) as database:

        def decide(name: str, sha: str) -> "Wanted":
            with database.session() as session:
                known = read_watch(session, name)
            return wanted(settings, name, sha, known, moment)

        return plan_requests(
            due,
            heads,
            in_flight=frozenset(map(subject_of, partitions_in_flight(instance, JOB))),
            decide=decide,
            ended=lambda name, sha, attempt: ended_at(instance, JOB, tags_of(name, sha, attempt)),
            now=now,
        )
