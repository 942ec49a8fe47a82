"""The procedures of a fork's rebase, one a step: snapshot, verify, apply, restore, forecast, close.

What belongs here: the order of things, and what each step puts into the report. What does not: the decisions
(`verify.py`, `apply.py`, `outcomes.py`), gates and stacks (they are handed in), and the database's lock and events
(`upkeep/runs.py`, the caller's).

A step takes what the one before it returned, so that each can be an asset of its own. What a verification made lies in
the repository as objects without a ref from then on; the steps after it name it by its SHA.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from upkeep.config import Fork
from upkeep.forks import apply as applying
from upkeep.forks import lock as folder_lock
from upkeep.forks import report as reporting
from upkeep.forks import snapshot as snapshots
from upkeep.forks import summary, verify, worktree
from upkeep.forks.apply import Applied
from upkeep.forks.lock import FolderLock
from upkeep.forks.outcomes import Outcome, outcome_of
from upkeep.forks.place import Place, committer_of, open_place
from upkeep.forks.quarantine import quarantine
from upkeep.forks.records import Verification
from upkeep.forks.report import Draft, EarlyWarning, Gate, Report, Restack
from upkeep.forks.snapshot import Snapshot

_log = logging.getLogger(__name__)


@dataclass
class Desk:
    """What a run works with. `may` is asked before everything that leaves or moves, and raises where we must not go on;
    `held` is the folder lock, once it is ours. `place` is opened on first use: its remotes may be missing."""

    name: str
    fork: Fork
    home: Path
    run_id: str
    draft: Draft
    may: Callable[[], None] = lambda: None
    config: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    held: FolderLock | None = None
    _place: Place | None = None

    @property
    def place(self) -> Place:
        if self._place is None:
            self._place = open_place(self.name, self.fork, self.home, config=self.config, env=self.env)
        return self._place

    @property
    def folder(self) -> Path:
        """The fork's own state folder."""
        return self.home / "forks" / self.name

    @property
    def trees(self) -> Path:
        """Where temporary worktrees of this fork lie."""
        return self.folder / "trees"

    def check(self) -> None:
        """Raise LockLost or RunCancelled unless the run may go on."""
        if self.held is not None:
            self.held.check()
        self.may()

    def saw(self, applied: Applied) -> None:
        self.draft.put(applied=applied)


class Gates(Protocol):
    """Runs a fork's gates on the verified tip. Returns the tip that passed, which has our fixes on it, and what ran.
    Raises an UpkeepError `forks.gate_failed` after it has put its gates into the draft."""

    def __call__(self, desk: Desk, snapshot: Snapshot, verification: Verification) -> tuple[str, tuple[Gate, ...]]: ...


class Stacks(Protocol):
    """Restacks the branches on trunk. Raises an UpkeepError `forks.stack_failed`, with everything as it was."""

    def __call__(self, desk: Desk, snapshot: Snapshot, tip: str) -> tuple[Restack, ...]: ...


@contextlib.contextmanager
def held(desk: Desk, *, force: bool = False) -> Iterator[FolderLock]:
    """Hold the fork's folder lock. Raises LockError (exit 15)."""
    with folder_lock.hold(desk.folder / "lock", desk.run_id, force=force) as lock:
        desk.held = lock
        if lock.takeover is not None:
            desk.draft.put(takeover=lock.takeover)
        try:
            yield lock
        finally:
            desk.held = None


def take_snapshot(desk: Desk) -> Snapshot:
    """Read every SHA that the run starts from, after what a killed run left was removed. Raises RepositoryNotReady
    (exit 11), BranchGone, RemoteUnavailable."""
    with desk.draft.step("snapshot", f"git ls-remote and git fetch, {desk.fork.trunk} and {desk.fork.upstream_branch}"):
        if desk.held is not None:
            worktree.remove_leftovers(desk.place.repository, desk.trees)
        taken = snapshots.take(desk.place)
        desk.draft.put(snapshot=taken)
        if desk.held is not None:
            desk.held.show(taken.shas)
        return taken


def verified(desk: Desk, snapshot: Snapshot) -> Verification:
    """Rebase the remote trunk in memory. No ref and no file of anybody's moves; a clean result is kept as objects."""
    with (
        desk.draft.step("verify", f"git rebase {snapshot.upstream} {snapshot.trunk}"),
        quarantine(desk.place.repository) as place,
    ):
        result = verify.verify(
            place,
            snapshot.upstream,
            snapshot.trunk,
            committer_of(desk.place.repository),
            version=desk.fork.version,
            tags=snapshot.tags,
            escalate=desk.fork.escalate,
            scratch=desk.trees,
        )
        if result.tip is not None and not result.unchanged:
            place.keep(result.tip, [snapshot.upstream, snapshot.trunk])
            desk.draft.put(range_diff=verify.range_diff(place, result))
        desk.draft.put(verification=result)
        return result


