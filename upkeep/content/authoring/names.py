"""Which names a content folder knows already.

What belongs here: that question alone. What does not: where a name it does not know belongs (`placement.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from upkeep.content.entry import sent_as
from upkeep.content.folder import Content

_PLACEHOLDER = re.compile(r"\\?\$?\\?\{[^{}]*\\?\}|\\?\$\w+")


class KnownNames:
    """Names that the content knows: those of its entries, those waiting in unassigned.json, and patterns."""

    def __init__(self, content: Content) -> None:
        self._names: set[str] = {str(item["name"]) for item in content.unassigned if isinstance(item.get("name"), str)}
        self._patterns: list[re.Pattern[str]] = []
        for flow in content.flows.values():
            for event in flow.events:
                self._names |= {event.name, sent_as(event.data)}
                self._patterns += _patterns(event.data)

    def __contains__(self, name: str) -> bool:
        return name in self._names or any(pattern.fullmatch(name) for pattern in self._patterns)


def _patterns(event: Mapping[str, Any]) -> Iterable[re.Pattern[str]]:
    """Yield what an entry of a whole family of names stands for: `"Exp: {name}"` is any text after "Exp: "."""
    pattern = event.get("namePattern")
    if isinstance(pattern, str):
        parts = _PLACEHOLDER.split(re.escape(pattern))
        if len(parts) > 1 and any(part.strip("\\ ") for part in parts):
            yield re.compile(".+".join(parts), re.DOTALL)
