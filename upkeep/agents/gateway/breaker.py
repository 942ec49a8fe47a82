"""When a gateway stops asking: the provider said no in a way that the next request will not change.

What belongs here: which answers count, and the state. What does not: answering the client (`server.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

AT_ONCE = frozenset({401, 402, 403})
RATE_LIMITED = 429
PATIENCE = 3
"""So many 429 in a row: each of the three CLIs waits between its own tries, and then gives up."""


@dataclass
class Breaker:
    """`tripped`: the status that made it; None while requests may go on. `said`: the provider's words."""

    tripped: int | None = None
    said: str = ""
    _limited: int = 0

    def see(self, status: int, said: str) -> None:
        """An answer of the provider."""
        if status < 400:
            self._limited = 0
        elif status in AT_ONCE:
            self._trip(status, said)
        elif status == RATE_LIMITED and _out_of_money(said):
            # OpenAI says so with 429 too, and no waiting helps.
            self._trip(402, said)
        elif status == RATE_LIMITED:
            self._limited += 1
            if self._limited >= PATIENCE:
                self._trip(status, said)

    def _trip(self, status: int, said: str) -> None:
        if self.tripped is None:
            self.tripped, self.said = status, said


def error_message(body: bytes) -> str:
    """What an error's body says, whatever its form, shortened."""
    try:
        value = json.loads(body)
        error = value.get("error", value)
        said = error.get("message", "") if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError, RecursionError):
        said = body.decode(errors="replace")
    return " ".join(str(said).split())[:500]


def _out_of_money(said: str) -> bool:
    return any(word in said.lower() for word in ("insufficient_quota", "exceeded your current quota", "credit balance"))
