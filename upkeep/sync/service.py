"""Procedures over one repository and the database: sync, and the drift check of all.

What belongs here: the order in which files are read, compared, written and recorded, and what happens when something
fails on the way. What does not: the comparison (`plan.py`), SQL (`store.py`, `registry.py`), the file system
(`workingtree.py`).

The order makes a killed sync harmless: files are written first (each whole or not at all), then the hub in one
transaction. A hub that did not get that far finds in the files what it would have written itself.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from upkeep.database import events
from upkeep.database.events import EventType, Outcome, Trigger
from upkeep.database.server import Database
from upkeep.database.tables import repositories, tasks, workstreams
from upkeep.errors import DatabaseError, RepositoryNotReady, UpkeepError
from upkeep.runs import Run, open_run
from upkeep.sync import drift, plan, registry, store, workplan
from upkeep.sync.document import Document
from upkeep.sync.findings import Code, Finding, has_errors, ordered
from upkeep.sync.plan import Plan
from upkeep.sync.registry import Known, Managed
from upkeep.sync.workingtree import Listing, Place, Stamp, WorkingTree

TRIES = 3
"""How often files that change under a sync are read again."""
EVENT_SLUGS = 200
"""Repositories that one event of a drift check names: an event has a bounded size."""


@dataclass(frozen=True)
class Synced:
    """What one sync did. `reason` None: it ended without error findings, and the repository counts as synced."""

    repository: str
    findings: tuple[Finding, ...]
    reason: str | None
    workstreams: int
    tasks: int
    changed_rows: int
    edited_files: tuple[str, ...]
    last_attempt_at: datetime
    last_state_synced_at: datetime | None


@dataclass(frozen=True)
class _Read:
    """The files as they were read. `documents` may hold stand-ins for what could not be."""

    places: Mapping[str, Place]
    documents: tuple[Document, ...]
    stamps: Mapping[str, Stamp]
    findings: tuple[Finding, ...]


def sync(database: Database, repository: Managed, *, fix: bool, trigger: Trigger) -> Synced:
    """Reconcile one repository with the hub, under its lock; with `fix`, write ids and safe corrections into files.

    A repository that cannot be reached, or in which somebody is at work, is a finding (C-24), and nothing of it is
    synced. Raises LockError, DatabaseUnavailable, RepositoryNotReady `sync.not_writable`, ConfigError.
    """
    run_id = str(uuid.uuid4())
    subject = f"repository:{repository.slug}"
    with open_run(database, system="sync", subject=subject, run_id=run_id, trigger=trigger) as run:
        try:
            done = _attempt(run, repository, fix=fix)
        except UpkeepError as error:
            # A database or lock that is gone is the error to tell; nothing more can be recorded then.
            with contextlib.suppress(DatabaseError), database.session() as session:
                kept = registry.last_findings(session, repository.slug)
                reason = f"{error.reason}: {error.message}"
                registry.record_attempt(session, repository.slug, findings=kept, reason=reason, run_id=run_id)
            raise
        counts = {"changed_rows": done.changed_rows, "edited_files": len(done.edited_files)}
        if done.reason is not None:
            run.finish(Outcome.VALIDATION_FAILED, "sync.inconsistent", counts=counts)
        else:
            run.finish(Outcome.DONE, counts=counts)
    return done


def _attempt(run: Run, repository: Managed, *, fix: bool) -> Synced:
    try:
        tree = WorkingTree.open(repository.path)
        busy = tree.busy()
    except RepositoryNotReady as error:
        return _not_now(run, repository, error.message, error.remedy)
    if busy is not None:
        remedy = f"Finish it (`git -C {repository.path} status` says how); the next sync does the rest."
        return _not_now(run, repository, busy, remedy)
    for left in reversed(range(TRIES)):
        head = tree.head()
        read = _read(tree, repository.workplans)
        # Files that will not hold still are synced in the end, and nothing is written into them.
        done = _reconcile(run, tree, repository, head, read, fix=fix and left > 0)
        if done is not None:
            return done
    raise AssertionError("without edits a try always ends")


def _read(tree: WorkingTree, patterns: Sequence[str]) -> _Read:
    listing: Listing = tree.files(patterns)
    documents, stamps = [], {}
    for place in listing.places:
        document, stamp = tree.read(place)
        documents.append(document)
        if stamp is not None:
            stamps[place.path] = stamp
    # A stand-in that is not whole: while something cannot be looked at, nothing counts as gone.
    documents += [Document(each.file, "", None, (), (each,), whole=False) for each in listing.findings]
    return _Read({place.path: place for place in listing.places}, tuple(documents), stamps, listing.findings)


def _reconcile(
    run: Run, tree: WorkingTree, repository: Managed, head: str | None, read: _Read, *, fix: bool
) -> Synced | None:
    """Compare, write files, write the hub. None: a file changed under us, and all is to be read again."""
    named = {number for document in read.documents for number in workplan.hub_ids(document)}
    with run.database.session() as session:
        hub = store.load(session, repository.slug, named)
        made = plan.plan(read.documents, hub, names=repository.names, fix=fix)
        stamps = _write(tree, read, made)
        if stamps is None:
            return None
        run.lock.fence(session)
        store.apply(session, repository.slug, made.changes)
        reason = summary(made.findings) if has_errors(made.findings) else None
        changed = len(made.changes.workstreams) + len(made.changes.tasks) + len(made.changes.interventions)
        attempt, state = registry.record_attempt(
            session,
            repository.slug,
            findings=made.findings,
            reason=reason,
            synced=Known(head, {**read.stamps, **stamps}),
            remote=registry.remote_of(tree) if repository.remote is None else None,
            run_id=run.run_id,
            head=head,
            changed_rows=changed,
            edited_files=len(made.edits),
        )
        after = {**hub.tasks, **{row.id: row for row in made.changes.tasks}}
        streams = {**hub.workstreams, **{row.id: row for row in made.changes.workstreams}}
    return Synced(
        repository=repository.slug,
        findings=made.findings,
        reason=reason,
        workstreams=sum(row.present for row in streams.values()),
        tasks=sum(row.present for row in after.values()),
        changed_rows=changed,
        edited_files=tuple(sorted(made.edits)),
        last_attempt_at=attempt,
        last_state_synced_at=state,
    )


def _write(tree: WorkingTree, read: _Read, made: Plan) -> dict[str, Stamp] | None:
    """Write the planned edits; the new stamps, or None where a file was no longer what it was."""
    texts = {document.path: document.text for document in read.documents}
    stamps = {}
    for path, after in made.written.items():
        stamp = tree.replace(read.places[path], texts[path], after.text)
        if stamp is None:
            return None
        stamps[path] = stamp
    return stamps


def _not_now(run: Run, repository: Managed, why: str, remedy: str) -> Synced:
    """Nothing can be synced: what the hub has stays as it is."""
    finding = Finding(code=Code.REPOSITORY, severity="error", file="", message=why, fix=remedy)
    findings = ordered([finding])
    reason = summary(findings)
    with run.database.session() as session:
        attempt, state = registry.record_attempt(
            session, repository.slug, findings=findings, reason=reason, run_id=run.run_id
        )
    return Synced(repository.slug, findings, reason, 0, 0, 0, (), attempt, state)


def summary(findings: Sequence[Finding]) -> str:
    """Why a repository does not count as synced, in one line."""
    errors = [finding for finding in findings if finding.severity == "error"]
    first = errors[0]
    place = f"{first.file}:{first.line} " if first.line else f"{first.file} " if first.file else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.code} {place}{first.message}{more}"


# Drift


@dataclass(frozen=True)
class Checked:
    """What a drift check of all repositories found. `agree` were confirmed, and count as synced now."""

    agree: tuple[str, ...]
    drifted: Mapping[str, str]
    """Slug to what differs, in words."""


def check(database: Database) -> Checked:
    """Look at every managed repository without reading what did not change. Those that agree with the hub are fresh
    again, all in one update; the others want a sync."""
    with database.session() as session:
        repos = registry.every(session)
        known = registry.everything_known(session)
        by_hand = _changed_by_hand(session)
    agree, drifted, stamps = [], {}, {}
    for repository in repos:
        if repository.last_state_synced_at is None and repository.last_attempt_reason is None:
            drifted[repository.slug] = "it was never synced"
        elif repository.last_attempt_reason is not None:
            drifted[repository.slug] = f"the last sync had errors: {repository.last_attempt_reason}"
        elif repository.slug in by_hand:
            drifted[repository.slug] = "a status was changed in the hub"
        else:
            look = drift.look(repository.path, repository.workplans, known[repository.slug])
            if look.difference is None:
                agree.append(repository.slug)
                if look.stamps is not None:
                    stamps[repository.slug] = look.stamps
            else:
                drifted[repository.slug] = look.difference
    _confirm(database, agree, stamps)
    return Checked(tuple(agree), drifted)


def _changed_by_hand(session: Session) -> set[str]:
    found: set[str] = set()
    for table in (tasks, workstreams):
        query = sa.select(table.c.repository).where(table.c.status != table.c.base_status, table.c.present).distinct()
        found |= set(session.execute(query).scalars())
    return found


def _confirm(database: Database, slugs: Sequence[str], stamps: Mapping[str, Mapping[str, Stamp]]) -> None:
    """One update for all that agree, and only for those that nobody synced or failed to sync meanwhile."""
    if not slugs:
        return
    with database.session() as session:
        chosen = repositories.c.slug.in_(slugs) & repositories.c.last_attempt_reason.is_(None)
        values = {"last_state_synced_at": sa.func.now(), "last_attempt_at": sa.func.now()}
        query = sa.update(repositories).where(chosen).values(values).returning(repositories.c.slug)
        confirmed = sorted(session.execute(query).scalars())
        for slug, files in stamps.items():
            registry.store_stamps(session, slug, files)
        for first in range(0, len(confirmed), EVENT_SLUGS):
            events.record(
                session,
                system="sync",
                subject="repositories",
                type=EventType.STATE_WRITTEN,
                confirmed=confirmed[first : first + EVENT_SLUGS],
            )
