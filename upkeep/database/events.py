"""The append-only history: every transition of every system is one row, and metrics are computed from it.

What belongs here: the closed lists of event types, outcomes, triggers and reasons, writing a row, reading rows back,
and closing runs that were killed. What does not: what a system does when something happens.

A subject is the kind and the configured name of what a system works on (`watch:chalo`), the same as its lock's. A
summary holds references and numbers: shas, URLs, counts, seconds, reason codes. Never a payload, never a secret.

    run.started      trigger, head?, base?
    run.skipped      reason, outcome?                      the run decided that there is nothing to do
    run.ended        outcome, reason?, base?, head?, counts?, pr_url?
    step.ended       step, seconds
    agent.ended      the fields of upkeep.agents.base.Usage, seconds, failed? (the error's code)
    pr.created, pr.adopted, pr.superseded, pr.closed       url
    pr.edited, pr.reopened                                 url
    pr.listed        since, recorded                       from when on the next list may begin
    state.written, state.rebuilt                           the fields that changed
    lock.taken_over  holder, by force or not
    forecast.changed branches (which patches will break on which), trunk, head
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from upkeep.database import text
from upkeep.database.tables import events
from upkeep.errors import DatabaseError

SUMMARY_BYTES = 32 * 1024

System = Literal["content", "forks", "fixes", "sync", "tasks", "web"]
Trigger = Literal["sensor", "schedule", "cli", "demo", "ui", "hook"]


class EventType(StrEnum):
    RUN_STARTED = "run.started"
    RUN_SKIPPED = "run.skipped"
    RUN_ENDED = "run.ended"
    STEP_ENDED = "step.ended"
    AGENT_ENDED = "agent.ended"
    PR_CREATED = "pr.created"
    PR_ADOPTED = "pr.adopted"
    PR_SUPERSEDED = "pr.superseded"
    PR_CLOSED = "pr.closed"
    PR_EDITED = "pr.edited"
    PR_REOPENED = "pr.reopened"
    PR_LISTED = "pr.listed"
    STATE_WRITTEN = "state.written"
    STATE_REBUILT = "state.rebuilt"
    LOCK_TAKEN_OVER = "lock.taken_over"
    FORECAST_CHANGED = "forecast.changed"


class Outcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    NOTHING_NEW = "nothing_new"
    SKIPPED = "skipped"
    VALIDATION_FAILED = "validation_failed"
    GUARDRAIL_REFUSED = "guardrail_refused"
    AGENT_FAILED = "agent_failed"
    LOCKED = "locked"
    FAILED = "failed"
    CANCELLED = "cancelled"
    KILLED = "killed"


class Reason(StrEnum):
    """What came of a run, or why nothing did. In its place may stand the code of what stopped it: of an UpkeepError, a
    finding of the validator, a rule of the guardrails, an outcome of a rebase; each of those lists is closed too."""

    HEAD_PROCESSED = "head_processed"
    EMPTY_RANGE = "empty_range"
    CREATED = "created"
    ADOPTED = "adopted"
    PULL_REQUEST_OPEN = "pull_request_open"
    PULL_REQUEST_MERGED = "pull_request_merged"
    PULL_REQUEST_DECLINED = "pull_request_declined"
    NOT_RELEVANT = "not_relevant"
    NO_CHANGE = "no_change"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    BACKING_OFF = "backing_off"
    DRY_RUN = "dry_run"
    STATE_REBUILT = "state_rebuilt"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    INTERRUPTED = "interrupted"
    PROCESS_GONE = "process_gone"
    UNEXPECTED = "unexpected"


@dataclass(frozen=True)
class Event:
    id: int
    at: datetime
    system: str
    subject: str
    type: str
    run_id: str | None
    summary: dict[str, Any]


def record(
    session: Session, *, system: str, subject: str, type: EventType, run_id: str | None = None, **summary: Any
) -> int:
    """Append one event in the session's transaction; return its id.

    `summary` takes JSON values. DatabaseError `database.event_too_large` over 32 KiB: that is a payload.
    """
    values = _row(system, subject, type, run_id, summary)
    number: int = session.execute(sa.insert(events).values(values).returning(events.c.id)).scalar_one()
    return number


def record_all(session: Session, *, system: str, type: EventType, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Append events of one type, by their subjects and in their order, in one go. Raises as `record` does."""
    rows = [_row(system, subject, type, None, summary) for subject, summary in summaries.items()]
    if rows:
        session.execute(sa.insert(events), rows)


def _row(system: str, subject: str, type: EventType, run_id: str | None, summary: Mapping[str, Any]) -> dict[str, Any]:
    body = text.escape({key: value for key, value in summary.items() if value is not None})
    size = len(json.dumps(body))
    if size > SUMMARY_BYTES:
        raise DatabaseError(
            f"the summary of {type} for {subject} has {size} bytes; an event refers to payloads and holds none",
            code="database.event_too_large",
        )
    return {"system": system, "subject": subject, "type": str(type), "run_id": run_id, "summary": body}


