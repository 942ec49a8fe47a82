"""Temporary folders that bear the name of the process that made them, so that what a killed one left can be told.

What belongs here: making them, and finding those whose owner is proven dead. What does not: what they are for, and
removing them, which takes care where a hostile program could write (`agents/folders.py`).
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from upkeep import reaper


def make(prefix: str, folder: Path) -> Path:
    """A new folder below `folder` that only this account may enter, absolute and without links. Raises OSError."""
    owner = reaper.owner_token(os.getpid()).replace(":", "-")
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{owner}-", dir=folder)).resolve()


def left_behind(prefix: str, folder: Path) -> list[Path]:
    """Folders that `make` made below `folder` with a prefix that begins so, of this account, whose owner is gone.

    Others may write into a folder for temporary files: what is not ours, or a link of such a name, is left alone.
    """
    return [path for path in folder.glob(f"{prefix}*-*-*-*") if _is_left(path)]


def _is_left(path: Path) -> bool:
    *_, pid, started, namespace, _ = path.name.split("-")
    try:
        status = path.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return ours and reaper.owner_is_gone(f"{pid}:{started}:{namespace}")
