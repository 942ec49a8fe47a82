"""String escapes of the scanned languages, each after its own reference.

What belongs here: turning the inside of a literal into the text that it stands for. What does not: interpolation, which
the readers see as nodes of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "a": "a", "s": " "}
_ESCAPE = re.compile(
    r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|u+([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([0-7]{1,3})|(\r?\n)|(.))", re.DOTALL
)


def kotlin_text(source: str, *, raw: bool) -> str:
    r"""Kotlin: `\t \b \n \r \' \" \\ \$ \uXXXX`; nothing in raw strings (kotlinlang.org/docs/strings.html)."""
    return source if raw else unescape(source)


def unescape(source: str) -> str:
    r"""Decode C-like escapes; surrogate pairs written as two `\uXXXX` become one character."""
    if "\\" not in source:
        return source
    decoded = _ESCAPE.sub(_decoded, source)
    return decoded.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decoded(match: re.Match[str]) -> str:
    braced, four, two, octal, newline, other = match.groups()
    if braced or four or two:
        value = int(braced or four or two, 16)
        return chr(value) if value <= 0x10FFFF else "\ufffd"
    if octal:
        return chr(int(octal, 8))
    if newline:
        return ""
    return _SIMPLE.get(other, other)


def text_block(source: str) -> str:
    """Return the text of a Java text block: common indentation and trailing blanks go (JLS 3.10.6)."""
    lines = source.split("\n")[1:] if source.startswith("\n") else source.split("\n")
    return _outdented(lines, strip=str.rstrip)


def swift_block(source: str) -> str:
    """Return the text of a Swift multi-line literal: the indentation of the closing quotes goes, and its last break."""
    lines = source.split("\n")
    if lines and not lines[0].strip():
        lines = lines[1:]
    indentation = len(lines[-1]) if lines and not lines[-1].strip() else 0
    if lines and not lines[-1].strip():
        lines = lines[:-1]
    return "\n".join(line[indentation:] if not line[:indentation].strip() else line for line in lines)


def _outdented(lines: list[str], strip: Callable[[str], str]) -> str:
    significant = [line for line in lines[:-1] if line.strip()] + lines[-1:]
    indentation = min((len(line) - len(line.lstrip()) for line in significant), default=0)
    return "\n".join(strip(line[indentation:]) for line in lines)
