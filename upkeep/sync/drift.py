"""Whether a repository still is as it was last synced: one cheap look.

What belongs here: comparing files and head with what was recorded, state first and content only where that differs.
What does not: what follows from it (`service.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from upkeep.errors import RepositoryNotReady
from upkeep.sync.registry import Known
from upkeep.sync.workingtree import Stamp, WorkingTree


@dataclass(frozen=True)
class Look:
    """`difference` None: nothing differs. `stamps`: newer ones of files that only look different (touched, or synced a
    moment after they were written); None: the recorded ones are still right."""

    difference: str | None
    stamps: Mapping[str, Stamp] | None = None


def look(path: Path, patterns: Sequence[str], known: Known) -> Look:
    """Compare the working tree at `path` with what was last synced. Uncommitted edits count too."""
    try:
        tree = WorkingTree.open(path)
    except RepositoryNotReady as error:
        return Look(error.message)
    listing = tree.files(patterns)
    if listing.findings:
        return Look(f"{listing.findings[0].file}: {listing.findings[0].message}")
    found = {place.path for place in listing.places}
    if found != known.files.keys():
        changed = sorted(found ^ known.files.keys())
        return Look(f"{changed[0]} {'is new' if changed[0] in found else 'is gone'}")
    if tree.head() != known.head:
        return Look("the head moved")
    stamps = dict(known.files)
    for place in listing.places:
        before = known.files[place.path]
        if before.fits(place.state):
            continue
        stamp = tree.stamp(place) if before.size == place.state.st_size else None
        if stamp is None or stamp.sha256 != before.sha256:
            return Look(f"{place.path} changed")
        stamps[place.path] = stamp
    return Look(None, stamps if stamps != known.files else None)
