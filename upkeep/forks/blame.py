"""Which upstream merge broke a patch: a bisection along upstream's first parents, in memory.

What belongs here: finding it. What does not: asking for it only where there is a conflict (`verify.py`).

A patch is tried on an upstream commit together with the earlier patches that touch its files, and without the rest of
the stack: the others have no say in whether it goes, and a probe costs a few merges and not the whole stack (12 probes
over 1,862 merges of git.git took 95 ms). Attributes stay those of the last tip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upkeep.forks.engine import Conflict, Engine
from upkeep.forks.rawcommit import RawCommit
from upkeep.forks.stack import Patch, Stack, read_commits


@dataclass(frozen=True)
class Breaker:
    """The upstream commit on whose first parent the patch still goes, and on which it does not. `probes` is how many
    commits were tried."""

    commit: RawCommit
    probes: int


def find(engine: Engine, stack: Stack, conflict: Conflict) -> Breaker | None:
    """The first upstream commit, along first parents, that the patch does not go onto. None: it goes onto none of them
    (what it needs was left out already), or it goes onto all when it is tried by itself."""
    if stack.base is None or any(patch.parent is None for patch in stack.patches):
        return None
    arguments = ["--first-parent", "--reverse", "--end-of-options", stack.onto, f"^{stack.base}"]
    line = engine.quarantine.git("rev-list", *arguments).text.split()
    needed = _needed(stack.patches, conflict.patch, conflict.files)
    probes = 0

    def breaks(sha: str) -> bool:
        nonlocal probes
        probes += 1
        return _breaks(engine, read_commits(engine.quarantine, [sha])[sha].tree, needed, conflict.patch)

    if not line or breaks(stack.base) or not breaks(line[-1]):
        return None
    goes, fails = -1, len(line) - 1
    while fails - goes > 1:
        middle = (goes + fails) // 2
        goes, fails = (goes, middle) if breaks(line[middle]) else (middle, fails)
    return Breaker(read_commits(engine.quarantine, [line[fails]])[line[fails]], probes)


def _needed(patches: Sequence[Patch], patch: Patch, conflicting: Sequence[str]) -> list[Patch]:
    """The earlier patches that touch the files of `patch`, and those that touch theirs in turn."""
    files = {*patch.files, *conflicting}
    needed: list[Patch] = []
    for earlier in reversed([each for each in patches if each.number < patch.number]):
        if not files.isdisjoint(earlier.files):
            files |= set(earlier.files)
            needed.append(earlier)
    return needed[::-1]


def _breaks(engine: Engine, tree: str, needed: Sequence[Patch], patch: Patch) -> bool:
    for earlier in needed:
        assert earlier.parent is not None
        merged = engine.pick(earlier.commit, earlier.parent, tree)
        tree = merged.tree if merged.clean else tree
    assert patch.parent is not None
    return not engine.pick(patch.commit, patch.parent, tree).clean
