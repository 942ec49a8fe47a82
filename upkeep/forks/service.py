"""The procedures of a fork's rebase, one a step: snapshot, verify, gate, apply, restack, restore, close.

What belongs here: the order of things, and what each step puts into the report. What does not: the decisions
(`verify.py`, `apply.py`, `outcomes.py`), running gates (`gating.py`), and what a run works with (`desk.py`).

A step takes what the one before it returned. `rebase` is the order, for whoever runs them (`assets/forks.py`):

    take_snapshot     Snapshot       every SHA that the run starts from
    verified          Verification   the rebase in memory; `judged` says whether the run ends here
    judging.judged    Judgement      what an agent made of conflicts, where it is to be asked (`judgement.py`)
    gated             Gated          the fork's gates on the tip, before anything is pushed
    applied           Applied        mirror, trunk, what is local
    restacked         Restacked      the branches on trunk
    shown             Shown          the pull request that shows what the fork carries (`dashboard.py`)
    closed            Report         whatever happened

What a verification made lies in the repository as objects without a ref from then on; the steps after it name it by its
SHA.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from upkeep.database.events import EventType, Trigger
from upkeep.database.server import Database
from upkeep.errors import DatabaseError, GitError, RemoteUnavailable, UpkeepError
from upkeep.forks import (
    acceptance,
    branches,
    dashboard,
    forecast,
    graphite,
    measures,
    memory,
    summary,
    verify,
    worktree,
)
from upkeep.forks import apply as applying
from upkeep.forks import judgement as judging
from upkeep.forks import lock as folder_lock
from upkeep.forks import report as reporting
from upkeep.forks import snapshot as snapshots
from upkeep.forks.apply import Applied
from upkeep.forks.desk import Desk, GateFailed
from upkeep.forks.lock import FolderLock
from upkeep.forks.outcomes import Outcome, as_event, outcome_of
from upkeep.forks.place import committer_of
from upkeep.forks.quarantine import quarantine
from upkeep.forks.records import Behind, Record, Verification
from upkeep.forks.report import Gate, Gated, Report, Restacked
from upkeep.forks.snapshot import Snapshot, StackKind
from upkeep.runs import open_run

_COMMANDS: dict[StackKind, str] = {
    "graphite": "gt restack --upstack",
    "plain": "git rebase --onto trunk, each branch on trunk",
    "none": "",
}

_Found = TypeVar("_Found")

_log = logging.getLogger(__name__)


def rebase(
    desk: Desk, locks: contextlib.AbstractContextManager[object], *, restore: str | None = None
) -> Iterator[Record]:
    """One whole run under `locks`: what each step found, as soon as it is found, and at the end the Report, whatever
    happened. With `restore` trunk is put back to what it was before that run.

    An error of ours ends in the report. What is none (a bug, Ctrl-C, an interrupt by the orchestrator) goes on then.
    """
    with contextlib.ExitStack() as stack:
        try:
            with desk.step("lock", "mkdir lock"):
                stack.enter_context(locks)
            yield from _steps(desk, restore=restore)
        except GeneratorExit:
            desk.error = desk.error or UpkeepError("nobody wanted to know how it goes on", code="forks.abandoned")
            closed(desk)
            raise
        except BaseException as error:
            desk.error = desk.error or error
            yield closed(desk)
            if not isinstance(error, UpkeepError):
                raise
        else:
            yield closed(desk)


def _steps(desk: Desk, *, restore: str | None) -> Iterator[Record]:
    snapshot = _patiently(desk, lambda: take_snapshot(desk))
    yield snapshot
    if restore is not None:
        yield restored(desk, snapshot, restore)
        return
    verification = verified(desk, snapshot)
    yield verification
    looked_ahead(desk, snapshot)
    if (judgement := judging.judged(desk, snapshot, verification)) is not None:
        yield judgement
    tip = None
    if judged(verification, verify_only=desk.verify_only) is None:
        gates = gated(desk, snapshot, verification)
        yield gates
        if (passed := gates.tip) is not None:
            tip = passed
            done = _patiently(desk, lambda: applied(desk, snapshot, passed))
            yield done
            yield restacked(desk, snapshot, passed, done)
    if (shown := dashboard.shown(desk, snapshot, verification, tip)) is not None:
        yield shown


@contextlib.contextmanager
def opened(
    desk: Desk, database: contextlib.AbstractContextManager[Database], *, trigger: Trigger, force: bool = False
) -> Iterator[None]:
    """The locks of a run that is recorded: database, events, the lock there and the folder lock.

    `force` takes over locks whose holder cannot be proven dead. Raises LockError (exit 15), DatabaseError.
    """
    with database as desk.database:
        run = open_run(
            desk.database, system="forks", subject=desk.subject, run_id=desk.run_id, trigger=trigger, force=force
        )
        with run as desk.run, held(desk, force=force):
            yield


@contextlib.contextmanager
def held(desk: Desk, *, force: bool = False) -> Iterator[FolderLock]:
    """Hold the fork's folder lock. Raises LockError (exit 15)."""
    if force:
        desk.draft.override("--force")
    with folder_lock.hold(desk.folder / "lock", desk.run_id, force=force) as lock:
        desk.held = lock
        desk.draft.put(lock=lock.meta.words)
        if lock.takeover is not None:
            desk.draft.put(takeover=lock.takeover)
            desk.note(EventType.LOCK_TAKEN_OVER, **lock.takeover.as_summary())
        try:
            yield lock
        finally:
            desk.held = None


