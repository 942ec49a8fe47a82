"""How a rebase ends, and the exit code of each ending: decided here and nowhere else.

What belongs here: the closed list of endings, their exit codes (a contract: scripts of people depend on them), and
which error means which. What does not: the wording of reports (`report.py`).

    0    done, or nothing to do
    10   verification found conflicts, or paths that a person wants to see
    11   the repository here forbids it: a person's work is in the way, or moved meanwhile
    12   the remote refused: lease, protected branch, no force push, a mirror that is no ancestor of upstream
    13   restacking the branches on trunk failed
    14   a gate failed
    15   somebody else works on the fork
    1    anything else
"""

from __future__ import annotations

from enum import StrEnum

from upkeep.database import events
from upkeep.errors import BranchGone, LockError, PushRefused, RepositoryNotReady, RunCancelled, UpkeepError


class Outcome(StrEnum):
    NO_CHANGE = "no_change"
    VERIFIED = "verified"
    REBASED = "rebased"
    RESTORED = "restored"
    NEEDS_HUMAN = "needs_human"
    LOCAL_FORBIDS = "local_forbids"
    LOCAL_LEFT = "local_left"
    REMOTE_REFUSED = "remote_refused"
    STACK_FAILED = "stack_failed"
    GATES_FAILED = "gates_failed"
    LOCKED = "locked"
    CANCELLED = "cancelled"
    FAILED = "failed"


EXIT_CODES: dict[Outcome, int] = {
    Outcome.NO_CHANGE: 0,
    Outcome.VERIFIED: 0,
    Outcome.REBASED: 0,
    Outcome.RESTORED: 0,
    Outcome.NEEDS_HUMAN: 10,
    Outcome.LOCAL_FORBIDS: 11,
    Outcome.LOCAL_LEFT: 11,
    Outcome.REMOTE_REFUSED: 12,
    Outcome.STACK_FAILED: 13,
    Outcome.GATES_FAILED: 14,
    Outcome.LOCKED: 15,
    Outcome.CANCELLED: 1,
    Outcome.FAILED: 1,
}

_RECORDED = {
    Outcome.NO_CHANGE: events.Outcome.NOTHING_NEW,
    Outcome.VERIFIED: events.Outcome.DONE,
    Outcome.REBASED: events.Outcome.DONE,
    Outcome.RESTORED: events.Outcome.DONE,
    Outcome.LOCAL_LEFT: events.Outcome.DONE,
    Outcome.LOCKED: events.Outcome.LOCKED,
    Outcome.CANCELLED: events.Outcome.CANCELLED,
}

# The first that fits counts.
_ERRORS: tuple[tuple[type[UpkeepError], Outcome], ...] = (
    (LockError, Outcome.LOCKED),
    (RunCancelled, Outcome.CANCELLED),
    (PushRefused, Outcome.REMOTE_REFUSED),
    (BranchGone, Outcome.REMOTE_REFUSED),
    (RepositoryNotReady, Outcome.LOCAL_FORBIDS),
)
_CODES = {
    "git.authentication": Outcome.REMOTE_REFUSED,
    "git.remote_not_found": Outcome.REMOTE_REFUSED,
    "forks.no_backup": Outcome.REMOTE_REFUSED,
    "forks.gate_failed": Outcome.GATES_FAILED,
    "forks.stack_failed": Outcome.STACK_FAILED,
}


def exit_code(outcome: Outcome) -> int:
    return EXIT_CODES[outcome]


def outcome_of(error: BaseException) -> Outcome:
    """How a run ended that `error` ended."""
    if not isinstance(error, Exception):
        return Outcome.CANCELLED  # Ctrl-C, SystemExit, an interrupt of the orchestrator: somebody stopped it
    if not isinstance(error, UpkeepError):
        return Outcome.FAILED
    if error.reason in _CODES:
        return _CODES[error.reason]
    return next((outcome for kind, outcome in _ERRORS if isinstance(error, kind)), Outcome.FAILED)


def as_event(outcome: Outcome) -> tuple[events.Outcome, str]:
    """Outcome and reason under which the run stands in the events."""
    return _RECORDED.get(outcome, events.Outcome.FAILED), str(outcome)
