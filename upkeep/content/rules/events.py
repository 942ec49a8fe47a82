"""Rules about events.json: its shape, its events, its stages and properties.

What belongs here: what one flow's file says. What does not: diagrams (`diagrams.py`), evidence (`evidence.py`).

Names are compared as they are: they are what the app sends, odd spellings and trailing blanks included.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from upkeep.content.folder import Flow, event_pointer
from upkeep.content.jsontext import pointer_of
from upkeep.content.rules.base import Context, Hit, is_text, key_of, kind_of, listed, shown
from upkeep.wording import counted

_FLOW_KEYS = frozenset(
    {"flowId", "flowName", "description", "propertyDefinitions", "stages", "diagram", "eventGroups", "events"}
)
_EVENT_KEYS = frozenset(
    {"name", "stage", "funnelPosition", "component", "firingLocation", "source", "description", "trigger", "triggers"}
    | {"fires", "userAction", "nextEvents", "properties", "autoProperties", "additionalProperties", "namePattern"}
    | {"eventString", "notes"}
)
_STAGE_KEYS = frozenset({"name", "description", "events"})
_DEFINITION_KEYS = frozenset({"type", "description", "values", "constant"})
_PROPERTY_KEYS = frozenset({"property", "context", "name", "description", "required"})
_PROPERTY_LISTS = ("properties", "autoProperties")
_SHAPES: dict[str, type] = {"propertyDefinitions": dict, "stages": list}
_EVENT_LISTS = ("properties", "autoProperties", "triggers", "nextEvents")
_NOTHING: list[Any] = []


def invalid_events_json_shape(context: Context) -> Iterator[Hit]:
    for flow in context.flows:
        if not flow.file.readable:
            continue
        if not isinstance(flow.file.value, dict):
            message = f"The file must be an object with flowId, flowName and events, not {kind_of(flow.file.value)}."
            yield Hit(flow.file.path, message, pointer="")
            continue
        events = flow.data.get("events", [])
        if not isinstance(events, list):
            message = f"`events` must be an array, not {kind_of(events)}."
            yield Hit(flow.file.path, message, pointer="/events", entry=key_of(events))
            continue
        for index, event in enumerate(events if len(flow.event_objects) < len(events) else ()):
            if not isinstance(event, dict):
                message = f"Event {index + 1} must be an object with a `name`, not {kind_of(event)}."
                yield Hit(flow.file.path, message, pointer=event_pointer(index), entry=key_of(event))


def missing_flow_id(context: Context) -> Iterator[Hit]:
    yield from _missing_text(context, "flowId")


def missing_flow_name(context: Context) -> Iterator[Hit]:
    yield from _missing_text(context, "flowName")


def _missing_text(context: Context, key: str) -> Iterator[Hit]:
    for flow in _objects(context):
        value = flow.data.get(key)
        if not is_text(value):
            problem = "is missing" if key not in flow.data else f"must be a text, not {shown(value)}"
            yield Hit(flow.file.path, f"`{key}` {problem}.", pointer=f"/{key}" if key in flow.data else "", entry=key)


def missing_events(context: Context) -> Iterator[Hit]:
    for flow in _objects(context):
        if "events" not in flow.data:
            yield Hit(flow.file.path, "`events` is missing: the flow documents no event.", pointer="")
        elif flow.data["events"] == []:
            yield Hit(flow.file.path, "`events` is empty: the flow documents no event.", pointer="/events")


def missing_event_name(context: Context) -> Iterator[Hit]:
    for flow in _objects(context):
        if len(flow.named_objects) == len(flow.event_objects) and all(map(str.strip, flow.names)):
            continue
        for index, event in flow.event_objects:
            name = event.get("name")
            if not is_text(name):
                problem = "has no `name`" if "name" not in event else f"has the `name` {shown(name)}, which is no text"
                if isinstance(name, str):
                    problem = "has an empty `name`"
                message = f"Event {index + 1} {problem}. Give it the exact string that the app sends."
                yield Hit(flow.file.path, message, pointer=event_pointer(index), entry=key_of(event))


def unknown_stage_event(context: Context) -> Iterator[Hit]:
    for flow in _objects(context):
        for number, stage in enumerate(_list(flow.data.get("stages"))):
            if not isinstance(stage, dict):
                continue
            names, known = _list(stage.get("events")), flow.names
            for index, name in [
                (i, name) for i, name in enumerate(names) if isinstance(name, str) and name not in known
            ]:
                message = f"The stage {shown(stage.get('name'))} names {shown(name)}, {_absent(context, flow, name)}"
                pointer = pointer_of("stages", number, "events", index)
                yield Hit(flow.file.path, message, pointer=pointer, entry=key_of(stage.get("name"), name))


def _absent(context: Context, flow: Flow, name: str) -> str:
    near = context.nearest(name, flow.names)
    return (
        f"which is no event of this flow. {f'Did you mean {shown(near)}?' if near else 'Add the event or remove it.'}"
    )


def unexpected_shape(context: Context) -> Iterator[Hit]:
    for flow in _objects(context):
        for key, wanted in _SHAPES.items():
            if key in flow.data and not isinstance(flow.data[key], wanted):
                message = f"`{key}` should be {kind_of(wanted())}, not {kind_of(flow.data[key])}."
                yield Hit(flow.file.path, message, pointer=pointer_of(key))
        for key in _EVENT_LISTS:
            places = [index for index, event in flow.event_objects if not isinstance(event.get(key, _NOTHING), list)]
            if places:
                message = (
                    f"`{key}` should be an array; it is not in {counted(len(places), 'event')}: {_names(flow, places)}."
                )
                yield Hit(flow.file.path, message, pointer=event_pointer(places[0], key))


def missing_description(context: Context) -> Iterator[Hit]:
    for flow in _objects(context):
        if not is_text(flow.data.get("description")):
            yield Hit(flow.file.path, "The flow has no description.", pointer="")
        bare = [(index, event) for index, event in flow.named_objects if not is_text(event.get("description"))]
        if bare:
            message = (
                f"{len(bare)} of {counted(len(flow.named_objects), 'event')} {'has' if len(bare) == 1 else 'have'} no "
                f"description: {listed(event['name'] for _, event in bare)}."
            )
            yield Hit(flow.file.path, message, pointer=event_pointer(bare[0][0]))


def undefined_property(context: Context) -> Iterator[Hit]:
    for flow in _objects(context):
        definitions = flow.data.get("propertyDefinitions")
        if not isinstance(definitions, dict) or definitions.keys() >= _used_properties(flow):
            continue
        uses: Counter[str] = Counter()
        first: dict[str, str] = {}
        for event in flow.events:
            for key in _PROPERTY_LISTS:
                for index, item in enumerate(_list(event.data.get(key))):
                    name = property_name(item)
                    if name is not None and name not in definitions:
                        uses[name] += 1
                        first.setdefault(name, event_pointer(event.index, key, index))
        if uses:
            parts = [f"{shown(name)} ({counted(number, 'use')})" for name, number in uses.most_common()]
            message = f"Used by events and not in `propertyDefinitions`: {', '.join(parts[:40])}."
            yield Hit(flow.file.path, message, pointer=next(iter(first.values())))


def _used_properties(flow: Flow) -> set[str]:
    """Return the names of all properties of a flow's events."""
    names = {
        item if item.__class__ is str else property_name(item)
        for _, event in flow.named_objects
        for key in _PROPERTY_LISTS
        if key in event
        for item in _list(event[key])
    }
    return {name for name in names if name is not None}