def of_run(session: Session, run_id: str) -> list[Event]:
    """All events of a run, oldest first."""
    return _read(session, sa.select(events).where(events.c.run_id == run_id).order_by(events.c.id))


def of_subject(session: Session, system: str, subject: str, *, limit: int = 100) -> list[Event]:
    """The newest events of a subject, newest first."""
    chosen = (events.c.system == system) & (events.c.subject == subject)
    return _read(session, sa.select(events).where(chosen).order_by(events.c.id.desc()).limit(limit))


def last_end(session: Session, system: str, subject: str) -> Event | None:
    """The end of the newest run that worked on a subject, however it ended. One that was refused the lock did not, and
    reading state back is no run of the subject's own."""
    chosen = (events.c.system == system) & (events.c.subject == subject)
    ends = events.c.type.in_([EventType.RUN_ENDED.value, EventType.RUN_SKIPPED.value])
    outcome, reason = (sa.func.coalesce(events.c.summary[key].astext, "") for key in ("outcome", "reason"))
    worked = (outcome != Outcome.LOCKED.value) & (reason != Reason.STATE_REBUILT.value)
    found = _read(session, sa.select(events).where(chosen, ends, worked).order_by(events.c.id.desc()).limit(1))
    return found[0] if found else None


def newest_of(session: Session, system: str, subject: str, type: EventType) -> Event | None:
    """The newest event of one type of a subject."""
    chosen = (events.c.system == system) & (events.c.subject == subject) & (events.c.type == str(type))
    found = _read(session, sa.select(events).where(chosen).order_by(events.c.id.desc()).limit(1))
    return found[0] if found else None


def was_proposed(session: Session, system: str, subject: str, head: str) -> bool:
    """Whether a run of this subject ended with a pull request for an upstream head."""
    ended = (events.c.system == system) & (events.c.subject == subject) & (events.c.type == EventType.RUN_ENDED.value)
    of_head = (events.c.summary["head"].astext == head) & events.c.summary.has_key("pr_url")
    return bool(session.execute(sa.select(sa.exists().where(ended, of_head))).scalar())


_SETTLED = "age(upkeep.events.xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid)"


def after(
    session: Session,
    cursor: int,
    *,
    types: Sequence[EventType] = (),
    systems: Sequence[str] = (),
    limit: int = 100,
) -> list[Event]:
    """Events with a greater id, oldest first: what a sensor reads with its cursor.

    An id can become visible after a greater one (a longer transaction), so rows of transactions that may still be
    running are held back until all before them are decided.
    """
    query = sa.select(events).where(events.c.id > cursor, sa.text(_SETTLED)).order_by(events.c.id).limit(limit)
    if types:
        query = query.where(events.c.type.in_([str(kind) for kind in types]))
    if systems:
        query = query.where(events.c.system.in_(systems))
    return _read(session, query)


def newest(session: Session) -> int:
    """The greatest id that `after` gives out now; 0: there is none. A reader that found nothing goes on from here."""
    query = sa.select(events.c.id).where(sa.text(_SETTLED)).order_by(events.c.id.desc()).limit(1)
    return session.execute(query).scalar() or 0


def open_runs(session: Session, *, system: str | None = None, run_id: str | None = None) -> list[Event]:
    """`run.started` events of runs that nothing has ended, oldest first."""
    closing = events.alias("closing")
    ended = sa.exists().where(
        closing.c.run_id == events.c.run_id,
        closing.c.type.in_([EventType.RUN_ENDED.value, EventType.RUN_SKIPPED.value]),
    )
    query = sa.select(events).where(events.c.type == EventType.RUN_STARTED.value, events.c.run_id.is_not(None), ~ended)
    if system is not None:
        query = query.where(events.c.system == system)
    if run_id is not None:
        query = query.where(events.c.run_id == run_id)
    return _read(session, query.order_by(events.c.id))


def close(session: Session, run_id: str, outcome: Outcome) -> bool:
    """Record the end of a run that its process could not record; False where it has one, or was none of ours."""
    for run in open_runs(session, run_id=run_id):
        _close(session, run, outcome)
        return True
    return False


def _close(session: Session, run: Event, outcome: Outcome) -> None:
    record(
        session,
        system=run.system,
        subject=run.subject,
        type=EventType.RUN_ENDED,
        run_id=run.run_id,
        outcome=outcome,
        reason=Reason.PROCESS_GONE,
    )


def reconcile(session: Session, *, is_alive: Callable[[Event], bool]) -> list[str]:
    """Close every run that was left open and is not alive: it was killed. Return their ids.

    Several processes may do this at once: each run is closed once.
    """
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("upkeep reconcile", 0))))
    dead = [run for run in open_runs(session) if not is_alive(run)]
    for run in dead:
        _close(session, run, Outcome.KILLED)
    return [run.run_id for run in dead if run.run_id is not None]


def _read(session: Session, query: sa.Select[Any]) -> list[Event]:
    rows = session.execute(query).mappings()
    return [Event(**{**row, "summary": text.unescape(row["summary"])}) for row in rows]
