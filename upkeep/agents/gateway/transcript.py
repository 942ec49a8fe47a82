"""What went through a gateway, for people: one JSON object a line, without secrets, bounded.

What belongs here: writing it. What does not: what a request or an answer means.

A conversation repeats itself with every request, so a request's turns are written once: later requests say how many
they repeat. The beginning of each answer is kept as it came.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upkeep.agents.gateway.contents import pieces
from upkeep.process import Redactor

ANSWER_BYTES = 256 << 10


class Transcript:
    """The file at `path`, new. `cut` becomes True once something did not fit into `limit` bytes."""

    def __init__(self, path: Path, *, limit: int, redact: Redactor) -> None:
        self._file = path.open("w", encoding="utf-8", errors="backslashreplace")
        self._redact = redact
        self._left = limit
        self._seen: set[bytes] = set()
        self.cut = False

    def request(self, number: int, body: dict[str, Any], turns: str) -> None:
        """A request as it was sent on."""
        held = body.get(turns)
        new, repeated = [], 0
        for turn in held if isinstance(held, list) else [held]:
            digest = b"".join(piece.digest for piece in pieces([turn]))
            if digest in self._seen:
                repeated += 1
            else:
                self._seen.add(digest)
                new.append(turn)
        fields = {key: value for key, value in body.items() if key != turns}
        tools = json.dumps(fields.get("tools"), sort_keys=True).encode(errors="surrogatepass")
        if tools in self._seen:
            fields["tools"] = "as before"
        self._seen.add(tools)
        self.write("request", number=number, **fields, **{turns: new}, repeated=repeated)

    def write(self, kind: str, **fields: Any) -> None:
        """A line. One that does not fit any more is left out."""
        line = json.dumps({"at": datetime.now(UTC).isoformat(), "kind": kind, **fields}, ensure_ascii=False)
        line = self._redact(line.encode(errors="surrogatepass").decode(errors="replace")) + "\n"
        if len(line) > self._left:
            self.cut = True
            return
        self._left -= len(line)
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        self._file.close()
