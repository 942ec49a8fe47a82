"""What a repository should work on next, in one small answer.

What belongs here: the answer's model, whose JSON Schema is published (`upkeep dispatch --schema`; the commands, the MCP
tool and the REST API give the same one), and the order of tasks. What does not: changing anything.

Work is what is `todo` or `in_progress` in workplans that are `active`. Ids are those that the files give.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from upkeep.database import text
from upkeep.database.tables import interventions, tasks, workstreams
from upkeep.sync import registry
from upkeep.sync.records import PRIORITIES

MAX_TEXT = 500
"""Characters of a title, description or question: the answer is piped to agents, who can read the file for more."""
_PENDING = ("in_progress", "todo")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Goal(_Model):
    id: uuid.UUID
    title: str
    description: str


class PendingTask(_Model):
    """`priority`: critical, high, medium, low, or empty. `needs_human`: an open question keeps it from being done."""

    id: str
    title: str
    priority: str
    needs_human: bool


class ActiveWorkstream(_Model):
    """`pending_tasks`: most urgent first, and among those of one priority what others depend on first."""

    id: str
    title: str
    workplan_file: str
    pending_tasks: tuple[PendingTask, ...]


class HumanIntervention(_Model):
    """Something that only a person can decide, and has not yet. `task_id`: the task or workplan that it is about."""

    id: uuid.UUID
    task_id: str
    kind: str
    question: str
    asked_at: datetime


class Dispatch(_Model):
    """`last_state_synced_at`: when the files last agreed with this answer (UTC); null: never."""

    repo_slug: str
    active_goal: Goal | None
    active_workstreams: tuple[ActiveWorkstream, ...]
    human_interventions: tuple[HumanIntervention, ...]
    last_state_synced_at: datetime | None


def dispatch(session: Session, slug: str) -> Dispatch:
    """The answer for one managed repository. Raises ConfigError `config.unknown_repository`."""
    repository = registry.find(session, slug)
    goal = registry.active_goal(session, slug)
    asked = _asked(session, slug)
    return Dispatch(
        repo_slug=slug,
        active_goal=Goal(id=goal.id, title=_cut(goal.title), description=_cut(goal.description)) if goal else None,
        active_workstreams=tuple(_workstreams(session, slug, {one.task_id for one in asked})),
        human_interventions=asked,
        last_state_synced_at=repository.last_state_synced_at,
    )


def _workstreams(session: Session, slug: str, asking: set[str]) -> Iterable[ActiveWorkstream]:
    columns = tasks.c
    query = (
        sa.select(columns.workstream, columns.local_id, columns.title, columns.priority, columns.depends_on)
        .where(columns.repository == slug, columns.present, columns.status.in_(_PENDING))
        .order_by(columns.position)
    )
    by_stream: dict[uuid.UUID, list[Any]] = {}
    pending = session.execute(query).all()
    for row in pending:
        by_stream.setdefault(row.workstream, []).append(row)
    depths = depth({row.local_id: row.depends_on for row in pending})
    streams = sa.select(workstreams).where(
        workstreams.c.repository == slug, workstreams.c.present, workstreams.c.status == "active"
    )
    for stream in session.execute(streams.order_by(workstreams.c.local_id)).mappings():
        # Sorting is stable: what is alike stays in the order of the file.
        ordered = sorted(
            by_stream.get(stream["id"], []), key=lambda row: (_urgency(row.priority), depths[row.local_id])
        )
        yield ActiveWorkstream(
            id=text.unescape(stream["local_id"]),
            title=_cut(stream["title"]),
            workplan_file=text.unescape(stream["file"]),
            pending_tasks=tuple(
                PendingTask(
                    id=text.unescape(row.local_id),
                    title=_cut(row.title),
                    priority=row.priority,
                    needs_human=text.unescape(row.local_id) in asking,
                )
                for row in ordered
            ),
        )


def _asked(session: Session, slug: str) -> tuple[HumanIntervention, ...]:
    query = sa.select(interventions).where(interventions.c.repository == slug, interventions.c.state == "open")
    rows = session.execute(query.order_by(interventions.c.asked_at, interventions.c.id)).mappings()
    return tuple(
        HumanIntervention(
            id=row["id"],
            task_id=text.unescape(row["local_id"]),
            kind=row["kind"],
            question=_cut(row["question"]),
            asked_at=row["asked_at"],
        )
        for row in rows
    )


def _urgency(priority: str) -> int:
    return PRIORITIES.index(priority) if priority in PRIORITIES else len(PRIORITIES)


def depth(depends_on: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """How many steps of other pending tasks come before each: 0 where nothing does. Tasks of a circle, and what depends
    on them, come after all others."""
    left = {name: {each for each in names if each in depends_on} for name, names in depends_on.items()}
    found: dict[str, int] = {}
    level = 0
    while left:
        free = [name for name, names in left.items() if not names]
        if not free:
            return {**found, **dict.fromkeys(left, level)}
        found.update(dict.fromkeys(free, level))
        for name in free:
            del left[name]
        gone = set(free)
        for names in left.values():
            names -= gone
        level += 1
    return found


def _cut(stored: str) -> str:
    whole: str = text.unescape(stored)
    return whole if len(whole) <= MAX_TEXT else whole[: MAX_TEXT - 1] + "…"
