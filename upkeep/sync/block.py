"""A small YAML mapping inside a Markdown file, with the place of every value.

What belongs here: turning the lines of a front matter or of a `task` fence into fields with spans, by the events of
ruamel.yaml's round-trip parser. What does not: what the keys mean (`workplan.py`) and writing (`edit.py`).

No value is ever constructed: an alias is not followed and a tag is not obeyed, so a YAML bomb is a few events long.
Anchors, aliases, tags, directives and deep nesting are refused: no workplan needs them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from upkeep.sync.findings import Code
from upkeep.sync.lines import Lines

MAX_CHARACTERS = 64 * 1024
MAX_DEPTH = 8
_NULLS = frozenset({"~", "null", "Null", "NULL"})
_NO_TEXT = re.compile("[\\x00\ud800-\udfff]")
_COLON = re.compile(r"[ \t]*:")


class BlockFault(Exception):
    """A block cannot be read. `code` None: the caller knows which code malformed blocks of its kind have."""

    def __init__(self, line: int, message: str, fix: str, code: Code | None = None) -> None:
        super().__init__(message)
        self.line, self.message, self.fix, self.code = line, message, fix, code


@dataclass(frozen=True, slots=True)
class Field:
    """One key and its value. `start` and `end` are the span of the value in the file's text, quotes included; equal,
    and right behind the colon, where nothing is written. `value` is a scalar's text (None: null, or no scalar), `items`
    the scalars of a list. `nested`: anything that is more than a word in one place, and never edited. `line` counts
    from 1."""

    key: str
    line: int
    start: int
    end: int
    value: str | None
    items: tuple[str, ...] | None = None
    quote: str = ""
    nested: bool = False

    @property
    def empty(self) -> bool:
        """Null, `~`, nothing, or an empty string."""
        return not self.nested and self.items is None and not (self.value or "").strip()


@dataclass(frozen=True, slots=True)
class Block:
    """A mapping that was read. `line` (from 1) is where it opens. A field that is absent may be written as a line of
    its own at the offset `insert_at`, after `indent` and before `newline`; None: there is no place for one."""

    line: int
    fields: dict[str, Field]
    insert_at: int | None
    indent: str
    newline: str

    def text(self, key: str) -> str | None:
        """The text of a scalar, without blanks around it; None where it is absent, null or empty."""
        field = self.fields.get(key)
        return (field.value or "").strip() or None if field else None

    def line_of(self, key: str) -> int:
        return self.fields[key].line if key in self.fields else self.line


class _Source:
    """The text that YAML sees (fence indentation removed, line ends made equal), and offsets from it to the file."""

    def __init__(self, lines: Lines, first: int, end: int, indent: int) -> None:
        self._places, contents = [], []
        for line in range(first, end):
            content = lines.content(line)
            removed = min(indent, len(content) - len(content.lstrip(" ")))
            self._places.append(lines.start(line) + removed)
            contents.append(content[removed:])
        self._end = lines.start(end)
        self.text = "".join(f"{content}\n" for content in contents)
        self._starts = [0, *accumulate(len(content) + 1 for content in contents)]

    def offset(self, index: int) -> int:
        line = bisect_right(self._starts, index) - 1
        return self._places[line] + index - self._starts[line] if line < len(self._places) else self._end


def read(lines: Lines, opening: int, first: int, end: int, indent: int = 0) -> Block:
    """Read the lines from `first` up to `end` (not included, the closing line), which the line `opening` opens.

    `indent`: up to so many blanks are removed from each line, as CommonMark does inside an indented fence. Raises
    BlockFault.
    """
    source = _Source(lines, first, end, indent)
    if len(source.text) > MAX_CHARACTERS:
        raise BlockFault(
            opening + 1, f"the block has more than {MAX_CHARACTERS // 1024} KiB", _SMALLER, Code.UNSAFE_YAML
        )
    fields: dict[str, Field] = {}
    column, flow = 0, False
    try:
        events = _events(source, lines)
        root = next(events, None)
        if root is None:
            return _block(lines, opening, end, indent, {}, 0, flow=False)
        if not isinstance(root, MappingStartEvent):
            raise BlockFault(
                lines.number(source.offset(root.start_mark.index)),
                "the block is no mapping of keys to values",
                "Write one `key: value` a line.",
            )
        column, flow = root.start_mark.column, bool(root.flow_style)
        for field in _fields(events, source, lines):
            if field.key in fields:
                raise BlockFault(
                    field.line,
                    f"the key {field.key!r} stands here and in line {fields[field.key].line}",
                    "Keep one of the two.",
                )
            fields[field.key] = field
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = lines.number(source.offset(mark.index)) if mark is not None else opening + 1
        raise BlockFault(line, f"this is no valid YAML: {_words(error.problem or error.context)}", _SYNTAX) from error
    except ReaderError as error:
        line = lines.number(source.offset(error.position))
        raise BlockFault(line, "the block holds a control character", "Remove it.") from error
    except YAMLError as error:
        raise BlockFault(opening + 1, f"this is no valid YAML: {_words(str(error))}", _SYNTAX) from error
    return _block(lines, opening, end, indent, fields, column, flow=flow)


_SYNTAX = "Mend the syntax there: blanks instead of tabs, quotes around a value with `: ` or ` #`."
_SMALLER = "Keep ids and states in the block and move prose below it."
_PLAIN = "Write the value out; workplans take no anchors, aliases, tags or directives."


def _block(
    lines: Lines, opening: int, end: int, indent: int, fields: dict[str, Field], column: int, *, flow: bool
) -> Block:
    closing = lines.content(end) if end < len(lines) else ""
    outer = closing[: min(indent, len(closing) - len(closing.lstrip(" ")))] if indent else ""
    newline = lines.end(end - 1)
    return Block(
        line=opening + 1,
        fields=fields,
        insert_at=None if flow or not newline else lines.start(end),
        indent=outer + " " * column,
        newline=newline,
    )


def _words(said: object) -> str:
    return " ".join(str(said).split())[:200]


def _events(source: _Source, lines: Lines) -> Iterator[Any]:
    """The events of the one document's content, refusing what no workplan needs."""
    depth = documents = 0
    for event in YAML(typ="rt", pure=True).parse(source.text):
        line = lines.number(source.offset(event.start_mark.index))
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if event.version or event.tags:
                raise BlockFault(line, "the block has a YAML directive", _PLAIN, Code.UNSAFE_YAML)
            if documents > 1 or event.explicit:
                raise BlockFault(line, "the block holds a document marker (`---`)", "Remove the marker.")
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise BlockFault(line, "the block uses a YAML anchor or alias", _PLAIN, Code.UNSAFE_YAML)
        if getattr(event, "tag", None) is not None:
            raise BlockFault(line, f"the block uses the YAML tag {event.tag}", _PLAIN, Code.UNSAFE_YAML)
        if isinstance(event, ScalarEvent) and _NO_TEXT.search(event.value):
            raise BlockFault(line, "a value holds a NUL or half a surrogate pair, as an escape", "Remove it.")
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise BlockFault(line, f"values nest deeper than {MAX_DEPTH}", _SMALLER, Code.UNSAFE_YAML)
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        if isinstance(event, ScalarEvent | CollectionStartEvent | CollectionEndEvent):
            yield event


