"""Small parts of sentences that every part of Upkeep writes.

What belongs here: words that follow from a number. What does not: what a sentence says, and escaping what others wrote
(`forges/text.py`).
"""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 event`, `2 events`; `plural` for a noun that does not take an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
