"""A fork's gates on the tip that was verified: in the sandbox, in a temporary worktree, before anything is pushed.

What belongs here: which gates run on which tree and in which order, what they changed, and what that means for the run.
What does not: running one gate (`upkeep/gates.py`), and when gates are run at all (`service.py`).

Gates with `fix` come first: what they change becomes one commit of ours at the tip. Then every gate judges that tip, as
it would be pushed. Whatever changes tracked files there, or leaves new ones that are not ignored, has failed: the tree
that it judged is not the one that would be pushed.

The worktree is linked to a repository that the sandbox does not show: git itself does not work inside of a gate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from upkeep.agents.folders import remove
from upkeep.agents.profile import Limits
from upkeep.forks.desk import Desk, GateFailed
from upkeep.forks.ownership import TRAILER
from upkeep.forks.records import Verification
from upkeep.forks.report import Gate
from upkeep.forks.snapshot import Snapshot
from upkeep.gates import LIMITS, GateResult, Gates
from upkeep.git import Repository
from upkeep.plumbing.command import run_git
from upkeep.process import Completed
from upkeep.settings import forks as configured

_SUBJECT = "Apply what the gates mend"


@dataclass(frozen=True)
class SandboxedGates:
    """`desk.Gates` in the sandbox. `asked` is called with the gates before they run and raises where somebody does
    not want them; `say` hears about each. `user_home`: whose package mirrors the gates use."""

    asked: Callable[[Sequence[configured.Gate]], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None
    bwrap: str = "bwrap"
    limits: Limits = LIMITS
    user_home: Path = field(default_factory=Path.home)

    def __call__(self, desk: Desk, snapshot: Snapshot, verification: Verification) -> tuple[str, tuple[Gate, ...]]:
        """Return the tip that passed, with a commit of ours on it where gates mended something, and what ran.

        Raises GateFailed (`forks.gate_failed`) once every gate was tried, as `desk.check` does, and what `asked` does.
        """
        tip = str(verification.tip)
        if not desk.fork.gates:
            return tip, ()
        self.asked(desk.fork.gates)
        return _Session(self, desk, snapshot).run(tip)


@dataclass
class _Session:
    gates: SandboxedGates
    desk: Desk
    snapshot: Snapshot
    ran: list[Gate] = field(default_factory=list)

    @property
    def repository(self) -> Repository:
        return self.desk.place.repository

    @property
    def cache(self) -> Path:
        return self.desk.home / "cache" / "gates" / "forks" / self.desk.name

    def run(self, verified: str) -> tuple[str, tuple[Gate, ...]]:
        configured = self.desk.fork.gates
        tip = self._mend(verified, [gate for gate in configured if gate.fix])
        with self._tree(tip, "tip") as tree:
            failed = [(gate, why) for gate in configured if (why := self._judge(gate, tree)) is not None]
        if failed:
            self._baseline([gate for gate, _ in failed])
            raise self._failure(failed)
        return tip, tuple(self.ran)

    def _mend(self, tip: str, gates: Sequence[configured.Gate]) -> str:
        """Let gates change the tree; return the tip that has their changes, the same one where there are none."""
        if not gates:
            return tip
        with self._tree(tip, "fix") as tree:
            failed, menders = [], []
            for gate in gates:
                before = tree.content()
                result = self._one(gate, tree)
                if tree.content() != before:
                    menders.append(gate)
                if result.verdict != "pass":
                    failed.append((gate, _why(result)))
                    self._add(gate, result, tree)
            if failed:
                self._baseline([gate for gate, _ in failed])
                raise self._failure(failed)
            if not menders:
                return tip
            tip = self._commit(tip, tree.content(), menders)
            for gate in menders:
                self.ran.append(Gate(command=gate.run, tree=tree.id, result="passed", fixed=tip))
            self.desk.draft.put(gates=tuple(self.ran))
            return tip

    def _commit(self, tip: str, content: str, menders: Sequence[configured.Gate]) -> str:
        """The commit of ours. With the date of its parent: the same changes on the same tip are the same commit."""
        body = "\n".join(f"- {gate.run.splitlines()[0]}" for gate in menders)
        when = self.repository.commit(tip).committed_at
        message = f"{_SUBJECT}\n\n{body}"
        return self.repository.commit_tree(content, [tip], message, trailers={TRAILER: "fix"}, when=when)

    def _judge(self, gate: configured.Gate, tree: _Tree) -> str | None:
        """Run one gate on what would be pushed; return why it failed."""
        known = self._changed_before(gate, tree.id)
        if known.exists():
            self.ran.append(Gate(command=gate.run, tree=tree.id, result="changed_files", cached=True))
            self.desk.draft.put(gates=tuple(self.ran))
            return known.read_text()
        before = tree.content()
        result = self._one(gate, tree)
        changed = () if result.cached else tree.changes(before)
        self._add(gate, result, tree, changed=bool(changed))
        if not changed:
            return None if result.verdict == "pass" else _why(result)
        tree.reset()
        why = f"it changed files: {', '.join(changed[:5])}{', …' if len(changed) > 5 else ''}"
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(why)
        return why

    def _baseline(self, gates: Sequence[configured.Gate]) -> None:
        """Say of gates that failed whether they did so on the old trunk."""
        if not self.desk.fork.baseline:
            return
        with self._tree(self.snapshot.trunk, "baseline") as tree:
            for gate in gates:
                result = self._one(gate, tree)
                changed = not result.cached and not gate.fix and tree.content() != tree.id
                self._add(gate, result, tree, changed=changed, baseline=True)
                tree.reset()

    def _one(self, gate: configured.Gate, tree: _Tree) -> GateResult:
        self.desk.check()
        self.gates.say(f"gate on {tree.kind}: {gate.run.splitlines()[0]}")
        sandboxed = Gates(
            tree=tree.path,
            cache=self.cache,
            outputs=self.desk.home / "runs" / "forks" / self.desk.name / self.desk.run_id / "gates" / tree.kind,
            mounts=self.desk.fork.gate_mounts,
            limits=self.gates.limits,
            bwrap=self.gates.bwrap,
            home=self.gates.user_home,
        )
        return sandboxed.run(gate, tree_id=tree.id)

    def _add(
        self, gate: configured.Gate, result: GateResult, tree: _Tree, *, changed: bool = False, baseline: bool = False
    ) -> None:
        self.ran.append(
            Gate(
                command=gate.run,
                tree=tree.id,
                result="changed_files" if changed else _result(result),
                seconds=result.seconds,
                log=None if result.output is None else str(result.output),
                cached=result.cached,
                baseline=baseline,
            )
        )
        # Seen by the report even when the next gate is where the run is cancelled.
        self.desk.draft.put(gates=tuple(self.ran))

    def _failure(self, failed: Sequence[tuple[configured.Gate, str]]) -> GateFailed:
        before = {each.command for each in self.ran if each.baseline and each.result != "passed"}
        judged = {each.command for each in self.ran if each.baseline}
        words = []
        for gate, why in failed:
            old = " (red on the old trunk, too)" if gate.run in before else ""
            new = " (green on the old trunk)" if gate.run in judged - before else ""
            words.append(f"`{gate.run.splitlines()[0]}`: {why}{old}{new}")
        logs = [each.log for each in self.ran if each.log and each.result != "passed" and not each.baseline]
        where = f" What they printed: {', '.join(f'`{log}`' for log in logs)}." if logs else ""
        return GateFailed(
            f"{len(failed)} gate(s) failed, nothing was pushed: {'; '.join(words)}",
            remedy=f"Mend the patches, or the gate, then run again; --skip-gates leaves all of them out.{where}",
            logs=logs,
        )

    def _changed_before(self, gate: configured.Gate, tree: str) -> Path:
        """Where it is kept that a gate changes this tree. A kept verdict says nothing about that."""
        name = hashlib.sha256(f"{tree}\0{gate.model_dump_json()}".encode()).hexdigest()
        return self.cache / "changes" / f"{name}.txt"

    @contextmanager
    def _tree(self, rev: str, kind: Literal["fix", "tip", "baseline"]) -> Iterator[_Tree]:
        with self.repository.worktree(rev, folder=self.desk.trees) as path:
            try:
                yield _Tree(path, kind, self.repository.commit(rev).tree)
            finally:
                # Before the worktree's own removal, which stops at folders that a gate made unreadable.
                remove(path)


@dataclass(frozen=True)
class _Tree:
    """A temporary worktree; `id` is the tree of its commit.

    A hostile gate has worked in it. So it is looked at by plumbing that starts no process in a repository that may lie
    inside: `git status` and `git add` ask submodules, whose configuration the gate could have written.
    """

    path: Path
    kind: str
    id: str

    def content(self) -> str:
        """The tree that its files make: tracked ones, and new ones that nothing ignores."""
        changed = self._git("ls-files", "-z", "--modified", "--deleted").stdout.split(b"\0")
        new = self._git("ls-files", "-z", "--others", "--exclude-standard").stdout.split(b"\0")
        # A folder among the new ones is a repository of its own.
        paths = {path for path in (*changed, *new) if path and not path.endswith(b"/")}
        if paths:
            data = b"".join(path + b"\0" for path in sorted(paths))
            self._git("update-index", "-z", "--add", "--remove", "--replace", "--stdin", data=data)
        return self._git("write-tree").text.strip()

    def changes(self, before: str) -> tuple[str, ...]:
        """Paths in which the content differs from the tree `before`."""
        after = self.content()
        if after == before:
            return ()
        found = self._git("diff-tree", "-r", "-z", "--name-only", "--no-renames", before, after).text
        return tuple(found.split("\0")[:-1])

    def reset(self) -> None:
        """Make it what its commit has, for the next gate. What is ignored stays."""
        self.content()  # what is new is known to the index now, and goes with it
        self._git("read-tree", "--reset", "-u", self.id)

    def _git(self, *arguments: str, data: bytes | None = None) -> Completed:
        return run_git(arguments, cwd=self.path, personal=True, data=data)


def _result(result: GateResult) -> Literal["passed", "failed", "timed_out"]:
    if result.verdict == "pass":
        return "passed"
    return "timed_out" if result.reason == "timed_out" else "failed"


def _why(result: GateResult) -> str:
    """What a person reads; no gate's own output, which is in its file."""
    return f"it could not run: {result.message}" if result.verdict == "could_not_run" else result.message
