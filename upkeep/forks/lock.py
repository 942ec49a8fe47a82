"""The folder lock of a fork, beside the lock in the database: what a person, a script or another host can see.

What belongs here: taking, holding and giving back the folder, and when a holder's is taken over. What does not: the
lock in the database (`upkeep/database/locks.py`), which follows the same rules.

The folder is made by mkdir(2), which one process alone can do, and holds meta.json: who, since when, from which SHAs,
and a heartbeat. Who finds it there:

    the holder runs                                      LockError, with force too
    this host, its process gone or an earlier boot       takes over by renaming the folder away, and says so
    another host, or a meta.json that cannot be read     LockError; with force after 6 h without a heartbeat

Judging and taking happen under flock(2) on a guard file, so that of two who find the same dead holder one takes over.
While the folder is there and meta.json is not yet, the guard file says who is about to write it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from upkeep.database.locks import HEARTBEAT_SECONDS, STALE_AFTER, Holder, here, proven_dead
from upkeep.errors import LockError, LockLost, UpkeepError
from upkeep.forks.records import Record

META = "meta.json"
_SETTLE_SECONDS = 10.0
_META_BYTES = 1 << 20

_ours: set[str] = set()
"""Tokens that this process holds: a meta.json with our own pid and another token was left by one that ended."""


class Meta(Record):
    """What meta.json holds. `boot` is boot id and pid namespace, `process_start` in clock ticks since boot."""

    token: str
    run_id: str
    host: str
    boot: str
    pid: int
    process_start: int
    started: datetime
    heartbeat: datetime
    snapshot: dict[str, str]

    @property
    def words(self) -> str:
        return f"run {self.run_id}: pid {self.pid} on {self.host} since {self.started:%Y-%m-%d %H:%M:%S} UTC"


class Takeover(Record):
    """A lock that was taken over. `forced`: nothing proved that its holder was dead."""

    holder: Meta | None
    forced: bool
    reason: str

    def as_summary(self) -> dict[str, object]:
        """What the events keep of it."""
        holder = None if self.holder is None else self.holder.model_dump(mode="json", exclude={"token"})
        return {"lock": "folder", "holder": holder, "forced": self.forced}


@dataclass(frozen=True)
class _Verdict:
    """What is to be done about a folder that is there: take over, or (`refusal`) not."""

    takeover: Takeover | None = None
    refusal: LockError | None = None


class FolderLock:
    """A folder lock that we hold. Get one from `hold`. `takeover` says whose it was, if it was taken over."""

    def __init__(self, folder: Path, meta: Meta, takeover: Takeover | None) -> None:
        self.folder = folder
        self.takeover = takeover
        self._meta = meta
        self._released = threading.Event()
        self._writing = threading.Lock()

    @property
    def meta(self) -> Meta:
        return self._meta

    def check(self) -> None:
        """Return if the folder is still ours; LockLost if not."""
        found = _read(self.folder)
        if self._released.is_set() or found is None or found.token != self._meta.token:
            raise LockLost(
                f"the lock {self.folder} is lost: {found.words if found else 'somebody removed it'}",
                remedy="Nothing was pushed after that; run the same command again.",
                folder=str(self.folder),
            )

    def show(self, snapshot: Mapping[str, str]) -> None:
        """Tell whoever looks which SHAs the run starts from."""
        with self._writing:
            self._meta = self._meta.model_copy(update={"snapshot": dict(snapshot)})
            _write(self.folder, self._meta)

    def beat(self, seconds: float) -> None:
        """Say that we live, every so many seconds, until the lock is released or lost."""
        while not self._released.wait(seconds):
            with self._writing:
                found = _read(self.folder)
                if found is None or found.token != self._meta.token:
                    return
                self._meta = self._meta.model_copy(update={"heartbeat": datetime.now(UTC)})
                with contextlib.suppress(OSError):
                    _write(self.folder, self._meta)

    def release(self) -> None:
        """Give the folder back, if it is still ours. Never raises."""
        self._released.set()
        with self._writing, contextlib.suppress(OSError, LockError), _alone(self.folder):
            found = _read(self.folder)
            if found is not None and found.token == self._meta.token:
                _remove(self.folder)
        _ours.discard(self._meta.token)


@contextlib.contextmanager
def hold(
    folder: Path,
    run_id: str,
    *,
    snapshot: Mapping[str, str] | None = None,
    force: bool = False,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> Iterator[FolderLock]:
    """Hold the folder lock at `folder` (`<home>/forks/<name>/lock`) for the length of the block.

    `force` takes over what has shown no sign of life for 6 h and cannot be proven dead, and does nothing else. Raises
    LockError that names the holder, and UpkeepError (`forks.no_room`) where no folder can be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder) as guard:
            lock = _take(folder, guard, run_id, dict(snapshot or {}), force=force)
    except OSError as error:
        raise UpkeepError(
            f"no lock can be made at {folder}: {error.strerror}",
            code="forks.no_room",
            remedy="Free space there, or make it writable; nothing else was touched.",
            folder=str(folder),
        ) from error
    pulse = threading.Thread(target=lock.beat, args=(heartbeat_seconds,), name=f"lock {folder}", daemon=True)
    pulse.start()
    try:
        yield lock
    finally:
        lock.release()
        pulse.join()


