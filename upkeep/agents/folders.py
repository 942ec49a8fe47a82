"""Folders that a sandboxed program could write, handled as what they are: full of traps.

What belongs here: making, reading and removing private folders, those of killed processes too. What does not: the work
tree's changes (`harvest.py`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upkeep import scratch
from upkeep.process import run

PREFIX = "upkeep-agent-"
MAX_BYTES = 64 << 20
_REMOVAL_SECONDS = 120.0


@contextmanager
def private_folder(purpose: str) -> Iterator[Path]:
    """A folder that only this account may enter, as an absolute path without links; `purpose` is part of its name. It
    is removed at the end, whatever was left in it."""
    folder = scratch.make(f"{PREFIX}{purpose}-", Path(tempfile.gettempdir()))
    try:
        yield folder
    finally:
        remove(folder)


def sweep() -> None:
    """Remove the private folders of processes that are proven dead: `kill -9` left them no time for it."""
    for left in scratch.left_behind(PREFIX, Path(tempfile.gettempdir())):
        remove(left)


def remove(folder: Path) -> None:
    """Remove a folder without following links. What cannot be removed stays, and is no error.

    `shutil.rmtree` recurses, so a thousand folders in each other end it with RecursionError; rm(1) does not.
    """
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        run(["chmod", "-R", "u+rwX", "--", str(folder)], deadline=_REMOVAL_SECONDS, check=False)
        run(["rm", "-rf", "--", str(folder)], deadline=_REMOVAL_SECONDS, check=False)


def read_plain(file: Path, *, max_bytes: int = MAX_BYTES) -> bytes | None:
    """What a file holds, at most `max_bytes` of it; None for anything but a regular file with one name.

    A link, planted where we expect a file, would make us read what the program inside could not; a pipe would make us
    wait. Folders above `file` are for the caller to trust.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as opened:
        return opened.read(max_bytes)


def plain_files(folder: Path, suffix: str, *, depth: int = 6, most: int = 100) -> list[Path]:
    """Files below `folder` whose names end so, sorted, without following any link; at most `most` of them."""
    found: list[Path] = []
    pending = [(folder, 0)]
    while pending and len(found) < most:
        current, level = pending.pop()
        if current.is_symlink():
            continue
        try:
            with os.scandir(current) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and level < depth:
                pending.append((Path(entry.path), level + 1))
            elif entry.is_file(follow_symlinks=False) and entry.name.endswith(suffix):
                found.append(Path(entry.path))
    return sorted(found[:most])
