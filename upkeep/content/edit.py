"""Changes of JSON text that leave every other byte as it was.

What belongs here: inserting, removing and replacing by span, in the style that the file has around the place. What does
not: parsing (`jsontext.py`) and deciding what to change (`author.py`).

An `Editor` collects changes against one parsed text and applies them together:

    editor = Editor(text)
    editor.insert_items("/events", 3, [{"name": "cart opened"}])
    editor.set_member("", "description", "…")
    text = editor.text()

Style is taken from the neighbours: indentation, separators, one line or several, line ends, blanks inside braces, and
whether letters beyond ASCII are written out or escaped.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from upkeep.content.jsontext import BYTE_ORDER_MARK, Array, Document, Member, Node, Object, Scalar, parse

_ESCAPED_LETTER = re.compile(r"\\u(?!00[0-7])[0-9a-fA-F]{4}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile(r"[\r\n]")
_BLANKS = " \t"


@dataclass(frozen=True, slots=True)
class Splice:
    """`text[start:end]` becomes `replacement`."""

    start: int
    end: int
    replacement: str


@dataclass
class _Changes:
    """What happens to the children of one container. Keys of `inserted` are indexes before the change."""

    removed: set[int] = field(default_factory=set)
    inserted: dict[int, list[tuple[str | None, Any]]] = field(default_factory=dict)
    like: list[Node] = field(default_factory=list)


def splice(text: str, splices: Iterable[Splice]) -> str:
    """Apply changes that all refer to `text`. Raises `ValueError` where two of them overlap."""
    parts: list[str] = []
    position = 0
    for change in sorted(splices, key=lambda change: (change.start, change.end)):
        if change.start < position:
            raise ValueError(f"two changes overlap at offset {change.start}")
        parts += (text[position : change.start], change.replacement)
        position = change.end
    return "".join((*parts, text[position:]))


def to_json(value: Any, newline: str = "\n") -> str:
    """Return a new file: two blanks of indentation, letters written out, a line end at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False).replace("\n", newline) + newline