def holder_of(folder: Path) -> Meta | None:
    """Who holds the lock, for people; None: nobody, or nobody who can be told."""
    return _read(folder)


def _take(folder: Path, guard: int, run_id: str, snapshot: dict[str, str], *, force: bool) -> FolderLock:
    now, moment = here(), datetime.now(UTC)
    meta = Meta(
        token=uuid.uuid4().hex,
        run_id=run_id,
        host=now.host,
        boot=now.boot,
        pid=now.pid,
        process_start=now.process_start,
        started=moment,
        heartbeat=moment,
        snapshot=snapshot,
    )
    takeover = None
    before, about_to = os.pread(guard, _META_BYTES, 0), meta.model_dump_json().encode()
    try:
        _note(guard, about_to)
        folder.mkdir()
    except FileExistsError:
        _note(guard, before)
        found = _read(folder) if (folder / META).exists() else _parse(before)
        verdict = _judge(folder, found, force=force)
        if verdict.refusal is not None:
            raise verdict.refusal from None
        takeover = verdict.takeover
        _note(guard, about_to)
        # Renamed in one step: nobody ever sees a folder that is half gone.
        _remove(folder)
        folder.mkdir()
    try:
        _write(folder, meta)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _note(guard, b"")
    _ours.add(meta.token)
    return FolderLock(folder, meta, takeover)


def _judge(folder: Path, meta: Meta | None, *, force: bool) -> _Verdict:
    if meta is not None and _dead(meta):
        return _Verdict(Takeover(holder=meta, forced=False, reason="its process is gone"))
    if meta is not None and _on_this_host(meta):
        return _Verdict(
            refusal=_refused(folder, meta, "Wait until that run has ended: nothing overrides a living one.")
        )
    silent = datetime.now(UTC) - (meta.heartbeat if meta is not None else _touched(folder))
    hours = silent.total_seconds() / 3600
    why = "it is on another host" if meta is not None else f"its {META} cannot be read"
    if silent < STALE_AFTER:
        left = (STALE_AFTER - silent) / timedelta(hours=1)
        remedy = f"Whether it lives cannot be told, because {why}. If it is gone, use --force in {left:.1f} h."
        return _Verdict(refusal=_refused(folder, meta, remedy))
    if not force:
        remedy = (
            f"Its last sign of life was {hours:.1f} h ago, and whether it lives cannot be told, because {why}. If you "
            "know that it is gone, run the same command with --force (or FORCE_STALE_LOCK=1)."
        )
        return _Verdict(refusal=_refused(folder, meta, remedy))
    return _Verdict(Takeover(holder=meta, forced=True, reason=f"{why}, no heartbeat for {hours:.1f} h"))


def _holder(meta: Meta) -> Holder:
    return Holder(
        epoch=-1,
        host=meta.host,
        boot=meta.boot,
        pid=meta.pid,
        process_start=meta.process_start,
        run_id=meta.run_id,
        snapshot=dict(meta.snapshot),
        acquired_at=meta.started,
        heartbeat_at=meta.heartbeat,
    )


def _dead(meta: Meta) -> bool:
    return meta.token not in _ours and proven_dead(_holder(meta), here())


def _on_this_host(meta: Meta) -> bool:
    now = here()
    return meta.host == now.host and meta.boot == now.boot


def _refused(folder: Path, meta: Meta | None, remedy: str) -> LockError:
    who = meta.words if meta is not None else f"somebody whose {META} cannot be read"
    return LockError(
        f"{folder.parent.name} is being rebased by {who}",
        remedy=remedy,
        folder=str(folder),
        holder=meta.model_dump(mode="json", exclude={"token"}) if meta is not None else None,
    )


def _read(folder: Path) -> Meta | None:
    try:
        return _parse((folder / META).read_bytes())
    except OSError:
        return None


def _parse(content: bytes) -> Meta | None:
    try:
        return Meta.model_validate_json(content)
    except ValidationError:
        return None


def _note(guard: int, content: bytes) -> None:
    os.ftruncate(guard, 0)
    os.pwrite(guard, content, 0)


def _write(folder: Path, meta: Meta) -> None:
    new = folder / f".{META}.{meta.token}"
    new.write_text(meta.model_dump_json(indent=2) + "\n")
    new.replace(folder / META)


def _touched(folder: Path) -> datetime:
    """When somebody last wrote there."""
    times = [folder.stat().st_mtime, *(file.stat().st_mtime for file in folder.iterdir())]
    return datetime.fromtimestamp(max(times), UTC)


def _remove(folder: Path) -> None:
    away = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    folder.rename(away)
    shutil.rmtree(away, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Be the only one on this machine that judges, takes or gives back this lock."""
    descriptor = os.open(folder.with_name(f"{folder.name}.guard"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        until = time.monotonic() + _SETTLE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise LockError(
                        f"somebody has been taking or giving back {folder} for {_SETTLE_SECONDS:.0f} s",
                        remedy="Try again; if it stays so, see what holds the .guard file: `fuser`.",
                        folder=str(folder),
                    ) from None
                time.sleep(0.01)
        yield descriptor
    finally:
        os.close(descriptor)
