"""Exit codes are a contract."""

from __future__ import annotations

import pytest

from upkeep.database import events
from upkeep.errors import (
    BranchGone,
    ConfigError,
    GitError,
    LockError,
    LockLost,
    PushRefused,
    RemoteUnavailable,
    RepositoryNotReady,
    RunCancelled,
)
from upkeep.forks.outcomes import EXIT_CODES, Outcome, as_event, exit_code, outcome_of


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (RepositoryNotReady("dirty"), Outcome.LOCAL_FORBIDS, 11),
        (PushRefused("lease"), Outcome.REMOTE_REFUSED, 12),
        (BranchGone("gone"), Outcome.REMOTE_REFUSED, 12),
        (GitError("login", code="git.authentication"), Outcome.REMOTE_REFUSED, 12),
        (GitError("restack", code="forks.stack_failed"), Outcome.STACK_FAILED, 13),
        (GitError("red", code="forks.gate_failed"), Outcome.GATES_FAILED, 14),
        (LockError("held"), Outcome.LOCKED, 15),
        (LockLost("lost"), Outcome.LOCKED, 15),
        (RemoteUnavailable("network"), Outcome.FAILED, 1),
        (ConfigError("version"), Outcome.FAILED, 1),
        (RunCancelled("stop"), Outcome.CANCELLED, 1),
        (ValueError("a bug"), Outcome.FAILED, 1),
        (KeyboardInterrupt(), Outcome.CANCELLED, 1),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, outcome: Outcome, code: int) -> None:
    assert outcome_of(error) is outcome
    assert exit_code(outcome) == code


def test_every_outcome_has_an_exit_code_and_an_event() -> None:
    assert set(EXIT_CODES) == set(Outcome)
    assert {exit_code(each) for each in Outcome} == {0, 1, 10, 11, 12, 13, 14, 15}
    for outcome in Outcome:
        recorded, reason = as_event(outcome)
        assert recorded in events.Outcome
        assert reason == outcome
