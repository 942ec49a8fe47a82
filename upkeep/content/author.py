"""The offline author: analytics content for an upstream change, written by rules.

What belongs here: the order of an update and what becomes of each kind of change. What does not: where a new event
belongs (`authoring/placement.py`), what its entry says (`authoring/entries.py`), the files of a new flow
(`authoring/new_flow.py`), and how text is changed (`authoring/flow_edit.py`, `diagram_edit.py`).
`docs/offline-agent.md` says it all in prose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from upkeep.content.authoring.additions import add_events
from upkeep.content.authoring.corrections import change_properties, remove_events, rename_events
from upkeep.content.authoring.workbook import Workbook
from upkeep.content.scan.model import ScanDelta, ScanResult
from upkeep.content.summary import UpdateSummary

MAX_UNKNOWN_SHOWN = 20


@dataclass(frozen=True)
class Authored:
    """What the author did. `files` holds changed files only, by path: their new bytes, None for one that goes."""

    files: dict[str, bytes | None]
    summary: UpdateSummary


def author(files: Mapping[str, bytes], delta: ScanDelta, head: ScanResult, *, today: date) -> Authored:
    """Return the content's changes for an upstream change. Pure; what cannot be read is left alone and said.

    `files` is the content folder, `delta` the change (without a base: a bootstrap), `head` the scan of its end.
    `today` becomes `lastAudited` of the flows that change. A second call on the result changes nothing.
    """
    book = Workbook(files, today)
    rename_events(book, delta, head)
    remove_events(book, delta, head)
    change_properties(book, delta, head)
    add_events(book, delta, head)
    book.audit()
    _doubt_unknown_names(book, delta)
    return Authored(files=dict(book.changes()), summary=book.summary())


def _doubt_unknown_names(book: Workbook, delta: ScanDelta) -> None:
    """Say which new calls send a name that the scan cannot know: a person may."""
    unknown = [call for call in delta.added if call.name is None]
    if delta.base is None and unknown:
        book.doubt(
            f"{len(unknown)} calls send names that only the running app knows; none of them is documented by this."
        )
        return
    for call in unknown[:MAX_UNKNOWN_SHOWN]:
        book.doubt(f"{call.path}:{call.line} sends a name that the scan cannot know: {call.expression}")
    if len(unknown) > MAX_UNKNOWN_SHOWN:
        book.doubt(f"{len(unknown) - MAX_UNKNOWN_SHOWN} more calls send names that the scan cannot know.")
