"""Sees that a repository and the hub have drifted apart and asks for a sync: one sensor for all repositories.

What belongs here: when to look, and what to ask for. What does not: looking (`upkeep/sync/survey.py`), and telling
Dagster what was synced without a run (`events.py`).

A round looks at every repository once, at most every 15 minutes, and continues in the next tick where one is too short.
Level-triggered: a repository that still differs in the next round is asked for again. One thing is written in a tick,
and it is the look itself: repositories that agree count as synced now, those that cannot be reached have their finding.
Both say what was seen at that time, so doing it twice does no harm.

https://docs.dagster.io/guides/automate/sensors
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dagster import (
    AddDynamicPartitionsRequest,
    DefaultSensorStatus,
    DeleteDynamicPartitionsRequest,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from assets.partitions import REPOSITORIES
from resources.hub import open_hub
from resources.runs import SUBJECT_TAG
from sensors.runs import ATTEMPT_TAG, ended_at, partitions_in_flight, repeated
from upkeep.config import Settings
from upkeep.sync import markers, registry, survey
from upkeep.sync.attempts import subject_of
from upkeep.sync.survey import Checked

JOB: Final = "repository_sync"

TICK_SECONDS = 60
ROUND_SECONDS = 15 * 60 - TICK_SECONDS
"""From the beginning of one round to the next: with the tick that comes up to a minute late it is 15 minutes."""
DEADLINE_SECONDS = 40.0
"""Of one tick, from its entry. Dagster gives up at 60 s and then loses everything that the tick saw."""
REQUESTS_PER_TICK = 100
"""More wait for the next tick: a machine that slept for a week must not queue a thousand runs at once."""
MARKER_SECONDS = 60.0
"""A marker that is younger belongs to a hook's own process."""
CURSOR_VERSION = 1
NOTES_SHOWN = 20

Ended = Callable[[str, str], Sequence[float]]
"""`(slug, attempt)`: when runs of exactly this request ended that recorded no attempt (seconds since 1970)."""


@dataclass(frozen=True)
class Cursor:
    """What a tick remembers: when the round began, and the slug behind which it goes on (None: it is complete)."""

    began_at: float = 0.0
    after: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Read a cursor. Anything that this version did not write means: begin a round."""
        try:
            value = json.loads(text or "null")
            if value["v"] != CURSOR_VERSION:
                return cls()
            began_at, after = float(value["at"]), value["after"]
            if not 0 <= began_at < float("inf") or not isinstance(after, str | None):
                return cls()
            return cls(began_at, after)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return cls()

    def dump(self) -> str:
        return json.dumps({"v": CURSOR_VERSION, "at": round(self.began_at, 3), "after": self.after})

    def at(self, now: float) -> "Cursor | None":
        """The round that a tick at `now` works on: the one that is not complete, a new one, or none yet."""
        if self.after is not None:
            return self
        # A time ahead of the clock: it was set back.
        if now - self.began_at >= ROUND_SECONDS or now < self.began_at:
            return Cursor(now, "")
        return None


@dataclass(frozen=True)
class Request:
    """One run to ask for. `attempt` is when the repository was last tried: as soon as a run records that it tried, a
    request is another one. Dagster deduplicates `key` for ever."""

    slug: str
    attempt: str
    key: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What follows from one look. `notes` say of every other repository why nothing is asked for, as far as there is
    something to say. `more`: the slug behind which the next tick goes on."""

    requests: tuple[Request, ...] = ()
    notes: tuple[str, ...] = ()
    more: str | None = None


def plan_syncs(
    checked: Checked,
    *,
    waiting: frozenset[str],
    in_flight: frozenset[str],
    ended: Ended,
    now: float,
    limit: int = REQUESTS_PER_TICK,
) -> Plan:
    """Decide for every repository that was looked at. `waiting`: those with a commit that a hook told of and no sync
    took; `in_flight`: those with a run."""
    wanted = {slug: "a commit waits that no sync took" for slug in checked.agree if slug in waiting}
    wanted |= checked.drifted
    requests: list[Request] = []
    notes = [f"{slug}: {why}" for slug, why in sorted({**checked.failing, **checked.unreachable}.items())]
    for slug, why in sorted(wanted.items()):
        if len(requests) == limit:
            return Plan(tuple(requests), tuple(notes), requests[-1].slug)
        found = _plan_one(slug, why, checked.attempts.get(slug), in_flight, ended, now)
        if isinstance(found, Request):
            requests.append(found)
        else:
            notes.append(f"{slug}: {found}")
    return Plan(tuple(requests), tuple(notes), checked.more)


