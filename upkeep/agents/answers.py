"""A model's last words: the structured answer in them, or their end for people to read.

What belongs here: pure functions over text. What does not: where a CLI puts its last words (that engine's module), and
whether an answer is any good (the calling system).
"""

from __future__ import annotations

import json
import re
from typing import Any

_SHOWN = 2000
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n```", re.DOTALL)


def as_answer(text: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    """The answer, if the text is an object with the properties that the schema requires. Values are for the caller to
    validate: a provider behind `base_url` may not enforce the schema."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not set(schema.get("required", ())) <= value.keys():
        return None
    return value


def answer_in(text: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    """The answer in a model's last words: the whole text, or the last fenced block of it."""
    for candidate in (text.strip(), *reversed(_FENCED.findall(text))):
        if (answer := as_answer(candidate, schema)) is not None:
            return answer
    return None


def matching(answer: dict[str, Any] | None, schema: dict[str, Any]) -> dict[str, Any] | None:
    """An answer that a CLI says is one, if it is of JSON and has what the schema requires."""
    return None if answer is None else as_answer(json.dumps(answer), schema)


def shorten(text: str) -> str:
    """The end of a message, on one line."""
    return " ".join(text.split())[-_SHOWN:]
