"""Three-way merges without a work tree: `git merge-tree --write-tree`, kept running for as long as it is needed.

What belongs here: talking to merge-tree and reading its answers (git-merge-tree(1), "OUTPUT"). What does not: what is
merged and what follows from it (`engine.py`).

merge-tree takes two commits and finds their merge base itself; a base can be named on its standard input only from git
2.40 on. So "ours" is a synthetic commit whose only parent is the base that is meant: the merge base is then that one.

Before git 2.49 its standard output is buffered and an answer may never come: stdbuf(1) takes the buffer away. Where
that does not help (no stdbuf, a git without a dynamic C library, git 2.38 without --stdin) each merge gets a process.
"""

from __future__ import annotations

import os
import select
import shutil
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from upkeep.errors import CommandNotFound, CommandTimeout, GitError
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.rawcommit import RawCommit, synthetic
from upkeep.process import Child, start

# One merge of a huge tree with many renames takes seconds; a minute without a byte is a hang.
_ANSWER_SECONDS = 120.0
# The first answer is a merge of a commit with itself: what does not come now does not come at all.
_PROBE_SECONDS = 5.0
_END_SECONDS = 1.0
_CHUNK = 1 << 16
_NOTE_ONLY = ("Auto-merging",)


@dataclass(frozen=True)
class Stage:
    """One version of a path that conflicts, as an index holds it: `number` 1 is the base, 2 ours (what is rebased
    onto), 3 theirs (the patch). `mode` is octal text."""

    path: str
    number: int
    mode: str
    sha: str


@dataclass(frozen=True)
class Merged:
    """What a merge came to. `tree` has conflict markers in its files unless it is `clean`. `files` are the paths that
    conflict, sorted, as a rebase names them, `types` git's own short names of the conflicts, such as `CONFLICT
    (contents)`, and `stages` what stands against each other, under the names that `tree` has."""

    tree: str
    clean: bool
    files: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()


