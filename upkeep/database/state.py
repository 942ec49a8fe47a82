"""What was last done for each watch.

What belongs here: the record, reading it, and changing it together with its event in one transaction; the attempts made
at each upstream head, and when the next is due. What does not: deciding from it (the forge decides what is proposed;
`upkeep.content`), and rebuilding it from the forge (`content`, `upkeep state rebuild`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.tables import watches
from upkeep.errors import StateCorrupt

BACK_OFF = (timedelta(minutes=10), timedelta(minutes=40))
"""After the first failed attempt at a head, after the second; the last one repeats."""
HEADS_KEPT = 20


class Attempt(BaseModel):
    """Attempts at one upstream head that failed. A finished head has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1)
    last_at: datetime
    reason: str = ""

    def due_at(self) -> datetime:
        """When the next attempt may begin."""
        return self.last_at + BACK_OFF[min(self.count, len(BACK_OFF)) - 1]


class WatchState(BaseModel):
    """One row. `attempts` is by upstream head, newest last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    watch: str
    last_processed_commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    last_run_at: datetime | None = None
    last_run_status: events.Outcome | None = None
    last_pr_url: str | None = None
    reason: str | None = None
    attempts: dict[str, Attempt] = Field(default_factory=dict)

    def attempts_at(self, head: str) -> int:
        """How many attempts at this head have failed."""
        return self.attempts[head].count if head in self.attempts else 0

    def next_attempt_at(self, head: str) -> datetime | None:
        """Before when no new attempt at this head begins; None: it may begin now."""
        return self.attempts[head].due_at() if head in self.attempts else None

    def with_attempt(self, head: str, reason: str, at: datetime | None = None) -> WatchState:
        """One more failed attempt at a head. Only the newest 20 heads are remembered."""
        new = Attempt(count=self.attempts_at(head) + 1, last_at=at or datetime.now(UTC), reason=reason)
        kept = [(known, attempt) for known, attempt in self.attempts.items() if known != head]
        return self.model_copy(update={"attempts": dict([*kept, (head, new)][-HEADS_KEPT:])})

    def without_attempts(self, head: str) -> WatchState:
        """The head is done, or a person asked for another try."""
        kept = {known: attempt for known, attempt in self.attempts.items() if known != head}
        return self.model_copy(update={"attempts": kept})


def read_watch(session: Session, watch: str) -> WatchState:
    """The recorded state; a watch that was never run has an empty one. StateCorrupt when it makes no sense."""
    row = session.execute(sa.select(watches).where(watches.c.watch == watch)).mappings().one_or_none()
    if row is None:
        return WatchState(watch=watch)
    return _read(row)


def all_watches(session: Session) -> list[WatchState]:
    """Every recorded watch, by name. StateCorrupt names the first that makes no sense."""
    return [_read(row) for row in session.execute(sa.select(watches).order_by(watches.c.watch)).mappings()]


def write_watch(
    session: Session,
    state: WatchState,
    *,
    run_id: str | None = None,
    event: EventType = EventType.STATE_WRITTEN,
    **summary: Any,
) -> None:
    """Record a state and its event in the session's transaction.

    The event holds what changed against the row, besides `summary`. A row that cannot be read is replaced.
    """
    before = session.execute(sa.select(watches).where(watches.c.watch == state.watch).with_for_update()).mappings()
    old = dict(before.one_or_none() or {})
    values = text.escape(state.model_dump(mode="json", exclude={"watch"}))
    values["last_run_at"] = state.last_run_at
    stored = {**values, "attempts": _ordered(values["attempts"]), "updated_at": sa.func.clock_timestamp()}
    new = insert(watches).values(watch=state.watch, **stored)
    session.execute(new.on_conflict_do_update(index_elements=["watch"], set_=stored))
    told = ("last_processed_commit", "last_run_status", "last_pr_url", "reason")
    changes = {name: values[name] for name in told if values[name] != old.get(name)}
    events.record(
        session,
        system="content",
        subject=f"watch:{state.watch}",
        type=event,
        run_id=run_id,
        changes=changes,
        **summary,
    )


def _ordered(attempts: dict[str, Any]) -> list[Any]:
    """As a list of pairs: JSONB keeps no order of keys, and the oldest head is the one to forget."""
    return [[head, attempt] for head, attempt in attempts.items()]


def _read(row: Any) -> WatchState:
    try:
        fields = {name: value for name, value in text.unescape(dict(row)).items() if name != "updated_at"}
        fields["attempts"] = dict(fields["attempts"])
        return WatchState.model_validate(fields)
    except (ValidationError, TypeError, ValueError) as error:
        faults = (
            ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
            if isinstance(error, ValidationError)
            else "attempts"
        )
        raise StateCorrupt(
            f"the recorded state of the watch {row['watch']} cannot be read: {faults}",
            remedy=f"Run `upkeep state rebuild {row['watch']}`: it reads the state back from the forge.",
            watch=row["watch"],
        ) from error
