"""Headings and fences of a Markdown text, by line.

What belongs here: finding them. What does not: what a fence holds (`diagrams.py`).

CommonMark decides, as markdown-it implements it. Nearly all files have a plain form, in which a heading is a line that
begins with `#` and a fence a line that begins with three backticks: one regular expression finds those and makes sure
that nothing else could be either; markdown-it takes ten times as long and as much again to be imported, so it is asked
about the others only. A test holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from upkeep.lines import LineIndex

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


@dataclass(frozen=True, slots=True)
class HeadingLines:
    """A heading: `first` is its line from 1, `content` its text without marks, line ends of a long one kept."""

    level: int
    first: int
    content: str


@dataclass(frozen=True, slots=True)
class FenceLines:
    """A fenced block: `first` is the line of its opening fence, `last` that of its closing one, or of its last line
    where none closes it. `content` has `\\n` as line ends and lacks what indents the fence."""

    first: int
    last: int
    info: str
    content: str


Part = HeadingLines | FenceLines


def outline(text: str, lines: LineIndex) -> list[Part]:
    """Return headings and fences in the order of the text."""
    plain = list(_plain(text, lines)) if _is_plain(text) else None
    return plain if plain is not None else list(_by_markdown_it(text))


_FENCE = r"^```(?P<info>[^`\n]*)\n(?P<content>(?:(?!```)[^\n]*+\n)*)```[ \t]*$"
_PART = re.compile(rf"{_FENCE}|^(?P<marks>\#{{1,6}})(?P<heading>[ \t][^\n]*)?$", re.MULTILINE)
_WHOLE_FENCE = re.compile(_FENCE, re.MULTILINE)
# Outside of fences: anything else that may begin a fence, a heading, a container of either, or hide them (HTML).
_UNUSUAL = re.compile(
    r"```|~~~"
    r"|^[ \t]*(?:[<>]|[-=]+[ \t]*$)"
    r"|^[ \t]+\#"
    r"|^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+(?:\#|[-*+<>]|\d{1,9}[.)])(?![*\w])",
    re.MULTILINE,
)


def _is_plain(text: str) -> bool:
    if "\r" in text or "\0" in text:
        return False
    return _UNUSUAL.search(_WHOLE_FENCE.sub("", text)) is None


def _plain(text: str, lines: LineIndex) -> Iterator[Part]:
    for match in _PART.finditer(text):
        first = lines.line(match.start())
        marks = match["marks"]
        if marks is None:
            yield FenceLines(first, lines.line(match.end()), match["info"].strip(), match["content"])
        else:
            content = (match["heading"] or "").strip(" \t")
            # As markdown-it does: blanks of other alphabets go too.
            yield HeadingLines(len(marks), first, _CLOSING_MARKS.sub("", content).strip())


_CLOSING_MARKS = re.compile(r"(?:^|[ \t]+)#+$")


def _by_markdown_it(text: str) -> Iterator[Part]:
    level, first = 0, None
    for token in _parser().parse(text.replace("\x00", "\ufffd")):
        if token.type == "heading_open" and token.map:
            level, first = int(token.tag[1:]), token.map[0] + 1
        elif token.type == "inline" and first is not None:
            yield HeadingLines(level, first, token.content)
            first = None
        elif token.type == "fence" and token.map:
            yield FenceLines(token.map[0] + 1, token.map[1], token.info.strip(), token.content)


@cache
def _parser() -> MarkdownIt:
    """CommonMark's block structure only: inline text costs as much again and is not looked at."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser
