"""The text that Mermaid's lexer sees, and which kind of diagram it is.

What belongs here: Mermaid's preprocessing, with the way back to the places in our text. What does not: tokens
(`lexer.py`).
"""

from __future__ import annotations

import re
from bisect import bisect_right

KEYWORD = re.compile(r"\s*(flowchart-elk|flowchart|graph)\b")
_FRONT_MATTER = re.compile(r"\s*---[ \t]*\n.*?\n[ \t]*---[ \t]*\n+", re.DOTALL)
_DIRECTIVE = re.compile(r"%%\{\s*\w+\s*:?.*?(?:\}%%|\Z)", re.DOTALL)
_COMMENT = re.compile(r"^\s*%%(?!\{)[^\n]+\n?", re.MULTILINE)
_AFTER_BRACE = re.compile(r"(?<=\})\s*(?=\n)")
_STYLE_END = re.compile(r"(?:style|classDef).*:\S*#.*(;)")
_HTML_TAG = re.compile(r"<\w+[^>]*>")
_ATTRIBUTE = re.compile(r'="([^"]*)"')
_CODE = re.compile(r"#(\w+);")


class Source:
    """A block's text as Mermaid preprocesses it, and the way back from its offsets to ours.

    Mermaid cuts carriage returns, front matter, `%%{…}%%`, comments, blanks after a closing brace, and the semicolon
    after a colour. All else that it replaces keeps its length here.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.clean = text
        self._starts = [0]
        self._origins = [0]
        if "\r" in text:
            self._cut([match.span() for match in re.finditer(r"\r(?=\n)", self.clean)])
            self.clean = self.clean.replace("\r", "\n")
        if "=" in self.clean:
            self.clean = _HTML_TAG.sub(lambda tag: _ATTRIBUTE.sub(r"='\1'", tag[0]), self.clean)
        if "---" in self.clean and (match := _FRONT_MATTER.match(self.clean)):
            self._cut([match.span()])
        if "%%" in self.clean:
            self._cut([match.span() for match in _DIRECTIVE.finditer(self.clean)])
            self._cut([match.span() for match in _COMMENT.finditer(self.clean)])
        if "#" in self.clean:
            self._cut([match.span(1) for match in _STYLE_END.finditer(self.clean)])
            # Stand-ins of Mermaid's own for entities: no token outside of labels.
            self.clean = _CODE.sub("°\\1¶", self.clean)
        if "}" in self.clean:
            self._cut([match.span() for match in _AFTER_BRACE.finditer(self.clean) if match.start() < match.end()])
        self.clean += "\n"

    def _cut(self, spans: list[tuple[int, int]]) -> None:
        if not spans:
            return
        pieces, starts, origins, length = [], [], [], 0
        for begin, end in zip(
            [0, *(end for _, end in spans)], [*(begin for begin, _ in spans), len(self.clean)], strict=True
        ):
            pieces.append(self.clean[begin:end])
            for part in self._segments(begin, end):
                starts.append(length + part - begin)
                origins.append(self.origin(part))
            length += end - begin
        self.clean = "".join(pieces)
        self._starts, self._origins = starts, origins

    def _segments(self, begin: int, end: int) -> list[int]:
        """Offsets at which the way back changes its distance, within one kept piece."""
        first = bisect_right(self._starts, begin)
        inner = []
        while first < len(self._starts) and self._starts[first] < end:
            inner.append(self._starts[first])
            first += 1
        return [begin, *inner]

    def origin(self, offset: int) -> int:
        """Return our offset of an offset in the clean text."""
        index = bisect_right(self._starts, offset) - 1
        return min(self._origins[index] + offset - self._starts[index], len(self.text))

    def end_origin(self, offset: int) -> int:
        """Return our offset of an end: just behind the last character, whatever was cut after it."""
        return self.origin(offset - 1) + 1 if offset else 0


def is_flowchart(text: str) -> bool:
    """Tell whether Mermaid takes a block for a flowchart, by its first word after comments and front matter."""
    return KEYWORD.match(Source(text).clean) is not None


def first_word(text: str) -> str:
    """Return the first word of a block after comments and front matter: what decides the kind of diagram."""
    words = Source(text).clean.split(None, 1)
    return words[0] if words else ""
