"""What a managed repository is for, in a sentence that its workplans and its agents serve.

What belongs here: goals as rows: setting them, taking them away, and which of them counts. What does not: repositories
(`registry.py`), and who asks for a goal (`configured.py`, commands, the REST API).

A repository has one active goal a source at most. One that was set by command comes before the configuration's. Former
ones are kept as history.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.tables import goals
from upkeep.settings.repositories import Goal
from upkeep.sync import registry
from upkeep.sync.attempts import subject_of
from upkeep.sync.registry import Source


@dataclass(frozen=True)
class ActiveGoal:
    id: uuid.UUID
    title: str
    description: str


def put(
    session: Session, slug: str, title: str, description: str = "", *, source: Source = "command", by: str = ""
) -> ActiveGoal:
    """Make this the goal of a repository. The same again changes nothing."""
    put_all(session, {slug: Goal(title=title, description=description)}, source=source, by=by)
    return active_by_source(session, source, [slug])[slug]


def put_all(session: Session, wanted: Mapping[str, Goal | None], *, source: Source, by: str = "") -> None:
    """Give several repositories their goals, by slug, in a few statements however many they are; None takes the goal
    away that the source had set. Those that are so already stay."""
    registry.hold(session, list(wanted))
    now = active_by_source(session, source, list(wanted))
    changed = {slug: goal for slug, goal in wanted.items() if not same(now.get(slug), goal)}
    over = (goals.c.repository.in_(changed)) & (goals.c.source == source) & goals.c.active
    session.execute(sa.update(goals).where(over).values(active=False))
    rows = {slug: _row(slug, goal, source, by) for slug, goal in changed.items() if goal is not None}
    if rows:
        session.execute(sa.insert(goals), list(rows.values()))
    told = {
        subject_of(slug): {
            "changes": {"goal": str(rows[slug]["id"]) if slug in rows else None, "source": source},
            "by": by or None,
        }
        for slug in changed
    }
    events.record_all(session, system="sync", type=EventType.STATE_WRITTEN, summaries=told)


def same(known: ActiveGoal | None, wanted: Goal | None) -> bool:
    """Whether a repository has the goal that it should have."""
    return (known and (known.title, known.description)) == (wanted and (wanted.title, wanted.description))


def retire(session: Session, slug: str, *, by: str = "") -> None:
    """Take the goal away that was set by command: the configuration's counts again, where there is one."""
    put_all(session, {slug: None}, source="command", by=by)


def active(session: Session, slug: str) -> ActiveGoal | None:
    """The goal that counts."""
    return active_of(session, [slug]).get(slug)


def active_of(session: Session, slugs: Collection[str]) -> dict[str, ActiveGoal]:
    """The goals that count, of those of several repositories that have one, by slug."""
    query = sa.select(goals).where(goals.c.repository.in_(slugs), goals.c.active)
    # "command" is before "configuration": of two rows of one repository the last one stays.
    return _by_slug(session, query.order_by(goals.c.source.desc()))


def active_by_source(session: Session, source: Source, slugs: Collection[str] | None = None) -> dict[str, ActiveGoal]:
    """The active goals that one source has set, by slug: of these repositories, or of all."""
    query = sa.select(goals).where(goals.c.source == source, goals.c.active)
    return _by_slug(session, query if slugs is None else query.where(goals.c.repository.in_(slugs)))


def _by_slug(session: Session, query: sa.Select[Any]) -> dict[str, ActiveGoal]:
    return {
        row["repository"]: ActiveGoal(row["id"], text.unescape(row["title"]), text.unescape(row["description"]))
        for row in session.execute(query).mappings()
    }


def _row(slug: str, goal: Goal, source: Source, by: str) -> dict[str, Any]:
    return {
        "id": uuid.uuid4(),
        "repository": slug,
        "source": source,
        "title": text.escape(goal.title),
        "description": text.escape(goal.description),
        "set_by": by,
    }
