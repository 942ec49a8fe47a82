"""Changes of one events.json, as text to text.

What belongs here: renaming, removing, adding and re-equipping entries, with everything in the same file that refers to
them (`nextEvents`, `stages`, `diagram`, `eventGroups`, `propertyDefinitions`). What does not: deciding on the changes
(`author.py`), diagrams (`diagram_edit.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upkeep.content.authoring.entries import SENT_FROM, property_item, property_style
from upkeep.content.authoring.words import phrase
from upkeep.content.edit import Editor
from upkeep.content.entry import property_name, property_names, sent_as
from upkeep.content.folder import Event
from upkeep.content.jsontext import Array, Document, Node, Object, Scalar

REFERRING = ("stages", "diagram", "eventGroups")
"""Members of events.json whose texts may be event names, beside `events` itself."""

_PROSE = frozenset({"description", "notes", "label", "type", "when", "source"})
_MORE_PROPERTIES = ("autoProperties", "additionalProperties")


@dataclass(frozen=True)
class NewEntry:
    """An entry to be added. `after` are names of events of the flow near which it belongs, the nearest first; an
    earlier new entry may be one of them. `stage` is the stage it says it is in."""

    data: Mapping[str, Any]
    after: tuple[str, ...] = ()
    stage: str | None = None

    @property
    def name(self) -> str:
        return str(self.data["name"])


@dataclass(frozen=True)
class PropertyEdit:
    """Properties that an event has gained and lost. `components` limits the change to the entries that name one of
    them, where some do: a name can have several entries in a flow."""

    name: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    components: tuple[str, ...] = ()


def rename_events(text: str, names: Mapping[str, str]) -> str:
    """Give entries new names (old to new), with every reference; names and `eventString` are told apart.

    A description follows where its words are those of `new_entry`; a person's stay.
    """
    editor = Editor(text)
    root = editor.document.root
    for node in _entries(root):
        for key in ("eventString", "name"):
            member = node.member(key)
            old = member.value.value if member is not None else None
            if member is not None and isinstance(old, str) and old in names:
                editor.replace(member.value, names[old])
        _follow_in_description(editor, node, names)
        following = node.member("nextEvents")
        _rename_in(editor, following.value if following else None, names)
    for key in REFERRING:
        member = root.member(key) if isinstance(root, Object) else None
        _rename_in(editor, member.value if member else None, names)
    return editor.text()


def _follow_in_description(editor: Editor, entry: Object, names: Mapping[str, str]) -> None:
    member = entry.member("description")
    said = member.value.value if member is not None else None
    old = sent_as(entry.value)
    begins = f"{phrase(old)}{SENT_FROM}"
    if member is not None and isinstance(said, str) and old in names and said.startswith(begins):
        editor.replace(member.value, f"{phrase(names[old])}{SENT_FROM}{said.removeprefix(begins)}")


def remove_events(text: str, names: Collection[str]) -> str:
    """Remove the entries of some names, with every reference to a name that no entry has any more, and the definitions
    of properties that only they had."""
    editor = Editor(text)
    root = editor.document.root
    entries = list(_entries(root))
    gone = [node for node in entries if sent_as(node.value) in names]
    if not gone:
        return text
    going = {node.start for node in gone}
    kept = [node for node in entries if node.start not in going]
    dead = {node.value["name"] for node in gone} - {node.value.get("name") for node in kept}
    events = editor.document.at("/events")
    assert isinstance(events, Array)
    editor.remove_items(events, [index for index, item in enumerate(events.items) if item.start in going])
    for node in kept:
        following = node.member("nextEvents")
        _remove_in(editor, following.value if following else None, dead)
    for key in REFERRING:
        member = root.member(key) if isinstance(root, Object) else None
        _remove_in(editor, member.value if member else None, dead)
    lost = {name for node in gone for name in property_names(node.value)}
    _forget_definitions(editor, lost, [node.value for node in kept])
    return editor.text()


def change_properties(text: str, edits: Sequence[PropertyEdit], types: Mapping[str, str]) -> str:
    """Add and remove properties of entries in the style of the file.

    `types` are types of properties that other flows agree in: a new property gets a definition where the file has
    definitions and its type is known so.
    """
    editor = Editor(text)
    root = editor.document.root
    entries = list(_entries(root))
    style = property_style([Event(node.value["name"], 0, node.value) for node in entries])
    filled = [m.value for node in entries if (m := node.member("properties")) and m.value.value]
    after: dict[int, Any] = {node.start: node.value for node in entries}
    gained, lost = set(), set()
    for edit in edits:
        for node in _chosen(entries, edit):
            have = {*property_names(node.value), *_more_properties(node.value)}
            added = [name for name in edit.added if name not in have]
            removed = [name for name in edit.removed if name in property_names(node.value)]
            if added or removed:
                _edit_properties(editor, node, added, removed, style, filled)
                left = [name for name in (*property_names(node.value), *added) if name not in removed]
                after[node.start] = {**node.value, "properties": left}
                gained.update(added)
                lost.update(removed)
    _define(editor, {name: types[name] for name in sorted(gained) if name in types})
    _forget_definitions(editor, lost, list(after.values()))
    return editor.text()


def add_events(text: str, entries: Sequence[NewEntry], types: Mapping[str, str]) -> str:
    """Add entries: behind their neighbours, or where the alphabet puts them in a file that is sorted by name; and add
    them to their stage and to the step of `diagram` that holds their neighbour."""
    editor = Editor(text)
    events = editor.document.at("/events")
    if not isinstance(events, Array):
        editor.set_member("", "events", [dict(entry.data) for entry in entries])
        return editor.text()
    names = [item.value.get("name") if isinstance(item.value, dict) else None for item in events.items]
    plain = [name for name in names if isinstance(name, str)]
    if len(plain) > 2 and len(plain) == len(names) and plain == sorted(plain):
        for entry in sorted(entries, key=lambda entry: entry.name):
            editor.insert_items(events, bisect_right(plain, entry.name), [dict(entry.data)])
    else:
        spots: dict[str, int] = {name: index + 1 for index, name in enumerate(names) if isinstance(name, str)}
        for entry in entries:
            index = next((spots[name] for name in entry.after if name in spots), len(names))
            spots[entry.name] = index
            near = [item for item in events.items if isinstance(item, Object) and item.value.get("name") in entry.after]
            editor.insert_items(events, index, [dict(entry.data)], like=near[:1])
    _add_to_stages(editor, entries)
    _add_to_steps(editor, entries)
    gained = {name for entry in entries for name in property_names(entry.data)}
    _define(editor, {name: types[name] for name in sorted(gained) if name in types})
    return editor.text()


def property_types(files: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the types of properties in which all definitions of a dashboard agree."""
    types: dict[str, set[str]] = {}
    for data in files:
        definitions = data.get("propertyDefinitions")
        for name, definition in definitions.items() if isinstance(definitions, dict) else ():
            kind = definition.get("type") if isinstance(definition, dict) else None
            types.setdefault(name, set()).add(kind if isinstance(kind, str) else "")
    return {name: next(iter(kinds)) for name, kinds in types.items() if len(kinds) == 1 and "" not in kinds}


