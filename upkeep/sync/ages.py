"""How old what the hub knows of a repository is, in words.

What belongs here: the age bands that every list shows. What does not: when a sync counts (`service.py`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

Band = Literal["fresh", "ageing", "stale"]

FRESH = timedelta(hours=1)
AGEING = timedelta(hours=24)


def band(synced_at: datetime | None, now: datetime) -> Band:
    """Fresh under an hour, ageing to 24 hours, stale after that or never. A time ahead of the clock (it was set back)
    counts as now."""
    if synced_at is None:
        return "stale"
    age = now - synced_at
    return "fresh" if age < FRESH else "ageing" if age <= AGEING else "stale"


def words(synced_at: datetime | None, now: datetime) -> str:
    """`never`, or the age in its largest unit: `12 min`, `3 h`, `40 d`."""
    if synced_at is None:
        return "never"
    seconds = max((now - synced_at).total_seconds(), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