def _plan_one(
    slug: str, why: str, tried: datetime | None, in_flight: frozenset[str], ended: Ended, now: float
) -> Request | str:
    if slug in in_flight:
        return f"{why}; a run is in flight"
    attempt = tried.isoformat() if tried else "never"
    lost = ended(slug, attempt)
    key, wait = repeated(f"{slug}@{attempt}", lost, now)
    if wait > 0:
        return f"{why}; {len(lost)} runs ended before they tried; the next in {wait:.0f} s"
    return Request(slug, attempt, key, why)


def plan_partitions(
    known: Sequence[str], managed: Sequence[str]
) -> list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest]:
    """What makes the partitions equal to the registry. A repository that is managed no longer has none; its history
    stays, and comes back with it."""
    new, gone = sorted(set(managed) - set(known)), sorted(set(known) - set(managed))
    requests: list[AddDynamicPartitionsRequest | DeleteDynamicPartitionsRequest] = []
    if new:
        requests.append(AddDynamicPartitionsRequest(REPOSITORIES, new))
    if gone:
        requests.append(DeleteDynamicPartitionsRequest(REPOSITORIES, gone))
    return requests


def explain(checked: Checked, plan: Plan) -> str:
    """What a look found, for a person."""
    groups = {
        "agree": len(checked.agree),
        "drifted": len(checked.drifted),
        "have errors as before": len(checked.failing),
        "cannot be reached": len(checked.unreachable),
    }
    if not any(groups.values()):
        return "no repository is managed; `upkeep repos register PATH` adds one"
    total = f"looked at {sum(groups.values())}: " + ", ".join(
        f"{count} {name}" for name, count in groups.items() if count
    )
    shown = [*(f"{each.slug}: {each.why}" for each in plan.requests), *plan.notes]
    rest = [f"… and {len(shown) - NOTES_SHOWN} more"] if len(shown) > NOTES_SHOWN else []
    return "; ".join([total, *shown[:NOTES_SHOWN], *rest, *(["the rest follows"] if plan.more is not None else [])])


def sync_sensor(settings: Settings) -> SensorDefinition:
    """The sensor that looks at every repository of the registry, brought in line with `upkeep.yaml` first."""

    @sensor(
        name="repository_drift",
        job_name=JOB,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Looks every 15 minutes whether workplan files, head and hub still agree, and asks for a sync of "
        "each repository where something changed.",
    )
    def repository_drift(context: SensorEvaluationContext) -> SensorResult:
        deadline = time.monotonic() + DEADLINE_SECONDS
        now = time.time()
        before = Cursor.parse(context.cursor)
        current = before.at(now)
        if current is None:
            left = ROUND_SECONDS - (now - before.began_at)
            return SensorResult(skip_reason=f"the next look at all repositories is due in {left:.0f} s")
        checked, managed = _check(settings, current.after or "", deadline)
        plan = plan_syncs(
            checked,
            waiting=frozenset(markers.waiting(settings.home, seconds=MARKER_SECONDS)),
            in_flight=partitions_in_flight(context.instance, JOB),
            ended=lambda slug, attempt: ended_at(context.instance, JOB, tags_of(slug, attempt)),
            now=now,
        )
        said = explain(checked, plan)
        if plan.requests:
            context.log.info(said)
        return SensorResult(
            run_requests=[run_request(each) for each in plan.requests],
            skip_reason=None if plan.requests else SkipReason(said),
            cursor=Cursor(current.began_at, plan.more).dump(),
            dynamic_partitions_requests=plan_partitions(context.instance.get_dynamic_partitions(REPOSITORIES), managed),
        )

    return repository_drift


def run_request(request: Request) -> RunRequest:
    return RunRequest(run_key=request.key, partition_key=request.slug, tags=tags_of(request.slug, request.attempt))


def tags_of(slug: str, attempt: str) -> dict[str, str]:
    """The tags of a run, by which the next look knows it again."""
    return {SUBJECT_TAG: subject_of(slug), ATTEMPT_TAG: attempt}


def _check(settings: Settings, after: str, deadline: float) -> tuple[Checked, list[str]]:
    with open_hub(settings) as database:
        checked = survey.check(database, after=after, deadline=deadline)
        with database.session() as session:
            managed = registry.slugs(session)
    return checked, managed
