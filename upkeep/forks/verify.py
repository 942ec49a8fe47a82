"""Verifying a rebase: what it would come to, without a ref, an index or a file of anybody's being touched.

What belongs here: the order of a verification, and turning its result into records. What does not: the two ways of
rebasing (`engine.py`, `worktree.py`) and where the SHAs come from (`snapshot.py`).
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from upkeep.forks import attributes, blame, ownership, routing, worktree
from upkeep.forks.engine import Conflict, Engine, Kept, Rebased
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.rawcommit import Committer, RawCommit
from upkeep.forks.records import (
    ConflictingPatch,
    DroppedPatch,
    KeptPatch,
    OwnCommit,
    SettledFile,
    UpstreamCommit,
    Verification,
)
from upkeep.forks.stack import Patch, Stack, read_commits, read_stack
from upkeep.forks.stops import Settle
from upkeep.guardrails.paths import matches
from upkeep.settings.forks import Version

_PULL_REQUEST = re.compile(r"\(#(\d+)\)\s*$|^Merge pull request #(\d+)")
_RANGE_DIFF_BYTES = 1 << 20


@dataclass(frozen=True)
class Carried:
    """What carrying a stack over came to, who decided, and why that was git."""

    result: Rebased
    method: Literal["memory", "worktree"]
    reasons: tuple[str, ...]
    conflicts: tuple[ConflictingPatch, ...]


def carry(
    quarantine: Quarantine,
    stack: Stack,
    committer: Committer,
    *,
    scratch: Path | None = None,
    settle: Settle = lambda _: None,
) -> Carried:
    """Pick a stack onto its `onto` inside the quarantine, in memory, or by git in a worktree below `scratch` where the
    engine must not decide. `settle` as in `verify`. Raises GitError."""
    reasons = routing.reasons(quarantine, stack, attributes.lay_out(quarantine, stack.onto))
    with Engine(quarantine, committer) as engine:
        if reasons:
            result = worktree.rebase(quarantine, stack, committer, folder=scratch, settle=settle)
        else:
            result = engine.rebase(stack, settle)
        conflicts = tuple(conflicting(engine, stack, each, result.conflicts) for each in result.conflicts)
    return Carried(result, "worktree" if reasons else "memory", reasons, conflicts)


def verify(
    quarantine: Quarantine,
    onto: str,
    head: str,
    committer: Committer,
    *,
    version: Version | None = None,
    tags: Sequence[str] = (),
    escalate: Sequence[str] = (),
    scratch: Path | None = None,
    settle: Settle = lambda _: None,
) -> Verification:
    """Rebase `head` onto `onto` inside the quarantine.

    `scratch` is where a worktree may lie, `tags` are upstream's, `escalate` patterns of paths whose change upstream
    needs a person; `settle` is asked about each conflict before it counts as one. Whatever is clean can be made
    permanent with `quarantine.keep`. Raises GitError, ConfigError `forks.version_not_found`.
    """
    started = time.monotonic()
    stack = read_stack(quarantine, onto, head, own=ownership.is_own)
    carried = carry(quarantine, stack, committer, scratch=scratch, settle=settle)
    result = carried.result
    top = None
    if result.clean:
        top = ownership.crown(quarantine, result.tip, stack.own, head, onto=onto, version=version, tags=tags)
    return Verification(
        onto=onto,
        head=head,
        base=stack.base,
        behind=int(quarantine.git("rev-list", "--count", "--end-of-options", onto, f"^{head}").text),
        method=carried.method,
        reasons=carried.reasons,
        stack_tip=result.tip if result.clean else None,
        tip=top.tip if top else None,
        tree=_tree(quarantine, result, top.tip) if top else None,
        kept=tuple(KeptPatch(**_line(each.patch), new_sha=each.sha, settled=_settled(each)) for each in result.kept),
        dropped=tuple(DroppedPatch(**_line(each.patch), why=each.why, proof=each.proof) for each in result.dropped),
        conflicts=carried.conflicts,
        own_before=tuple(
            OwnCommit(sha=patch.sha, kind=str(ownership.kind_of(patch.commit)), subject=patch.commit.subject)
            for patch in stack.own
        ),
        version=top.version if top else None,
        escalated=escalated(quarantine, stack, escalate),
        seconds=round(time.monotonic() - started, 3),
    )


def _tree(quarantine: Quarantine, result: Rebased, tip: str) -> str:
    return result.tree if tip == result.tip else read_commits(quarantine, [tip])[tip].tree


def reproduction(stack: Stack, conflict: Conflict, all_conflicts: Sequence[Conflict], where: str) -> tuple[str, ...]:
    """Commands that make the real `git rebase` stop at this patch, in a worktree of its own.

    `where` is the repository. The last one removes the worktree.
    """
    git, place = f"git -C {shlex.quote(where)}", '"$tree"'
    rebase = f"git -C {place} rebase --no-fork-point --empty=drop {stack.onto}"
    if (below := _below(stack)) is not None:
        rebase = f"git -C {place} rebase --no-fork-point --empty=drop --onto {stack.onto} {below}"
    elif stack.own:
        editor = shlex.quote(worktree.sequence_editor([patch.sha for patch in stack.own]))
        rebase = (
            f"GIT_SEQUENCE_EDITOR={editor} git -C {place} -c core.abbrev=no"
            f" rebase --interactive --no-fork-point --empty=drop {stack.onto}"
        )
    skips = [each.patch.number for each in all_conflicts].index(conflict.patch.number)
    return (
        'tree="$(mktemp -d)/tree"',
        f"{git} worktree add --detach {place} {stack.head}",
        rebase,
        *[f"git -C {place} rebase --skip"] * skips,
        f"git -C {place} status",
        f"{git} worktree remove --force {place}",
    )


def _below(stack: Stack) -> str | None:
    """The commit on which the patches stand, where everything that is left out lies below them."""
    first = next(iter(stack.patches), None)
    if first is None or first.parent is None or stack.equivalents or any(each.number > 1 for each in stack.own):
        return None
    return first.parent.sha if first.parent.sha in {each.sha for each in stack.own} else None


def conflicting(engine: Engine, stack: Stack, conflict: Conflict, among: Sequence[Conflict]) -> ConflictingPatch:
    """The record of a conflict: who broke the patch, and commands that stop at it."""
    breaker = blame.find(engine, stack, conflict)
    return ConflictingPatch(
        **_line(conflict.patch),
        conflicts=tuple(map(shown, conflict.files)),
        types=conflict.types,
        after=conflict.after,
        broken_by=None if breaker is None else _upstream(breaker.commit),
        reproduce=reproduction(stack, conflict, among, str(engine.quarantine.repository.path)),
    )


def _line(patch: Patch) -> dict[str, Any]:
    return {
        "number": patch.number,
        "sha": patch.sha,
        "subject": patch.commit.subject,
        "author": patch.commit.author_name,
        "authored_at": patch.commit.authored_at,
        "files": tuple(map(shown, patch.files)),
    }


def _settled(kept: Kept) -> tuple[SettledFile, ...]:
    if kept.settled is None:
        return ()
    return tuple(SettledFile(path=shown(path), by=by) for path, by in sorted(kept.settled.by.items()))


def shown(path: str) -> str:
    """A path as it stands in records: JSON has no place for bytes that are no UTF-8, so `\\xe9` stands for one."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _upstream(commit: RawCommit) -> UpstreamCommit:
    found = _PULL_REQUEST.search(commit.subject)
    return UpstreamCommit(
        sha=commit.sha,
        subject=commit.subject,
        author=commit.author_name,
        authored_at=commit.authored_at,
        pull_request=int(found[1] or found[2]) if found else None,
    )


def escalated(quarantine: Quarantine, stack: Stack, patterns: Sequence[str]) -> tuple[str, ...]:
    """Paths that upstream changed since the merge base and that one of the patterns names."""
    if not patterns or stack.base is None:
        return ()
    arguments = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--end-of-options", stack.base, stack.onto]
    changed = quarantine.git(*arguments).text.split("\0")[:-1]
    return tuple(shown(path) for path in changed if any(matches(path, pattern) for pattern in patterns))


def range_diff(quarantine: Quarantine, verification: Verification) -> str:
    """How the patches changed by being moved, for people; empty where a patch conflicts or nothing moved.

    No part of a verification: it takes as long, and whoever looks ahead every hour does not read it.
    """
    found = verification
    if found.stack_tip is None or found.base is None or not found.kept or found.kept[-1].sha == found.stack_tip:
        return ""
    before, after = f"{found.base}..{found.kept[-1].sha}", f"{found.onto}..{found.stack_tip}"
    flags = ["--no-color", "--no-ext-diff", "--no-textconv", "--creation-factor=90"]
    done = quarantine.git("range-diff", *flags, before, after, accept=range(256))
    return done.stdout[:_RANGE_DIFF_BYTES].decode(errors="replace")
