"""New events: into the flow where they belong, into a new one, or into unassigned.json.

What belongs here: carrying out what `placement.py` decides. What does not: the decision, the entry's wording
(`entries.py`), the editing of text (`flow_edit.py`, `diagram_edit.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from upkeep.content import diagram_edit, evidence
from upkeep.content.authoring import flow_edit, new_flow
from upkeep.content.authoring.entries import component_of, new_entry
from upkeep.content.authoring.names import KnownNames
from upkeep.content.authoring.placement import Decision, Placement
from upkeep.content.authoring.words import common_words, visible
from upkeep.content.authoring.workbook import Workbook
from upkeep.content.edit import Editor, to_json
from upkeep.content.entry import sent_as
from upkeep.content.folder import CATALOGUE, DIAGRAMS, EVENTS, EVIDENCE, SLUG_MAP, UNASSIGNED, Event, Flow
from upkeep.content.scan.model import Call, ScanDelta, ScanResult
from upkeep.content.summary import EventRef, UnassignedEvent
from upkeep.errors import ContentInvalid

Calls = Mapping[str, Sequence[Call]]


def add_events(book: Workbook, delta: ScanDelta, head: ScanResult) -> None:
    """Document the names that are new to the content: those the change added, or, in a bootstrap, all."""
    known = KnownNames(book.content)
    calls: dict[str, list[Call]] = defaultdict(list)
    wanted = [*delta.added, *(pair.after for pair in delta.renamed)]
    for call in sorted(wanted, key=lambda call: (call.path, call.line)):
        if call.name is None or not call.name.strip() or call.name in known:
            continue
        if visible(call.name) != call.name:
            book.doubt(f"{call.path}:{call.line} sends a name with characters that cannot be seen: {call.name!r}")
            continue
        calls[call.name].append(call)
    if not calls:
        return
    placement = Placement(book.content, head, _evidence(book))
    existing = book.content.flows
    into: dict[str, dict[str, Sequence[Call]]] = defaultdict(dict)
    undecided: dict[str, Decision] = {}
    for name, found in calls.items():
        decision = placement.place(name, found)
        for slug, own in decision.calls.items():
            into[slug][name] = own
        if not decision.calls:
            undecided[name] = decision
    types = flow_edit.property_types([flow.data for flow in existing.values()])
    for slug in [slug for slug in into if slug in existing]:
        _add_to_flow(book, slug, into[slug], head, types)
    _add_flows(book, {slug: own for slug, own in into.items() if slug not in existing})
    _leave_unassigned(book, undecided, calls)


def _evidence(book: Workbook) -> evidence.Evidence | None:
    text = book.text(EVIDENCE)
    try:
        return evidence.read(text.encode()) if text is not None else None
    except ContentInvalid as error:
        book.doubt(f"{error.message}: where known events are sent was taken from the scan alone.")
        return None


def _add_to_flow(book: Workbook, slug: str, calls: Calls, head: ScanResult, types: Mapping[str, str]) -> None:
    flow = book.content.flows[slug]
    style = flow.events or [event for other in book.content.flows.values() for event in other.events]
    neighbours = _Neighbours(flow, head)
    entries = []
    for name, found in calls.items():
        after = neighbours.of(name, found)
        near = neighbours.entries(after)
        stage = _stage(flow, near)
        data = new_entry(name, found, style, neighbours.same_component(found), stage)
        entries.append(flow_edit.NewEntry(data, tuple(after), stage if "stage" in data else None))
        neighbours.add(name, found, data)
    if not book.edit_flow(slug, partial(flow_edit.add_events, entries=entries, types=types)):
        return
    book.added += [EventRef(flow=slug, name=name) for name in calls]
    page = book.diagrams(slug)
    if page is not None:
        edited = diagram_edit.add_events(page, [diagram_edit.NewNode(entry.name, entry.after) for entry in entries])
        book.write_diagrams(slug, edited.text)
        for name, reason in edited.left.items():
            book.doubt(f"{slug}/{DIAGRAMS}: {name!r} is not drawn: {reason}.")


def _stage(flow: Flow, near: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the stage of the nearest neighbour that has one, else the flow's stage for what has none."""
    for entry in near:
        for key in ("stage", "funnelPosition"):
            if isinstance(entry.get(key), str):
                return str(entry[key])
    stages = {event.data.get("stage") for event in flow.events}
    return next((name for name in ("Misc", "Other") if name in stages), None)