class Merger:
    """Merges in a quarantine. Use it as a context manager: a child may be running."""

    def __init__(self, quarantine: Quarantine, *, single: bool = False) -> None:
        """`single`: a process for each merge, whatever this git can do."""
        self._quarantine = quarantine
        self._single = single
        self._child: Child | None = None
        self._pending = bytearray()

    def pick(self, theirs: RawCommit, parent: RawCommit, tree: str) -> Merged:
        """Carry what `theirs` changed since `parent` over to `tree`, as a rebase does."""
        ours = self._quarantine.write("commit", synthetic(tree, parent, theirs))
        if not self._single and self._child is None:
            self._open(theirs.sha)
        if self._child is None:
            done = self._quarantine.git("merge-tree", "--write-tree", "-z", ours, theirs.sha, accept=(0, 1))
            merged = _single_answer(done.stdout, clean=done.returncode == 0)
        else:
            self._ask(f"{ours} {theirs.sha}\n".encode())
            merged = self._answer(_ANSWER_SECONDS)
        return replace(merged, files=_as_rebase_names(merged.files, ours, theirs))

    def restart(self) -> None:
        """Make the next merge read its attributes anew; git keeps them for as long as a process lives."""
        child, self._child = self._child, None
        self._pending.clear()
        if child is None:
            return
        child.stdin.close()
        try:
            # It has nothing left to do and ends by itself; only one that hangs is looked for and killed.
            child.wait(_END_SECONDS)
        except CommandTimeout:
            pass
        finally:
            child.terminate(grace=0.0)

    def _open(self, sha: str) -> None:
        unbuffered = [found, "-o0"] if (found := shutil.which("stdbuf")) else []
        argv = [*unbuffered, "git", "merge-tree", "--write-tree", "--stdin"]
        environment = self._quarantine.environment()
        try:
            self._child = start(argv, cwd=self._quarantine.work_tree, env=environment, pipes=True)
            self._ask(f"{sha} {sha}\n".encode())
            self._answer(_PROBE_SECONDS)
        except CommandNotFound:
            raise
        except (GitError, CommandTimeout):
            self.restart()
            self._single = True

    def _ask(self, line: bytes) -> None:
        assert self._child is not None
        try:
            # One short line, and the answer is read before the next: it fits into any pipe.
            self._child.stdin.write(line)
        except BrokenPipeError as error:
            raise self._gone() from error

    def _answer(self, seconds: float) -> Merged:
        until = time.monotonic() + seconds
        status, tree = self._field(until), self._field(until)
        if status == b"1":
            self._field(until)
            return Merged(tree.decode(), clean=True)
        if status != b"0":
            raise self._gone()
        entries = []
        while entry := self._field(until):
            entries.append(entry)
        notes = []
        while count := self._field(until):
            paths = [self._field(until) for _ in range(int(count))]
            notes.append((self._field(until), paths))
            self._field(until)
        return _conflict(tree, entries, notes)

    def _field(self, until: float) -> bytes:
        """The next part of an answer, up to its NUL."""
        assert self._child is not None
        searched = 0
        while (end := self._pending.find(b"\0", searched)) < 0:
            searched = len(self._pending)
            descriptor = self._child.stdout.fileno()
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                raise CommandTimeout("git merge-tree does not answer", argv=list(self._child.argv))
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                raise self._gone()
            self._pending += chunk
        field = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return field

    def _gone(self) -> GitError:
        return GitError(
            "git merge-tree ended in the middle of a merge",
            code="forks.merge_failed",
            remedy="See whether the disk is full or the repository damaged (`git fsck`); nothing was changed.",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restart()


def _single_answer(output: bytes, *, clean: bool) -> Merged:
    """Read what `merge-tree -z` prints for one merge: the same parts, without a status in front."""
    tree, _, rest = output.partition(b"\0")
    if clean:
        return Merged(tree.decode(), clean=True)
    head, _, tail = rest.partition(b"\0\0") if not rest.startswith(b"\0") else (b"", b"", rest[1:])
    fields = iter(tail.split(b"\0")[:-1])
    notes = []
    for count in fields:
        paths = [next(fields) for _ in range(int(count))]
        notes.append((next(fields), paths))
        next(fields)
    return _conflict(tree, [entry for entry in head.split(b"\0") if entry], notes)


def _as_rebase_names(files: tuple[str, ...], ours: str, theirs: RawCommit) -> tuple[str, ...]:
    """Where two things want one path, git adds to it the name of the side that it moves: ours is HEAD in a rebase, and
    theirs goes by SHA and subject (sequencer.c `get_message`, merge-ort.c `unique_path`)."""
    label = f"{theirs.sha} ({theirs.first_line})".replace("/", "_")
    return tuple(sorted(file.replace(f"~{ours}", "~HEAD").replace(f"~{theirs.sha}", f"~{label}") for file in files))


def _conflict(tree: bytes, entries: list[bytes], notes: list[tuple[bytes, list[bytes]]]) -> Merged:
    files = {entry.partition(b"\t")[2] for entry in entries}
    conflicts = [(kind, paths) for kind, paths in notes if kind.decode(errors="replace") not in _NOTE_ONLY]
    if not files:
        # A conflict need not leave stages behind; its message then says where it is.
        files = {path for _, paths in conflicts for path in paths}
    return Merged(
        tree.decode(),
        clean=False,
        files=tuple(sorted(file.decode(errors="surrogateescape") for file in files)),
        types=tuple(dict.fromkeys(kind.decode(errors="replace") for kind, _ in conflicts)),
        stages=tuple(_stage(entry) for entry in entries),
    )


def _stage(entry: bytes) -> Stage:
    """One `<mode> <object> <stage>\\t<path>`."""
    meta, _, path = entry.partition(b"\t")
    mode, sha, number = meta.decode().split(" ")
    return Stage(path.decode(errors="surrogateescape"), int(number), mode, sha)
