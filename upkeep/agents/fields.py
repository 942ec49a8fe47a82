"""Values of JSON that somebody else wrote: a CLI's events, a provider's answer.

What belongs here: taking a value of one type out of it, or nothing. What does not: what any field means.

These formats grow without notice and are not ours to trust: what is missing or of another type is empty or 0, never an
error.
"""

from __future__ import annotations

import json
from typing import Any

_MOST_MONEY = 1e12


def parse_object(line: str | bytes) -> dict[str, Any]:
    """The JSON object of a line; an empty one where it is none, or was cut short by a kill."""
    try:
        return as_object(json.loads(line))
    except (ValueError, RecursionError):
        return {}


def as_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int:
    """A number that counts something, never below 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def as_money(value: object) -> float | None:
    """An amount of money; None where there is none. NaN, infinities and what is below 0 are none."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST_MONEY
    return float(value) if known else None  # type: ignore[arg-type]
