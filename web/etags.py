"""Entity tags: one for each representation, and the two headers that name them (RFC 9110, 8.8.3 and 13.1).

What belongs here: making and comparing tags, and an answer with one. What does not: what a representation is.
"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Annotated

from fastapi import Header, Response

IfNoneMatch = Annotated[str | None, Header(description="Answer 304 if this is still the ETag.")]

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


def tagged(body: bytes, if_none_match: str | None) -> Response:
    """A JSON representation with its tag; where the client has it already, the tag alone. `no-cache`: a cache may keep
    it and has to ask each time."""
    tag = of(body)
    sent = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if none_match(if_none_match, tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=sent)
    return Response(body, media_type="application/json", headers=sent)
