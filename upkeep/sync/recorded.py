"""What a sync leaves of a repository: findings, times, and what the next look at it compares.

What belongs here: writing and reading these columns of the registry's rows. What does not: which repositories there are
(`registry.py`), looking (`drift.py`), and reading the events back that are written here (`attempts.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.tables import repositories
from upkeep.sync.attempts import subject_of
from upkeep.sync.findings import Code, Finding, Severity, has_errors, summary
from upkeep.sync.workingtree import Stamp

_FINDINGS = TypeAdapter(tuple[Finding, ...])


@dataclass(frozen=True)
class Known:
    """What was last synced: the head, the workplan files by path, and what could not even be listed as (file, why).
    `revision`: of the hub's side when that was read. `blocked`: what kept the last attempt from beginning (C-24);
    `broken`: it ended in an error that is no finding. `fixable`: it found something that `--fix` writes."""

    head: str | None
    files: dict[str, Stamp]
    revision: int = 0
    unlisted: frozenset[tuple[str, str]] = frozenset()
    blocked: str | None = None
    broken: bool = False
    fixable: bool = False


def everything_known(session: Session) -> dict[str, Known]:
    """What was last synced of every managed repository, by slug."""
    # Findings are large, and say something only where the last attempt had errors.
    findings = sa.case((repositories.c.last_attempt_reason.is_not(None), repositories.c.findings), else_=None)
    fixable = repositories.c.findings.contains([{"fixable": True}])
    names = ("slug", "last_head", "files", "synced_revision", "last_attempt_reason")
    query = sa.select(*(repositories.c[name] for name in names), findings.label("told"), fixable.label("fixable"))
    rows = session.execute(query.where(repositories.c.state == "managed")).mappings()
    return {row["slug"]: _known(*(row[name] for name in (*names[1:], "told", "fixable"))) for row in rows}


def _known(
    head: str | None,
    files: dict[str, list[Any]],
    revision: int,
    reason: str | None,
    told: list[Any] | None,
    fixable: bool,
) -> Known:
    findings = _FINDINGS.validate_python(text.unescape(told)) if told else ()
    unlisted = {(each.file, each.message) for each in findings if each.code == Code.UNREADABLE}
    explained = has_errors(findings) and summary(findings) == text.unescape(reason)
    return Known(
        head=head,
        files={path: Stamp(*each) for path, each in files.items()},
        revision=revision,
        unlisted=frozenset(each for each in unlisted if each[0] not in files),
        blocked=next((each.message for each in findings if each.code == Code.REPOSITORY), None) if explained else None,
        broken=reason is not None and not explained,
        fixable=fixable,
    )


def store_stamps(session: Session, slug: str, files: Mapping[str, Stamp]) -> None:
    """Newer stamps of files whose content is what was synced."""
    session.execute(sa.update(repositories).where(repositories.c.slug == slug).values(files=_stored(files)))


def _stored(files: Mapping[str, Stamp]) -> dict[str, list[Any]]:
    return {path: [stamp.size, stamp.mtime, stamp.inode, stamp.sha256] for path, stamp in files.items()}


def record_attempt(
    session: Session,
    slug: str,
    *,
    findings: Sequence[Finding],
    reason: str | None,
    synced: Known | None = None,
    remote: str | None = None,
    run_id: str | None = None,
    **summary: Any,
) -> tuple[datetime, datetime | None]:
    """Record that a sync was tried, with its event; return `last_attempt_at` and `last_state_synced_at` as they are.

    `reason` None: it ended without error findings, and `last_state_synced_at` moves too. `synced`: what the hub agrees
    with now, for the next look. `summary` goes into the event (`attempts.py` reads it).
    """
    values: dict[str, Any] = {
        "last_attempt_at": sa.func.now(),
        "last_attempt_reason": text.escape(reason),
        "findings": text.escape([finding.model_dump(mode="json") for finding in findings]),
    }
    if reason is None:
        values["last_state_synced_at"] = sa.func.now()
    if synced is not None:
        values["last_head"] = synced.head
        values["files"] = _stored(synced.files)
        values["synced_revision"] = synced.revision
    if remote is not None:
        values["remote"] = remote
    update = sa.update(repositories).where(repositories.c.slug == slug).values(values)
    returned = update.returning(repositories.c.last_attempt_at, repositories.c.last_state_synced_at)
    attempt, state = session.execute(returned).one()
    changes = {
        "last_attempt_at": attempt.isoformat(),
        "last_state_synced_at": state.isoformat() if state else None,
        "last_attempt_reason": reason,
    }
    events.record(
        session,
        system="sync",
        subject=subject_of(slug),
        type=EventType.STATE_WRITTEN,
        run_id=run_id,
        changes=changes,
        **{f"{severity}s": sum(each.severity == severity for each in findings) for severity in get_args(Severity)},
        **summary,
    )
    return attempt, state


def last_findings(session: Session, slug: str) -> tuple[Finding, ...]:
    """The findings of the last sync."""
    stored = session.execute(sa.select(repositories.c.findings).where(repositories.c.slug == slug)).scalar_one()
    return _FINDINGS.validate_python(text.unescape(stored))
