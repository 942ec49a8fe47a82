"""What becomes of documented events whose calls changed: renamed, removed, with other properties.

What belongs here: which entries a change concerns, and when a removal is not safe. What does not: the editing of text
(`flow_edit.py`, `diagram_edit.py`).

An entry is removed only where nothing speaks for the event: the scan must have read every file, and no call with a name
that the scan cannot know may stand where the event was sent. Of several flows that document the event only those lose
it whose evidence the removed calls were. Everything else is a doubt for a person.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from upkeep.content import diagram_edit
from upkeep.content.authoring import flow_edit
from upkeep.content.authoring.entries import component_of
from upkeep.content.authoring.words import folded, visible
from upkeep.content.authoring.workbook import Workbook
from upkeep.content.edit import Editor
from upkeep.content.entry import sent_as
from upkeep.content.folder import DIAGRAMS, UNASSIGNED, Content
from upkeep.content.jsontext import pointer_of
from upkeep.content.scan.model import Call, ScanDelta, ScanResult
from upkeep.content.summary import EventRef, RenamedEvent


def rename_events(book: Workbook, delta: ScanDelta, head: ScanResult) -> None:
    """Let entries and everything that refers to them follow new names."""
    here = head.by_name()
    names: dict[str, str] = {}
    for pair in delta.renamed:
        before, after = pair.before.name, pair.after.name
        if before is None or after is None or before in names or before in here or before == after:
            continue
        if visible(after) != after:
            continue
        if folded(before) == folded(after) and pair.after.resolution != "literal":
            book.doubt(
                f"The app seems to send {after!r} in place of {before!r} now, through {pair.after.expression}: check."
            )
            continue
        names[before] = after
    for slug, flow in list(book.content.flows.items()):
        documented = {sent_as(event.data) for event in flow.events}
        own = {
            before: after
            for before, after in names.items()
            if before in documented and (after not in documented or after in names)
        }
        if own and book.edit_flow(slug, partial(flow_edit.rename_events, names=own)):
            book.renamed += [RenamedEvent(flow=slug, before=before, after=after) for before, after in own.items()]
            _rename_in_diagrams(book, slug, own)
            _doubt_old_words(book, slug, own)
    _rename_unassigned(book, names)


def _doubt_old_words(book: Workbook, slug: str, names: dict[str, str]) -> None:
    """What a person wrote about an event is left alone, also where it speaks of the old name: that person is told."""
    old_of = {after: before for before, after in names.items()}
    for event in book.content.flows[slug].events:
        before = old_of.get(sent_as(event.data))
        if before is None:
            continue
        speaks = re.compile(rf"(?<!\w){re.escape(before)}(?!\w)", re.IGNORECASE)
        texts = [(key, value) for key, value in event.data.items() if key not in ("name", "eventString")]
        said = [key for key, value in texts if isinstance(value, str) and speaks.search(value)]
        if said:
            book.doubt(f"{slug}: the entry of {event.name!r} still speaks of {before!r} in its {', '.join(said)}.")


def _rename_in_diagrams(book: Workbook, slug: str, names: dict[str, str]) -> None:
    page = book.diagrams(slug)
    if page is not None:
        edited = diagram_edit.rename_events(page, names)
        book.write_diagrams(slug, edited.text)
        for name, reason in edited.left.items():
            book.doubt(f"{slug}/{DIAGRAMS}: {name!r}: {reason}.")


def _rename_unassigned(book: Workbook, names: dict[str, str]) -> None:
    waiting = [(index, str(item.get("name"))) for index, item in _unassigned(book.content)]
    if any(name in names for _, name in waiting):

        def edit(text: str) -> str:
            editor = Editor(text)
            for index, name in waiting:
                if name in names:
                    editor.replace(pointer_of("events", index, "name"), names[name])
            return editor.text()

        book.edit_json(UNASSIGNED, edit)


def remove_events(book: Workbook, delta: ScanDelta, head: ScanResult) -> None:
    """Remove the entries of events that the app sends no more, where that is certain."""
    calls: dict[str, list[Call]] = defaultdict(list)
    here = head.by_name()
    for call in (*delta.removed, *_replaced(delta)):
        if call.name is not None and call.name not in here:
            calls[call.name].append(call)
    documented = {sent_as(event.data) for flow in book.content.flows.values() for event in flow.events}
    by_flow: dict[str, list[str]] = defaultdict(list)
    certain: set[str] = set()
    for name, gone in calls.items():
        reason = _not_certain(name, gone, delta, head)
        if reason is not None:
            if name in documented:
                book.doubt(f"{name!r} seems to be sent no more, but {reason}; what documents it was kept.")
            continue
        certain.add(name)
        for slug in _losing_flows(book, name, gone):
            by_flow[slug].append(name)
    for slug, names in by_flow.items():
        _remove_from_flow(book, slug, names)
    _remove_unassigned(book, certain)


def _replaced(delta: ScanDelta) -> Iterable[Call]:
    """Yield calls of names that gave way to others. An entry that still has such a name stands beside one of the new
    name, or it would have been renamed."""
    for pair in delta.renamed:
        if folded(pair.before.name or "") != folded(pair.after.name or ""):
            yield pair.before


def _not_certain(name: str, gone: Sequence[Call], delta: ScanDelta, head: ScanResult) -> str | None:
    """Return why an event may still be sent, None where nothing says so."""
    if head.files_failed:
        return f"the scan could not read {head.files_failed[0]}" + (" and others" if len(head.files_failed) > 1 else "")
    places = {(call.path, call.symbol) for call in gone}
    symbols = {(call.symbol, call.method) for call in gone if call.symbol}
    for call in delta.added:
        if call.name is None and ((call.path, call.symbol) in places or (call.symbol, call.method) in symbols):
            return f"a call at {call.path}:{call.line} sends a name that the scan cannot know"
    for call in delta.added:
        if call.name is not None and call.resolution != "literal" and folded(call.name) == folded(name):
            return f"the app sends {call.name!r} now"
    return None


def _losing_flows(book: Workbook, name: str, gone: Sequence[Call]) -> list[str]:
    """Return the flows that lose an event: those whose evidence the removed calls were. Without evidence, the one flow
    that documents it; of several nobody can tell."""
    content = book.content
    flows = [slug for slug, flow in content.flows.items() if any(sent_as(event.data) == name for event in flow.events)]
    paths = {call.path for call in gone}
    recorded = content.evidence.get("events")
    evident = {
        slug
        for slug in (recorded if isinstance(recorded, dict) else ())
        if paths & set(_evidence_paths(content, slug, name))
    }
    losing = [slug for slug in flows if slug in evident] if evident else flows if len(flows) == 1 else []
    kept = [slug for slug in flows if slug not in losing]
    if kept:
        book.doubt(
            f"{name!r} seems to be sent no more, but whether {', '.join(kept)} documents the calls that are gone "
            "is not known: it was kept there."
        )
    return losing


def _evidence_paths(content: Content, slug: str, name: str) -> Iterable[str]:
    events = content.evidence.get("events")
    flow = events.get(slug) if isinstance(events, dict) else None
    places = flow.get(name) if isinstance(flow, dict) else None
    for place in places if isinstance(places, list) else []:
        if isinstance(place, dict) and isinstance(place.get("path"), str):
            yield place["path"]


def _remove_from_flow(book: Workbook, slug: str, names: list[str]) -> None:
    """Remove entries, then what shows them: a diagram's label is the entry's name, which may not be what is sent."""
    labels = {event.name for event in book.content.flows[slug].events if sent_as(event.data) in names}
    if not book.edit_flow(slug, partial(flow_edit.remove_events, names=names)):
        return
    book.removed += [EventRef(flow=slug, name=name) for name in names]
    left = book.content.flows[slug].names
    if not left:
        book.doubt(f"The flow {slug} documents no event any more; it was kept.")
    page = book.diagrams(slug)
    if page is None:
        return
    gone = sorted(labels - left)
    edited = diagram_edit.remove_events(page, gone)
    book.write_diagrams(slug, edited.text)
    for name, reason in edited.left.items():
        book.doubt(f"{slug}/{DIAGRAMS}: {name!r}: {reason}.")
    mentioned = [name for name in gone if name in edited.text and name not in edited.left]
    for name in mentioned:
        book.doubt(f"{slug}/{DIAGRAMS} still mentions {name!r} outside of event nodes.")


def _remove_unassigned(book: Workbook, names: set[str]) -> None:
    dead = [index for index, item in _unassigned(book.content) if item.get("name") in names]
    if dead:

        def edit(text: str) -> str:
            editor = Editor(text)
            editor.remove_items("/events", dead)
            return editor.text()

        book.edit_json(UNASSIGNED, edit)


def change_properties(book: Workbook, delta: ScanDelta, head: ScanResult) -> None:
    """Let the entries of events follow what their calls pass."""
    here = head.by_name()
    edits: dict[str, flow_edit.PropertyEdit] = {}
    paths: dict[str, set[str]] = defaultdict(set)
    for call in delta.properties:
        if call.name is None or call.name not in here:
            continue
        before = delta.before.get(call.name, ())
        now = dict.fromkeys(item for each in here[call.name] for item in each.properties)
        paths[call.name].add(call.path)
        edits[call.name] = flow_edit.PropertyEdit(
            name=call.name,
            added=tuple(item for item in now if item not in before and visible(item) == item),
            removed=tuple(item for item in before if item not in now),
            components=tuple({component_of(each) for each in delta.properties if each.name == call.name}),
        )
    types = flow_edit.property_types([flow.data for flow in book.content.flows.values()])
    for slug, flow in list(book.content.flows.items()):
        documented = {sent_as(event.data) for event in flow.events}
        own = [edit for name, edit in edits.items() if name in documented and _concerns(book, slug, name, paths[name])]
        before_data = {event.index: event.data for event in flow.events}
        if own and book.edit_flow(slug, partial(flow_edit.change_properties, edits=own, types=types)):
            changed = [
                event.name for event in book.content.flows[slug].events if before_data.get(event.index) != event.data
            ]
            book.changed += [EventRef(flow=slug, name=name) for name in dict.fromkeys(changed)]


def _concerns(book: Workbook, slug: str, name: str, paths: set[str]) -> bool:
    """Tell whether calls in some files are those that a flow documents: by evidence where there is any."""
    others = [other for other, flow in book.content.flows.items() if other != slug and name in flow.names]
    if not others:
        return True
    evidence = {other: set(_evidence_paths(book.content, other, name)) for other in (slug, *others)}
    if not any(found & paths for found in evidence.values()):
        return True
    return bool(evidence[slug] & paths)


def _unassigned(content: Content) -> list[tuple[int, dict[str, object]]]:
    """Return the entries of unassigned.json with their indexes in the file."""
    file = content.json_files.get(UNASSIGNED)
    listed = file.value.get("events") if file is not None and isinstance(file.value, dict) else None
    return [
        (index, item) for index, item in enumerate(listed if isinstance(listed, list) else []) if isinstance(item, dict)
    ]
