"""One run of one system on one subject: lock held, events written, closed whatever happens.

What belongs here: the frame around a run. What does not: what a system does inside it, and the lock's and the events'
own rules (`database/`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from upkeep.database import events
from upkeep.database.events import EventType, Outcome, Reason, System, Trigger
from upkeep.database.locks import Lock, hold
from upkeep.database.server import Database
from upkeep.errors import (
    AgentError,
    ContentInvalid,
    DatabaseError,
    GuardrailRefused,
    LockError,
    RunCancelled,
    UpkeepError,
)

_log = logging.getLogger(__name__)

_OUTCOMES: tuple[tuple[type[UpkeepError], Outcome], ...] = (
    (LockError, Outcome.LOCKED),
    (ContentInvalid, Outcome.VALIDATION_FAILED),
    (GuardrailRefused, Outcome.GUARDRAIL_REFUSED),
    (AgentError, Outcome.AGENT_FAILED),
    (RunCancelled, Outcome.CANCELLED),
)


def outcome_of(error: BaseException) -> tuple[Outcome, str]:
    """Outcome and reason code of a run that ended with `error`."""
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome, error.reason
    if isinstance(error, UpkeepError):
        return Outcome.FAILED, error.reason
    if isinstance(error, Exception):
        return Outcome.FAILED, Reason.UNEXPECTED
    # Ctrl-C, SystemExit and Dagster's interrupt are no Exceptions: somebody stopped the run.
    return Outcome.CANCELLED, Reason.INTERRUPTED


class Run:
    """An open run. `lock` is ours for as long as it is open; `outcome` is None until it is known. What is put on
    `closing` is closed with it, whatever happens.

    With `recorded` False (a dry run) nothing is written to the events.
    """

    def __init__(
        self, database: Database, lock: Lock, *, system: System, subject: str, run_id: str, recorded: bool
    ) -> None:
        self.database = database
        self.lock = lock
        self.system = system
        self.subject = subject
        self.run_id = run_id
        self.recorded = recorded
        self.closing = ExitStack()
        self.outcome: Outcome | None = None
        self.reason = ""
        self.error: BaseException | None = None

    def event(self, type: EventType, **summary: Any) -> None:
        """Append an event of this run in a transaction of its own. What goes with a change of state belongs into that
        change's transaction instead: see `write`."""
        if self.recorded:
            with self.database.session() as session:
                events.record(
                    session, system=self.system, subject=self.subject, type=type, run_id=self.run_id, **summary
                )

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step. An error inside it ends the run with the outcome that fits it, and goes on."""
        started = time.monotonic()
        try:
            yield
        except BaseException as error:
            self.error = error
            outcome, reason = outcome_of(error)
            self.finish(outcome, reason, step=name)
            raise
        self.event(EventType.STEP_ENDED, step=name, seconds=round(time.monotonic() - started, 3))

    def finish(self, outcome: Outcome, reason: str = "", **summary: Any) -> None:
        """Say how the run ended. The first word counts: what fails afterwards is a consequence of it.

        A database that is gone keeps nobody from ending: the next start finds the run open and closes it.
        """
        if self.outcome is not None:
            return
        self.outcome, self.reason = outcome, str(reason)
        skipped = outcome in (Outcome.NOTHING_NEW, Outcome.SKIPPED)
        kind = EventType.RUN_SKIPPED if skipped else EventType.RUN_ENDED
        try:
            self.event(kind, outcome=str(outcome), reason=self.reason or None, **summary)
        except DatabaseError as error:
            _log.warning("the end of run %s could not be recorded: %s", self.run_id, error)


@contextmanager
def open_run(
    database: Database,
    *,
    system: System,
    subject: str,
    run_id: str,
    trigger: Trigger,
    force: bool = False,
    recorded: bool = True,
    snapshot: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Take the lock on `subject` (`watch:NAME`), record the start, and record an end whatever happens inside.

    Raises LockError where somebody else works on the subject (recorded as a run that was locked), LockLost.
    """

    def note(type: EventType, **summary: Any) -> None:
        if recorded:
            with database.session() as session:
                events.record(session, system=system, subject=subject, type=type, run_id=run_id, **summary)

    note(EventType.RUN_STARTED, trigger=trigger)
    run: Run | None = None
    try:
        with hold(database, subject, system=system, run_id=run_id, snapshot=snapshot, force=force) as lock:
            run = Run(database, lock, system=system, subject=subject, run_id=run_id, recorded=recorded)
            try:
                with run.closing:
                    yield run
            except BaseException as error:
                run.error = error
                run.finish(*outcome_of(error))
                raise
            run.finish(Outcome.FAILED, Reason.UNEXPECTED)
    except LockError as error:
        if run is None:
            note(EventType.RUN_ENDED, outcome=str(Outcome.LOCKED), reason=error.reason)
        raise