def judged(verification: Verification, *, verify_only: bool = False) -> Outcome | None:
    """How the run ends with this verification; None: it goes on to gates and apply."""
    if verification.conflicts:
        return Outcome.CONFLICTS
    if verification.escalated and not verification.unchanged:
        return Outcome.NEEDS_HUMAN
    if verify_only:
        return Outcome.NO_CHANGE if verification.unchanged else Outcome.VERIFIED
    return None


def applied(desk: Desk, snapshot: Snapshot, tip: str) -> Applied:
    """Push mirror and trunk, then move what is local. Raises PushRefused (exit 12), RepositoryNotReady (exit 11)."""
    command = f"git push --atomic --force-with-lease=refs/heads/{desk.fork.trunk}:{snapshot.trunk}"
    with desk.draft.step("apply", command):
        done = applying.apply(desk.place, snapshot, tip, desk.run_id, may=desk.check, seen=desk.saw)
        desk.draft.put(applied=done)
        return done


def restored(desk: Desk, snapshot: Snapshot, run: str) -> Applied:
    """Put trunk back to what it was before `run`. Raises as `applied`, and GitError `forks.no_backup`."""
    with desk.draft.step("restore", f"git push --force-with-lease=refs/heads/{desk.fork.trunk}:{snapshot.trunk}"):
        done = applying.restore(desk.place, snapshot, run, desk.run_id, may=desk.check, seen=desk.saw)
        desk.draft.put(applied=done, restored=run)
        return done


def forecast(desk: Desk, snapshot: Snapshot) -> tuple[EarlyWarning, ...]:
    """What would break if the next branches were merged upstream now; branches on which all goes are left out."""
    with desk.draft.step("forecast"), quarantine(desk.place.repository) as place:
        committer = committer_of(desk.place.repository)
        results = {
            (branch, sha): verify.verify(place, sha, snapshot.trunk, committer, scratch=desk.trees)
            for branch, sha in snapshot.next_branches.items()
        }
    warnings = tuple(
        EarlyWarning(branch=branch, head=sha, conflicts=result.conflicts)
        for (branch, sha), result in results.items()
        if result.conflicts
    )
    desk.draft.put(warnings=warnings)
    return warnings


def closed(desk: Desk, outcome: Outcome, error: BaseException | None = None) -> Report:
    """Make the report and write its files. Where they cannot be written, the report that is returned says so."""
    report = desk.draft.finish(outcome, error)
    report = report.model_copy(update={"next_actions": tuple(summary.next_actions(report))})
    try:
        reporting.write(desk.home, report, summary.render(report))
    except OSError as problem:
        _log.warning("the report of run %s could not be written: %s", desk.run_id, problem)
        note = f"This report could not be written: {problem.strerror}."
        report = report.model_copy(update={"notes": (*report.notes, note)})
    return report


def rebase(
    desk: Desk,
    *,
    verify_only: bool = False,
    force: bool = False,
    restore: str | None = None,
    gates: Gates | None = None,
    stacks: Stacks | None = None,
) -> Report:
    """One whole run: locked, verified, gated, applied, reported, whatever happens. Errors end in the report.

    What is no Exception (Ctrl-C, an interrupt of the orchestrator) goes on after its report was written.
    """
    desk.draft.put(overrides=(*desk.draft.parts.get("overrides", ()), *(["--force"] if force else [])))
    try:
        with desk.draft.step("lock", "mkdir lock"):
            lock = contextlib.ExitStack()
            lock.enter_context(held(desk, force=force))
        with lock:
            if restore is not None:
                restored(desk, take_snapshot(desk), restore)
                outcome = Outcome.RESTORED
            else:
                outcome = _steps(desk, verify_only=verify_only, gates=gates, stacks=stacks)
    except Exception as error:  # noqa: BLE001 - every run ends in a report that says why
        return closed(desk, outcome_of(error), error)
    except BaseException as error:
        closed(desk, outcome_of(error), error)
        raise
    return closed(desk, outcome)


def _steps(desk: Desk, *, verify_only: bool, gates: Gates | None, stacks: Stacks | None) -> Outcome:
    snapshot = take_snapshot(desk)
    verification = verified(desk, snapshot)
    ending = judged(verification, verify_only=verify_only)
    if ending is not None:
        return ending
    tip = str(verification.tip)
    if gates is not None and not verification.unchanged:
        with desk.draft.step("gates"):
            tip, ran = gates(desk, snapshot, verification)
            desk.draft.put(gates=ran)
    done = applied(desk, snapshot, tip)
    if stacks is not None:
        with desk.draft.step("stack"):
            desk.draft.put(restacks=stacks(desk, snapshot, tip))
    return ended(snapshot, tip, done)


def ended(snapshot: Snapshot, tip: str, done: Applied) -> Outcome:
    """How a run ends that applied `tip`."""
    if done.local_trunk == "left":
        return Outcome.LOCAL_LEFT
    return Outcome.REBASED if done.pushed or tip != snapshot.trunk else Outcome.NO_CHANGE