def take_snapshot(desk: Desk) -> Snapshot:
    """Read every SHA that the run starts from, after what a killed run left was removed. Raises RepositoryNotReady
    (exit 11), BranchGone, RemoteUnavailable."""
    with desk.step("snapshot", f"git ls-remote and git fetch, {desk.fork.trunk} and {desk.fork.upstream_branch}"):
        if desk.held is not None:
            worktree.remove_leftovers(desk.place.repository, desk.trees)
            left_by = desk.held.takeover and desk.held.takeover.holder
            if recovered := graphite.recover(desk.place, desk.graphite_mark, left_by.heartbeat if left_by else None):
                desk.draft.note(recovered)
        taken = snapshots.take(desk.place)
        desk.draft.put(snapshot=taken)
        if desk.held is not None:
            desk.held.show(taken.shas)
        return taken


def verified(desk: Desk, snapshot: Snapshot) -> Verification:
    """Rebase the remote trunk in memory. No ref and no file of anybody's moves; a clean result is kept as objects."""
    with (
        desk.step("verify", f"git rebase {snapshot.upstream} {snapshot.trunk}"),
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
            settle=memory.Memory(place, acceptance.learn(desk, snapshot)),
        )
        base, tip = (snapshot.upstream, result.tip) if result.tip else (result.base, snapshot.trunk)
        if base is not None:
            result = result.model_copy(update={"size": measures.size(place.git, base, tip)})
        if result.tip is not None and not result.unchanged:
            place.keep(result.tip, [snapshot.upstream, snapshot.trunk])
            desk.draft.put(range_diff=verify.range_diff(place, result))
        desk.draft.put(verification=result)
        return result


def judged(verification: Verification, *, verify_only: bool = False) -> Outcome | None:
    """How the run ends with this verification; None: it goes on to gates and apply."""
    if verification.conflicts or (verification.escalated and not verification.unchanged):
        return Outcome.NEEDS_HUMAN
    if verify_only:
        return Outcome.NO_CHANGE if verification.unchanged else Outcome.VERIFIED
    return None


def gated(desk: Desk, snapshot: Snapshot, verification: Verification) -> Gated:
    """Run the gates on the verified tip, or say that they were left out. Where nothing would be pushed none runs. With
    one that failed the result has no tip (exit 14)."""
    tip = str(verification.tip)
    result = Gated(verified=tip, tip=tip)
    if verification.unchanged:
        pass
    elif desk.gates is not None:
        try:
            with desk.step("gates"):
                passed, ran = desk.gates(desk, snapshot, verification)
                result = Gated(verified=tip, tip=passed, gates=ran)
        except GateFailed as error:
            ran = desk.draft.parts.get("gates", ())
            result = Gated(verified=tip, tip=None, gates=ran, failure=error.message)
    elif desk.fork.gates:
        desk.draft.override("--skip-gates")
        skipped = (Gate(command=gate.run, tree=str(verification.tree), result="skipped") for gate in desk.fork.gates)
        result = Gated(verified=tip, tip=tip, gates=tuple(skipped))
    desk.draft.put(gates=result.gates)
    return result


def applied(desk: Desk, snapshot: Snapshot, tip: str) -> Applied:
    """Push mirror and trunk, then move what is local. Raises PushRefused (exit 12), RepositoryNotReady (exit 11)."""
    command = f"git push --atomic --force-with-lease=refs/heads/{desk.fork.trunk}:{snapshot.trunk}"
    with desk.step("apply", command):
        if tip != snapshot.trunk:
            dashboard.open_again(desk)
        done = applying.apply(desk.place, snapshot, tip, desk.run_id, may=desk.check, seen=_seen_by(desk))
        desk.draft.put(applied=done)
        return done


def restacked(desk: Desk, snapshot: Snapshot, tip: str, done: Applied) -> Restacked:
    """Bring the branches on trunk along. What goes wrong with them is in the result (exit 13): trunk is done."""
    with desk.step("stack", _COMMANDS[snapshot.stack_kind]):
        bench = branches.Bench(
            place=desk.place,
            snapshot=snapshot,
            onto=tip,
            committer=committer_of(desk.place.repository),
            may=desk.check,
            scratch=desk.trees,
            mark=desk.graphite_mark,
        )
        if done.local_trunk == "left":
            problem = "The local trunk was left alone, and so were the branches on it."
            result = Restacked(kind=snapshot.stack_kind, problem=problem if snapshot.stack else "")
        else:
            result = branches.restack(bench, push=desk.fork.push_stack)
        desk.draft.put(stack=result)
        return result


