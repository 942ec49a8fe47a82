"""Whether a line is a cron schedule that everybody reads alike, and in which time zone people mean it.

What belongs here: the five fields of crontab(5), names and steps included, and its words such as `@daily`. What does
not: when such a line is due (Dagster's daemon).

Extensions that schedulers read differently (L, W, #, ?, seconds, ranges that run backwards) are refused: a line that
fails only when the daemon loads it takes every other job down with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

WORDS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTH = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}

_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
_PART = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)


def fault_in(line: str) -> str | None:
    """What is wrong with the line, as the end of a sentence; None: nothing."""
    if line.strip().lower() in WORDS:
        return None
    fields = line.split()
    if len(fields) != len(_FIELDS):
        return f"a schedule has five fields (minute, hour, day of month, month, day of week) or is one of {WORDS}"
    values: list[set[int]] = []
    for text, (name, least, most, names) in zip(fields, _FIELDS, strict=True):
        try:
            values.append({value for part in text.split(",") for value in _values(part, least, most, names)})
        except ValueError as error:
            return f"the {name} {text!r} is wrong: {error}"
    days, months = values[2], values[3]
    if min(days) > max(_LONGEST_MONTH[month] for month in months):
        return f"there is never a day {min(days)} in such a month"
    return None


def _values(part: str, least: int, most: int, names: dict[str, int]) -> Iterator[int]:
    """The numbers of one element of a list. Raises ValueError in words."""
    found = _PART.fullmatch(part)
    if found is None:
        raise ValueError(f"{part!r} is no number, range or step")
    step = int(found["step"] or 1)
    first, last = least, most
    if not found["all"]:
        first = _number(found["first"], least, most, names)
        last = _number(found["last"], least, most, names) if found["last"] else first
        if found["step"] and not found["last"]:
            raise ValueError(f"a step needs a range: {first}-{most}/{step}")
    if first > last:
        raise ValueError(f"the range {part!r} runs backwards")
    if not 1 <= step <= most - least:
        raise ValueError(f"a step is from 1 to {most - least}")
    yield from range(first, last + 1, step)


def _number(text: str, least: int, most: int, names: dict[str, int]) -> int:
    number = names.get(text.lower())
    if number is None and text.isdecimal():
        number = int(text)
    if number is None or not least <= number <= most:
        raise ValueError(f"{text!r} is not between {least} and {most}")
    return number


def machine_zone() -> str:
    """The machine's time zone by its name; UTC where it says none, or two different ones."""
    import tzlocal

    try:
        return tzlocal.get_localzone_name() or "UTC"
    except (LookupError, ValueError, OSError):
        return "UTC"
