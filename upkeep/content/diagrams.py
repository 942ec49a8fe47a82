"""flow-diagrams.md: headings, Mermaid blocks and the dashboard's directives, each with its place.

What belongs here: where things stand in the file. What does not: the grammar inside a block (`flowchart/`), and
whether a diagram is right (`validate.py`).

All offsets count code points of the file's text; lines count from 1. Blocks are found as CommonMark finds them, so a
fence in a list or a quotation is one too.

The grammar is imported where a block needs it: most are plain (`sketch.py`), and it is the largest import of a
validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from upkeep.content.markdown import FenceLines, HeadingLines, outline
from upkeep.content.sketch import Sketch, plain_sketch, sketch_of
from upkeep.lines import LineIndex

if TYPE_CHECKING:
    from upkeep.content.flowchart.model import Flowchart, FlowchartSyntaxError, Node

EVENT_CLASS = "event"
LEGEND_LABEL = "analytics event name"

_DIRECTIVE = re.compile(r"^[ \t]*%%chalo:diagram-link\b[ \t]*(?P<rest>[^\r\n]*)", re.MULTILINE)
_LINK = re.compile(r"(?P<node>\S+)[ \t]*->[ \t]*(?P<kind>title|flow)[ \t]*:[ \t]*(?P<target>[^\r\n]*?)[ \t]*$")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; `text` without marks and outer blanks stands at `start` to `end`."""

    level: int
    text: str
    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Directive:
    """`%%chalo:diagram-link <node> -> title:<heading>` or `… -> flow:<slug>`.

    `kind` is None where the line has another form; `target` then is what follows the word. `start` and `end` enclose
    the directive without indentation, `target_start` and `target_end` the heading or slug, all in the file.
    """

    node: str
    kind: Literal["title", "flow"] | None
    target: str
    line: int
    start: int
    end: int
    target_start: int
    target_end: int


@dataclass(frozen=True)
class MermaidBlock:
    """A fenced block with the language `mermaid`.

    `text` is what Mermaid gets. It stands at `start` to `end` in the file (the lines between the fences, the last line
    end included); `verbatim` says that the slice is `text` itself, which is so unless the fence stands in a list or a
    quotation or the file has other line ends than `\\n`. `line` is the line of the first character of `text`,
    `fence_start` and `fence_end` enclose the fences too.
    """

    index: int
    title: Heading | None
    text: str
    line: int
    start: int
    end: int
    fence_start: int
    fence_end: int
    closed: bool
    verbatim: bool
    directives: tuple[Directive, ...]

    @cached_property
    def _plain(self) -> Sketch | None:
        return plain_sketch(self.text)

    @cached_property
    def sketch(self) -> Sketch | None:
        """What the flowchart shows, without places: a tenth of the cost of `flowchart`, and None where that is."""
        if self._plain is not None or self.flowchart is None:
            return self._plain
        return sketch_of(self.flowchart)

    @cached_property
    def is_flowchart(self) -> bool:
        if self._plain is not None:
            return True
        from upkeep.content.flowchart.source import is_flowchart

        return is_flowchart(self.text)

    @cached_property
    def diagram_type(self) -> str:
        """The word that says what kind of diagram it is: "flowchart", "sequenceDiagram", …"""
        from upkeep.content.flowchart.source import first_word

        return first_word(self.text)

    @cached_property
    def _parsed(self) -> tuple[Flowchart | None, FlowchartSyntaxError | None]:
        from upkeep.content.flowchart.grammar import parse_flowchart
        from upkeep.content.flowchart.model import FlowchartSyntaxError

        if not self.is_flowchart:
            return None, None
        try:
            return parse_flowchart(self.text), None
        except FlowchartSyntaxError as error:
            return None, error

    @property
    def flowchart(self) -> Flowchart | None:
        """The parsed block; None where it is no flowchart, or `syntax_error` says why."""
        return self._parsed[0]

    @property
    def syntax_error(self) -> FlowchartSyntaxError | None:
        return None if self._plain is not None else self._parsed[1]

    def event_nodes(self) -> Iterator[Node]:
        """Yield the nodes of the class `event`, those of a legend left out."""
        if self.flowchart is not None:
            yield from (node for node in self.flowchart.of_class(EVENT_CLASS) if node.title != LEGEND_LABEL)

    @cached_property
    def is_legend(self) -> bool:
        """Whether the block explains the colours: its event nodes carry the legend's label."""
        nodes = list(self.flowchart.of_class(EVENT_CLASS)) if self.flowchart is not None else []
        return bool(nodes) and all(node.title == LEGEND_LABEL for node in nodes)

    def line_of(self, offset: int) -> int:
        """Return the line in the file of an offset within `text`."""
        return self.line + self.text.count("\n", 0, offset)