def stage_events(document: Document, stage: str) -> Array | None:
    """Return the list of a stage's events, None where the file has no such stage."""
    stages = document.at("/stages")
    for item in stages.items if isinstance(stages, Array) else ():
        member = item.member("events") if isinstance(item, Object) and item.value.get("name") == stage else None
        if member is not None and isinstance(member.value, Array):
            return member.value
    return None


def _entries(root: Node) -> Iterator[Object]:
    """Yield the well-formed entries of `events`."""
    member = root.member("events") if isinstance(root, Object) else None
    for item in member.value.items if member is not None and isinstance(member.value, Array) else ():
        if isinstance(item, Object) and isinstance(item.value.get("name"), str) and item.value["name"]:
            yield item


def _references(node: Node | None, key: str = "") -> Iterator[Scalar]:
    """Yield every text under a node that may be an event's name. `key` is the member that the node stands in.

    A `name` is one only in an object that stands in a list called `events`: stages and groups have names too.
    """
    pending: list[tuple[Node | None, str]] = [(node, key)]
    while pending:
        current, name = pending.pop()
        if isinstance(current, Scalar):
            if isinstance(current.value, str):
                yield current
        elif isinstance(current, Array):
            pending += [(item, name) for item in current.items]
        elif isinstance(current, Object):
            silent = _PROSE if name == "events" else _PROSE | {"name"}
            pending += [
                (member.value, member.key.value) for member in current.members if member.key.value not in silent
            ]


def _rename_in(editor: Editor, node: Node | None, names: Mapping[str, str]) -> None:
    for scalar in _references(node):
        if scalar.value in names:
            editor.replace(scalar, names[scalar.value])


