"""How much may change at once.

What belongs here: counting files and lines. What does not: which files.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from upkeep.guardrails.patch import FileChange, Patch, Policy
from upkeep.guardrails.report import GuardrailFinding

_EXACT_UP_TO = 4_000
"""Lines in the differing middle of a file up to which the diff is computed: it takes quadratic time at worst."""


def check_limits(patch: Patch, policy: Policy) -> Iterator[GuardrailFinding]:
    lines = changed_lines(patch)
    if policy.max_lines is not None and lines > policy.max_lines:
        yield GuardrailFinding(
            rule="limits.lines", message=f"{lines:,} lines changed, at most {policy.max_lines:,} are allowed"
        )
    if len(patch.files) > policy.max_files:
        yield GuardrailFinding(
            rule="limits.files",
            message=f"{len(patch.files):,} files changed, at most {policy.max_files:,} are allowed",
        )


def changed_lines(patch: Patch) -> int:
    """Lines added and removed, as a diff counts them; for a large rewrite rather more than fewer, never fewer."""
    return sum(_changed_lines(change) for change in patch.files)


def _changed_lines(change: FileChange) -> int:
    old, new = (data.splitlines() if data is not None else [] for data in (change.old, change.new))
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    return sum(_differing(before, after) for before, after in stretches(old, new))


def _differing(old: Sequence[bytes], new: Sequence[bytes]) -> int:
    if not old or not new or len(old) + len(new) > _EXACT_UP_TO:
        return len(old) + len(new)
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return len(old) + len(new) - 2 * sum(block.size for block in blocks)


def stretches(
    old: Sequence[bytes], new: Sequence[bytes], *, exact: int = _EXACT_UP_TO
) -> Iterator[tuple[Sequence[bytes], Sequence[bytes]]]:
    """Yield pieces of both texts that belong together: what lies between lines that each has once, in the same order.

    Those lines are common, so that the differences of the pieces add up to no less than the true one, and each piece is
    short in a long file that changed in many places. Texts of up to `exact` lines are one piece.
    """
    if len(old) + len(new) <= exact:
        yield old, new
        return
    lines = Counter(old)
    once = {line for line, count in Counter(new).items() if count == 1 and lines[line] == 1}
    at = {line: number for number, line in enumerate(old) if line in once}
    pairs = [(at[line], number) for number, line in enumerate(new) if line in once]
    before, after = 0, 0
    for left, right in _increasing(pairs):
        yield old[before:left], new[after:right]
        before, after = left + 1, right + 1
    yield old[before:], new[after:]


def _increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a longest subsequence of `pairs` in which the first numbers increase; the second ones do already."""
    ends: list[int] = []
    tails: list[int] = []
    previous: list[int] = []
    for number, (left, _) in enumerate(pairs):
        place = bisect_left(ends, left)
        ends[place : place + 1] = [left]
        tails[place : place + 1] = [number]
        previous.append(tails[place - 1] if place else -1)
    chosen = []
    number = tails[-1] if tails else -1
    while number >= 0:
        chosen.append(pairs[number])
        number = previous[number]
    return chosen[::-1]


def _common(first: Sequence[bytes], second: Sequence[bytes]) -> int:
    """Length of the common beginning."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