class _Neighbours:
    """Which events of a flow are sent near a call, the nearest first."""

    def __init__(self, flow: Flow, head: ScanResult) -> None:
        here = head.by_name()
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._calls: list[tuple[Call, str]] = []
        for event in flow.events:
            self._entries.setdefault(event.name, event.data)
            self._calls += [(call, event.name) for call in here.get(sent_as(event.data), ())]

    def of(self, name: str, calls: Sequence[Call]) -> list[str]:
        """Return neighbours: in the same function, then type, then file, those before the call first; then the same
        component; then names that begin with the same two words."""
        call = calls[0]
        found = []
        for known, event in self._calls:
            if known.path == call.path:
                found.append((*_distance(known, call), event))
        near = [event for *_, event in sorted(found)]
        component = component_of(call)
        same = [event for event, data in self._entries.items() if component in str(data.get("component", "")).split()]
        alike = [(common_words(name, event), event) for event in self._entries]
        alike = sorted((item for item in alike if item[0] >= 2), key=lambda item: -item[0])
        return list(dict.fromkeys([*near, *reversed(same), *(event for _, event in alike)]))

    def entries(self, names: Iterable[str]) -> list[Mapping[str, Any]]:
        return [self._entries[name] for name in names]

    def same_component(self, calls: Sequence[Call]) -> list[Mapping[str, Any]]:
        component = component_of(calls[0])
        return [data for data in self._entries.values() if component in str(data.get("component", "")).split()]

    def add(self, name: str, calls: Sequence[Call], data: Mapping[str, Any]) -> None:
        self._entries[name] = data
        self._calls += [(call, name) for call in calls]


def _distance(known: Call, call: Call) -> tuple[int, bool, int]:
    """Return how far a call in the same file is from another: function, type or file; behind it or before; lines."""
    same_type = known.symbol.split(".")[0] == call.symbol.split(".")[0]
    depth = 0 if known.symbol == call.symbol else 1 if same_type else 2
    return depth, known.line > call.line, abs(known.line - call.line)


def _add_flows(book: Workbook, flows: Mapping[str, Calls]) -> None:
    if not flows:
        return
    content = book.content
    style: list[Event] = [event for flow in content.flows.values() for event in flow.events]
    like = next((flow.diagrams for flow in content.flows.values() if flow.diagrams is not None), None)
    names = {slug: new_flow.flow_name(slug) for slug in flows}
    keys = {slug: content.slugs.get(slug, slug) for slug in flows}
    wanted = [slug for slug in flows if keys[slug] not in content.catalogue]
    if wanted and not _catalogue(book, wanted, names):
        _leave_for_later(book, flows)
        return
    for slug, calls in flows.items():
        entries = [new_entry(name, found, style, [], None) for name, found in calls.items()]
        book.write(f"{slug}/{EVENTS}", new_flow.events_text(keys[slug], names[slug], entries))
        if book.diagrams(slug) is None:
            shown = [(name, found[0]) for name, found in calls.items()]
            book.write(f"{slug}/{DIAGRAMS}", new_flow.diagrams_text(names[slug], shown, like))
        book.touch(slug)
        book.flows_added.append(slug)
        book.added += [EventRef(flow=slug, name=name) for name in calls]


def _catalogue(book: Workbook, slugs: Sequence[str], names: Mapping[str, str]) -> bool:
    """List new flows in flows.json and flow-slug-map.json; tell whether they are listed now."""
    content = book.content
    if CATALOGUE not in content.files:
        book.write(CATALOGUE, new_flow.catalogue_text(None, slugs, names, book.today))
    elif not book.edit_json(CATALOGUE, lambda text: new_flow.catalogue_text(text, slugs, names, book.today)):
        return False
    if SLUG_MAP not in content.files:
        text = new_flow.slug_map_text(None, slugs, content)
        if text is not None:
            book.write(SLUG_MAP, text)
    else:
        book.edit_json(SLUG_MAP, lambda text: new_flow.slug_map_text(text, slugs, content) or text)
    return True


def _leave_for_later(book: Workbook, flows: Mapping[str, Calls]) -> None:
    """Leave events unassigned whose flow cannot be listed."""
    decisions: dict[str, Decision] = {}
    calls: dict[str, Sequence[Call]] = {}
    for slug, found in flows.items():
        for name, places in found.items():
            decisions[name] = Decision(reason=f"a new flow {slug} could not be listed in {CATALOGUE}")
            calls[name] = places
    _leave_unassigned(book, decisions, calls)


def _leave_unassigned(book: Workbook, undecided: Mapping[str, Decision], calls: Calls) -> None:
    if not undecided:
        return
    entries = [
        {
            "name": name,
            "suspectedFlows": list(decision.suspected),
            "callsites": [{"path": visible(call.path), "line": call.line} for call in calls[name]],
            "reason": decision.reason,
        }
        for name, decision in undecided.items()
    ]
    if UNASSIGNED not in book.content.files:
        book.write(UNASSIGNED, to_json({"events": entries}))
    elif not book.edit_json(UNASSIGNED, partial(_with_unassigned, entries=entries)):
        return
    book.unassigned += [UnassignedEvent(name=name, reason=decision.reason) for name, decision in undecided.items()]


def _with_unassigned(text: str, entries: Sequence[Mapping[str, Any]]) -> str:
    editor = Editor(text)
    listed = editor.document.value.get("events")
    if isinstance(listed, list):
        editor.insert_items("/events", len(listed), [dict(entry) for entry in entries])
    else:
        editor.set_member("", "events", [dict(entry) for entry in entries])
    return editor.text()
