"""Notes that a hook leaves, and the one process a repository that works them off.

What belongs here: marker files under `<home>/sync/<repository>/`, and the rule by which ten commits are one sync and no
commit is forgotten. What does not: the hook's text (`hooks.py`) and the sync itself (`service.py`).

A hook leaves its marker first and starts a process then. Of the processes one has the lock of the folder; the others
end at once. It takes the markers away before it reads a file, and looks for new ones after it gave the lock back, so a
marker that came too late for it is either seen by it or by a process that gets the lock. A sync that fails puts them
back, and one that is killed leaves them where the next one looks.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

QUIET_SECONDS = 0.1
"""How long no new marker may come before a sync starts."""
PATIENCE_SECONDS = 0.5
_LOCK = "lock"
_NEW = "new"
_TAKEN = "taken"


def folder(home: Path, slug: str) -> Path:
    return home / "sync" / slug


def inbox(home: Path, slug: str) -> Path:
    """Where a hook leaves its markers."""
    return folder(home, slug) / _NEW


def prepare(home: Path, slug: str) -> Path:
    """Make the folder in which a hook leaves its markers, and return it."""
    new = inbox(home, slug)
    for each in (folder(home, slug), new, folder(home, slug) / _TAKEN):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    return new


def pending(home: Path, slug: str) -> bool:
    """Whether a commit waits that no sync has taken yet."""
    return any(inbox(home, slug).glob("*"))


def waiting(home: Path, *, seconds: float = 0.0) -> list[str]:
    """The repositories in which a commit waits, taken by a killed sync or not at all; for at least so long."""
    slugs = sorted(each.name for each in (home / "sync").glob("*") if each.is_dir())
    return [slug for slug in slugs if any(_is_old(each, seconds) for each in _markers(home, slug))]


def _markers(home: Path, slug: str) -> Iterator[Path]:
    for name in (_NEW, _TAKEN):
        yield from (folder(home, slug) / name).glob("*")


def _is_old(marker: Path, seconds: float) -> bool:
    try:
        # In both directions: the clock may have been set back.
        return abs(time.time() - marker.stat().st_mtime) >= seconds
    except FileNotFoundError:
        return False  # done meanwhile


@contextmanager
def taken(home: Path, slug: str) -> Iterator[int]:
    """Take all markers of a repository for the length of the block, and say how many; an exception puts them back."""
    prepare(home, slug)
    new, kept = inbox(home, slug), folder(home, slug) / _TAKEN
    mine = list(kept.iterdir())
    for marker in new.iterdir():
        target = kept / f"{time.time_ns()}-{marker.name}"
        try:
            marker.rename(target)
        except FileNotFoundError:
            continue  # another sync was quicker
        mine.append(target)
    try:
        yield len(mine)
    except BaseException:
        for marker in mine:
            if marker.exists():
                marker.rename(new / marker.name.rpartition("-")[2])
        raise
    for marker in mine:
        marker.unlink(missing_ok=True)


def work_off(home: Path, slug: str, work: Callable[[], None]) -> int:
    """Call `work` until no marker is left; return how often. 0: another process is at it. What `work` raises is raised,
    and the markers stay."""
    rounds = 0
    prepare(home, slug)
    while rounds == 0 or pending(home, slug):
        with _alone(home, slug) as alone:
            if not alone:
                break
            _settle(home, slug)
            with taken(home, slug):
                work()
        rounds += 1
    return rounds


@contextmanager
def _alone(home: Path, slug: str) -> Iterator[bool]:
    lock = os.open(folder(home, slug) / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(lock)


def _settle(home: Path, slug: str) -> None:
    """Wait until commits stop coming, but not for long."""
    until, count = time.monotonic() + PATIENCE_SECONDS, -1
    while time.monotonic() < until:
        now = sum(1 for _ in inbox(home, slug).iterdir())
        if now == count or now <= 1:
            return
        count = now
        time.sleep(QUIET_SECONDS)
