"""Entity tags: one for each representation, and the two headers that name them (RFC 9110, 8.8.3 and 13.1).

What belongs here: making and comparing tags. What does not: what a representation is.
"""

from __future__ import annotations

import hashlib
import re

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def of(body: bytes) -> str:
    """A strong tag: the same bytes, the same tag."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def none_match(header: str | None, tag: str) -> bool:
    """Whether `If-None-Match` names this representation: the client has it already. Compares weakly, as it must."""
    return header is not None and (header.strip() == "*" or tag in {found[1] for found in _TAG.findall(header)})


def match(header: str | None, tag: str) -> bool:
    """Whether `If-Match` permits a change of this representation. Compares strongly; without the header it does."""
    if header is None or header.strip() == "*":
        return True
    return tag in {value for weak, value in _TAG.findall(header) if not weak}
