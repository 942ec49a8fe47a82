"""The rebase by git itself, in a temporary worktree: for what the engine must not decide.

What belongs here: running `git rebase`, and reading where it stops. What does not: when to (`routing.py`).

Its objects go into the quarantine as well, the worktree's HEAD is detached, hooks do not run, and nothing of the
person's own checkout takes part. A patch that conflicts is skipped, as the engine does, so that all of them are found.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from upkeep.errors import GitError
from upkeep.forks.engine import Conflict, Dropped, Kept, Rebased, conflict_of
from upkeep.forks.merging import Stage
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.rawcommit import Committer, RawCommit, parse
from upkeep.forks.stack import Patch, Stack, read_commits
from upkeep.forks.stops import Settle, Settled, Stop, sides_of
from upkeep.git import Repository
from upkeep.plumbing.command import run_git
from upkeep.plumbing.objects import NONE
from upkeep.process import Completed

_DEADLINE = 3600.0
_SETTINGS = {
    "core.abbrev": "no",
    "rerere.enabled": "false",
    "rebase.backend": "merge",
    "rebase.abbreviateCommands": "false",
    "rebase.missingCommitsCheck": "ignore",
    "advice.skippedCherryPicks": "false",
}
# What decides about commits stays as the person set it (signing, renames); what would reach beyond them is off.
_FLAGS = ("--no-fork-point", "--no-autosquash", "--no-autostash", "--no-update-refs", "--no-stat", "--empty=drop")
_STOPPED = re.compile(r"could not apply ([0-9a-f]{40})")
_TYPE = re.compile(r"^(CONFLICT \([^)]*\))", re.MULTILINE)


_NOBODY = Committer("", "", datetime.fromtimestamp(0, UTC))


@dataclass
class _Walk:
    """What was met on the way."""

    conflicts: list[Conflict] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)
    settled: dict[str, Settled] = field(default_factory=dict)


def rebase(
    quarantine: Quarantine,
    stack: Stack,
    committer: Committer,
    *,
    folder: Path | None = None,
    settle: Settle = lambda _: None,
) -> Rebased:
    """Rebase in a worktree below `folder`, which is removed whatever happens. `settle` is asked about conflicts.

    Raises GitError `forks.rebase_failed` where git stops for another reason than a conflict.
    """
    walk = _Walk()
    with quarantine.repository.worktree(stack.head, folder=folder) as tree:
        shell = _Shell(quarantine, committer, tree)
        done = shell.start(stack)
        while done.returncode != 0:
            stop = _stopped(shell, stack, done, walk)
            settled = settle(stop)
            if settled is None:
                walk.skipped.add(stop.patch.sha)
                walk.conflicts.append(conflict_of(stop.patch, stop.files, stop.types, walk.conflicts))
                done = shell.git("rebase", "--skip")
            else:
                walk.settled[stop.patch.sha] = settled
                shell.resolve(stop.patch, settled)
                done = shell.git("rebase", "--continue")
        tip = shell.git("rev-parse", "HEAD").text.strip()
    return _result(quarantine, stack, tip, walk)


class _Shell:
    def __init__(self, quarantine: Quarantine, committer: Committer, tree: Path) -> None:
        self._tree = tree
        self._quarantine = quarantine
        self._committer = committer
        self._variables = {
            **quarantine.object_variables,
            "GIT_COMMITTER_NAME": committer.name,
            "GIT_COMMITTER_EMAIL": committer.address,
            "GIT_COMMITTER_DATE": f"@{int(committer.when.timestamp())} +0000",
            "GIT_EDITOR": "true",
        }

    def start(self, stack: Stack) -> Completed:
        if not stack.own:
            return self.git("rebase", *_FLAGS, stack.onto)
        if not stack.patches and not stack.equivalents and not stack.merges:
            # git refuses an empty list of picks.
            return self.git("checkout", "--quiet", "--detach", stack.onto)
        editor = sequence_editor([patch.sha for patch in stack.own])
        return self.git("rebase", "--interactive", *_FLAGS, stack.onto, env={"GIT_SEQUENCE_EDITOR": editor})

    def marked_tree(self) -> str:
        """The tree as it stands where git stopped, with the conflict markers in it."""
        index = {"GIT_INDEX_FILE": str(self._quarantine.folder / "stopped-index")}
        self.git("read-tree", "HEAD", env=index)
        self.git("add", "--all", "--force", env=index)
        return self.git("write-tree", env=index).text.strip()

    def resolve(self, patch: Patch, settled: Settled) -> None:
        """Put what was decided into index and work tree, and commit it. With nothing left to commit, `--continue` drops
        the patch."""
        lines = []
        for path, side in settled.files.items():
            lines.append(f"0 {NONE}\t{path}\0")  # takes the stages away
            if side is None:
                (self._tree / path).unlink(missing_ok=True)
            else:
                lines.append(f"{side.mode} {side.sha}\t{path}\0")
        data = "".join(lines).encode(errors="surrogateescape")
        self.git("update-index", "-z", "--index-info", data=data)
        kept = "".join(f"{path}\0" for path, side in settled.files.items() if side is not None)
        self.git("checkout-index", "-f", "-u", "-z", "--stdin", data=kept.encode(errors="surrogateescape"))
        if self.git("diff-index", "--cached", "--quiet", "HEAD", "--").returncode == 0:
            return
        tree = self.git("write-tree").text.strip()
        if patch.commit.portable and not self._signs:
            # As a pick without a conflict writes it. git's own `--continue` and `commit -C` change messages and refuse
            # authors that a pick takes as they are.
            parent = self.git("rev-parse", "HEAD").text.strip()
            sha = self._quarantine.write("commit", patch.commit.rewritten(tree, parent, self._committer))
            self.git("update-ref", "--no-deref", "HEAD", sha, parent)
            return
        flags = ["--quiet", "--no-verify", "--allow-empty-message", "--cleanup=verbatim"]
        done = self.git("commit", *flags, "-C", patch.sha)
        if done.returncode != 0:
            raise GitError(
                f"patch {patch.number} was settled and could not be committed: {_point(done.error_text)}",
                code="forks.rebase_failed",
                words=done.error_text[-4000:],
            )

    @property
    def _signs(self) -> bool:
        return self.git("config", "--type=bool", "--get", "commit.gpgSign").text.strip() == "true"

    def git(self, *arguments: str, env: dict[str, str] | None = None, data: bytes | None = None) -> Completed:
        return run_git(
            arguments,
            cwd=self._tree,
            config=_SETTINGS,
            env={**self._variables, **(env or {})},
            personal=True,
            data=data,
            deadline=_DEADLINE,
            accept=range(256),
        )


def remove_leftovers(repository: Repository, folder: Path) -> None:
    """Remove the worktrees that a killed run left in `folder`, and what the repository knows of them. Whoever calls it
    holds the fork's lock: nobody else works there. Worktrees elsewhere are not looked at."""
    if not folder.is_dir():
        return
    listed = run_git(["worktree", "list", "--porcelain", "-z"], git_dir=repository.git_dir).text
    for line in listed.split("\0"):
        path = Path(line.removeprefix("worktree "))
        if line.startswith("worktree ") and path.is_relative_to(folder.resolve()):
            run_git(["worktree", "remove", "--force", "--force", str(path)], git_dir=repository.git_dir)
    shutil.rmtree(folder, ignore_errors=True)


