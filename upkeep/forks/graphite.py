"""Graphite: asking `gt` who stands on whom, and having it restack, so that it never leaves anything half done.

What belongs here: running `gt`, reading its answers, and the guard around a restack. What does not: whether a restack
goes (`branches.py` verifies that in memory first), and when (`service.py`).

`gt` is never let into a conversation (`--no-interactive`), always has a deadline, and `gt sync` is not used at all: it
needs an account, restacks by itself, and deletes branches. Trunk is where it has to be before `gt` is asked.

    gt state               every tracked branch, its parent, and the commit of the parent that it was last restacked on
    gt ls --all            the same for people; a branch whose parent moved is marked
    gt restack --upstack   from one branch on trunk upwards
    gt abort --force       puts back what a conflict stopped

What was seen before a restack lies in a file until it is over: the next run cleans up after one that was killed.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from upkeep.database.locks import HEARTBEAT_SECONDS
from upkeep.errors import UpkeepError
from upkeep.forks.place import Place, Worktree
from upkeep.forks.records import Record
from upkeep.plumbing.command import environment, run_git
from upkeep.process import Completed, run

PROGRAM = "gt"
LOOK_SECONDS = 120.0
RESTACK_SECONDS = 900.0
_LAST_BREATH_SECONDS = 2 * HEARTBEAT_SECONDS

_CONFIGURATION = ".graphite_repo_config"
_NEEDS_RESTACK = re.compile(r"^[^\w]*(?P<branch>\S+) .*\(needs restack\)", re.MULTILINE)
_DIVERGED = re.compile(r"^WARNING: ▸ (?P<branch>\S+)", re.MULTILINE)


class GraphiteError(UpkeepError):
    """`gt` failed, or did something else than it was asked for. Trunk is done."""

    code = "forks.stack_failed"


class Tracked(Record):
    """What Graphite knows of a branch: the branch that it stands on, and the commit of it that it starts from."""

    parent: str
    base: str


class _Parent(Record):
    ref: str
    sha: str


class _State(Record):
    trunk: bool = False
    needs_restack: bool = False
    parents: tuple[_Parent, ...] = ()


_ANSWER = TypeAdapter(dict[str, _State])


@dataclass(frozen=True)
class Stacks:
    """What `gt` says of the repository. `tracked` are the branches on the fork's trunk, each after its parent;
    `diverged` are branches that git moved and Graphite has lost."""

    is_trunk: bool
    trunks: tuple[str, ...]
    tracked: Mapping[str, Tracked]
    behind: frozenset[str]
    diverged: tuple[str, ...]


@dataclass(frozen=True)
class Position:
    """Where a checkout stands: its branch (None: detached), its commit, and what is in the way of moving it."""

    branch: str | None
    head: str
    obstacle: str


def installed() -> str | None:
    """The path of `gt`."""
    return shutil.which(PROGRAM)


def initialised(place: Place) -> bool:
    """Whether somebody ran `gt init` in the repository."""
    return (_common(place) / _CONFIGURATION).is_file()


def look(place: Place) -> Stacks:
    """Ask `gt` for all branches. Raises GraphiteError."""
    done = _gt(place, "state", deadline=LOOK_SECONDS)
    try:
        states = _ANSWER.validate_json(done.stdout)
    except ValidationError as error:
        raise _failed(place, "state", done, "gave an answer that is no list of branches") from error
    trunk = place.fork.trunk
    tracked: dict[str, Tracked] = {}
    level = [trunk]
    while level:
        above = [name for name, state in states.items() if state.parents and state.parents[0].ref in level]
        level = [name for name in above if name not in tracked]
        tracked |= {n: Tracked(parent=states[n].parents[0].ref, base=states[n].parents[0].sha) for n in level}
    trunks = tuple(name for name, state in states.items() if state.trunk)
    diverged = tuple(dict.fromkeys(match["branch"] for match in _DIVERGED.finditer(done.error_text + done.text)))
    behind = frozenset(name for name, state in states.items() if state.needs_restack)
    return Stacks(trunk in trunks, trunks, tracked, behind, diverged)


def marked(place: Place) -> frozenset[str]:
    """Branches that `gt ls --all` marks: their parent moved. Raises GraphiteError."""
    done = _gt(place, "ls", "--all", deadline=LOOK_SECONDS)
    return frozenset(match["branch"] for match in _NEEDS_RESTACK.finditer(done.text))


def position(place: Place) -> Position:
    """Where the main checkout stands. Raises GraphiteError where there is none."""
    checkout = _checkout(place)
    obstacle = ""
    if checkout.operation:
        obstacle = f"a {checkout.operation} is in progress in {checkout.path}"
    elif changed := place.dirty(checkout):
        obstacle = f"{checkout.path} has {len(changed)} changed file(s), such as {changed[0]}"
    return Position(checkout.branch, checkout.head or "", obstacle)


def restack(place: Place, root: str, mark: Path, *, deadline: float = RESTACK_SECONDS) -> None:
    """Have `gt` restack `root`, which stands on trunk, and everything on it, with the guard around it.

    Raises GraphiteError where it failed, was killed, hung, or left the checkout elsewhere: whatever was in progress is
    aborted then, and the checkout is back on its branch.
    """
    before = position(place)
    mark.parent.mkdir(parents=True, exist_ok=True)
    new = mark.with_suffix(".new")
    new.write_text(json.dumps({"branch": before.branch, "head": before.head}))
    new.replace(mark)
    try:
        done = _gt(place, "restack", "--branch", root, "--upstack", deadline=deadline, check=False)
        if done.outcome != "exited":
            raise _failed(place, "restack", done, f"did not end within {deadline:.0f} s")
        if done.returncode != 0:
            raise _failed(place, "restack", done, f"ended with status {done.returncode}")
        after = position(place)
        if after.obstacle or not _same_place(before, after):
            raise _failed(place, "restack", done, f"left the checkout elsewhere: {after.obstacle or after}")
    except BaseException:
        _put_back(place, before)
        mark.unlink(missing_ok=True)
        raise
    mark.unlink(missing_ok=True)


def _same_place(before: Position, after: Position) -> bool:
    """Whether a checkout is where it was. A branch may have moved under it, a detached HEAD may not."""
    return after.branch == before.branch and (before.branch is not None or after.head == before.head)


def recover(place: Place, mark: Path, died: datetime | None) -> str:
    """Clean up after a run that was killed while `gt` worked; say what was done, or nothing. Raises GitError.

    `died`: the last sign of life of that run. What was begun later is a person's and is not touched.
    """
    try:
        began = mark.stat().st_mtime
        noted = json.loads(mark.read_text())
    except FileNotFoundError:
        return ""
    before = Position(noted["branch"], noted["head"], "")
    until = began + RESTACK_SECONDS if died is None else died.timestamp() + _LAST_BREATH_SECONDS
    checkout = _checkout(place)
    if checkout.operation is None or began <= _begun(checkout) <= until:
        _put_back(place, before)
    mark.unlink(missing_ok=True)
    return "A run was killed while `gt` worked here: what it had in progress was aborted. `gt ls --all` shows the rest."


def _begun(checkout: Worktree) -> float:
    """When the operation in progress was begun; seconds since 1970."""
    for file in ("rebase-merge/head-name", "rebase-apply/head-name", "CHERRY_PICK_HEAD", "MERGE_HEAD", "REVERT_HEAD"):
        arguments = ["rev-parse", "--path-format=absolute", "--git-path", file]
        path = Path(run_git(arguments, cwd=checkout.path, personal=True).text.rstrip("\n"))
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime
    return 0.0


def _put_back(place: Place, before: Position) -> None:
    """Abort what is in progress, and bring the checkout back to its branch. Branches that were restacked are whole, and
    stay: taking them back behind Graphite's back would make it lose them."""
    checkout = _checkout(place)
    if checkout.operation:
        # It takes the whole command back, the branches that it had moved before included.
        with contextlib.suppress(UpkeepError):
            _gt(place, "abort", "--force", deadline=LOOK_SECONDS)
        checkout = _checkout(place)
    if checkout.operation:
        run_git([checkout.operation, "--abort"], cwd=checkout.path, personal=True)
        checkout = _checkout(place)
    if not _same_place(before, Position(checkout.branch, checkout.head or "", "")):
        target = ["--detach", before.head] if before.branch is None else [before.branch]
        run_git(["checkout", "--quiet", *target], cwd=checkout.path, personal=True)


