"""Lines of a text, counted as Markdown parsers count them.

What belongs here: the parsers' numbers, from 0, over the one notion of a line (`upkeep/lines.py`). What does not: any
format.
"""

from __future__ import annotations

from upkeep.lines import LineIndex


class Lines:
    """Offsets count code points from 0, lines from 0 as parsers count them; `number` is for people, from 1."""

    __slots__ = ("_index", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._index = LineIndex(text)

    def __len__(self) -> int:
        """Number of lines; a text that ends with a line end has an empty last one."""
        return len(self._index)

    def content(self, line: int) -> str:
        """A line without its end."""
        return self._index.content(line + 1)

    def start(self, line: int) -> int:
        """Offset of a line's first character; the end of the text for a line beyond the last."""
        return self._index.start(line + 1)

    def end(self, line: int) -> str:
        """The characters that end a line; empty for the last."""
        return self._index.end(line + 1)

    def number(self, offset: int) -> int:
        return self._index.line(offset)
