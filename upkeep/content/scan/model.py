"""What a static scan of an upstream finds: calls of the analytics tracker, and what changed between two scans.

What belongs here: the records only. What does not: finding them (`scanner.py`), or judging completeness: an event that
the scan cannot see is not an error.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Resolution = Literal["literal", "constant", "enum", "template", "unresolved"]


class Call(BaseModel):
    """One call of the tracker in one file.

    `name` is the exact string that the app sends, None where the scan cannot know it (`resolution` "unresolved"); a
    template such as `"tab $x clicked"` keeps its source text in `expression` and has `name` None and `resolution`
    "template". `path` is relative to the repository, `line` counts from 1 and is the line of the call. `symbol` is the
    enclosing type and function, outermost first, joined by dots ("" at top level).
    `properties` are the property names that the call passes, in order of first appearance.
    """

    model_config = ConfigDict(frozen=True)

    name: str | None
    resolution: Resolution
    expression: str
    method: str
    path: str
    line: int
    symbol: str = ""
    properties: tuple[str, ...] = ()


class ScanResult(BaseModel):
    """All calls of one tree, sorted by path and line."""

    model_config = ConfigDict(frozen=True)

    commit: str
    calls: tuple[Call, ...] = ()
    files_seen: int = 0
    files_parsed: int = 0
    files_failed: tuple[str, ...] = ()
    seconds: float = 0.0

    def by_name(self) -> dict[str, list[Call]]:
        """Resolved calls by event name, names in order of first appearance."""
        names: dict[str, list[Call]] = {}
        for call in self.calls:
            if call.name is not None:
                names.setdefault(call.name, []).append(call)
        return names


class Renamed(BaseModel):
    """An event whose string changed at what is otherwise the same call (same place and shape)."""

    model_config = ConfigDict(frozen=True)

    before: Call
    after: Call


class ScanDelta(BaseModel):
    """What changed between the scans of two commits, by event name.

    `added`: calls of names that base did not have; `removed`: base's calls of names that head does not have;
    `renamed`: pairs taken out of both; `moved`: head calls of known names whose set of places changed beyond a shift of
    lines; `properties`: head calls whose property names differ from base's for the same name.
    """

    model_config = ConfigDict(frozen=True)

    base: str | None
    head: str
    added: tuple[Call, ...] = ()
    removed: tuple[Call, ...] = ()
    renamed: tuple[Renamed, ...] = ()
    moved: tuple[Call, ...] = ()
    properties: tuple[Call, ...] = ()
    before: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Property names at base, by event name, for the names in `properties`."""

    @property
    def empty(self) -> bool:
        return not (self.added or self.removed or self.renamed or self.moved or self.properties)
