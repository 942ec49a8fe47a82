"""What differs between two states of a content folder, in the terms of its readers: flows, events, properties.

What belongs here: the records and the pure comparison that the PR's table and the metrics are made of. What does not:
judging the difference (`validate.py`), or the author's own claim about it (`summary.py`).

A file that cannot be read on one side never stops the comparison: its flow is `unreadable`, and nothing is said about
its events.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from upkeep.content.entry import property_name
from upkeep.content.folder import EVIDENCE, Content, Event, Flow

Status = Literal["added", "removed", "changed"]

SAME_ENTRY = 0.6
"""Share of equal fields from which an entry that went and one that came are one entry with a new name."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class EventChange(Record):
    """An event whose entry differs. `fields` are the keys of the entry that differ, sorted."""

    name: str
    fields: tuple[str, ...]


class EventRename(Record):
    before: str
    after: str
    fields: tuple[str, ...] = ()
    """Keys beside the name that differ."""


class PropertyChange(Record):
    """Property names of an event that came and went, and those whose description or flags differ."""

    event: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class DiagramChange(Record):
    """A Mermaid diagram, by the heading above it."""

    title: str
    status: Status


class FlowDelta(Record):
    """One flow. `fields` are the keys of events.json beside `events`, and `catalogue` those of its entry in flows.json,
    that differ. A removed flow lists its events as removed, an added one as added."""

    slug: str
    name: str
    status: Status
    unreadable: bool = False
    events_added: tuple[str, ...] = ()
    events_removed: tuple[str, ...] = ()
    events_renamed: tuple[EventRename, ...] = ()
    events_changed: tuple[EventChange, ...] = ()
    properties: tuple[PropertyChange, ...] = ()
    diagrams: tuple[DiagramChange, ...] = ()
    fields: tuple[str, ...] = ()
    catalogue: tuple[str, ...] = ()


