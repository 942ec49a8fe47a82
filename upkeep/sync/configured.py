"""Repositories and goals of `upkeep.yaml`, brought into the registry.

What belongs here: comparing the file with the rows, and writing what differs. What does not: reading the file
(`upkeep/config.py`) and changes by command (`registry.py`, `goals.py`).

The file is the truth for what stands in it. A repository that leaves it is no longer managed, and keeps its history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from upkeep.config import Settings
from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.tables import repositories
from upkeep.settings.repositories import Goal
from upkeep.sync import goals, registry
from upkeep.sync.attempts import subject_of

_BATCH = 1000
_LEFT = {"state": "removed", "note": "no longer in upkeep.yaml"}


def refresh(session: Session, settings: Settings) -> None:
    """Bring the rows in line with `upkeep.yaml`. Idempotent, writes and waits for nothing where nothing changed, and
    takes a few statements however much did."""
    if not _rows_to_write(session, settings) and not _goals_to_set(session, settings):
        return
    # Commands that start together find the same differences: one brings them in, the others find none.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("upkeep registry", 0))))
    _write(session, _rows_to_write(session, settings))
    goals.put_all(session, _goals_to_set(session, settings), source="configuration")


def _rows_to_write(session: Session, settings: Settings) -> dict[str, dict[str, Any]]:
    """Rows that are not what the file says, with what they are to be, in the order in which rows are taken."""
    columns = [column for column in repositories.c if column.name not in ("files", "findings")]
    rows = {row["slug"]: row for row in session.execute(sa.select(*columns)).mappings()}
    found = {}
    for slug in settings.repositories:
        values = _configured(settings, slug)
        if slug not in rows or any(rows[slug][name] != value for name, value in values.items()):
            found[slug] = values
    for slug, row in rows.items():
        if row["source"] == "configuration" and row["state"] == "managed" and slug not in settings.repositories:
            found[slug] = _LEFT
    return dict(sorted(found.items()))


def _configured(settings: Settings, slug: str) -> dict[str, Any]:
    entry = settings.repositories[slug]
    return {
        "path": text.escape(str(entry.path)),
        "forge": entry.forge,
        "forge_repo": entry.repo,
        "domain": entry.domain,
        "workplans": list(entry.workplans),
        "fix": entry.fix,
        "source": "configuration",
        "state": "managed",
        "note": None,
    }


def _write(session: Session, rows: Mapping[str, Mapping[str, Any]]) -> None:
    registry.hold(session, list(rows))
    revision = repositories.c.revision + 1
    there = [{"slug": slug, **values} for slug, values in rows.items() if values is not _LEFT]
    for first in range(0, len(there), _BATCH):
        batch = there[first : first + _BATCH]
        new = insert(repositories).values(batch)
        changed = {name: new.excluded[name] for name in batch[0] if name != "slug"}
        session.execute(new.on_conflict_do_update(index_elements=["slug"], set_={**changed, "revision": revision}))
    left = repositories.c.slug.in_([slug for slug, values in rows.items() if values is _LEFT])
    session.execute(sa.update(repositories).where(left).values({**_LEFT, "revision": revision}))
    told = {subject_of(slug): {"changes": registry.what_changed(values)} for slug, values in rows.items()}
    events.record_all(session, system="sync", type=EventType.STATE_WRITTEN, summaries=told)


def _goals_to_set(session: Session, settings: Settings) -> dict[str, Goal | None]:
    """Goals of the file that are not there, and (None) those that are there and not in the file."""
    now = goals.active_by_source(session, "configuration")
    wanted = {slug: entry.goal for slug, entry in settings.repositories.items()}
    every = sorted({*now, *wanted})
    return {slug: wanted.get(slug) for slug in every if not goals.same(now.get(slug), wanted.get(slug))}