def drift(before: Mapping[str, Tracked], after: Mapping[str, Tracked], names: Sequence[str]) -> dict[str, str]:
    """Which of `names` stand on another branch than before, with the command that sets each right."""
    return {
        name: f"it stands on {after[name].parent if name in after else 'nothing that Graphite knows'}, and stood on "
        f"{before[name].parent}: `gt track {name} --parent {before[name].parent}`"
        for name in names
        if name not in after or after[name].parent != before[name].parent
    }


def _checkout(place: Place) -> Worktree:
    found = place.worktrees()
    if not found:
        raise GraphiteError(
            f"{place.repository.path} has no checkout, and Graphite works in one",
            remedy="Use `stack: plain` for a repository without one.",
        )
    return found[0]


def _common(place: Place) -> Path:
    arguments = ["rev-parse", "--path-format=absolute", "--git-common-dir"]
    return Path(run_git(arguments, cwd=place.repository.path, personal=True).text.rstrip("\n"))


def _gt(place: Place, *arguments: str, deadline: float, check: bool = True) -> Completed:
    program = installed()
    if program is None:
        raise GraphiteError(
            "gt is not installed",
            remedy="Install it (`npm install -g @withgraphite/graphite-cli`), or set `stack: none`.",
        )
    done = run(
        [program, *arguments, "--no-interactive"],
        cwd=_checkout(place).path,
        env=environment({}, {}, personal=True),
        deadline=deadline,
        check=False,
    )
    if check and (done.outcome != "exited" or done.returncode != 0):
        raise _failed(place, arguments[0], done, "failed")
    return done


def _failed(place: Place, command: str, done: Completed, what: str) -> GraphiteError:
    words = [line for line in (done.error_text + done.text).splitlines() if line.strip()]
    # Its own word first, then git's.
    errors = [line for mark in ("ERROR", "fatal:", "error:") for line in words if line.startswith(mark)] or words
    said = f": {' '.join(line.strip() for line in errors[:2])}" if errors else ""
    return GraphiteError(
        f"`gt {command}` {what}{said}",
        remedy=f"See `gt ls --all` in {place.repository.path}, then `gt restack`.",
        words="\n".join(words)[-4000:],
    )
