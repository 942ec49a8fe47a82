"""Every error that Upkeep raises on purpose.

What belongs here: exception classes, each with a stable `code`, an exit code for the command line, whether trying again
may help (`transient`), and a `remedy`: one sentence that says what to do next, never none. What does not: formatting
for a terminal (`cli/`), and anything that decides when to raise.

An error carries facts, never secrets: whoever builds the message redacts first (`upkeep.redaction.Redactor`).

    UpkeepError                      1   anything below; catch this at the edges
    ├── ConfigError                  1   upkeep.yaml is missing, unreadable or wrong
    ├── ProcessError                 1   a child process failed
    │   ├── CommandNotFound          1   the program is not installed
    │   ├── CommandFailed            1   it ended with a status that the caller does not accept
    │   └── CommandTimeout           1   a wall-clock or idle deadline passed (transient)
    ├── GitError                     1   git refused, or a repository is not as it must be
    │   ├── RemoteUnavailable        1   the remote did not answer (transient)
    │   ├── RepositoryNotReady       1   dirty, diverged, without remote: a person has to act
    │   ├── BranchGone               1   the branch does not exist on the remote
    │   └── PushRefused              1   lease refused, hook refused, or no permission
    ├── ForgeError                   1   the forge refused
    │   ├── ForgeUnavailable         1   network, 5xx, timeout (transient)
    │   ├── RateLimited              1   403 or 429 with a time to wait (transient)
    │   └── AuthenticationFailed     1   no or a wrong credential
    ├── DatabaseError                1   the database refused
    │   ├── DatabaseUnavailable      1   no server, or the connection is gone (transient)
    │   └── StateCorrupt             1   recorded state cannot be read
    ├── AccessDenied                 1   a request carries no token that permits it
    ├── LockError                   15   somebody else works on the subject
    │   └── LockLost                15   our lock is gone in the middle of a run (transient)
    ├── ContentInvalid               2   generated content has error findings
    ├── GuardrailRefused             3   the patch breaks a policy
    ├── AgentError                   4   the agent did not deliver
    │   ├── AgentTimedOut            4   one of its three deadlines passed
    │   ├── AgentSaidNothing         4   it ended without a usable answer
    │   └── BudgetExhausted          4   the next request would pass the budget
    └── RunCancelled                 1   a person cancelled the run
"""

from __future__ import annotations

from typing import Any, ClassVar


class UpkeepError(Exception):
    """Base of all errors raised on purpose.

    `message` is one sentence for a person, `remedy` one sentence that says what to do next (without one the class's own
    `next_step`), `code` a stable dotted name for machines, `details` plain JSON values for reports.
    """

    code: ClassVar[str] = "upkeep"
    next_step: ClassVar[str] = "`upkeep doctor` checks this machine; mend what the message names, and run it again."
    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False

    def __init__(self, message: str, *, remedy: str = "", code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy or type(self).next_step
        self.reason = code or type(self).code
        self.details = details

    def __str__(self) -> str:
        return self.message

    def as_record(self) -> dict[str, Any]:
        """Return `{code, message, remedy, transient, …details}`, the shape used by `--json` and by events."""
        return {
            "code": self.reason,
            "message": self.message,
            "remedy": self.remedy,
            "transient": self.transient,
            **self.details,
        }


class ConfigError(UpkeepError):
    code = "config"
    next_step = "Correct the configuration; `upkeep config check` says whether it is right."


class ProcessError(UpkeepError):
    code = "process"


class CommandNotFound(ProcessError):
    code = "process.not_found"


class CommandFailed(ProcessError):
    code = "process.failed"


class CommandTimeout(ProcessError):
    code = "process.timeout"
    transient = True
    next_step = "Run it again; if it hangs again, see what the machine or the network is busy with."


class GitError(UpkeepError):
    code = "git"
    next_step = "Mend what git names, and run it again: nothing is lost."


class RemoteUnavailable(GitError):
    code = "git.remote_unavailable"
    transient = True
    next_step = "Try again when the remote answers: what happened is looked up first."


class RepositoryNotReady(GitError):
    code = "git.not_ready"


class BranchGone(GitError):
    code = "git.branch_gone"


class PushRefused(GitError):
    code = "git.push_refused"


class ForgeError(UpkeepError):
    code = "forge"
    next_step = "Mend what the forge names, and run it again: nothing is done twice."


class ForgeUnavailable(ForgeError):
    code = "forge.unavailable"
    transient = True
    next_step = "Try again later: what happened is looked up first, and nothing is done twice."


class RateLimited(ForgeError):
    code = "forge.rate_limited"
    transient = True


class AuthenticationFailed(ForgeError):
    code = "forge.authentication"


class DatabaseError(UpkeepError):
    code = "database"


class DatabaseUnavailable(DatabaseError):
    code = "database.unavailable"
    transient = True


class StateCorrupt(DatabaseError):
    code = "database.state_corrupt"


class AccessDenied(UpkeepError):
    code = "access.denied"


class LockError(UpkeepError):
    code = "locked"
    exit_code = 15


class LockLost(LockError):
    code = "locked.lost"
    transient = True
    next_step = "Run it again: nothing was pushed or recorded after the lock was lost."


class ContentInvalid(UpkeepError):
    code = "content.invalid"
    exit_code = 2
    next_step = "Read the findings; `upkeep validate` finds them again in the folder."


class GuardrailRefused(UpkeepError):
    code = "guardrail.refused"
    exit_code = 3
    next_step = "Read the findings; raise the limit in upkeep.yaml if the change is as it should be."


class AgentError(UpkeepError):
    code = "agent.failed"
    exit_code = 4
    next_step = "Read the transcript; `--retry` asks the agent again."


class AgentTimedOut(AgentError):
    code = "agent.timed_out"


class AgentSaidNothing(AgentError):
    code = "agent.said_nothing"


class BudgetExhausted(AgentError):
    code = "agent.budget"
    next_step = "Raise the limit under `budgets` in upkeep.yaml, or wait until the day or month is over."


class RunCancelled(UpkeepError):
    code = "cancelled"
    next_step = "Nothing is lost: start it again when it may run."