class Editor:
    """Collects changes of one text. A place is a JSON pointer into the text as it was given, or one of its nodes.

    Raises `JsonSyntaxError` for a text that is no JSON, `KeyError` for a pointer that names nothing, and `TypeError`
    for a place that is not the kind of container that the change needs.
    """

    def __init__(self, text: str | Document) -> None:
        self.document = text if isinstance(text, Document) else parse(text)
        self._style = _Style(self.document)
        self._containers: dict[int, tuple[Array | Object, _Changes]] = {}
        self._replaced: list[Splice] = []

    @property
    def changed(self) -> bool:
        return bool(self._containers or self._replaced)

    def insert_items(self, place: str | Node, index: int, values: Sequence[Any], like: Sequence[Node] = ()) -> None:
        """Insert values before the item at `index` (its length: at the end). `like` are nodes whose style the values
        follow, before that of the items beside them."""
        array = self._array(place)
        changes = self._changes(array)
        changes.inserted.setdefault(index, []).extend((None, value) for value in values)
        changes.like.extend(like)

    def remove_items(self, place: str | Node, indexes: Iterable[int]) -> None:
        array = self._array(place)
        if indexes := set(indexes):
            self._changes(array).removed.update(indexes)

    def set_member(self, place: str | Node, key: str, value: Any, *, after: str | None = None) -> None:
        """Replace a member's value, or insert the member: behind the member `after`, else at the end."""
        target = self._object(place)
        member = target.member(key)
        if member is not None:
            self.replace(member.value, value)
            return
        keys = [entry.key.value for entry in target.members]
        index = keys.index(after) + 1 if after in keys else len(keys)
        self._changes(target).inserted.setdefault(index, []).append((key, value))

    def remove_member(self, place: str | Node, key: str) -> None:
        """Remove a member, all of them where the key repeats; nothing where there is none."""
        target = self._object(place)
        found = {index for index, member in enumerate(target.members) if member.key.value == key}
        if found:
            self._changes(target).removed.update(found)

    def replace(self, place: str | Node, value: Any) -> None:
        node = self._node(place)
        indent = self._style.indent_at(node.start)
        self._replaced.append(Splice(node.start, node.end, self._style.render(value, [node], indent)))

    def text(self) -> str:
        """Return the text with all changes. Raises `ValueError` where a change lies inside something removed."""
        splices = list(self._replaced)
        for container, changes in self._containers.values():
            splices += self._container_splices(container, changes)
        return splice(self.document.text, splices)

    def _container_splices(self, container: Array | Object, changes: _Changes) -> list[Splice]:
        children: Sequence[Node | Member] = container.items if isinstance(container, Array) else container.members
        kept = [index for index in range(len(children)) if index not in changes.removed]
        if not kept:
            return self._refill(container, changes)
        removals = _removals(children, changes.removed)
        layout = self._style.layout(container)
        insertions: dict[int, list[str]] = {}
        for index, entries in sorted(changes.inserted.items()):
            position = next((before for before in range(index, 0, -1) if before - 1 not in changes.removed), 0)
            rendered = [self._child(container, changes, entry, layout.indent) for entry in entries]
            insertions.setdefault(position, []).extend(rendered)
        for position, rendered in insertions.items():
            if position == 0:
                start = children[0].start
                removals.append(Splice(start, start, "".join(item + layout.separator for item in rendered)))
            else:
                end = children[position - 1].end
                removals.append(Splice(end, end, "".join(layout.separator + item for item in rendered)))
        return removals

    def _refill(self, container: Array | Object, changes: _Changes) -> list[Splice]:
        """Give a container that keeps none of its children its new ones, in the style of those it had."""
        entries = [entry for _, group in sorted(changes.inserted.items()) for entry in group]
        inner = (container.start + 1, container.end - 1)
        if not entries:
            return [Splice(*inner, "")]
        models = [*changes.like, container]
        is_object = isinstance(container, Object)
        value: Any = dict(entries) if is_object else [item for _, item in entries]
        rendered = self._style.render(value, models, self._style.indent_at(container.start))
        return [Splice(container.start, container.end, rendered)]

    def _child(self, container: Array | Object, changes: _Changes, entry: tuple[str | None, Any], indent: str) -> str:
        key, value = entry
        if isinstance(container, Array):
            return self._style.render(value, [*changes.like, *container.items], indent)
        siblings = [member.value for member in container.members]
        prefix = self._style.string(key or "") + self._style.colon(container)
        return prefix + self._style.render(value, [*changes.like, *siblings], indent)

    def _changes(self, container: Array | Object) -> _Changes:
        return self._containers.setdefault(container.start, (container, _Changes()))[1]

    def _node(self, place: str | Node) -> Node:
        if not isinstance(place, str):
            return place
        node = self.document.at(place)
        if node is None:
            raise KeyError(place)
        return node

    def _array(self, place: str | Node) -> Array:
        node = self._node(place)
        if not isinstance(node, Array):
            raise TypeError(f"{place!r} is no array")
        return node

    def _object(self, place: str | Node) -> Object:
        node = self._node(place)
        if not isinstance(node, Object):
            raise TypeError(f"{place!r} is no object")
        return node


def _removals(children: Sequence[Node | Member], removed: set[int]) -> list[Splice]:
    """Return one splice for each run of removed children; at least one child stays."""
    splices = []
    for first in sorted(index for index in removed if index - 1 not in removed):
        last = first
        while last + 1 in removed:
            last += 1
        if first > 0:
            splices.append(Splice(children[first - 1].end, children[last].end, ""))
        else:
            splices.append(Splice(children[0].start, children[last + 1].start, ""))
    return splices


@dataclass(frozen=True, slots=True)
class _Layout:
    """What stands between two children of a container, and the indentation of a child that begins a line."""

    separator: str
    indent: str