def property_name(item: Any) -> str | None:
    """Return the name in any of the three forms of a property: a text, `{"property": …}`, `{"name": …}`."""
    if isinstance(item, dict):
        item = item.get("property", item.get("name"))
    return item if isinstance(item, str) else None


def repeated_name(context: Context) -> Iterator[Hit]:
    for flow in _objects(context):
        if len(flow.names) == len(flow.named_objects):
            continue
        groups: dict[str, list[int]] = defaultdict(list)
        uses = Counter(event.name for event in flow.events)
        for event in flow.events:
            if uses[event.name] == 1:
                continue
            data = event.data
            where = data.get("component", data.get("firingLocation")), data.get("stage", data.get("funnelPosition"))
            groups[key_of(event.name, *where)].append(event.index)
        repeats = [places for places in groups.values() if len(places) > 1]
        if repeats:
            names = {event.index: event.name for event in flow.events}
            parts = [f"{shown(names[places[0]])} (entries {_numbers(places)})" for places in repeats]
            message = (
                f"Repeated with the same component and stage: {', '.join(parts[:40])}. Merge them or tell them apart."
            )
            yield Hit(flow.file.path, message, pointer=event_pointer(repeats[0][1]))


def unknown_key(context: Context) -> Iterator[Hit]:
    for flow in _objects(context):
        uses: dict[tuple[str, str], list[str]] = defaultdict(list)
        for what, pointer, keys in _strange_objects(flow):
            for key in keys:
                if not key.startswith("_"):
                    uses[what, key].append(f"{pointer}{pointer_of(key)}")
        for (what, key), places in sorted(uses.items()):
            known = {"event": _EVENT_KEYS, "flow": _FLOW_KEYS}.get(what, frozenset())
            near = context.nearest(key, known)
            hint = f"; did you mean {shown(near)}?" if near else ""
            message = f"The format has no key {shown(key)} in {_article(what)}: {counted(len(places), 'use')}{hint}."
            yield Hit(flow.file.path, message.replace("?.", "?"), pointer=places[0])


def _strange_objects(flow: Flow) -> Iterator[tuple[str, str, set[str]]]:
    """Yield `(what, pointer, keys)` for every object of a known kind that has keys the format does not have.

    Each kind is first looked at as a whole, in few steps: nearly always it has nothing strange.
    """
    if flow.data.keys() - _FLOW_KEYS:
        yield "flow", "", flow.data.keys() - _FLOW_KEYS
    found = flow.data.get("propertyDefinitions")
    definitions: dict[str, Any] = found if isinstance(found, dict) else {}
    if not _keys_of(definitions.values()) <= _DEFINITION_KEYS:
        for name, value in definitions.items():
            if isinstance(value, dict) and not value.keys() <= _DEFINITION_KEYS:
                yield "property definition", pointer_of("propertyDefinitions", name), value.keys() - _DEFINITION_KEYS
    for index, stage in enumerate(_list(flow.data.get("stages"))):
        if isinstance(stage, dict) and not stage.keys() <= _STAGE_KEYS:
            yield "stage", pointer_of("stages", index), stage.keys() - _STAGE_KEYS
    if not _keys_of(event for _, event in flow.event_objects) <= _EVENT_KEYS:
        for index, event in flow.event_objects:
            if not event.keys() <= _EVENT_KEYS:
                yield "event", event_pointer(index), event.keys() - _EVENT_KEYS
    if (
        not _keys_of(item for _, event in flow.event_objects for item in _list(event.get("properties")))
        <= _PROPERTY_KEYS
    ):
        yield from _strange_properties(flow)


def _strange_properties(flow: Flow) -> Iterator[tuple[str, str, set[str]]]:
    for index, event in flow.event_objects:
        for place, item in enumerate(_list(event.get("properties"))):
            if isinstance(item, dict) and not item.keys() <= _PROPERTY_KEYS:
                yield "property", event_pointer(index, "properties", place), item.keys() - _PROPERTY_KEYS


def _keys_of(values: Iterable[Any]) -> set[str]:
    """Return the keys of all objects among some values."""
    return set[str]().union(*[value for value in values if isinstance(value, dict)])


def event_name_tidied(context: Context) -> Iterator[Hit]:
    """An event of the base whose name differs now in case or blanks only. Not where the commit itself spells it so:
    then the app changed it."""
    if context.base is None:
        return
    for flow in _objects(context):
        before = context.base.flows.get(flow.slug)
        gone = {_tidy(name): name for name in sorted(before.names - flow.names)} if before is not None else {}
        for event in flow.events if gone else ():
            old = gone.get(_tidy(event.name))
            if old is None or (before is not None and event.name in before.names):
                continue
            if context.evidence is not None and _spelled_in_source(context, flow.slug, event.name):
                continue
            message = (
                f"The event {shown(old)} is now written {shown(event.name)}. Names are what the app sends and are "
                "never tidied: restore it."
            )
            yield Hit(
                flow.file.path, message, pointer=event_pointer(event.index, "name"), entry=key_of(old, event.name)
            )


def _spelled_in_source(context: Context, slug: str, name: str) -> bool:
    flows = context.content.evidence.get("events")
    events = flows.get(slug) if isinstance(flows, dict) else None
    places = events.get(name) if isinstance(events, dict) else None
    paths = {place["path"] for place in _list(places) if isinstance(place, dict) and isinstance(place.get("path"), str)}
    assert context.evidence is not None
    return any(f'"{name}"' in (context.evidence(path) or "") for path in sorted(paths))


def _tidy(name: str) -> str:
    return "".join(name.split()).casefold()


def _objects(context: Context) -> Iterator[Flow]:
    """Yield the flows whose events.json is an object."""
    return (flow for flow in context.flows if isinstance(flow.file.value, dict))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _names(flow: Flow, places: list[int]) -> str:
    names = {event.index: event.name for event in flow.events}
    return listed(names.get(index, f"event {index + 1}") for index in places)


def _numbers(places: list[int]) -> str:
    numbers = [str(index + 1) for index in places]
    return f"{', '.join(numbers[:-1])} and {numbers[-1]}"


def _article(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