def _fields(events: Iterator[Any], source: _Source, lines: Lines) -> Iterator[Field]:
    for key in events:
        if isinstance(key, MappingEndEvent):
            return
        line = lines.number(source.offset(key.start_mark.index))
        if not isinstance(key, ScalarEvent):
            raise BlockFault(line, "a key is a list or a mapping", "Write one `key: value` a line.")
        value = next(events)
        start = source.offset(value.start_mark.index)
        if isinstance(value, ScalarEvent) and value.style is None and not value.value:
            # The parser puts a value that is not written where the next token begins; it belongs behind the colon.
            colon = _COLON.match(source.text, key.end_mark.index)
            at = source.offset(colon.end()) if colon else start
            yield Field(key.value, line, at, at, None, nested=colon is None)
            continue
        if isinstance(value, ScalarEvent):
            yield _scalar(key.value, line, start, source.offset(value.end_mark.index), value)
            continue
        items, nested, last = _collection(value, events)
        yield Field(key.value, line, start, source.offset(last.end_mark.index), None, items, nested=nested)


def _scalar(key: str, line: int, start: int, end: int, value: Any) -> Field:
    plain = value.style is None
    null = plain and value.value in _NULLS
    quote = value.style if value.style in ("'", '"') else ""
    return Field(key, line, start, end, None if null else value.value, quote=quote, nested=value.style in ("|", ">"))


def _collection(start: Any, events: Iterator[Any]) -> tuple[tuple[str, ...] | None, bool, Any]:
    """Read to the end of a list or mapping: its items where it is a list of scalars, whether it is anything else, and
    its last event."""
    items, simple, depth = [], isinstance(start, SequenceStartEvent), 1
    event = start
    while depth:
        event = next(events)
        if isinstance(event, CollectionStartEvent):
            depth, simple = depth + 1, False
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        elif depth == 1:
            items.append(event.value.strip())
    return (tuple(items), False, event) if simple else (None, True, event)
