"""The rebase in memory: the commits that `git rebase` would make, made without a work tree, a ref or an index.

What belongs here: picking a stack onto a commit, and recording every patch that does not go. What does not: whether
this is the right way for a stack (`routing.py`), where the objects go (`quarantine.py`), which upstream merge is to
blame (`blame.py`).

The tip is the same SHA that `git rebase` gives with the same committer and dates; a fuzz
(`tests/upkeep/forks/test_differential.py`) holds the two against each other. A conflict ends a rebase at its
first patch; here the patch is left out and the next one is tried, so that a report names all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from upkeep.forks import attributes
from upkeep.forks.merging import Merged, Merger
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.rawcommit import Committer, RawCommit
from upkeep.forks.stack import Patch, Stack, read_commits
from upkeep.forks.stops import Settle, Settled, Stop, sides_of


@dataclass(frozen=True)
class Kept:
    """A patch that stays. `sha` is the commit that it became; its own where it did not have to move. `settled` is what
    its conflict was settled with, if it had one."""

    patch: Patch
    sha: str
    settled: Settled | None = None


@dataclass(frozen=True)
class Dropped:
    """A patch that is not needed any more: `upstream` has it, or nothing of it was left (`became_empty`). `proof` is
    the upstream commit with the same patch, or the tree that is the same before and after."""

    patch: Patch
    why: Literal["upstream", "became_empty"]
    proof: str


@dataclass(frozen=True)
class Conflict:
    """A patch that does not go, and was left out. `after` are the numbers of patches left out before it that touch the
    same files: with them in place it might go."""

    patch: Patch
    files: tuple[str, ...]
    types: tuple[str, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Rebased:
    """What picking a stack came to. `tip` is only what a rebase would give where nothing conflicts."""

    tip: str
    tree: str
    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    conflicts: tuple[Conflict, ...]

    @property
    def clean(self) -> bool:
        return not self.conflicts


class Engine:
    """Picks patches in one quarantine with one merge process. Use it as a context manager."""

    def __init__(self, quarantine: Quarantine, committer: Committer, *, single: bool = False) -> None:
        """`single` starts a process for each merge: what git 2.38 needs."""
        self.quarantine = quarantine
        self.committer = committer
        self._merger = Merger(quarantine, single=single)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._merger.restart()

    def rebase(self, stack: Stack, settle: Settle = lambda _: None) -> Rebased:
        """Pick the patches of `stack` onto its `onto`, in order. The attributes of `onto` lie in the quarantine already
        (`attributes.lay_out`); where a patch changes some, they are laid out anew. `settle` is asked about conflicts.
        """
        self._merger.restart()
        onto = read_commits(self.quarantine, [stack.onto])[stack.onto]
        tip, tree = onto.sha, onto.tree
        kept: list[Kept] = []
        dropped = [Dropped(each.patch, "upstream", each.upstream or "") for each in stack.equivalents]
        conflicts: list[Conflict] = []
        for patch in stack.patches:
            assert patch.parent is not None
            if patch.parent.sha == tip:
                # What lies right already keeps its SHA, as git's own fast-forward does.
                tip, tree = patch.sha, patch.commit.tree
                kept.append(Kept(patch, tip))
            else:
                merged = self.pick(patch.commit, patch.parent, tree)
                settled = None if merged.clean else settle(_stop(patch, merged))
                if not merged.clean and settled is None:
                    conflicts.append(conflict_of(patch, merged.files, merged.types, conflicts))
                    continue
                made = merged.tree if settled is None else self._with(merged.tree, settled)
                if made == tree and not patch.empty:
                    dropped.append(Dropped(patch, "became_empty", tree))
                    continue
                tip, tree = self.write(patch.commit, made, tip), made
                kept.append(Kept(patch, tip, settled))
            if any(map(attributes.is_attributes, patch.files)):
                attributes.lay_out(self.quarantine, tree)
                self._merger.restart()
        return Rebased(tip, tree, tuple(kept), tuple(dropped), tuple(conflicts))

    def pick(self, commit: RawCommit, parent: RawCommit, tree: str) -> Merged:
        """Carry one commit over to a tree, and write nothing but that tree."""
        return self._merger.pick(commit, parent, tree)

    def _with(self, tree: str, settled: Settled) -> str:
        entries = {path: None if side is None else (side.mode, side.sha) for path, side in settled.files.items()}
        return self.quarantine.tree_with(tree, entries)

    def write(self, commit: RawCommit, tree: str, parent: str) -> str:
        return self.quarantine.write("commit", commit.rewritten(tree, parent, self.committer))


def _stop(patch: Patch, merged: Merged) -> Stop:
    return Stop(patch, merged.tree, merged.files, merged.types, sides_of(merged.stages))


def conflict_of(patch: Patch, files: tuple[str, ...], types: tuple[str, ...], before: Sequence[Conflict]) -> Conflict:
    """A conflict, marked with those `before` it that touch the same files."""
    touched = {*patch.files, *files}
    after = tuple(each.patch.number for each in before if not touched.isdisjoint({*each.patch.files, *each.files}))
    return Conflict(patch, files, types, after)