def restored(desk: Desk, snapshot: Snapshot, run: str) -> Applied:
    """Put trunk back to what it was before `run`. Raises as `applied`, and GitError `forks.no_backup`."""
    with desk.step("restore", f"git push --force-with-lease=refs/heads/{desk.fork.trunk}:{snapshot.trunk}"):
        done = applying.restore(desk.place, snapshot, run, desk.run_id, may=desk.check, seen=_seen_by(desk))
        desk.draft.put(applied=done, restored=run)
        return done


def looked_ahead(desk: Desk, snapshot: Snapshot) -> None:
    """Put what would break if the next branches were merged upstream now into the report; branches on which all goes
    are left out. It is a look ahead, and ends no run."""
    if not snapshot.next_branches:
        return
    try:
        with desk.step("look ahead"), quarantine(desk.place.repository) as place:
            known = memory.known(desk.database, desk.name) if desk.database is not None else ()
            outlooks = [
                forecast.outlook(place, branch, sha, snapshot.trunk, settle=memory.Memory(place, known))
                for branch, sha in snapshot.next_branches.items()
            ]
        desk.draft.put(warnings=tuple(each for each in outlooks if each.breaks))
    except (GitError, DatabaseError) as error:
        desk.again()
        desk.draft.note(f"What the next branches will break could not be told: {error.message}.")


def closed(desk: Desk) -> Report:
    """Make the report, write its files, and say in the events how the run ended; once a run. Where the files cannot be
    written, the report that is returned says so."""
    if desk.report is not None:
        return desk.report
    desk.draft.put(delta_pull_request=dashboard.link(desk), behind=_behind(desk))
    report = desk.draft.finish(conclusion(desk), desk.error)
    report = report.model_copy(update={"next_actions": tuple(summary.next_actions(report))})
    try:
        reporting.write(desk.home, report, summary.render(report))
    except OSError as problem:
        _log.warning("the report of run %s could not be written: %s", desk.run_id, problem)
        note = f"This report could not be written: {problem.strerror}."
        report = report.model_copy(update={"notes": (*report.notes, note)})
    if desk.run is not None:
        ending, reason = as_event(report.outcome)
        desk.run.finish(ending, reason, **_figures(report))
    desk.report = report
    return report


def conclusion(desk: Desk) -> Outcome:
    """How the run ended, from what its steps put into the draft."""
    parts = desk.draft.parts
    if desk.error is not None:
        return outcome_of(desk.error)
    if parts.get("restored") is not None:
        return Outcome.RESTORED
    verification: Verification = parts["verification"]
    ending = judged(verification, verify_only=desk.verify_only)
    if ending is not None:
        return ending
    done: Applied = parts["applied"]
    if done.local_trunk == "left":
        return Outcome.LOCAL_LEFT
    stack: Restacked | None = parts.get("stack")
    if stack is not None and not stack.complete:
        return Outcome.STACK_FAILED
    return Outcome.REBASED if done.pushed or not verification.unchanged else Outcome.NO_CHANGE


def _behind(desk: Desk) -> Behind | None:
    """How far trunk is behind now. None where the run did not even see it, or can no longer tell."""
    snapshot, done = desk.draft.parts.get("snapshot"), desk.draft.parts.get("applied")
    if snapshot is None:
        return None
    ref = f"refs/heads/{desk.fork.trunk}"
    moved = {each.ref: each.after for each in (done.pushed if done else ())}
    with contextlib.suppress(UpkeepError):
        git = measures.in_repository(desk.place.repository)
        return measures.behind(git, snapshot.upstream, moved.get(ref, snapshot.trunk))
    return None


def _patiently(desk: Desk, step: Callable[[], _Found]) -> _Found:
    """Do a step again where the network failed it: a night is not lost to a minute without it. What was pushed before
    the answer was lost is found there; the lease stays that of the snapshot."""
    for pause in desk.pauses:
        try:
            return step()
        except RemoteUnavailable as error:
            desk.say(f"{error.message}; trying again in {pause:g} s")
            time.sleep(pause)
            desk.again()
    return step()


def _seen_by(desk: Desk) -> Callable[[Applied], None]:
    return lambda applied: desk.draft.put(applied=applied)


def _figures(report: Report) -> dict[str, Any]:
    """What the events keep of a run, beside how it ended."""
    snapshot, verification = report.snapshot, report.verification
    counts = (
        {
            "patches": len(verification.kept),
            "dropped": len(verification.dropped),
            "conflicts": len(verification.conflicts),
            "behind": verification.behind,
        }
        if verification
        else None
    )
    return {
        "exit_code": report.exit_code,
        "step": report.stopped_at,
        "base": snapshot.trunk if snapshot else None,
        "head": snapshot.upstream if snapshot else None,
        "counts": counts,
    }
