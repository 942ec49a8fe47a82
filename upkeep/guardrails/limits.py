"""How much may change at once.

What belongs here: counting files and lines. What does not: which files.
"""

from __future__ import annotations

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
    """Lines added and removed, as a diff counts them; for a large rewrite rather more than fewer."""
    return sum(_changed_lines(change) for change in patch.files)


def _changed_lines(change: FileChange) -> int:
    old, new = (data.splitlines() if data is not None else [] for data in (change.old, change.new))
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    if not old or not new or len(old) + len(new) > _EXACT_UP_TO:
        return len(old) + len(new)
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return len(old) + len(new) - 2 * sum(block.size for block in blocks)


def _common(first: Sequence[bytes], second: Sequence[bytes]) -> int:
    """Length of the common beginning."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
