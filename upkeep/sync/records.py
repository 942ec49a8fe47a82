"""What the hub holds of one repository: plain values that the engine compares and the store writes.

What belongs here: the rows, the closed lists of states, and putting changed rows in place of old ones. What does not:
rules (`plan.py`) and SQL (`store.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

TASK_STATUSES = ("todo", "in_progress", "blocked", "done", "cancelled")
WORKPLAN_STATUSES = ("draft", "active", "blocked", "done", "archived")
CLOSED = frozenset({"done", "cancelled", "archived"})
"""Statuses after which nothing is left to do."""
PRIORITIES = ("critical", "high", "medium", "low")
"""Most urgent first; a task without one comes last."""

NAMESPACE = uuid.UUID("5f6ad1f5-7a9c-5a6e-9b51-0d7f5f5b3a10")
"""Of the ids that the hub gives: they follow from repository and local id, so a lost database gives the same again."""

InterventionKind = Literal["question", "conflict"]
InterventionState = Literal["open", "answered", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Base:
    """What file and hub last agreed on: the status, and the file's `updated` when it became that."""

    status: str
    updated: str = ""


@dataclass(frozen=True, slots=True)
class Workstream:
    """A workplan as the hub has it. `local_id` is the file's `id`. `present`: its file had it at the last sync."""

    id: uuid.UUID
    local_id: str
    title: str
    domain: str
    status: str
    file: str
    base: Base
    present: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """`position` counts from 0 in its file; `depends_on` holds local ids."""

    id: uuid.UUID
    workstream: uuid.UUID
    local_id: str
    title: str
    status: str
    base: Base
    priority: str = ""
    needs_human: bool = False
    question: str = ""
    depends_on: tuple[str, ...] = ()
    position: int = 0
    present: bool = True


@dataclass(frozen=True, slots=True)
class Intervention:
    """Something that only a person can decide. `subject` is the hub's id of a task or workstream. Its own id follows
    from what is asked, so asking again is the same row, and an answered question stays answered. `withdrawn`: there
    was nothing left to ask. `file_status` is the file's side of a conflict. Who answered, when and what is in the
    table."""

    id: uuid.UUID
    subject: uuid.UUID
    local_id: str
    kind: InterventionKind
    question: str
    state: InterventionState = "open"
    file_status: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    """All that the hub has of one repository. `foreign`: ids that other repositories have, by their slug, as far as
    files of this one name them."""

    repository: str
    workstreams: Mapping[uuid.UUID, Workstream] = field(default_factory=dict)
    tasks: Mapping[uuid.UUID, Task] = field(default_factory=dict)
    interventions: Mapping[uuid.UUID, Intervention] = field(default_factory=dict)
    foreign: Mapping[uuid.UUID, str] = field(default_factory=dict)
    synced_before: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to write: new ones, and those that differ."""

    workstreams: tuple[Workstream, ...] = ()
    tasks: tuple[Task, ...] = ()
    interventions: tuple[Intervention, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.workstreams or self.tasks or self.interventions)


def applied(hub: Hub, changes: Changes) -> Hub:
    """The hub after the changes: what the store does, in memory."""
    return replace(
        hub,
        workstreams={**hub.workstreams, **{row.id: row for row in changes.workstreams}},
        tasks={**hub.tasks, **{row.id: row for row in changes.tasks}},
        interventions={**hub.interventions, **{row.id: row for row in changes.interventions}},
        synced_before=True,
    )


def new_id(name: str, taken: Iterable[uuid.UUID]) -> uuid.UUID:
    """The id of a new row: the same for the same name, unless another row has it already."""
    used = set(taken)
    number = 0
    while True:
        made = uuid.uuid5(NAMESPACE, f"{name}#{number}" if number else name)
        if made not in used:
            return made
        number += 1


def intervention_id(subject: uuid.UUID, kind: InterventionKind, question: str) -> uuid.UUID:
    return uuid.uuid5(subject, f"{kind}:{question}")
