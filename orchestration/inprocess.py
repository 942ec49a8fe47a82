"""Runs a job of a command in this process, against the instance that daemon and UI use.

What belongs here: executing a job as the daemon's runs do, letting a person cancel it in the UI, and telling its
progress to a terminal. What does not: which job (`execute.py`, `rebase.py`), and printing (`cli/`).

A run that Dagster executes in process knows nothing of cancellation: it goes on, and CANCELED becomes SUCCESS. So a
thread reads the run's status twice a second and interrupts the main thread as Ctrl-C would.
"""

import logging
import os
import re
import signal
import threading
from collections.abc import Callable

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    ExecuteInProcessResult,
    InitLoggerContext,
    LoggerDefinition,
)

from resources.runs import SUBJECT_TAG, TRIGGER_TAG
from upkeep.database.events import Trigger
from upkeep.reaper import owner_token

PROCESS_TAG = "upkeep/process"
"""Who executes a run that no launcher started: pid, start time and pid namespace (`upkeep.reaper.owner_token`)."""

POLL_SECONDS = 0.5
CANCELLED = (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)

PROGRESS_LOGGER = "progress"

_ANNOUNCED = re.compile(r"Skipping step |op '[^']*' did not yield or return expected outputs ")

Progress = Callable[[str], None]


def run_job(
    definitions: Definitions,
    job: str,
    instance: DagsterInstance,
    *,
    run_id: str,
    partition: str,
    subject: str,
    trigger: Trigger,
    cancellation: "Cancellation",
) -> ExecuteInProcessResult:
    """Execute one partition of a job to its end. Errors of its steps are in the result, not raised."""
    _keep_off_stderr()
    with cancellation:
        return definitions.resolve_job_def(job).execute_in_process(
            instance=instance,
            run_id=run_id,
            partition_key=partition,
            raise_on_error=False,
            run_config={"loggers": {PROGRESS_LOGGER: {}}},
            tags={SUBJECT_TAG: subject, TRIGGER_TAG: trigger, PROCESS_TAG: owner_token(os.getpid())},
        )


def _keep_off_stderr() -> None:
    """Dagster sets its own level and warns, for one, of checks that had nothing to check. Without any handler Python
    would print that."""
    dagster = logging.getLogger("dagster")
    if not dagster.handlers:
        dagster.addHandler(logging.NullHandler())


def trace_of(result: ExecuteInProcessResult) -> str:
    """What Dagster wrote down of the error that ended a run; empty where there was none."""
    for event in result.all_events:
        if event.is_step_failure:
            return event.step_failure_data.error_display_string
        if event.is_run_failure and event.job_failure_data.error is not None:
            return event.job_failure_data.error.to_string()
    return ""


class Cancellation:
    """Interrupts the main thread once the run's status says that a person cancelled it. `seen`: it did."""

    def __init__(self, instance: DagsterInstance, run_id: str, *, every: float = POLL_SECONDS) -> None:
        self.seen = False
        self._instance = instance
        self._run_id = run_id
        self._every = every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cancellation", daemon=True)

    def __enter__(self) -> "Cancellation":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            run = self._instance.get_run_by_id(self._run_id)
            if run is not None and run.status in CANCELLED and not self._done.is_set():
                self.seen = True
                # A real signal, not `_thread.interrupt_main`: it ends the system call that the main thread waits in.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return


class _Lines(logging.Handler):
    """Hands the messages of steps to `progress`, without the run id and job name that Dagster puts before them."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(logging.INFO)
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        words = str(getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage()))
        # Dagster announces each step that it skips and each check that had nothing to check, and errors are told at the
        # end: none of it is progress.
        if record.levelno < logging.ERROR and not _ANNOUNCED.match(words):
            self._progress(words)


def progress_loggers(progress: Progress) -> dict[str, LoggerDefinition]:
    """What `run_job` needs as the loggers of its definitions."""

    def made(context: InitLoggerContext) -> logging.Logger:
        lines = logging.Logger("upkeep.progress", logging.INFO)
        lines.addHandler(_Lines(progress))
        return lines

    return {PROGRESS_LOGGER: LoggerDefinition(made, description="Progress of a command, for its terminal.")}
