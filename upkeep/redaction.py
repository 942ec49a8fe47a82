"""Secret values out of text that leaves us: output of children, logs, error texts, transcripts.

What belongs here: replacing values that we hold, and our own bearer tokens. What does not: finding secrets that nobody
told us of (`guardrails/secrets.py`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import overload
from urllib.parse import quote, quote_plus

# The format of our own bearer tokens (`upkeep/tokens.py`). Only digests are kept: it is all that they are known by.
OWN_TOKEN = r"upkeep_[0-9a-f]{12}_[0-9a-f]{64}"
_OWN_TOKEN_LENGTH = 84


class Redactor:
    """Replaces secret values by `***` in text and bytes: as they are, URL-encoded, and inside base64; and our own
    bearer tokens, whoever's they are. It is true where it was given values.

    Values under six characters are ignored: they would hide ordinary words and are no secrets. Of a value with several
    lines (a private key) each long line is replaced by itself, so that output can be redacted line by line.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self.longest = max([_OWN_TOKEN_LENGTH, *map(len, forms)])
        ordered = sorted(forms, key=len, reverse=True)
        self._forms = tuple(ordered)
        self._pattern = re.compile(b"|".join([*map(re.escape, ordered), OWN_TOKEN.encode()]))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def finds(self, value: bytes) -> bool:
        """Whether a value that it was given is there: plain searches, some fifty times faster than the replacement."""
        return any(form in value for form in self._forms)

    @overload
    def __call__(self, value: str) -> str: ...
    @overload
    def __call__(self, value: bytes) -> bytes: ...
    def __call__(self, value: str | bytes) -> str | bytes:
        if isinstance(value, bytes):
            return self._pattern.sub(b"***", value)
        return self._pattern.sub(b"***", value.encode(errors="surrogateescape")).decode(errors="surrogateescape")


def _forms(secret: str) -> Iterator[bytes]:
    for value in {secret, secret.strip(), *(line for line in secret.split("\n") if len(line) >= 16)}:
        if len(value) < 6 or "\n" in value:
            continue
        raw = value.encode(errors="surrogateescape")
        yield raw
        yield quote(value, safe="", errors="surrogateescape").encode()
        yield quote_plus(value, errors="surrogateescape").encode()
        # `user:token` is encoded as one text, so the token begins at any of three positions in a base64 group; the
        # characters at either end that depend on the neighbours are left out.
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
            inner = encoded[(0, 2, 3)[shift] : len(encoded) - (1 if (shift + len(raw)) % 3 else 0)]
            if len(inner) >= 8:
                yield inner
                yield inner.translate(bytes.maketrans(b"+/", b"-_"))
