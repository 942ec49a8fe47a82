"""What a flowchart holds, and where in its text.

What belongs here: the records that parsing makes, and what needs nothing but them. What does not: making them
(`grammar.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from upkeep.errors import ContentInvalid

_LINE_BREAK = re.compile(r"<br\s*/?>|\\n|\n", re.IGNORECASE)
_PLAIN_LABEL = re.compile(r"[^<\\\n#&]*")
_ENTITY = re.compile(r"[#&](\w+);")
_ENTITIES = {"quot": '"', "amp": "&", "lt": "<", "gt": ">", "apos": "'", "nbsp": " ", "num": "#", "semi": ";"}


class FlowchartSyntaxError(ContentInvalid):
    """A block is no flowchart that Mermaid draws. `offset`, `line` and `column` are within the block's text."""

    code = "content.invalid_mermaid"

    def __init__(self, message: str, offset: int, line: int, column: int) -> None:
        super().__init__(message, remedy="Correct the diagram at this line.")
        self.offset = offset
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Word:
    """An identifier at a place: `text[start:end] == name`."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class NodeUse:
    """One appearance of a node. `start` and `end` enclose all of it, shape and `:::class` included; `label` is the text
    between the quotes (or brackets, trimmed), at `label_start` to `label_end`; None where this use gives none."""

    word: Word
    start: int
    end: int
    shape: str | None = None
    label: str | None = None
    label_start: int = -1
    label_end: int = -1
    class_name: str | None = None

    @property
    def id(self) -> str:
        return self.word.name


@dataclass(frozen=True, slots=True)
class Edge:
    """A link from every source to every target (`A & B --> C`)."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    label: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ClassStatement:
    """`class a,b event`: `members` are the words, `members_end` is where another `,c` would go."""

    members: tuple[Word, ...]
    class_name: str
    members_end: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ClassDefinition:
    """`classDef a,b fill:#fff`."""

    names: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
    """Any statement, by kind (`nodes`, `class`, `classDef`, `style`, `linkStyle`, `click`, `subgraph`, `end`,
    `direction`, `accessibility`), without the line end or `;` that closes it."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the diagram ends up with it: the last label and shape given, and every class."""

    id: str
    label: str
    shape: str | None
    classes: frozenset[str]
    uses: tuple[NodeUse, ...]

    @property
    def title(self) -> str:
        """The label's first line: what precedes the first `<br/>`, trimmed, character entities resolved."""
        return label_title(self.label)

    @property
    def labelled(self) -> NodeUse | None:
        """The use that gives the label that counts, None where the id stands for it."""
        return next((use for use in reversed(self.uses) if use.label is not None), None)


@dataclass(frozen=True)
class Flowchart:
    """A parsed block. All offsets are within its text."""

    direction: str
    uses: tuple[NodeUse, ...]
    edges: tuple[Edge, ...]
    class_statements: tuple[ClassStatement, ...]
    class_definitions: tuple[ClassDefinition, ...]
    statements: tuple[Statement, ...]

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Nodes by id in order of first appearance."""
        uses: dict[str, list[NodeUse]] = {}
        classes: dict[str, set[str]] = {}
        for use in self.uses:
            uses.setdefault(use.id, []).append(use)
            if use.class_name:
                classes.setdefault(use.id, set()).update(use.class_name.split(","))
        for statement in self.class_statements:
            for member in statement.members:
                classes.setdefault(member.name, set()).update(statement.class_name.split(","))
        return {name: _node(name, found, frozenset(classes.get(name, ()))) for name, found in uses.items()}

    def of_class(self, class_name: str) -> Iterator[Node]:
        """Yield the nodes that carry a class, by `class` statement or `:::`."""
        return (node for node in self.nodes.values() if class_name in node.classes)


def label_title(label: str) -> str:
    """Return a label's first line, trimmed, with `#quot;` and `&quot;` (and the like) as the characters they stand
    for."""
    if _PLAIN_LABEL.fullmatch(label):
        return label.strip()
    first = _LINE_BREAK.split(label.strip(), maxsplit=1)[0].strip()
    return _ENTITY.sub(_entity, first)


def _node(name: str, uses: list[NodeUse], classes: frozenset[str]) -> Node:
    labels = [use.label for use in uses if use.label is not None]
    shapes = [use.shape for use in uses if use.shape is not None]
    return Node(name, labels[-1] if labels else name, shapes[-1] if shapes else None, classes, tuple(uses))


def _entity(match: re.Match[str]) -> str:
    name = match[1]
    if name.isascii() and name.isdigit() and len(name) < 7 and 0 < int(name) < 0x110000:
        return chr(int(name))
    return _ENTITIES.get(name, match[0])
