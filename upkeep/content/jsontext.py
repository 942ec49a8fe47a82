"""JSON text with the place of everything in it.

What belongs here: RFC 8259 as JavaScript's `JSON.parse` reads it (the dashboard is its reader), as a tree whose nodes
know where they stand, and a quick reading without places. What does not: what the values mean (`folder.py`) and
changing them (`edit.py`).

Offsets count code points of the text that was given, a byte order mark included. The text of a file decodes from
UTF-8 strictly, so whoever replaces `text[start:end]` and encodes again leaves every other byte as it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NoReturn

from upkeep.errors import ContentInvalid
from upkeep.lines import LineIndex

BYTE_ORDER_MARK = "\ufeff"
MAX_DEPTH = 200
"""Nesting that is refused beyond. Real content nests 8 deep; C's decoder gives up at Python's recursion limit."""

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_WORD = re.compile(r"[\w.+-]+")
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_KEY_END = re.compile(r'"[ \t\n\r]*:')
_LITERALS: tuple[tuple[str, Any], ...] = (("true", True), ("false", False), ("null", None))


class JsonSyntaxError(ContentInvalid):
    """A text is not JSON. `offset`, `line` and `column` are where, `expected` what JSON demands there."""

    code = "content.invalid_json"

    def __init__(self, expected: str, found: str, offset: int, line: int, column: int) -> None:
        super().__init__(f"expected {expected}, found {found}", remedy="Correct the file at this line and column.")
        self.expected = expected
        self.found = found
        self.offset = offset
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, number, true, false or null; `text[start:end]` is its literal, quotes included."""

    start: int
    end: int
    value: Any


