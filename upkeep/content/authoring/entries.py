"""What the entry of a new event says, in the style of the file that it goes into.

What belongs here: which keys, in which order, with which values. What does not: where in the file it goes
(`author.py`), under which flow (`placement.py`).

Only what the call shows is said: name, place, property names. Keys that would need knowledge (`trigger`, `userAction`,
`fires`) are left out even where the other entries have them; `stage` and `source` are taken over from the neighbours
where these agree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from upkeep.content.authoring.words import phrase, type_of, visible
from upkeep.content.folder import Event
from upkeep.content.scan.model import Call

PropertyStyle = Literal["text", "property", "name"]

DEFAULT_KEYS = ("name", "component", "description", "properties")
"""Keys of an entry in a dashboard that has no entry yet to take after."""

SENT_FROM = "; sent from "
"""What a description of ours has between the event, in words, and its places."""

_PLACE = re.compile(r"[\w./-]+\.\w+:\d+(?:-\d+)?")
_STAGES = ("stage", "funnelPosition")


def usual_keys(events: Sequence[Event]) -> tuple[str, ...]:
    """Return the keys that at least half of the entries have, in their most usual order, `name` first."""
    counts = Counter(key for event in events for key in event.data)
    usual = {key for key, count in counts.items() if count * 2 >= len(events)} | {"name"}
    orders = Counter(tuple(key for key in event.data if key in usual) for event in events)
    if not orders:
        return DEFAULT_KEYS
    best = max(orders, key=lambda order: (len(order), orders[order]))
    return best if "name" in best else ("name", *best)


def property_style(events: Sequence[Event]) -> PropertyStyle:
    """Return how most properties of some entries are written: `"x"`, `{"property": "x"}` or `{"name": "x"}`."""
    styles: Counter[PropertyStyle] = Counter()
    for event in events:
        listed = event.data.get("properties")
        for item in listed if isinstance(listed, list) else []:
            if isinstance(item, str):
                styles["text"] += 1
            elif isinstance(item, dict):
                styles["property" if "property" in item else "name"] += 1
    return styles.most_common(1)[0][0] if styles else "property"


def property_item(name: str, style: PropertyStyle) -> Any:
    return name if style == "text" else {style: name}


def place_of(call: Call) -> str:
    """Return a call's place for a reader: type and function, or the file's name at top level."""
    return visible(call.symbol or call.path.rpartition("/")[2])


def component_of(call: Call) -> str:
    return visible(type_of(call.symbol) or call.path.rpartition("/")[2].split(".")[0])


def new_entry(
    name: str, calls: Sequence[Call], style: Sequence[Event], near: Sequence[Mapping[str, Any]], stage: str | None
) -> dict[str, Any]:
    """Build an entry.

    `style` are the entries whose manner is followed (those of the file, or of the dashboard where the file is new),
    `near` the entries of the same component, nearest first, `stage` the stage it goes into (None: unknown).
    """
    keys = usual_keys(style)
    entry: dict[str, Any] = {}
    for key in keys:
        value = _value(key, name, calls, style, near, stage)
        if value is not None:
            entry[key] = value
    properties = property_names_of(calls)
    if properties and "properties" not in entry:
        entry["properties"] = [property_item(item, property_style(style)) for item in properties]
    return entry


def property_names_of(calls: Sequence[Call]) -> list[str]:
    """Return the names of the properties that calls pass, those left out that hold characters which cannot be seen."""
    return list(dict.fromkeys(item for call in calls for item in call.properties if visible(item) == item))


def _value(
    key: str,
    name: str,
    calls: Sequence[Call],
    style: Sequence[Event],
    near: Sequence[Mapping[str, Any]],
    stage: str | None,
) -> Any:
    call = calls[0]
    if key in ("name", "eventString"):
        return name
    if key == "description":
        places = list(dict.fromkeys(place_of(item) for item in calls))
        shown = (
            places[0]
            if len(places) == 1
            else f"{places[0]} and {len(places) - 1} other place" + "s" * (len(places) > 2)
        )
        return f"{phrase(name)}{SENT_FROM}{shown}."
    if key == "component":
        return component_of(call)
    if key in ("firingLocation", "location"):
        usual = [str(event.data[key]) for event in style if key in event.data]
        with_line = [value for value in usual if _PLACE.fullmatch(value)]
        return visible(f"{call.path}:{call.line}") if len(with_line) * 2 > len(usual) else place_of(call)
    if key in _STAGES:
        return stage
    if key == "source":
        return _agreed(near, key)
    if key == "properties":
        manner = property_style(style)
        return [property_item(item, manner) for item in property_names_of(calls)]
    if key == "nextEvents":
        return [] if all(key in event.data for event in style) else None
    return None


def _agreed(near: Sequence[Mapping[str, Any]], key: str) -> Any:
    """Return the value of a key in which all entries nearby agree, two at least."""
    values = [entry.get(key) for entry in near]
    return values[0] if len(values) > 1 and all(value == values[0] for value in values) else None
