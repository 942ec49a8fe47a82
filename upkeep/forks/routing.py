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

_TRUE = ("true", "yes", "on", "1")
_MERGE_TREE = (2, 38)
"""`git merge-tree --write-tree` came with it."""


def _settings(quarantine: Quarantine) -> dict[str, str]:
    """What git has set here that bears on this; of several values the last, and `true` for one without any."""
    names = r"^(commit\.gpgsign|merge\.default|(merge|filter)\..+\.(driver|clean|smudge|process))$"
    done = quarantine.git("config", "--null", "--get-regexp", names, accept=(0, 1))
    parts = (entry.partition("\n") for entry in done.text.split("\0") if entry)
    return {name: value if separator else "true" for name, separator, value in parts}


@functools.cache
def _git_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", run_git(["version"]).text)[:2])


def reasons(quarantine: Quarantine, stack: Stack, laid: attributes.Laid) -> tuple[str, ...]:
    """Why the real `git rebase` has to decide about this stack, for people; none: the engine may. `laid` are the
    attributes of `onto`."""
    return tuple(_reasons(quarantine, stack, laid))


def blind(quarantine: Quarantine, stack: Stack, laid: attributes.Laid) -> tuple[str, ...]:
    """Why the engine cannot even tell which patches would conflict. For the other reasons it makes the same merges as
    git, and only not the same commits."""
    return tuple(_blind(quarantine, stack, laid, _settings(quarantine)))


def _reasons(quarantine: Quarantine, stack: Stack, laid: attributes.Laid) -> Iterator[str]:
    settings = _settings(quarantine)
    yield from _blind(quarantine, stack, laid, settings)
    if stack.merges:
        yield f"{len(stack.merges)} merge commit(s) on the fork, the first {stack.merges[0][:12]}"
    signed = [patch for patch in stack.patches if patch.commit.signed]
    if signed:
        yield f"patch {signed[0].number} is signed"
    elif settings.get("commit.gpgsign", "false").lower() in _TRUE:
        yield "commits are signed here (commit.gpgSign)"
    for patch in stack.patches:
        if SUBMODULE in patch.modes:
            yield f"patch {patch.number} changes a submodule"
            break
    for patch in stack.patches:
        if patch.parent is not None and not patch.commit.portable:
            yield f"patch {patch.number} has a text in an encoding that git has to convert"
            break


def _blind(quarantine: Quarantine, stack: Stack, laid: attributes.Laid, settings: dict[str, str]) -> Iterator[str]:
    version = _git_version()
    if version < _MERGE_TREE:
        yield f"git {'.'.join(map(str, version))} cannot merge in memory; 2.38 can"
    for patch in stack.patches:
        if patch.parent is None:
            yield f"patch {patch.number} has no parent"
            break
    for program in attributes.programs(quarantine, laid, settings):
        yield f"a program of this repository has a hand in it ({program})"
    if quarantine.repository.is_shallow:
        yield "the history is shallow"
    if quarantine.git("for-each-ref", "--count=1", "refs/replace").stdout:
        yield "objects are replaced (refs/replace)"
