"""Syncing one repository: files, hub and database in the right order.

What belongs here: the order in which files are read, compared, written and recorded, and what happens when something
fails on the way. What does not: the comparison (`plan.py`), SQL (`store.py`, `registry.py`, `recorded.py`), the file
system (`workingtree.py`), and whether a sync is needed (`survey.py`).

The order makes a killed sync harmless: files are written first (each whole or not at all), then the hub in one
transaction. A hub that did not get that far finds in the files what it would have written itself.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from upkeep.database.events import Outcome, Trigger
from upkeep.database.server import Database
from upkeep.errors import DatabaseError, LockError, RepositoryNotReady, UpkeepError
from upkeep.runs import Run, open_run
from upkeep.sync import markers, plan, recorded, registry, store, workplan
from upkeep.sync.attempts import subject_of
from upkeep.sync.document import Document
from upkeep.sync.findings import Finding, blocked, has_errors, summary
from upkeep.sync.plan import Plan
from upkeep.sync.recorded import Known
from upkeep.sync.records import applied
from upkeep.sync.registry import Managed
from upkeep.sync.workingtree import Listing, Place, Stamp, WorkingTree

TRIES = 3
"""How often files that change under a sync are read again, and how often a locked repository is tried."""
LOCKED_SECONDS = 1.0


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


def sync_waiting(
    database: Database, home: Path, repository: Managed, *, fix: bool, trigger: Trigger, run_id: str | None = None
) -> Synced:
    """`sync` a repository together with the commits that a hook told of and nobody took; where another sync is at it,
    wait for its end: it may have begun before what we were asked for. Raises as `sync` does."""
    with markers.taken(home, repository.slug):
        for left in reversed(range(TRIES)):
            try:
                return sync(database, repository, fix=fix, trigger=trigger, run_id=run_id)
            except LockError:
                if not left:
                    raise
                time.sleep(LOCKED_SECONDS)
    raise AssertionError("the last try returns or raises")


def sync(database: Database, repository: Managed, *, fix: bool, trigger: Trigger, run_id: str | None = None) -> Synced:
    """Reconcile one repository with the hub, under its lock; with `fix`, write ids and safe corrections into files.

    A repository that cannot be reached, or in which somebody is at work, is a finding (C-24), and nothing of it is
    synced. `run_id`: of the Dagster run that this is, if it is one. Raises LockError, DatabaseUnavailable,
    RepositoryNotReady `sync.not_writable`, ConfigError.
    """
    run_id = run_id or str(uuid.uuid4())
    subject = subject_of(repository.slug)
    with open_run(database, system="sync", subject=subject, run_id=run_id, trigger=trigger) as run:
        try:
            done = _attempt(run, repository, fix=fix, trigger=trigger)
        except UpkeepError as error:
            # A database or lock that is gone is the error to tell; nothing more can be recorded then.
            with contextlib.suppress(DatabaseError), database.session() as session:
                kept = recorded.last_findings(session, repository.slug)
                reason = f"{error.reason}: {error.message}"
                recorded.record_attempt(
                    session, repository.slug, findings=kept, reason=reason, run_id=run_id, trigger=trigger
                )
            raise
        counts = {"changed_rows": done.changed_rows, "edited_files": len(done.edited_files)}
        if done.reason is not None:
            run.finish(Outcome.VALIDATION_FAILED, "sync.inconsistent", counts=counts)
        else:
            run.finish(Outcome.DONE, counts=counts)
    return done


def _attempt(run: Run, repository: Managed, *, fix: bool, trigger: Trigger) -> Synced:
    try:
        tree = WorkingTree.open(repository.path)
        busy = tree.busy()
    except RepositoryNotReady as error:
        return _not_now(run, repository, error.message, error.remedy, trigger)
    if busy is not None:
        remedy = f"Finish it (`git -C {repository.path} status` says how); the next sync does the rest."
        return _not_now(run, repository, busy, remedy, trigger)
    for left in reversed(range(TRIES)):
        head = tree.head()
        read = _read(tree, repository.workplans)
        # Files that will not hold still are synced in the end, and nothing is written into them.
        try:
            done = _reconcile(run, tree, repository, head, read, fix=fix and left > 0, trigger=trigger)
        except store.IdTaken:
            if not left:
                raise
            continue
        if done is not None:
            return done
    raise AssertionError("without edits a try always ends")


def _read(tree: WorkingTree, patterns: Sequence[str]) -> _Read:
    listing: Listing = tree.files(patterns)
    documents: list[Document] = []
    stamps: dict[str, Stamp] = {}
    for place in listing.places:
        document, stamps[place.path] = tree.read(place)
        documents.append(document)
    # A stand-in that is not whole: while something cannot be looked at, nothing counts as gone.
    documents += [Document(each.file, "", None, (), (each,), whole=False) for each in listing.findings]
    return _Read({place.path: place for place in listing.places}, tuple(documents), stamps, listing.findings)


def _reconcile(
    run: Run, tree: WorkingTree, repository: Managed, head: str | None, read: _Read, *, fix: bool, trigger: Trigger
) -> Synced | None:
    """Compare, write files, write the hub. None: a file changed under us, and all is to be read again."""
    named = {number for document in read.documents for number in workplan.hub_ids(document)}
    with run.database.session() as session:
        registry.hold_unchanged(session, repository)
        hub = store.load(session, repository.slug, named)
        made = plan.plan(read.documents, hub, names=repository.names, fix=fix)
        stamps = _write(tree, read, made)
        if stamps is None:
            return None
        run.lock.fence(session)
        store.apply(session, repository.slug, made.changes)
        reason = summary(made.findings) if has_errors(made.findings) else None
        changed = len(made.changes.workstreams) + len(made.changes.tasks) + len(made.changes.interventions)
        after = applied(hub, made.changes)
        workstreams = sum(row.present for row in after.workstreams.values())
        tasks = sum(row.present for row in after.tasks.values())
        attempt, state = recorded.record_attempt(
            session,
            repository.slug,
            findings=made.findings,
            reason=reason,
            synced=Known(head, {**read.stamps, **stamps}, repository.revision),
            remote=registry.remote_of(tree) if repository.remote is None else None,
            run_id=run.run_id,
            trigger=trigger,
            head=head,
            workstreams=workstreams,
            tasks=tasks,
            changed_rows=changed,
            edited_files=len(made.edits),
        )
    return Synced(
        repository=repository.slug,
        findings=made.findings,
        reason=reason,
        workstreams=workstreams,
        tasks=tasks,
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


def _not_now(run: Run, repository: Managed, why: str, remedy: str, trigger: Trigger) -> Synced:
    """Nothing can be synced: what the hub has stays as it is."""
    findings = (blocked(why, remedy),)
    reason = summary(findings)
    with run.database.session() as session:
        attempt, state = recorded.record_attempt(
            session, repository.slug, findings=findings, reason=reason, run_id=run.run_id, trigger=trigger
        )
    return Synced(repository.slug, findings, reason, 0, 0, 0, (), attempt, state)
