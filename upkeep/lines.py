"""Lines and columns of offsets in a text.

What belongs here: the one notion of a line that all share who read a text by places. What does not: any format.
A line ends at `\\n`, `\\r\\n` or a lone `\\r`, as CommonMark has it (spec 0.31, section 2.1) and editors show it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

_LINE_END = re.compile(r"\r\n|\n|\r")


class LineIndex:
    """Positions of one text. Offsets count code points from 0, lines and columns from 1."""

    __slots__ = ("_starts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        if "\r" in text:
            self._starts = [0, *(match.end() for match in _LINE_END.finditer(text))]
        else:
            # The same without a step in Python: every file of a folder passes here.
            self._starts = [0, *accumulate(map((1).__add__, map(len, text.split("\n"))))]
            self._starts.pop()

    def __len__(self) -> int:
        """Number of lines; a text that ends with a line end has an empty last one."""
        return len(self._starts)

    def line(self, offset: int) -> int:
        return bisect_right(self._starts, offset)

    def position(self, offset: int) -> tuple[int, int]:
        """Return `(line, column)` of an offset."""
        line = self.line(offset)
        return line, offset - self._starts[line - 1] + 1

    def start(self, line: int) -> int:
        """Return the offset of a line's first character; the end of the text for a line beyond the last."""
        return self._starts[line - 1] if line <= len(self._starts) else len(self._text)

    def content(self, line: int) -> str:
        """Return a line without its line end."""
        return self._text[self.start(line) : self.start(line + 1)].rstrip("\r\n")

    def end(self, line: int) -> str:
        """Return the characters that end a line; none for the last."""
        whole = self._text[self.start(line) : self.start(line + 1)]
        return whole[len(whole.rstrip("\r\n")) :]
