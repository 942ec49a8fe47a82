"""The hub's tables: rows in, rows out, and what people change by hand.

What belongs here: SQL over workstreams, tasks and interventions. What does not: repositories (`registry.py`), goals
(`goals.py`), and deciding what to write (`plan.py`).

Text that PostgreSQL refuses (NUL, which a quoted YAML value may hold) is escaped as `database/text.py` does.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.tables import interventions, repositories, tasks, workstreams
from upkeep.errors import ConfigError, DatabaseError
from upkeep.faults import nearest
from upkeep.sync import registry
from upkeep.sync.attempts import subject_of
from upkeep.sync.records import (
    TASK_STATUSES,
    WORKPLAN_STATUSES,
    Base,
    Changes,
    Hub,
    Intervention,
    InterventionState,
    Task,
    Workstream,
)

BY_SYNC = "sync"
_BATCH = 1000


@dataclass(frozen=True)
class Asked:
    """An intervention as people see it. `answer`, `answered_by` and `closed_at` are None while it is open."""

    id: uuid.UUID
    repository: str
    task: str
    kind: str
    question: str
    state: InterventionState
    asked_at: datetime
    answer: str | None
    answered_by: str | None
    closed_at: datetime | None


class IdTaken(DatabaseError):
    """Another repository brought an id of ours since we looked: read again, it is a finding now."""

    code = "sync.id_taken"
    transient = True


def load(session: Session, repository: str, named: Collection[uuid.UUID]) -> Hub:
    """All that the hub has of a repository, whose row the caller holds (`registry.hold`): what a person changes by hand
    meanwhile waits. `named`: the ids that its files name, of which some may be another repository's."""

    def rows(table: sa.Table) -> list[dict[str, Any]]:
        query = sa.select(table).where(table.c.repository == repository).order_by(table.c.id)
        return [text.unescape(dict(row)) for row in session.execute(query).mappings()]

    foreign: dict[uuid.UUID, str] = {}
    for table in (workstreams, tasks) if named else ():
        query = sa.select(table.c.id, table.c.repository).where(
            table.c.id.in_(list(named)), table.c.repository != repository
        )
        foreign.update((number, slug) for number, slug in session.execute(query))
    synced = sa.select(repositories.c.last_attempt_at).where(repositories.c.slug == repository)
    return Hub(
        repository=repository,
        workstreams={row["id"]: _workstream(row) for row in rows(workstreams)},
        tasks={row["id"]: _task(row) for row in rows(tasks)},
        interventions={row["id"]: _intervention(row) for row in rows(interventions)},
        foreign=foreign,
        synced_before=session.execute(synced).scalar() is not None,
    )


def apply(session: Session, repository: str, changes: Changes) -> None:
    """Write new and changed rows. Idempotent."""
    now = {"changed_at": sa.func.clock_timestamp(), "changed_by": BY_SYNC}
    _upsert(session, workstreams, [_values(row, repository) for row in changes.workstreams], now)
    _upsert(session, tasks, [_values(row, repository) for row in changes.tasks], now)
    for is_open, closed_at in ((True, sa.null()), (False, sa.func.clock_timestamp())):
        rows = [_values(row, repository) for row in changes.interventions if (row.state == "open") == is_open]
        _upsert(session, interventions, rows, {"closed_at": closed_at})


def _upsert(session: Session, table: sa.Table, rows: Sequence[dict[str, Any]], also: dict[str, Any]) -> None:
    """Raises IdTaken. By id, so that two repositories that bring the same ids never wait for each other in a circle."""
    ordered = sorted(rows, key=lambda row: row["id"])
    for first in range(0, len(ordered), _BATCH):
        batch = [{**row, **also} for row in ordered[first : first + _BATCH]]
        new = insert(table).values(batch)
        changed = {name: new.excluded[name] for name in batch[0] if name != "id"}
        ours = table.c.repository == new.excluded.repository
        written = new.on_conflict_do_update(index_elements=["id"], set_=changed, where=ours).returning(table.c.id)
        if len(session.execute(written).all()) < len(batch):
            raise IdTaken(
                f"another repository took an id of {rows[0]['repository']} at the same moment",
                remedy="Run the sync again: it says which one.",
            )


def _values(row: Workstream | Task | Intervention, repository: str) -> dict[str, Any]:
    values = text.escape(asdict(row))
    if (base := values.pop("base", None)) is not None:
        values |= {"base_status": base["status"], "base_updated": base["updated"]}
    return {**values, "repository": repository}


def _workstream(row: dict[str, Any]) -> Workstream:
    names = ("id", "local_id", "title", "domain", "status", "file", "present")
    return Workstream(**{name: row[name] for name in names}, base=Base(row["base_status"], row["base_updated"]))


def _task(row: dict[str, Any]) -> Task:
    names = ("id", "workstream", "local_id", "title", "status", "priority", "needs_human", "question", "position")
    return Task(
        **{name: row[name] for name in names},
        present=row["present"],
        depends_on=tuple(row["depends_on"]),
        base=Base(row["base_status"], row["base_updated"]),
    )


def _intervention(row: dict[str, Any]) -> Intervention:
    names = ("id", "subject", "local_id", "kind", "question", "state", "file_status")
    return Intervention(**{name: row[name] for name in names})


# By hand


def set_status(session: Session, name: str, status: str, *, by: str, repository: str | None = None) -> tuple[str, str]:
    """Change a task's (or workplan's) status in the hub; return its repository and the status that it had.

    `name` is the id that files give it, or the hub's. The next sync carries it into the file where `fix` is on. Raises
    ConfigError `sync.unknown_task`, `sync.ambiguous_task`, `sync.unknown_status`.
    """
    table, row = _by_name(session, name, repository)
    known = TASK_STATUSES if table is tasks else WORKPLAN_STATUSES
    if status not in known:
        raise ConfigError(
            f"there is no status {status!r}" + nearest(status, known, otherwise="valid statuses"),
            code="sync.unknown_status",
            remedy=f"Give one of: {', '.join(known)}.",
        )
    if row["status"] != status:
        changed = {"status": status, "changed_at": sa.func.clock_timestamp(), "changed_by": by}
        session.execute(sa.update(table).where(table.c.id == row["id"]).values(changed))
        _record(session, row["repository"], {row["local_id"]: {"status": [row["status"], status]}, "by": by})
    return row["repository"], row["status"]


def _by_name(session: Session, name: str, repository: str | None) -> tuple[sa.Table, dict[str, Any]]:
    try:
        number = uuid.UUID(name)
    except ValueError:
        number = None
    found: list[tuple[sa.Table, Any]] = []
    for table in (tasks, workstreams):
        chosen = table.c.local_id == text.escape(name) if number is None else table.c.id == number
        if repository is not None:
            chosen &= table.c.repository == repository
        found += [(table, row) for row in session.execute(sa.select(table.c.id, table.c.repository).where(chosen))]
    if not found:
        raise ConfigError(
            f"the hub has no task {name!r}" + (f" of {repository}" if repository else ""),
            code="sync.unknown_task",
            remedy="`upkeep dispatch REPO` lists what is open; run `upkeep sync REPO` if the task is new.",
        )
    if len(found) > 1:
        slugs = ", ".join(sorted({row.repository for _, row in found}))
        raise ConfigError(
            f"several repositories have {name!r}: {slugs}",
            code="sync.ambiguous_task",
            remedy="Say which with --repo.",
        )
    table, (number, slug) = found[0]
    registry.hold(session, [slug])
    return table, dict(session.execute(sa.select(table).where(table.c.id == number)).mappings().one())


def asked(session: Session, repository: str | None = None, *, closed: bool = False) -> list[Asked]:
    """Interventions, oldest first: those that are open, with `closed` the others too."""
    query = sa.select(interventions).order_by(interventions.c.asked_at, interventions.c.id)
    if repository is not None:
        query = query.where(interventions.c.repository == repository)
    if not closed:
        query = query.where(interventions.c.state == "open")
    return [_asked(text.unescape(dict(row))) for row in session.execute(query).mappings()]


def answer(session: Session, name: str, said: str, *, by: str) -> Asked:
    """Close an intervention with an answer, which is kept with who and when. `name`: its id, or the beginning of it.

    A conflict is answered by `file`, `hub` or a status; the next sync then carries it out. Raises ConfigError
    `sync.unknown_intervention`, `sync.closed_intervention`, `sync.bad_answer`.
    """
    row = _open_intervention(session, name)
    if row["kind"] == "conflict":
        _decide(session, row, said.strip(), by)
    changed = {
        "state": "answered",
        "answer": text.escape(said),
        "answered_by": by,
        "closed_at": sa.func.clock_timestamp(),
    }
    chosen = interventions.c.id == row["id"]
    done = session.execute(sa.update(interventions).where(chosen).values(changed).returning(interventions)).mappings()
    _record(session, row["repository"], {"intervention": str(row["id"]), "answered_by": by})
    return _asked(text.unescape(dict(done.one())))


def _open_intervention(session: Session, name: str) -> dict[str, Any]:
    written = sa.cast(interventions.c.id, sa.Text)
    query = sa.select(interventions).where(written.startswith(name.lower(), autoescape=True))
    found = session.execute(query).mappings().all() if len(name) >= 4 else []
    if len(found) != 1:
        raise ConfigError(
            f"{len(found) or 'no'} interventions have an id that begins with {name!r}",
            code="sync.unknown_intervention",
            remedy="`upkeep interventions list` shows their ids; four characters of one are the least.",
        )
    registry.hold(session, [found[0]["repository"]])
    row = dict(session.execute(query).mappings().one())
    if row["state"] != "open":
        raise ConfigError(
            f"it is {row['state']} already" + (f", by {row['answered_by']}" if row["answered_by"] else ""),
            code="sync.closed_intervention",
            remedy="`upkeep interventions list --all` shows the answer.",
        )
    return row


def _decide(session: Session, row: dict[str, Any], said: str, by: str) -> None:
    """Carry a decision into the three-way state: what the file says is the base now, so that at most the hub differs
    from it, and wins."""
    for table, known in ((tasks, TASK_STATUSES), (workstreams, WORKPLAN_STATUSES)):
        chosen = table.c.id == row["subject"]
        before = session.execute(sa.select(table.c.status).where(chosen)).scalar()
        if before is None:
            continue
        status = {"file": row["file_status"], "hub": before}.get(said, said)
        if status not in known:
            raise ConfigError(
                f"{said!r} does not decide a conflict",
                code="sync.bad_answer",
                remedy=f"Answer `file`, `hub`, or one of: {', '.join(known)}.",
            )
        changed = {"status": status, "base_status": row["file_status"], "changed_by": by}
        session.execute(sa.update(table).where(chosen).values({**changed, "changed_at": sa.func.clock_timestamp()}))


def _record(session: Session, repository: str, changes: dict[str, Any]) -> None:
    registry.touch(session, repository)
    events.record(session, system="sync", subject=subject_of(repository), type=EventType.STATE_WRITTEN, changes=changes)


def _asked(row: dict[str, Any]) -> Asked:
    return Asked(
        id=row["id"],
        repository=row["repository"],
        task=row["local_id"],
        kind=row["kind"],
        question=row["question"],
        state=row["state"],
        asked_at=row["asked_at"],
        answer=row["answer"],
        answered_by=row["answered_by"],
        closed_at=row["closed_at"],
    )
