"""How much of what the scan found is documented, as a figure.

What belongs here: counting, by names and by calls. What does not: judging. An event that the scan cannot see is not an
error, and a figure below 100 % blocks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from upkeep.content.entry import sent_as
from upkeep.content.folder import Content
from upkeep.content.scan.model import ScanResult


class Place(BaseModel):
    """A call whose name the scan could not know. `expression` is the argument as it stands in the source."""

    model_config = ConfigDict(frozen=True)

    path: str
    line: int
    expression: str


class Coverage(BaseModel):
    """Names and calls of one upstream commit against one state of the content. A name is the string that is sent.

    `names_found` are the different names that the scan resolved, `names_documented` those of them that some flow
    documents, `undocumented` the rest, sorted; `not_found` are documented names that the scan did not see.
    `calls` counts every call, `calls_resolved` those whose name is known, `calls_documented` those of them whose name
    is documented; `unresolved` lists the others by place.
    """

    model_config = ConfigDict(frozen=True)

    commit: str
    names_found: int = 0
    names_documented: int = 0
    names_in_content: int = 0
    undocumented: tuple[str, ...] = ()
    not_found: tuple[str, ...] = ()
    calls: int = 0
    calls_resolved: int = 0
    calls_documented: int = 0
    unresolved: tuple[Place, ...] = ()

    @property
    def share(self) -> float | None:
        """Documented names of those found, between 0 and 1; None where the scan found none."""
        return self.names_documented / self.names_found if self.names_found else None

    @property
    def calls_share(self) -> float | None:
        """Documented calls of all calls, unresolved ones included, between 0 and 1; None where there are none."""
        return self.calls_documented / self.calls if self.calls else None


def measure(files: Mapping[str, bytes], scan: ScanResult) -> Coverage:
    """Measure a content folder against a scan of the whole upstream tree."""
    documented = {sent_as(event.data) for flow in Content(files).flows.values() for event in flow.events}
    found = scan.by_name()
    resolved = [call for call in scan.calls if call.name is not None]
    return Coverage(
        commit=scan.commit,
        names_found=len(found),
        names_documented=len(documented & found.keys()),
        names_in_content=len(documented),
        undocumented=tuple(sorted(found.keys() - documented)),
        not_found=tuple(sorted(documented - found.keys())),
        calls=len(scan.calls),
        calls_resolved=len(resolved),
        calls_documented=sum(call.name in documented for call in resolved),
        unresolved=tuple(
            Place(path=call.path, line=call.line, expression=call.expression)
            for call in scan.calls
            if call.name is None
        ),
    )