@dataclass(frozen=True)
class DiagramFile:
    """A parsed flow-diagrams.md. `text` is the file as it is."""

    text: str
    headings: tuple[Heading, ...]
    blocks: tuple[MermaidBlock, ...]
    lines: LineIndex

    @cached_property
    def titles(self) -> frozenset[str]:
        """Titles that a directive can name: the headings that have a diagram under them."""
        return frozenset(block.title.text for block in self.blocks if block.title is not None)

    def offset_in_file(self, block: MermaidBlock, offset: int) -> int:
        """Return the offset in the file of an offset within a block's text."""
        if block.verbatim:
            return block.start + offset
        line = block.line_of(offset)
        begin = block.text.rfind("\n", 0, offset) + 1
        end = block.text.find("\n", offset)
        content = block.text[begin : end if end >= 0 else len(block.text)]
        raw = self.lines.content(line)
        indent = len(raw) - len(content) if raw.endswith(content) else 0
        return self.lines.start(line) + indent + offset - begin


def parse_diagrams(text: str) -> DiagramFile:
    """Read a file. Never fails: what Markdown does not see as a fence or a heading is prose."""
    lines = LineIndex(text)
    headings: list[Heading] = []
    blocks: list[MermaidBlock] = []
    for part in outline(text, lines):
        if isinstance(part, HeadingLines):
            headings.append(_heading(lines, part))
        elif part.info.split()[:1] == ["mermaid"]:
            blocks.append(_block(text, lines, len(blocks), headings[-1] if headings else None, part))
    return DiagramFile(text, tuple(headings), tuple(blocks), lines)


def _heading(lines: LineIndex, part: HeadingLines) -> Heading:
    title = " ".join(part.content.split("\n"))
    column = max(lines.content(part.first).find(part.content.split("\n", 1)[0]), 0)
    start = lines.start(part.first) + column
    return Heading(part.level, title.strip(), part.first, start, start + len(part.content))


def _block(text: str, lines: LineIndex, index: int, title: Heading | None, fence: FenceLines) -> MermaidBlock:
    first, last, content = fence.first, fence.last, fence.content
    count = content.count("\n") + (not content.endswith("\n") and bool(content))
    closed = last - first > count
    start, end = lines.start(first + 1), lines.start(first + 1 + count)
    verbatim = text[start:end] == content
    fence_start = lines.start(first) + (len(lines.content(first)) - len(lines.content(first).lstrip()))
    fence_end = lines.start(last) + len(lines.content(last))
    directives = tuple(_directives(text, lines, start, end)) if "%%chalo:" in content else ()
    return MermaidBlock(
        index, title, content, first + 1, start, end, fence_start, max(fence_end, end), closed, verbatim, directives
    )


def _directives(text: str, lines: LineIndex, start: int, end: int) -> Iterator[Directive]:
    for match in _DIRECTIVE.finditer(text, start, end):
        begin, line = match.start() + len(match[0]) - len(match[0].lstrip()), lines.line(match.start())
        link = _LINK.match(text, match.start("rest"), match.end("rest"))
        if link is None:
            rest = match["rest"].strip()
            place = match.start("rest")
            yield Directive("", None, rest, line, begin, match.end(), place, place + len(rest))
            continue
        kind: Literal["title", "flow"] = "title" if link["kind"] == "title" else "flow"
        yield Directive(
            link["node"], kind, link["target"], line, begin, link.end(), link.start("target"), link.end("target")
        )
