"""What a repository should work on next, in one small answer.

What belongs here: the answer's model, whose JSON Schema is published (`upkeep dispatch --schema`; the commands, the MCP
tool and the REST API give the same one), the order of tasks, and how much of them is given out. What does not: changing
anything.

Work is what is `todo` or `in_progress` in workplans that are `active`. Ids are those that the files give. However much
there is to do, the answer has at most `MAX_BYTES`: the most urgent tasks are in it, and the number of the others.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from upkeep.database import text
from upkeep.database.tables import interventions, tasks, workstreams
from upkeep.sync import goals, registry
from upkeep.sync.records import PRIORITIES

MAX_TEXT = 500
"""Characters of a title, description or question: the answer is piped to agents, who can read the file for more."""
MAX_BYTES = 32 * 1024
"""Of the answer as JSON without blanks, in UTF-8: some 8,000 tokens of a model. Questions have a quarter of it."""
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


class Omitted(_Model):
    """How many are not in the answer, so that it stays small: the least urgent tasks, workstreams of which nothing is
    shown, the newest questions."""

    workstreams: int
    tasks: int
    interventions: int


class Dispatch(_Model):
    """`active_workstreams`: that of the most urgent task first. `last_state_synced_at`: when the files last agreed with
    this answer (UTC); null: never."""

    repo_slug: str
    active_goal: Goal | None
    active_workstreams: tuple[ActiveWorkstream, ...]
    human_interventions: tuple[HumanIntervention, ...]
    last_state_synced_at: datetime | None
    omitted: Omitted


def dispatch(session: Session, slug: str) -> Dispatch:
    """The answer for one managed repository. Raises ConfigError `config.unknown_repository`."""
    repository = registry.find(session, slug)
    goal = goals.active(session, slug)
    asked = _asked(session, slug)
    bare = Dispatch(
        repo_slug=slug,
        active_goal=Goal(id=goal.id, title=_cut(goal.title), description=_cut(goal.description)) if goal else None,
        active_workstreams=(),
        human_interventions=(),
        last_state_synced_at=repository.last_state_synced_at,
        omitted=Omitted(workstreams=_MANY, tasks=_MANY, interventions=_MANY),
    )
    space = _Space(MAX_BYTES - _size(bare))
    questions = _Space(MAX_BYTES // 4)
    shown = tuple(one for one in asked if questions.takes(_size(one)))
    space.takes(sum(map(_size, shown)))
    streams, tasks = _streams(session, slug), _pending(session, slug, {one.task_id for one in asked})
    given = _given_out(streams, tasks, space)
    omitted = Omitted(
        workstreams=len(streams) - len(given),
        tasks=sum(task.stream in streams for task in tasks) - sum(len(stream.pending_tasks) for stream in given),
        interventions=len(asked) - len(shown),
    )
    changes = {"active_workstreams": given, "human_interventions": shown, "omitted": omitted}
    return bare.model_copy(update=changes)


_MANY = 10**9


def _size(part: BaseModel) -> int:
    """Bytes as JSON, with a comma."""
    return len(part.model_dump_json().encode(errors="replace")) + 1


class _Space:
    """What is left of the answer's size."""

    def __init__(self, size: int) -> None:
        self._left = size

    def takes(self, size: int) -> bool:
        """Whether there is room for so many bytes, which are taken then."""
        if size > self._left:
            return False
        self._left -= size
        return True


@dataclass(frozen=True)
class _Pending:
    """A task with its workstream, in the order in which it is to be done."""

    stream: uuid.UUID
    task: PendingTask


def _given_out(
    streams: Mapping[uuid.UUID, ActiveWorkstream], tasks: Sequence[_Pending], space: _Space
) -> tuple[ActiveWorkstream, ...]:
    """The most urgent tasks that there is room for, under their workstreams; then workstreams without tasks."""
    chosen: dict[uuid.UUID, list[PendingTask]] = {}
    for pending in tasks:
        if (stream := streams.get(pending.stream)) is None:
            continue
        opening = 0 if pending.stream in chosen else _size(stream)
        if space.takes(opening + _size(pending.task)):
            chosen.setdefault(pending.stream, []).append(pending.task)
    busy = {pending.stream for pending in tasks}
    for number, stream in streams.items():
        if number not in busy and space.takes(_size(stream)):
            chosen[number] = []
    return tuple(streams[number].model_copy(update={"pending_tasks": tuple(each)}) for number, each in chosen.items())


def _streams(session: Session, slug: str) -> dict[uuid.UUID, ActiveWorkstream]:
    query = sa.select(workstreams).where(
        workstreams.c.repository == slug, workstreams.c.present, workstreams.c.status == "active"
    )
    return {
        row["id"]: ActiveWorkstream(
            id=text.unescape(row["local_id"]),
            title=_cut(row["title"]),
            workplan_file=text.unescape(row["file"]),
            pending_tasks=(),
        )
        for row in session.execute(query.order_by(workstreams.c.local_id)).mappings()
    }


def _pending(session: Session, slug: str, asking: set[str]) -> list[_Pending]:
    """Every pending task, most urgent first; of one priority what others depend on first, then as in the files."""
    columns = tasks.c
    query = (
        sa.select(columns.workstream, columns.local_id, columns.title, columns.priority, columns.depends_on)
        .join(workstreams, workstreams.c.id == columns.workstream)
        .where(columns.repository == slug, columns.present, columns.status.in_(_PENDING))
        .order_by(workstreams.c.local_id, columns.position)
    )
    rows = session.execute(query).all()
    depths = depth({row.local_id: row.depends_on for row in rows})
    # Sorting is stable: what is alike stays in the order of the files.
    ordered = sorted(rows, key=lambda row: (_urgency(row.priority), depths[row.local_id]))
    return [
        _Pending(
            row.workstream,
            PendingTask(
                id=text.unescape(row.local_id),
                title=_cut(row.title),
                priority=row.priority,
                needs_human=text.unescape(row.local_id) in asking,
            ),
        )
        for row in ordered
    ]


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