def _remove_in(editor: Editor, node: Node | None, names: Collection[str], key: str = "") -> None:
    """Take names out of lists; in a list called `events` an object that describes one goes as a whole."""
    if isinstance(node, Array):
        dead = {index for index, item in enumerate(node.items) if _stands_for(item, names, key)}
        editor.remove_items(node, dead)
        for index, item in enumerate(node.items):
            if index not in dead:
                _remove_in(editor, item, names, key)
    elif isinstance(node, Object):
        for member in node.members:
            if member.key.value not in _PROSE:
                _remove_in(editor, member.value, names, member.key.value)


def _stands_for(node: Node, names: Collection[str], key: str) -> bool:
    if isinstance(node, Scalar):
        return isinstance(node.value, str) and node.value in names
    return key == "events" and isinstance(node, Object) and node.value.get("name") in list(names)


def _more_properties(event: Mapping[str, Any]) -> set[str]:
    listed = (event.get(key) for key in _MORE_PROPERTIES)
    items = [item for entry in listed if isinstance(entry, list) for item in entry]
    return {name for item in items if (name := property_name(item)) is not None}


def _chosen(entries: Sequence[Object], edit: PropertyEdit) -> list[Object]:
    named = [node for node in entries if sent_as(node.value) == edit.name]
    if len(named) < 2:
        return named
    fitting = [
        node
        for node in named
        if any(
            part in str(node.value.get(key, "")) for part in edit.components for key in ("component", "firingLocation")
        )
    ]
    return fitting or named


def _edit_properties(
    editor: Editor, node: Object, added: Sequence[str], removed: Sequence[str], style: Any, filled: Sequence[Node]
) -> None:
    member = node.member("properties")
    own = property_style([Event("", 0, node.value)]) if property_names(node.value) else style
    items = [property_item(name, own) for name in added]
    if member is None or not isinstance(member.value, Array):
        if items:
            editor.set_member(node, "properties", items)
        return
    listed = member.value
    if removed:
        editor.remove_items(
            listed, [index for index, item in enumerate(listed.items) if property_name(item.value) in removed]
        )
    if items:
        editor.insert_items(listed, len(listed.items), items, like=() if listed.items else filled)


def _define(editor: Editor, types: Mapping[str, str]) -> None:
    definitions = editor.document.at("/propertyDefinitions")
    if isinstance(definitions, Object):
        for name, kind in types.items():
            if definitions.member(name) is None:
                editor.set_member(definitions, name, {"type": kind})


def _forget_definitions(editor: Editor, lost: Collection[str], entries: Sequence[Mapping[str, Any]]) -> None:
    definitions = editor.document.at("/propertyDefinitions")
    if not isinstance(definitions, Object):
        return
    used = {name for entry in entries for name in (*property_names(entry), *_more_properties(entry))}
    for name in sorted(set(lost) - used):
        editor.remove_member(definitions, name)


def _add_to_stages(editor: Editor, entries: Sequence[NewEntry]) -> None:
    spots: dict[tuple[int, str], int] = {}
    for entry in entries:
        listed = stage_events(editor.document, entry.stage) if entry.stage is not None else None
        if listed is not None:
            _add_to_list(editor, listed, entry, spots)


def _add_to_steps(editor: Editor, entries: Sequence[NewEntry]) -> None:
    """Add names to the first list of `diagram.steps` that holds their nearest neighbour."""
    steps = editor.document.at("/diagram/steps")
    lists = [
        member.value
        for step in (steps.items if isinstance(steps, Array) else ())
        if isinstance(step, Object)
        and (member := step.member("events")) is not None
        and isinstance(member.value, Array)
    ]
    spots: dict[tuple[int, str], int] = {}
    for entry in entries:
        for name in entry.after:
            holder = next((node for node in lists if name in node.value or (node.start, name) in spots), None)
            if holder is not None:
                _add_to_list(editor, holder, entry, spots)
                break


def _add_to_list(editor: Editor, listed: Array, entry: NewEntry, spots: dict[tuple[int, str], int]) -> None:
    """Insert a name behind its neighbour in a list of names, else at its end."""
    if entry.name in listed.value or (listed.start, entry.name) in spots:
        return
    index = len(listed.items)
    for name in entry.after:
        if name in listed.value:
            index = listed.value.index(name) + 1
            break
        if (listed.start, name) in spots:
            index = spots[listed.start, name]
            break
    spots[listed.start, entry.name] = index
    editor.insert_items(listed, index, [entry.name])
