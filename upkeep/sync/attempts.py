"""What one attempt to sync a repository did, as its event tells it.

What belongs here: reading events of this system back into records: an attempt on one repository, and a check of all.
What does not: writing them (`recorded.py`, `survey.py`), and what they become for people (`assets/sync.py`).
"""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter, ValidationError

from upkeep.database.events import Event, EventType

SUBJECT_PREFIX = "repository:"
ALL = "repositories"
"""Subject of the events that a check of all repositories leaves."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Attempt(_Record):
    """`reason` None: it ended without error findings. Counts are None where nothing could be synced. `trigger`: who
    asked for it, `check` for a repository that could not even be looked at."""

    repository: str
    run_id: str | None
    trigger: str
    last_attempt_at: AwareDatetime
    last_state_synced_at: AwareDatetime | None
    reason: str | None
    head: str | None = None
    workstreams: int | None = None
    tasks: int | None = None
    changed_rows: int | None = None
    edited_files: int | None = None
    errors: int = 0
    warnings: int = 0
    notes: int = 0


class Check(_Record):
    """A check of all repositories, or of a part of them. Those that agreed have `last_state_synced_at` at
    `confirmed_at` (`survey.confirmed` finds them)."""

    confirmed_at: AwareDatetime
    complete: bool
    agree: int
    drifted: int
    failing: int
    unreachable: int


_ATTEMPT: TypeAdapter[Attempt] = TypeAdapter(Attempt)
_CHECK: TypeAdapter[Check] = TypeAdapter(Check)


def subject_of(slug: str) -> str:
    """What locks, events and run tags call a repository."""
    return f"{SUBJECT_PREFIX}{slug}"


def read(event: Event) -> Attempt | Check | None:
    """The record that an event holds; None for any other event, and for one that this version cannot read."""
    if event.system != "sync" or event.type != EventType.STATE_WRITTEN:
        return None
    try:
        if event.subject == ALL:
            return _CHECK.validate_python(event.summary)
        if event.subject.startswith(SUBJECT_PREFIX):
            return _ATTEMPT.validate_python(_flat(event))
    except ValidationError:
        return None
    return None


def _flat(event: Event) -> dict[str, Any]:
    changes = event.summary.get("changes")
    more = changes if isinstance(changes, dict) else {}
    return {
        **{key: value for key, value in event.summary.items() if key != "changes"},
        **{"last_attempt_at": more.get("last_attempt_at"), "last_state_synced_at": more.get("last_state_synced_at")},
        "reason": more.get("last_attempt_reason"),
        "repository": event.subject.removeprefix(SUBJECT_PREFIX),
        "run_id": event.run_id,
        "trigger": event.summary.get("trigger", "cli"),
    }
