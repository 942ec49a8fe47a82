"""What earlier scans read from blobs, kept by blob id.

What belongs here: one SQLite file a watch. What does not: deciding what has to be read.

A blob's content never changes, so an entry is never stale; all are dropped when the settings or the scanner change. The
file holds nothing that cannot be read again: if it is damaged it is replaced, and where it cannot be written the scan
goes on without. SQLite's own locking makes it safe to share between processes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from upkeep.content.scan.facts import CallSite, FileFacts
from upkeep.content.scan.stored import load_facts, load_sites, store_facts, store_sites

BlobKey = tuple[str, str]
"""Blob id and grammar: one blob may stand under names of two languages."""

_BUSY_SECONDS = 5.0
_COLUMNS = "sha, grammar, declared, hit, failed, facts, wrappers, callers"
_TABLES = f"""
create table if not exists meta (key text primary key);
create table if not exists blobs ({_COLUMNS}, primary key (sha, grammar)) without rowid;
"""


@dataclass(slots=True)
class Entry:
    """What is known of one blob.

    `declared` are names that it may declare; `hit` whether it can hold a call; `failed` whether it cannot be read.
    `facts` is None until it was parsed. `callers` are its calls of the wrappers whose names have the hash `wrappers`.
    """

    declared: tuple[str, ...] = ()
    hit: bool = False
    failed: bool = False
    stored_facts: str | None = None
    wrappers: str = ""
    stored_callers: str | None = None

    @property
    def facts(self) -> FileFacts | None:
        """The facts, decoded anew at each call. Raises ValueError where they are damaged."""
        return None if self.stored_facts is None else load_facts(self.stored_facts)

    @property
    def callers(self) -> tuple[CallSite, ...]:
        """The calls of wrappers. Raises ValueError where they are damaged."""
        return () if self.stored_callers is None else load_sites(self.stored_callers)

    def keep_facts(self, facts: FileFacts) -> None:
        self.stored_facts = store_facts(facts)

    def keep_callers(self, wrappers: str, callers: tuple[CallSite, ...]) -> None:
        self.wrappers = wrappers
        self.stored_callers = store_sites(callers) if callers else None


class BlobCache:
    """The entries in the file `path`, valid for `key`; without `path` nothing is kept."""

    def __init__(self, path: Path | None, key: str) -> None:
        self._path = path
        self._key = key

    def load(self) -> dict[BlobKey, Entry]:
        """Return all entries; none where there is no file, it is damaged, or it was written for another key."""
        if self._path is None or not self._path.is_file():
            return {}
        try:
            with self._connection(self._path) as connection:
                if connection.execute("select key from meta").fetchall() != [(self._key,)]:
                    return {}
                rows = connection.execute(f"select {_COLUMNS} from blobs").fetchall()
            return {
                (sha, grammar): Entry(tuple(declared.split()), bool(hit), bool(failed), facts, wrappers, callers)
                for sha, grammar, declared, hit, failed, facts, wrappers, callers in rows
            }
        except (sqlite3.Error, AttributeError):  # a value that is no text is damage, too
            return {}

    def save(self, changed: dict[BlobKey, Entry], present: Collection[BlobKey]) -> None:
        """Keep the entries that changed; those of blobs not `present` go when they have become the majority."""
        if self._path is None:
            return
        try:
            self._save(self._path, changed, present)
        except (sqlite3.DatabaseError, OSError):
            with contextlib.suppress(OSError, sqlite3.Error):
                for suffix in ("", "-wal", "-shm", "-journal"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                self._save(self._path, changed, present)

    def _save(self, path: Path, changed: dict[BlobKey, Entry], present: Collection[BlobKey]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection(path) as connection:
            connection.executescript(_TABLES)
            connection.execute("begin immediate")
            if connection.execute("select key from meta").fetchall() != [(self._key,)]:
                connection.execute("delete from blobs")
                connection.execute("delete from meta")
                connection.execute("insert into meta values (?)", (self._key,))
            connection.executemany(
                f"insert or replace into blobs ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)",
                [(*key, *_row(entry)) for key, entry in changed.items()],
            )
            (count,) = connection.execute("select count(*) from blobs").fetchone()
            if count > 2 * len(present) + 1000:
                kept = set(present)
                gone = [key for key in connection.execute("select sha, grammar from blobs") if key not in kept]
                connection.executemany("delete from blobs where sha = ? and grammar = ?", gone)
            connection.execute("commit")

    @staticmethod
    @contextlib.contextmanager
    def _connection(path: Path) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            # No waiting for the disk: what a power cut damages is read as no cache at all.
            connection.execute("pragma synchronous = off")
            yield connection
        finally:
            connection.close()


def _row(entry: Entry) -> tuple[object, ...]:
    declared = " ".join(entry.declared)
    return declared, entry.hit, entry.failed, entry.stored_facts, entry.wrappers, entry.stored_callers
