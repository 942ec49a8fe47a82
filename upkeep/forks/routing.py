"""Which stacks the engine may decide about, and which only git itself can.

What belongs here: the reasons. What does not: either way of rebasing (`engine.py`, `worktree.py`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from upkeep.forks import attributes
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.stack import SUBMODULE, Stack
from upkeep.plumbing.command import run_git

_MERGE_TREE = (2, 38)
"""`git merge-tree --write-tree` came with it."""


@functools.cache
def _git_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", run_git(["version"]).text)[:2])


def reasons(quarantine: Quarantine, stack: Stack) -> tuple[str, ...]:
    """Why the real `git rebase` has to decide about this stack, for people; none: the engine may.

    Lays out the attributes of `onto` on the way.
    """
    return tuple(_reasons(quarantine, stack))


def _reasons(quarantine: Quarantine, stack: Stack) -> Iterator[str]:
    version = _git_version()
    if version < _MERGE_TREE:
        yield f"git {'.'.join(map(str, version))} cannot merge in memory; 2.38 can"
    if stack.merges:
        yield f"{len(stack.merges)} merge commit(s) on the fork, the first {stack.merges[0][:12]}"
    signed = [patch for patch in stack.patches if patch.commit.signed]
    if signed:
        yield f"patch {signed[0].number} is signed"
    elif quarantine.git("config", "--type=bool", "--get", "commit.gpgSign", accept=(0, 1)).text.strip() == "true":
        yield "commits are signed here (commit.gpgSign)"
    for patch in stack.patches:
        if SUBMODULE in patch.modes:
            yield f"patch {patch.number} changes a submodule"
            break
    for patch in stack.patches:
        if not patch.commit.portable:
            yield f"patch {patch.number} has no parent, or a text in an encoding that git has to convert"
            break
    laid = attributes.lay_out(quarantine, stack.onto)
    for program in attributes.programs(quarantine, laid):
        yield f"a program of this repository has a hand in it ({program})"
    if quarantine.repository.is_shallow:
        yield "the history is shallow"
    if quarantine.git("for-each-ref", "--count=1", "refs/replace").stdout:
        yield "objects are replaced (refs/replace)"
