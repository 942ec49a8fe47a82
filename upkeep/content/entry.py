"""One entry of events.json: what it is called in the source, and which properties it lists.

What belongs here: reading an entry whose style may be any. What does not: writing one (`authoring/entries.py`), judging
one (`rules/events.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sent_as(event: Mapping[str, Any]) -> str:
    """Return the string that the app sends for an entry: its `eventString` where it has one, else its `name`."""
    string = event.get("eventString")
    return string if isinstance(string, str) and string else str(event.get("name", ""))


def property_names(event: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in an event's `properties`, whichever of the three styles each is written in."""
    listed = event.get("properties")
    names = [property_name(item) for item in (listed if isinstance(listed, list) else [])]
    return tuple(name for name in names if name is not None)


def property_name(item: Any) -> str | None:
    """Return the name of one entry of `properties`: the text itself, or its `property` or `name`."""
    if isinstance(item, dict):
        item = item.get("property", item.get("name"))
    return item if isinstance(item, str) else None
