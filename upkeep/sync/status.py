"""Merging one status: the file's, the hub's, and what both last agreed on.

What belongs here: the three-way rule. What does not: everything around it (`plan.py`).

    file and hub agree                    that is the base now
    only the file changed                 the file wins; out of a final status only with a newer `updated`
    only the hub changed (by hand)        the hub wins: `--fix` writes it into the file
    both changed                          a conflict, which a person decides; nothing is overwritten
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from upkeep.sync.records import Base
from upkeep.sync.workplan import moment

Verdict = Literal["agree", "file", "hub", "reopened", "conflict"]

FINAL = frozenset({"done", "cancelled"})
"""Statuses that a file leaves only with a newer `updated`. (A done workplan may be archived.)"""


@dataclass(frozen=True, slots=True)
class Merged:
    """`status` and `base` as the hub has them afterwards. For the verdict `hub` that is only once the file says
    `status` too: until then the base stays what it was."""

    verdict: Verdict
    status: str
    base: Base


def merge(file: str, updated: str, hub: str, base: Base) -> Merged:
    """`file`, `hub`: the statuses; `updated`: the file's, empty where it has none."""
    if file == hub:
        return Merged("agree", hub, base if base.status == file else Base(file, updated))
    if hub == base.status:
        if base.status in FINAL and file != "archived" and not newer(updated, base.updated):
            return Merged("reopened", hub, base)
        return Merged("file", file, Base(file, updated))
    if file == base.status:
        return Merged("hub", hub, Base(hub, updated))
    return Merged("conflict", hub, base)


def newer(updated: str, than: str) -> bool:
    """Whether one date or time is after another; any is after none."""
    now, before = moment(updated), moment(than)
    return now is not None and (before is None or now > before)