@dataclass(frozen=True, slots=True)
class Array:
    """`text[start:end]` runs from `[` to `]`, both included."""

    start: int
    end: int
    items: tuple[Node, ...]
    value: list[Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One `key: value` of an object; `key.value` is the name."""

    key: Scalar
    value: Node

    @property
    def start(self) -> int:
        return self.key.start

    @property
    def end(self) -> int:
        return self.value.end


@dataclass(frozen=True, slots=True)
class Object:
    """`text[start:end]` runs from `{` to `}`, both included. `members` are as written, repeated keys too; in `value`
    the last of them wins, as in `JSON.parse`."""

    start: int
    end: int
    members: tuple[Member, ...]
    value: dict[str, Any] = field(repr=False)

    def member(self, name: str) -> Member | None:
        """Return the member that counts for a name: the last one."""
        return next((member for member in reversed(self.members) if member.key.value == name), None)


Node = Scalar | Array | Object


@dataclass(frozen=True, slots=True)
class DuplicateKey:
    """A key that stands in its object already: `member` is the later one, `pointer` names both."""

    pointer: str
    member: Member


@dataclass(frozen=True)
class Document:
    """A parsed text. `root` is its only value."""

    text: str
    root: Node

    @property
    def value(self) -> Any:
        """Plain Python: what `json.loads` returns."""
        return self.root.value

    @cached_property
    def lines(self) -> LineIndex:
        return LineIndex(self.text)

    def position(self, pointer: str) -> tuple[int, int]:
        """Return line and column of what a pointer names: of its key where it is a member, else of the value. A
        pointer that names nothing gives the place of the nearest container that exists."""
        offset = self.root.start
        node: Node | None = self.root
        for part in split_pointer(pointer):
            child = _child(node, part)
            if child is None:
                break
            offset, node = child
        return self.lines.position(offset)

    def at(self, pointer: str) -> Node | None:
        """Return the node that an RFC 6901 pointer names, None where there is none."""
        node: Node | None = self.root
        for part in split_pointer(pointer):
            child = _child(node, part)
            if child is None:
                return None
            node = child[1]
        return node

    @cached_property
    def duplicates(self) -> tuple[DuplicateKey, ...]:
        """Every key that repeats an earlier one of its object, in the order of the text."""
        found = [item for pointer, node in self.walk() if isinstance(node, Object) for item in _repeats(pointer, node)]
        return tuple(sorted(found, key=lambda item: item.member.start))

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Yield every node with its pointer, parents before children."""
        stack: list[tuple[str, Node]] = [("", self.root)]
        while stack:
            pointer, node = stack.pop()
            yield pointer, node
            children: list[tuple[str, Node]] = []
            if isinstance(node, Object):
                children = [(f"{pointer}/{escape_part(m.key.value)}", m.value) for m in node.members]
            elif isinstance(node, Array):
                children = [(f"{pointer}/{index}", item) for index, item in enumerate(node.items)]
            stack.extend(reversed(children))


def parse(text: str) -> Document:
    """Parse a whole text, with places.

    Raises `JsonSyntaxError` for anything that `JSON.parse` refuses, and for nesting beyond `MAX_DEPTH`. A leading byte
    order mark is skipped.
    """
    return Document(text, _Parser(text).document())


def load(text: str) -> tuple[Any, bool]:
    """Read a whole text quickly: `(plain Python value, whether some object repeats a key)`.

    Agrees with `parse(text).value` and raises the same `JsonSyntaxError`; a reader that needs no places takes a
    tenth of the time here.
    """
    try:
        value = _DECODE(text.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        # Ours says where and what; it also knows integers that Python's own limit on digits refuses.
        document = parse(text)
        return document.value, bool(document.duplicates)
    members, depth = _extent(value)
    # C's decoder drops repeated keys silently, so that a value with as many members as the text has dropped none. Each
    # member has a colon and the end of a key; strings can add to either count and nothing can take from it.
    repeats = text.count(":") != members and len(_KEY_END.findall(text)) != members and _repeats_keys(text)
    if repeats or depth > MAX_DEPTH:
        parse(text)
    return value, repeats


def locate(text: str, pointer: str) -> int:
    """Return the offset of what a pointer names (of its key where it is a member), or of the nearest container there
    is. For one place in a text that `load` has read: values in between are skipped by C's decoder.
    """
    offset = _skip_space(text, 1 if text.startswith(BYTE_ORDER_MARK) else 0)
    found = offset
    for part in split_pointer(pointer):
        if text[offset : offset + 1] not in ("{", "["):
            break
        child = _find_child(text, offset, part)
        if child is None:
            break
        found, offset = child
    return found


def pointer_of(*parts: str | int) -> str:
    """Return the RFC 6901 pointer of a path: `pointer_of("events", 3, "name") == "/events/3/name"`."""
    return "".join(f"/{escape_part(str(part))}" for part in parts)


def escape_part(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1") if "~" in part or "/" in part else part


def split_pointer(pointer: str) -> list[str]:
    """Return the unescaped parts of a pointer; raises `ValueError` where it is neither empty nor begins with "/"."""
    if not pointer:
        return []
    if not pointer.startswith("/"):
        raise ValueError(f"not a JSON pointer: {pointer!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODE = json.JSONDecoder(parse_constant=_refuse).decode
_SKIP = json.JSONDecoder().raw_decode


def _skip_space(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    assert match is not None
    return match.end()


def _find_child(text: str, offset: int, part: str) -> tuple[int, int] | None:
    """Return the offsets of a child and of its value, within the container that begins at an offset."""
    is_object, wanted = text[offset] == "{", int(part) if part.isascii() and part.isdigit() else -1
    offset, index, found = _skip_space(text, offset + 1), 0, None
    while text[offset : offset + 1] not in ("}", "]"):
        start, key = offset, None
        if is_object:
            key, offset = _SKIP(text, offset)
            offset = _skip_space(text, _skip_space(text, offset) + 1)
        if key == part if is_object else index == wanted:
            found = start, offset
            if not is_object:
                return found
        offset = _skip_space(text, _SKIP(text, offset)[1])
        if text[offset : offset + 1] == ",":
            offset = _skip_space(text, offset + 1)
        index += 1
    return found


def _child(node: Node | None, part: str) -> tuple[int, Node] | None:
    if isinstance(node, Object):
        member = node.member(part)
        return (member.start, member.value) if member else None
    if isinstance(node, Array) and part.isascii() and part.isdigit() and int(part) < len(node.items):
        item = node.items[int(part)]
        return item.start, item
    return None


def _repeats(pointer: str, node: Object) -> Iterator[DuplicateKey]:
    if len(node.value) == len(node.members):
        return
    seen: set[str] = set()
    for member in node.members:
        if member.key.value in seen:
            yield DuplicateKey(f"{pointer}/{escape_part(member.key.value)}", member)
        seen.add(member.key.value)


def _extent(value: Any) -> tuple[int, int]:
    """Return how many members all objects in a value have together, and how deep it nests; a scalar alone is 1 deep.

    Level by level, in few steps of Python a container: every file of a folder passes here.
    """
    members = depth = 0
    level = [value]
    while level:
        depth += 1
        objects = [node for node in level if node.__class__ is dict]
        members += sum(map(len, objects))
        children = list(chain.from_iterable(map(dict.values, objects)))
        children.extend(chain.from_iterable(node for node in level if node.__class__ is list))
        # Most children are strings: the first question lets them go.
        level = [
            node
            for node in children
            if node.__class__ is not str and (node.__class__ is dict or node.__class__ is list)
        ]
    return members, depth


def _repeats_keys(text: str) -> bool:
    """Whether some object of a text that is JSON repeats a key: for certain, at half again the cost of a reading."""
    repeats = False

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        value = dict(pairs)
        repeats = repeats or len(value) != len(pairs)
        return value

    json.loads(text.removeprefix(BYTE_ORDER_MARK), object_pairs_hook=members)
    return repeats


class _Open:
    """A container whose end has not been reached."""

    __slots__ = ("children", "is_object", "key", "start")

    def __init__(self, start: int, is_object: bool) -> None:
        self.start = start
        self.is_object = is_object
        self.children: list[Any] = []
        self.key: Scalar | None = None

    def add(self, node: Node) -> None:
        self.children.append(Member(self.key, node) if self.key is not None else node)
        self.key = None

    def close(self, end: int) -> Node:
        if self.is_object:
            value = {member.key.value: member.value.value for member in self.children}
            return Object(self.start, end, tuple(self.children), value)
        return Array(self.start, end, tuple(self.children), [item.value for item in self.children])


class _Parser:
    """One pass with a stack of its own, so that no nesting reaches Python's recursion limit."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 1 if text.startswith(BYTE_ORDER_MARK) else 0
        self.stack: list[_Open] = []

    def document(self) -> Node:
        self._skip()
        while True:
            node = self._begin()
            while node is not None:
                if not self.stack:
                    self._skip()
                    if self.offset != len(self.text):
                        self._fail("the end of the file")
                    return node
                self.stack[-1].add(node)
                node = self._after_child(self.stack[-1])

    def _begin(self) -> Node | None:
        """Read a scalar, an empty container, or open a container and leave the offset at its first value."""
        char = self._peek()
        if char not in "{[" or not char:
            return self._scalar()
        if len(self.stack) >= MAX_DEPTH:
            self._fail(f"at most {MAX_DEPTH} levels of nesting", "one more")
        container = _Open(self.offset, char == "{")
        self.offset += 1
        self._skip()
        if self._peek() == ("}" if container.is_object else "]"):
            self.offset += 1
            return container.close(self.offset)
        self.stack.append(container)
        if container.is_object:
            self._key(container, 'a key in double quotes or "}"')
        return None

    def _after_child(self, container: _Open) -> Node | None:
        """Read what follows a value: a comma (and leave the offset at the next value) or the container's end."""
        self._skip()
        char, end = self._peek(), "}" if container.is_object else "]"
        if char == end:
            self.offset += 1
            self.stack.pop()
            return container.close(self.offset)
        if char != ",":
            self._fail(f'"," or "{end}"')
        comma = self.offset
        self.offset += 1
        self._skip()
        if self._peek() == end:
            self.offset = comma
            self._fail(f'no comma before "{end}"', "a trailing comma")
        if container.is_object:
            self._key(container, "a key in double quotes")
        return None

    def _key(self, container: _Open, expected: str) -> None:
        if self._peek() != '"':
            self._fail(expected)
        container.key = self._string()
        self._skip()
        if self._peek() != ":":
            self._fail('":" after the key')
        self.offset += 1
        self._skip()

    def _scalar(self) -> Scalar:
        start = self.offset
        if self._peek() == '"':
            return self._string()
        if match := _NUMBER.match(self.text, start):
            self.offset = match.end()
            return Scalar(start, self.offset, _number(match))
        for literal, value in _LITERALS:
            if self.text.startswith(literal, start):
                self.offset += len(literal)
                return Scalar(start, self.offset, value)
        return self._fail("a value")

    def _string(self) -> Scalar:
        start = self.offset
        self.offset += 1
        parts: list[str] = []
        while True:
            match = _PLAIN.match(self.text, self.offset)
            assert match is not None
            parts.append(match.group())
            self.offset = match.end()
            char = self._peek()
            if char == '"':
                self.offset += 1
                return Scalar(start, self.offset, "".join(parts))
            if char != "\\":
                self._unfinished_string(start, char)
            parts.append(self._escape())

    def _unfinished_string(self, start: int, char: str) -> NoReturn:
        if not char or char in "\r\n":
            self.offset = start
            self._fail("a closing quote on the same line", "a string that does not end")
        self._fail("an escape (\\t, \\u0000) in a string", f"the control character U+{ord(char):04X}")

    def _escape(self) -> str:
        name = self.text[self.offset + 1 : self.offset + 2]
        if name == "u":
            code = self._code_unit()
            if 0xD800 <= code < 0xDC00 and self.text.startswith("\\u", self.offset):
                before = self.offset
                low = self._code_unit()
                if 0xDC00 <= low < 0xE000:
                    return chr(0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00)))
                self.offset = before
            return chr(code)
        if name not in _ESCAPES:
            self._fail('one of the escapes \\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX', f'"\\{name}"')
        self.offset += 2
        return _ESCAPES[name]

    def _code_unit(self) -> int:
        match = _HEX.match(self.text, self.offset + 2)
        if match is None:
            self._fail("four hexadecimal digits after \\u", json.dumps(self.text[self.offset : self.offset + 6]))
        self.offset = match.end()
        return int(match.group(), 16)

    def _skip(self) -> None:
        match = _SPACE.match(self.text, self.offset)
        assert match is not None
        self.offset = match.end()

    def _peek(self) -> str:
        return self.text[self.offset : self.offset + 1]

    def _fail(self, expected: str, found: str | None = None) -> NoReturn:
        line, column = LineIndex(self.text).position(self.offset)
        raise JsonSyntaxError(expected, found or self._found(), self.offset, line, column)

    def _found(self) -> str:
        """Name what stands at the offset as a person would."""
        rest = self.text[self.offset : self.offset + 40]
        if not rest:
            return "the end of the file"
        if rest.startswith(("//", "/*", "#")):
            return "a comment (JSON has none)"
        if rest.startswith(("<<<<<<<", "=======", ">>>>>>>")):
            return "a conflict marker of git"
        if rest[0] in "'“”‘’":
            return f"the quote {rest[0]} (JSON takes double quotes only)"
        if rest[0] == '"':
            return "a text"
        word = _WORD.match(rest)
        return json.dumps(word.group() if word else rest[0], ensure_ascii=False)


def _number(match: re.Match[str]) -> int | float:
    whole, fraction, exponent = match.groups()
    if fraction or exponent:
        return float(match.group())
    try:
        return int(whole)
    except ValueError:  # more digits than Python converts (CVE-2020-10735); JavaScript reads a float anyway
        return float(whole)
