"""What went through a gateway, for people: one JSON object a line, without secrets, bounded.

What belongs here: writing it. What does not: what a request or an answer means.

A conversation repeats itself with every request, so a request's turns are written once: later requests say how many
they repeat. The beginning of each answer is kept as it came.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upkeep.redaction import Redactor

ANSWER_BYTES = 256 << 10
_MARKS = re.compile(rb', "cache_control": \{[^{}]*\}')


class Transcript:
    """The file at `path`, new. `cut` becomes True once something did not fit into `limit` bytes."""

    def __init__(self, path: Path, *, limit: int, redact: Redactor) -> None:
        self._file = path.open("wb")
        self._redact = redact
        self._left = limit
        self._seen: set[bytes] = set()
        self.cut = False

    def request(self, number: int, body: dict[str, Any], turns: str) -> None:
        """A request as it was sent on."""
        held = body.get(turns)
        new, repeated = [], 0
        for turn in held if isinstance(held, list) else [held]:
            if self._is_new(turn):
                new.append(turn)
            else:
                repeated += 1
        fields = {key: value for key, value in body.items() if key != turns}
        if not self._is_new(fields.get("tools")):
            fields["tools"] = "as before"
        self.write("request", number=number, **fields, **{turns: new}, repeated=repeated)

    def _is_new(self, value: Any) -> bool:
        """Whether it is written for the first time. Without marks of a cache, which move from turn to turn."""
        digest = hashlib.blake2b(_MARKS.sub(b"", json.dumps(value).encode()), digest_size=16).digest()
        new = digest not in self._seen
        self._seen.add(digest)
        return new

    def write(self, kind: str, **fields: Any) -> None:
        """A line. One that does not fit any more is left out."""
        line = json.dumps({"at": datetime.now(UTC).isoformat(), "kind": kind, **fields}, ensure_ascii=False)
        data = line.encode(errors="replace") + b"\n"
        if self._redact.finds(data):
            data = self._redact(data)
        if len(data) > self._left:
            self.cut = True
            return
        self._left -= len(data)
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        self._file.close()
