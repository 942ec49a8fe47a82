"""The offline author: analytics content for an upstream change, written by rules.

What belongs here: the order of an update and what becomes of each kind of change. What does not: where a new event
belongs (`authoring/placement.py`), what its entry says (`authoring/entries.py`), the files of a new flow
(`authoring/flows.py`), and how text is changed (`edit.py`, `diagram_edit.py`). `docs/offline-agent.md` says it all in
prose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from upkeep.content.scan.model import ScanDelta, ScanResult
from upkeep.content.summary import UpdateSummary


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
    raise NotImplementedError