class _Style:
    """How one text is written."""

    def __init__(self, document: Document) -> None:
        self.text = document.text
        self.newline = "\r\n" if "\r\n" in self.text else "\n"
        self.escapes = (
            self.text.removeprefix(BYTE_ORDER_MARK).isascii() and _ESCAPED_LETTER.search(self.text) is not None
        )
        self.unit = self._unit(document.root)
        self.on_one_line = bool(document.root.value) and self._on_one_line(document.root)

    def string(self, value: str) -> str:
        if self.escapes:
            return json.dumps(value)
        return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(value, ensure_ascii=False))

    def indent_at(self, offset: int) -> str:
        """Return the blanks that begin the line of an offset."""
        start = max(self.text.rfind("\n", 0, offset), self.text.rfind("\r", 0, offset)) + 1
        end = start
        while end < len(self.text) and self.text[end] in _BLANKS:
            end += 1
        return self.text[start:end]

    def layout(self, container: Array | Object) -> _Layout:
        """Return the layout of a container with children: the most usual of its separators."""
        children: Sequence[Node | Member] = container.items if isinstance(container, Array) else container.members
        between = Counter(self.text[left.end : right.start] for left, right in pairwise(children))
        lead = self.text[container.start + 1 : children[0].start]
        alone = "," + (lead if _LINE_END.search(lead) else " ")
        separator = between.most_common(1)[0][0] if between else alone
        if _LINE_END.search(separator):
            return _Layout(separator, _LINE_END.split(separator)[-1])
        return _Layout(separator, self.indent_at(container.start))

    def colon(self, container: Object) -> str:
        if not container.members:
            return ": "
        member = container.members[0]
        return self.text[member.key.end : member.value.start]

    def render(self, value: Any, models: Sequence[Node], indent: str) -> str:
        """Return a value as text. `models` are nodes in the same role, the best first; `indent` is that of the line
        on which the value begins."""
        if isinstance(value, dict):
            return self._render_object(value, [node for node in models if isinstance(node, Object)], indent)
        if isinstance(value, list):
            return self._render_array(value, [node for node in models if isinstance(node, Array)], indent)
        return self.string(value) if isinstance(value, str) else json.dumps(value)

    def _render_object(self, value: dict[str, Any], models: list[Object], indent: str) -> str:
        filled = [node for node in models if node.members]
        colon = self.colon(filled[0]) if filled else ": "
        inline = bool(filled) and self._on_one_line(filled[0])
        inner = indent if inline else indent + self.unit
        parts = []
        for key, item in value.items():
            roles = [member.value for node in models if (member := node.member(key)) is not None]
            parts.append(self.string(key) + colon + self.render(item, roles, inner))
        return self._wrap("{", parts, "}", filled[0] if inline else None, indent)

    def _render_array(self, value: list[Any], models: list[Array], indent: str) -> str:
        filled = [node for node in models if node.items]
        inline = bool(filled) and self._on_one_line(filled[0])
        inner = indent if inline else indent + self.unit
        roles = [item for node in filled for item in node.items]
        parts = [self.render(item, roles, inner) for item in value]
        return self._wrap("[", parts, "]", filled[0] if inline else None, indent)

    def _wrap(self, opening: str, parts: list[str], closing: str, inline: Array | Object | None, indent: str) -> str:
        if not parts:
            return opening + closing
        if inline is None and self.on_one_line:
            return opening + ", ".join(parts) + closing
        if inline is None:
            inner = self.newline + indent + self.unit
            return opening + inner + ("," + inner).join(parts) + self.newline + indent + closing
        children: Sequence[Node | Member] = inline.items if isinstance(inline, Array) else inline.members
        lead = self.text[inline.start + 1 : children[0].start]
        trail = self.text[children[-1].end : inline.end - 1]
        separator = self.text[children[0].end : children[1].start] if len(children) > 1 else ", "
        return opening + lead + separator.join(parts) + trail + closing

    def _on_one_line(self, node: Node) -> bool:
        return _LINE_END.search(self.text, node.start, node.end) is None

    def _unit(self, root: Node) -> str:
        """Return what one level of nesting adds, as the outermost container on several lines shows it."""
        pending: list[Node] = [root]
        while pending:
            node = pending.pop(0)
            if isinstance(node, Scalar):
                continue
            children: Sequence[Node | Member] = node.items if isinstance(node, Array) else node.members
            if not children:
                continue
            lead = self.text[node.start + 1 : children[0].start]
            outer, inner = self.indent_at(node.start), self.indent_at(children[0].start)
            if _LINE_END.search(lead) and inner.startswith(outer) and inner != outer:
                return inner[len(outer) :]
            pending += [child.value if isinstance(child, Member) else child for child in children]
        return "  "
