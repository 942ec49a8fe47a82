"""Text that JSONB takes.

What belongs here: one reversible escape for what PostgreSQL refuses inside JSON: the NUL character and lone surrogates
(Python's form of bytes that are no UTF-8, as in paths). What does not: redaction, and anything about what a text means.

A refused character becomes U+241B (SYMBOL FOR ESCAPE) and its four hexadecimal digits; U+241B itself is doubled.
"""

from __future__ import annotations

import re
from typing import Any

ESCAPE = "\u241b"
"""Text without it is the same escaped and unescaped, unless it has what is refused."""
_REFUSED = re.compile(f"[\\x00\\ud800-\\udfff{ESCAPE}]")
_ESCAPED = re.compile(f"{ESCAPE}({ESCAPE}|[0-9a-f]{{4}})")


def escape(value: Any) -> Any:
    """A JSON value with every string in it, keys too, as JSONB takes it. Other values come back as they are."""
    return _walk(value, _escape_text)


def unescape(value: Any) -> Any:
    """The opposite of `escape`."""
    return _walk(value, _unescape_text)


def _walk(value: Any, change: Any) -> Any:
    match value:
        case str():
            return change(value)
        case dict():
            return {_walk(key, change): _walk(entry, change) for key, entry in value.items()}
        case list() | tuple():
            return [_walk(entry, change) for entry in value]
    return value


def _escape_text(text: str) -> str:
    return _REFUSED.sub(lambda found: ESCAPE + (ESCAPE if found[0] == ESCAPE else f"{ord(found[0]):04x}"), text)


def _unescape_text(text: str) -> str:
    return _ESCAPED.sub(lambda found: ESCAPE if found[1] == ESCAPE else chr(int(found[1], 16)), text)
