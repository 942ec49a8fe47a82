"""Lines of a text, and where they are in it.

What belongs here: the one notion of a line that the parsers of this package share: it ends at `\\n`, `\\r\\n` or a lone
`\\r`, as CommonMark has it (spec 0.31, section 2.1). What does not: any format.
"""

from __future__ import annotations

import re
from bisect import bisect_right

_END = re.compile(r"\r\n|\n|\r")


class Lines:
    """Offsets count code points from 0, lines from 0 as parsers count them; `number` is for people, from 1."""

    __slots__ = ("_contents", "_starts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        starts, contents, at = [0], [], 0
        for match in _END.finditer(text):
            contents.append(text[at : match.start()])
            at = match.end()
            starts.append(at)
        contents.append(text[at:])
        self._starts, self._contents = starts, contents

    def __len__(self) -> int:
        """Number of lines; a text that ends with a line end has an empty last one."""
        return len(self._contents)

    def content(self, line: int) -> str:
        """A line without its end."""
        return self._contents[line]

    def start(self, line: int) -> int:
        """Offset of a line's first character; the end of the text for a line beyond the last."""
        return self._starts[line] if line < len(self._starts) else len(self.text)

    def end(self, line: int) -> str:
        """The characters that end a line; empty for the last."""
        return self.text[self.start(line) + len(self._contents[line]) : self.start(line + 1)]

    def number(self, offset: int) -> int:
        return bisect_right(self._starts, offset)