class ContentDelta(Record):
    """All flows that differ, by slug, and what else does. `files` are the paths that differ, evidence included."""

    flows: tuple[FlowDelta, ...] = ()
    unassigned_added: tuple[str, ...] = ()
    unassigned_removed: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing that a reader of the dashboard would see differs; evidence may."""
        return not (set(self.files) - {EVIDENCE})

    @property
    def flows_added(self) -> tuple[str, ...]:
        return tuple(flow.slug for flow in self.flows if flow.status == "added")

    @property
    def flows_removed(self) -> tuple[str, ...]:
        return tuple(flow.slug for flow in self.flows if flow.status == "removed")

    @property
    def flows_changed(self) -> tuple[str, ...]:
        return tuple(flow.slug for flow in self.flows if flow.status == "changed")

    @property
    def events_added(self) -> int:
        return sum(len(flow.events_added) for flow in self.flows)

    @property
    def events_removed(self) -> int:
        return sum(len(flow.events_removed) for flow in self.flows)

    @property
    def events_renamed(self) -> int:
        return sum(len(flow.events_renamed) for flow in self.flows)

    @property
    def events_changed(self) -> int:
        return sum(len(flow.events_changed) for flow in self.flows)

    @property
    def properties_changed(self) -> int:
        return sum(len(flow.properties) for flow in self.flows)


def compare(base: Mapping[str, bytes], head: Mapping[str, bytes]) -> ContentDelta:
    """Compare two states of a content folder."""
    files = tuple(sorted(path for path in {*base, *head} if base.get(path) != head.get(path)))
    if not files:
        return ContentDelta()
    before, after = Content(base), Content(head)
    slugs = sorted({*before.flows, *after.flows})
    flows = [_compare_flow(slug, before, after) for slug in slugs]
    names_before, names_after = _names(before.unassigned), _names(after.unassigned)
    return ContentDelta(
        flows=tuple(flow for flow in flows if flow is not None),
        unassigned_added=tuple(name for name in names_after if name not in names_before),
        unassigned_removed=tuple(name for name in names_before if name not in names_after),
        files=files,
    )


def _names(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(entry["name"] for entry in entries if isinstance(entry.get("name"), str)))


def _compare_flow(slug: str, before: Content, after: Content) -> FlowDelta | None:
    old, new = before.flows.get(slug), after.flows.get(slug)
    catalogue = _differing(_entry(old, before), _entry(new, after))
    if not catalogue and _raw(old) == _raw(new):
        return None
    diagrams = _compare_diagrams(old, new)
    known = new or old
    assert known is not None
    name = str(known.data.get("flowName") or slug)
    if old is None or new is None:
        listed = tuple(event.name for event in known.events)
        return FlowDelta(
            slug=slug,
            name=name,
            status="added" if old is None else "removed",
            unreadable=not known.file.readable,
            events_added=listed if old is None else (),
            events_removed=listed if new is None else (),
            diagrams=diagrams,
        )
    if not (old.file.readable and new.file.readable):
        return FlowDelta(
            slug=slug, name=name, status="changed", unreadable=True, diagrams=diagrams, catalogue=catalogue
        )
    events = _compare_events(old.events, new.events)
    rest = [{key: value for key, value in flow.data.items() if key != "events"} for flow in (old, new)]
    return FlowDelta(
        slug=slug,
        name=name,
        status="changed",
        diagrams=diagrams,
        fields=_differing(*rest),
        catalogue=catalogue,
        **events,
    )


def _raw(flow: Flow | None) -> tuple[bytes | None, ...]:
    if flow is None:
        return ()
    return flow.file.raw, flow.diagrams_file.raw if flow.diagrams_file is not None else None


def _entry(flow: Flow | None, content: Content) -> Mapping[str, Any]:
    entry = content.catalogue.get(flow.key) if flow is not None and flow.key is not None else None
    return entry if isinstance(entry, dict) else {}


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    missing = object()
    return tuple(sorted(key for key in {*old, *new} if old.get(key, missing) != new.get(key, missing)))


def _compare_events(old: Sequence[Event], new: Sequence[Event]) -> dict[str, Any]:
    pairs, gone, come = _pair_by_name(old, new)
    renamed = _pair_renamed(gone, come)
    gone = [event for event in gone if all(event is not before for before, _ in renamed)]
    come = [event for event in come if all(event is not after for _, after in renamed)]
    changed, properties, renames = [], [], []
    for before, after in pairs:
        if fields := _differing(before.data, after.data):
            changed.append(EventChange(name=after.name, fields=fields))
    for before, after in renamed:
        fields = tuple(field for field in _differing(before.data, after.data) if field != "name")
        renames.append(EventRename(before=before.name, after=after.name, fields=fields))
    for before, after in [*pairs, *renamed]:
        change = _compare_properties(before, after)
        if change is not None:
            properties.append(change)
    return {
        "events_added": tuple(event.name for event in come),
        "events_removed": tuple(event.name for event in gone),
        "events_changed": tuple(changed),
        "events_renamed": tuple(renames),
        "properties": tuple(properties),
    }


Pairs = list[tuple[Event, Event]]


def _pair_by_name(old: Sequence[Event], new: Sequence[Event]) -> tuple[Pairs, list[Event], list[Event]]:
    """Pair entries of the same name: first those that are equal, then those of the same component and stage, then in
    order. Return the pairs, and what is left on either side."""
    waiting: dict[str, list[Event]] = defaultdict(list)
    for event in old:
        waiting[event.name].append(event)
    pairs: Pairs = []
    open_events = list(new)
    for same in (_equal, _same_place, _any):
        still_open = []
        for event in open_events:
            match = next((candidate for candidate in waiting[event.name] if same(candidate, event)), None)
            if match is None:
                still_open.append(event)
                continue
            waiting[event.name] = [candidate for candidate in waiting[event.name] if candidate is not match]
            pairs.append((match, event))
        open_events = still_open
    left = {id(event) for events in waiting.values() for event in events}
    return pairs, [event for event in old if id(event) in left], open_events


def _equal(old: Event, new: Event) -> bool:
    return old.data == new.data


def _same_place(old: Event, new: Event) -> bool:
    keys = ("component", "firingLocation", "stage", "funnelPosition")
    return all(old.data.get(key) == new.data.get(key) for key in keys)


def _any(old: Event, new: Event) -> bool:
    return True


def _pair_renamed(gone: list[Event], come: list[Event]) -> Pairs:
    """Pair entries that are the same but for the name: the best match first."""
    scores = [
        (score, _likeness(before.name, after.name), -position, before, after)
        for position, before in enumerate(gone)
        for after in come
        if (score := _shared(before.data, after.data)) >= SAME_ENTRY
    ]
    pairs: Pairs = []
    taken: set[int] = set()
    for _, _, _, before, after in sorted(scores, key=lambda item: item[:3], reverse=True):
        if not {id(before), id(after)} & taken:
            taken |= {id(before), id(after)}
            pairs.append((before, after))
    return sorted(pairs, key=lambda pair: pair[1].index)


def _shared(old: Mapping[str, Any], new: Mapping[str, Any]) -> float:
    """Return the share of fields beside the name that are equal; 0 where a description says something else."""
    keys = {*old, *new} - {"name", "eventString"}
    if not keys or old.get("description") != new.get("description"):
        return 0.0
    equal = [key for key in keys if old.get(key) == new.get(key)]
    return len(equal) / len(keys)


def _likeness(old: str, new: str) -> float:
    return SequenceMatcher(None, old, new).ratio()


def _compare_properties(before: Event, after: Event) -> PropertyChange | None:
    old, new = _properties(before), _properties(after)
    added = tuple(name for name in new if name not in old)
    removed = tuple(name for name in old if name not in new)
    changed = tuple(name for name in new if name in old and new[name] != old[name])
    if not (added or removed or changed):
        return None
    return PropertyChange(event=after.name, added=added, removed=removed, changed=changed)


def _properties(event: Event) -> dict[str, Any]:
    listed = event.data.get("properties")
    items = listed if isinstance(listed, list) else []
    return {name: item for item in items if (name := property_name(item)) is not None}


def _compare_diagrams(old: Flow | None, new: Flow | None) -> tuple[DiagramChange, ...]:
    """Compare blocks by the heading above them, those under one heading by their order."""
    before, after = _blocks(old), _blocks(new)
    changes: dict[str, Status] = {}
    for key in [*after, *(key for key in before if key not in after)]:
        if before.get(key) == after.get(key):
            continue
        title = key[0]
        status: Status = "added" if key not in before else "removed" if key not in after else "changed"
        changes[title] = status if changes.get(title, status) == status else "changed"
    return tuple(DiagramChange(title=title, status=status) for title, status in changes.items())


def _blocks(flow: Flow | None) -> dict[tuple[str, int], str]:
    blocks: dict[tuple[str, int], str] = {}
    seen: Counter[str] = Counter()
    for block in flow.diagrams.blocks if flow is not None and flow.diagrams is not None else ():
        title = block.title.text if block.title is not None else ""
        blocks[title, seen[title]] = block.text
        seen[title] += 1
    return blocks