def sequence_editor(left_out: Sequence[str]) -> str:
    """A command that takes commits (full SHAs) out of the list of picks; `core.abbrev=no` makes them stand there so."""
    expressions = " ".join(f"-e {shlex.quote(f'/^pick {sha} /d')}" for sha in left_out)
    return f"sed -i.before {expressions}"


def _point(words: str) -> str:
    return words.strip().rpartition("\n")[2]


def _stopped(shell: _Shell, stack: Stack, done: Completed, walk: _Walk) -> Stop:
    words = done.text + done.error_text
    found = _STOPPED.search(words)
    patch = next((each for each in stack.patches if found and each.sha == found[1]), None)
    unmerged = shell.git("ls-files", "--unmerged", "-z").text.split("\0")[:-1]
    if patch is None or patch.sha in walk.skipped or patch.sha in walk.settled:
        raise GitError(
            f"git rebase stopped and it was no conflict: {_point(words)}",
            code="forks.rebase_failed",
            remedy="Try it by hand in a worktree: `git worktree add --detach ../try` and `git rebase` there.",
            words=words[-4000:],
        )
    stages = [_stage(entry) for entry in unmerged]
    files = tuple(sorted({stage.path for stage in stages}))
    # What merge-tree calls a binary conflict, a rebase calls one of contents, after a warning.
    found_types = [*_TYPE.findall(words), *(["CONFLICT (binary)"] if "Cannot merge binary files: " in words else [])]
    types = tuple(dict.fromkeys(found_types))
    return Stop(patch, shell.marked_tree(), files, types, sides_of(stages))


def _stage(entry: str) -> Stage:
    meta, _, path = entry.partition("\t")
    mode, sha, number = meta.split(" ")
    return Stage(path, int(number), mode, sha)


def _result(quarantine: Quarantine, stack: Stack, tip: str, walk: _Walk) -> Rebased:
    listed = ["rev-list", "--topo-order", "--reverse", "--end-of-options", tip, f"^{stack.onto}"]
    made = quarantine.git(*listed).text.split()
    commits = read_commits(quarantine, {*made, tip})
    kept = []
    dropped = [Dropped(each.patch, "upstream", each.upstream or "") for each in stack.equivalents]
    left = iter(made)
    now = next(left, None)
    for patch in _without(stack.patches, walk.skipped):
        # git keeps the order, and a pick keeps author and subject: what does not follow was dropped.
        if now is not None and _same(commits[now], patch.commit):
            kept.append(Kept(patch, now, walk.settled.get(patch.sha)))
            now = next(left, None)
        else:
            dropped.append(Dropped(patch, "became_empty", kept[-1].sha if kept else stack.onto))
    return Rebased(tip, commits[tip].tree, tuple(kept), tuple(dropped), tuple(walk.conflicts))


def _same(made: RawCommit, picked: RawCommit) -> bool:
    """Whether `made` is what a pick makes of `picked`: its author and subject, in UTF-8."""
    if not picked.portable:
        return made.authored_at == picked.authored_at  # git has converted the rest
    expected = parse(made.sha, picked.rewritten(made.tree, made.parents[0], _NOBODY))
    return (made.author, made.subject) == (expected.author, expected.subject)


def _without(patches: Sequence[Patch], skipped: set[str]) -> Iterator[Patch]:
    return (patch for patch in patches if patch.sha not in skipped)
