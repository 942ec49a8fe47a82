"""A workplan file: bytes to front matter and task blocks, each with its place.

What belongs here: finding the blocks, by CommonMark's own rules (markdown-it's fence tokens), and saying what cannot be
read. What does not: what the keys mean (`workplan.py`), where files are (`workingtree.py`).

A file is text exactly if its bytes are UTF-8, and then text and bytes turn into each other without loss, so that a span
of characters is a span of bytes. A byte order mark stays what it is: the first character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from upkeep.sync import block
from upkeep.sync.block import Block, BlockFault
from upkeep.sync.findings import Code, Finding, Severity
from upkeep.sync.lines import Lines

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MAX_BYTES = 4 * 1024 * 1024
"""Of one file. The largest workplan that anybody wrote by hand has a tenth of it."""
_BOM = "\ufeff"
_MARKER = re.compile(r"---[ \t]*\Z")
_END_MARKER = re.compile(r"(?:---|\.\.\.)[ \t]*\Z")
_TITLE = re.compile(r"\s*task\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TaskBlock:
    """One ```` ```task ```` fence. `heading` is the nearest heading above it, without `Task:`."""

    block: Block
    heading: str


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read. `front` None: it has no front matter that can be read, and `findings` says why. `whole`:
    every task block of it was read, so a task that is not here is not in the file."""

    path: str
    text: str
    front: Block | None
    tasks: tuple[TaskBlock, ...]
    findings: tuple[Finding, ...]
    whole: bool


def parse(path: str, data: bytes) -> Document:
    """Read one file; never raises. `path` is relative to the repository."""
    reading = _Reading(path)
    text = reading.decode(data)
    if text is None:
        return Document(path, "", None, (), tuple(reading.findings), whole=False)
    lines = Lines(text)
    front, body = reading.front_matter(lines)
    tasks = tuple(reading.tasks(lines, body)) if body is not None else ()
    return Document(path, text, front, tasks, tuple(reading.findings), reading.whole and body is not None)


def too_large(path: str, size: int) -> Document:
    """What stands for a file that is too large to be read."""
    reading = _Reading(path)
    reading.add(
        Code.UNREADABLE,
        None,
        f"the file has {size / 1e6:.1f} MB; a workplan has at most {MAX_BYTES // 1024**2} MiB",
        "Split it, or narrow `workplans:` if it is none.",
    )
    return Document(path, "", None, (), tuple(reading.findings), whole=False)


class _Reading:
    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.whole = True

    def add(self, code: Code, line: int | None, message: str, fix: str, severity: Severity = "error") -> None:
        self.findings.append(Finding(code=code, severity=severity, file=self.path, line=line, message=message, fix=fix))

    def decode(self, data: bytes) -> str | None:
        if len(data) > MAX_BYTES:
            self.findings += too_large(self.path, len(data)).findings
            return None
        if (at := data.find(b"\0")) >= 0:
            self.add(
                Code.UNREADABLE,
                _line(data, at),
                "the file is binary: it holds a NUL byte",
                "Restore the text, or narrow `workplans:` if it is no workplan.",
            )
            return None
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            self.add(
                Code.UNREADABLE,
                _line(data, error.start),
                f"the file is no UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
                "Save it as UTF-8.",
            )
            return None

    def front_matter(self, lines: Lines) -> tuple[Block | None, int | None]:
        """The front matter, and the line at which the body begins; None: nobody can tell where."""
        if not _MARKER.match(lines.content(0).removeprefix(_BOM)):
            self.add(
                Code.NO_FRONT_MATTER,
                1,
                "the file does not begin with front matter",
                "Begin it with a line `---`, `id:`, `title:` and `status:`, and a line `---`; or narrow `workplans:`.",
            )
            return None, 0
        end = next((line for line in range(1, len(lines)) if _END_MARKER.match(lines.content(line))), None)
        if end is None:
            self.add(Code.FRONT_MATTER, 1, "the front matter is never closed", "Close it with a line `---`.")
            return None, None
        return self._block(Code.FRONT_MATTER, lines, 0, 1, end), end + 1

    def tasks(self, lines: Lines, body: int) -> Iterator[TaskBlock]:
        heading, inside = "", False
        for token in _parser().parse(lines.text[lines.start(body) :]):
            if token.type in ("heading_open", "heading_close"):
                inside = token.type == "heading_open" and token.level == 0
            elif token.type == "inline" and inside:
                heading = _TITLE.sub("", " ".join(token.content.split()), count=1)
            elif token.type == "fence" and token.map and token.info.split()[:1] == ["task"]:
                first, end = (body + line for line in token.map)
                if (found := self._task(lines, first, end, token.level, token.markup)) is not None:
                    yield TaskBlock(found, heading)

    def _task(self, lines: Lines, first: int, end: int, level: int, markup: str) -> Block | None:
        if level > 0:
            self.whole = False
            self.add(
                Code.FENCE,
                first + 1,
                "the task block lies inside a list or a quote and is not read",
                "Move it to the beginning of its lines.",
            )
            return None
        if end - 1 == first or not _closes(lines.content(end - 1), markup):
            self.whole = False
            self.add(
                Code.FENCE,
                first + 1,
                "the task block is never closed: it reaches to the end of the file",
                f"Close it with a line `{markup}`.",
            )
            return None
        opening = lines.content(first)
        found = self._block(Code.TASK_BLOCK, lines, first, first + 1, end - 1, len(opening) - len(opening.lstrip(" ")))
        self.whole = self.whole and found is not None
        return found

    def _block(self, code: Code, lines: Lines, opening: int, first: int, end: int, indent: int = 0) -> Block | None:
        try:
            return block.read(lines, opening, first, end, indent)
        except BlockFault as fault:
            self.add(fault.code or code, fault.line, fault.message, fault.fix)
            return None


def _closes(line: str, markup: str) -> bool:
    """Whether a line closes a fence at the beginning of its lines (CommonMark 0.31, section 4.5)."""
    marks = line.lstrip(" ")
    rest = marks.rstrip(" \t")
    return len(line) - len(marks) <= 3 and len(rest) >= len(markup) and set(rest) == {markup[0]}


def _line(data: bytes, offset: int) -> int:
    """From 1; a CR LF pair and a lone CR end a line too."""
    before = data[:offset].replace(b"\r\n", b"\n")
    return before.count(b"\n") + before.count(b"\r") + 1


@cache
def _parser() -> MarkdownIt:
    """CommonMark's block structure only: inline text is not looked at, and costs as much again."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser
