"""One writer per watch, fork or repository.

What belongs here: taking, holding, checking and giving back a lock, and the rules by which a dead holder's is taken
over. What does not: what is done under it.

A lock is two things. A PostgreSQL advisory lock, held by a connection of its own: it is gone when the process is,
however it went. And a row in `upkeep.locks`, for people to read, and to decide by when a holder lost its connection but
perhaps not its life. Every take gives the row a new `epoch`; a holder that finds another there has lost the lock.

What happens to one who wants the lock, when the advisory lock is free and a row is there:

    this host and boot, the process runs             refused, with force too: a living holder is never overridden
    this host, process gone or an earlier boot       takes over; an event says so
    another host, last heartbeat under 6 h ago       refused, with force too
    another host, no heartbeat for 6 h               refused; with force takes over, and an event says so

Another pid namespace (a container of this host) counts as another host: nothing can be proven across it.

The connection must not go through a transaction pooler: an advisory lock belongs to a session.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from upkeep import reaper
from upkeep.database import events, text
from upkeep.database.server import Database
from upkeep.database.tables import locks
from upkeep.errors import DatabaseError, LockError, LockLost

HEARTBEAT_SECONDS = 60.0
STALE_AFTER = timedelta(hours=6)
SETTLE_SECONDS = 5.0
"""The server needs a moment to notice that the connection of a killed holder is gone."""

_ours: set[int] = set()
"""Epochs that this process holds now: a row with our own pid and another epoch was left by one that ended."""


@dataclass(frozen=True)
class Holder:
    """Who holds, or held, a lock. `boot` is boot id and pid namespace, `process_start` is in clock ticks since boot."""

    epoch: int
    host: str
    boot: str
    pid: int
    process_start: int
    run_id: str | None
    snapshot: dict[str, Any]
    acquired_at: datetime
    heartbeat_at: datetime

    @property
    def words(self) -> str:
        run = f" (run {self.run_id})" if self.run_id else ""
        return f"pid {self.pid} on {self.host} since {self.acquired_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{run}"

    def as_summary(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "pid": self.pid,
            "run_id": self.run_id,
            "acquired_at": self.acquired_at.isoformat(),
            "heartbeat_at": self.heartbeat_at.isoformat(),
            "snapshot": self.snapshot,
        }


@dataclass(frozen=True)
class Here:
    """This process, as rows name it. `host` is the name and the beginning of the machine id: many are `localhost`."""

    host: str
    boot: str
    pid: int
    process_start: int


def here() -> Here:
    machine = Path("/etc/machine-id").read_text().strip() if Path("/etc/machine-id").exists() else ""
    boot, namespace = "unknown", 0
    with suppress(FileNotFoundError):  # a system without /proc: then nothing is ever proven dead
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    host = f"{socket.gethostname()}/{machine[:8]}" if machine else socket.gethostname()
    return Here(host, f"{boot}/{namespace}", os.getpid(), reaper.start_time(os.getpid()) or 0)


def proven_dead(holder: Holder, now: Here) -> bool:
    """Whether a holder of this host cannot be alive. Nothing is proven about another host or pid namespace."""
    if holder.host != now.host:
        return False
    boot, _, namespace = holder.boot.partition("/")
    own_boot, _, own_namespace = now.boot.partition("/")
    if boot != own_boot:
        return True
    if namespace != own_namespace:
        return False
    if holder.pid == now.pid and holder.process_start == now.process_start:
        return holder.epoch not in _ours
    if not now.process_start:
        return False  # a system without /proc
    return reaper.start_time(holder.pid) != holder.process_start


class Lock:
    """A lock that we hold. Get one from `hold`."""

    def __init__(self, connection: psycopg.Connection[Any], subject: str, holder: Holder) -> None:
        self.subject = subject
        self.holder = holder
        self._connection = connection
        self._released = threading.Event()

    @property
    def epoch(self) -> int:
        return self.holder.epoch

    def check(self) -> None:
        """Return if we still hold the lock; LockLost if not. Before every push and every change of state."""
        row: Any = None
        why = "it was taken over"
        if not self._released.is_set():
            try:
                query = "SELECT 1 FROM upkeep.locks WHERE subject = %s AND epoch = %s"
                row = self._connection.execute(query, (self.subject, self.epoch)).fetchone()
            except psycopg.Error as error:
                why = f"the database connection that held it is gone: {str(error).strip()}"
        if row is None:
            raise self._lost(why)

    def fence(self, session: Session) -> None:
        """`check`, and nobody can take the lock over before the session's transaction is decided."""
        self.check()
        held = (locks.c.subject == self.subject) & (locks.c.epoch == self.epoch)
        if session.execute(sa.select(locks.c.epoch).where(held).with_for_update(read=True)).scalar() is None:
            raise self._lost("it was taken over")

    def _lost(self, why: str) -> LockLost:
        return LockLost(
            f"the lock on {self.subject} is lost: {why}",
            remedy="Nothing was pushed or recorded after that; run the same command again.",
            subject=self.subject,
        )

    def beat(self, seconds: float) -> None:
        """Say that we live, every so many seconds, until the lock is released or lost."""
        while not self._released.wait(seconds):
            statement = "UPDATE upkeep.locks SET heartbeat_at = clock_timestamp() WHERE subject = %s AND epoch = %s"
            try:
                if self._connection.execute(statement, (self.subject, self.epoch)).rowcount == 0:
                    return
            except psycopg.Error:
                return  # check() says so where it matters

    def release(self, database: Database) -> None:
        """Give the lock back: the row first, then the advisory lock with its connection. Never raises."""
        self._released.set()
        mine = (locks.c.subject == self.subject) & (locks.c.epoch == self.epoch)
        try:
            statement = "DELETE FROM upkeep.locks WHERE subject = %s AND epoch = %s"
            self._connection.execute(statement, (self.subject, self.epoch))
        except psycopg.Error:
            # The connection went away under us: without this the next run would find a living holder.
            with suppress(DatabaseError, SQLAlchemyError), database.session() as session:
                session.execute(sa.delete(locks).where(mine))
        finally:
            with suppress(psycopg.Error):
                self._connection.close()
            _ours.discard(self.epoch)


@contextmanager
def hold(
    database: Database,
    subject: str,
    *,
    system: str = "content",
    run_id: str | None = None,
    snapshot: Mapping[str, Any] | None = None,
    force: bool = False,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> Iterator[Lock]:
    """Hold the lock on a subject (`watch:chalo`) for the length of the block.

    `snapshot`: the SHAs that the run starts from, for people. `force` takes over what has shown no sign of life for 6 h
    and cannot be proven dead, and does nothing else. Raises LockError that names the holder, DatabaseUnavailable.
    """
    connection = database.connection(f"upkeep lock {subject}")
    try:
        holder = _take(database, connection, subject, system, run_id, dict(snapshot or {}), force=force)
    except BaseException:
        connection.close()
        raise
    lock = Lock(connection, subject, holder)
    pulse = threading.Thread(target=lock.beat, args=(heartbeat_seconds,), name=f"lock {subject}", daemon=True)
    pulse.start()
    try:
        yield lock
    finally:
        lock.release(database)
        pulse.join()


def holder_of(database: Database, subject: str) -> Holder | None:
    """What the row of a subject says; None: nobody holds it. For people: only `hold` decides."""
    with database.session() as session:
        row = session.execute(sa.select(locks).where(locks.c.subject == subject)).mappings().one_or_none()
    return None if row is None else _holder(row)


def _take(
    database: Database,
    connection: psycopg.Connection[Any],
    subject: str,
    system: str,
    run_id: str | None,
    snapshot: dict[str, Any],
    *,
    force: bool,
) -> Holder:
    now = here()
    _take_advisory(connection, subject, now)
    with database.session() as session:
        found = session.execute(sa.select(locks).where(locks.c.subject == subject).with_for_update()).mappings()
        before = next(map(_holder, found), None)
        if before is not None:
            dead = proven_dead(before, now)
            if not dead:
                _may_force(subject, before, now, force=force)
            events.record(
                session,
                system=system,
                subject=subject.removeprefix(f"{system}:"),
                type=events.EventType.LOCK_TAKEN_OVER,
                run_id=run_id,
                holder=before.as_summary(),
                forced=not dead,
            )
            if before.run_id is not None:
                # Its process cannot say any more how it ended; if it lives after all, its own word counts.
                events.close(session, before.run_id, events.Outcome.KILLED)
        holder = _write(session, subject, now, run_id, snapshot)
        _ours.add(holder.epoch)
    return holder


def _take_advisory(connection: psycopg.Connection[Any], subject: str, now: Here) -> None:
    """Take the advisory lock, or say who has it."""
    key = int.from_bytes(hashlib.sha256(f"upkeep lock {subject}".encode()).digest()[:8], signed=True)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        taken = connection.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
        if taken is not None and taken[0]:
            return
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute("SELECT * FROM upkeep.locks WHERE subject = %s", (subject,)).fetchone()
        holder = None if row is None else _holder(row)
        # Without a row the holder is about to write it, or to go; with a dead one the server is about to notice.
        passing = holder is None or proven_dead(holder, now)
        if not passing or time.monotonic() > deadline:
            raise _refused(subject, holder)
        time.sleep(0.02)


def _may_force(subject: str, before: Holder, now: Here, *, force: bool) -> None:
    """Return if a holder that may be alive may be overridden; else raise LockError."""
    if before.host == now.host and before.boot == now.boot:
        raise _refused(subject, before)
    silent = datetime.now(UTC) - before.heartbeat_at
    if silent < STALE_AFTER:
        left = STALE_AFTER - silent
        raise _refused(
            subject,
            before,
            f"It runs on another machine; its last sign of life was {_span(silent)} ago. If it is gone, use --force "
            f"in {_span(left)}.",
        )
    if not force:
        raise _refused(
            subject,
            before,
            f"Its last sign of life was {_span(silent)} ago, on another machine. If you know that it is gone, run the "
            "same command with --force (or FORCE_STALE_LOCK=1).",
        )


def _refused(subject: str, holder: Holder | None, remedy: str = "") -> LockError:
    return LockError(
        f"{subject} is being worked on by {holder.words if holder else 'another process'}",
        remedy=remedy or "Wait until that run has ended; it is alive, so nothing overrides it.",
        subject=subject,
        holder=holder.as_summary() if holder else None,
    )


def _write(session: Session, subject: str, now: Here, run_id: str | None, snapshot: dict[str, Any]) -> Holder:
    moment = sa.func.clock_timestamp()
    values = {
        "epoch": sa.text("nextval('upkeep.lock_epochs')"),
        "host": now.host,
        "boot": now.boot,
        "pid": now.pid,
        "process_start": now.process_start,
        "run_id": run_id,
        "snapshot": text.escape(snapshot),
        "acquired_at": moment,
        "heartbeat_at": moment,
    }
    new = insert(locks).values(subject=subject, **values)
    upsert = new.on_conflict_do_update(index_elements=["subject"], set_=values).returning(locks)
    return _holder(session.execute(upsert).mappings().one())


def _holder(row: Mapping[Any, Any]) -> Holder:
    fields = {name: value for name, value in row.items() if name != "subject"}
    return Holder(**{**fields, "snapshot": text.unescape(fields["snapshot"])})


def _span(length: timedelta) -> str:
    minutes = int(length.total_seconds()) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
