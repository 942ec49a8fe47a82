"""Runs the job of an update in this process: what `upkeep update` does.

What belongs here: executing the same job as the daemon's runs, against the same instance, and handing back what came of
it; a run that a person cancels in the UI is interrupted. What does not: printing (`cli/update.py`).

A run that Dagster executes in process knows nothing of cancellation: it goes on, and CANCELED becomes SUCCESS. So a
thread reads the run's status twice a second and interrupts the main thread as Ctrl-C would.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    ExecuteInProcessResult,
    InitLoggerContext,
    LoggerDefinition,
    mem_io_manager,
)

from assets import content
from orchestration.build import build_defs
from orchestration.home import open_instance
from resources.content import TRIGGER_TAG, ContentDesk, OpenDesk, open_content_desk, subject_of
from sensors.content import JOB, SUBJECT_TAG
from upkeep.config import Settings
from upkeep.content.desk import Desk
from upkeep.content.records import ChangeSet, GeneratedContent, PublishedUpdate, UpstreamHead
from upkeep.database.events import Outcome, Trigger
from upkeep.errors import LockError, RunCancelled, UpkeepError
from upkeep.reaper import owner_token

PROCESS_TAG = "upkeep/process"
"""Who executes a run that no launcher started: pid, start time and pid namespace (`upkeep.reaper.owner_token`)."""

POLL_SECONDS = 0.5
CANCELLED = (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)

Progress = Callable[[str], None]
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Update:
    """What came of one update. Records are None where the run did not get that far."""

    watch: str
    run_id: str
    outcome: Outcome
    reason: str
    error: BaseException | None
    seconds: float
    trace: str = ""
    """What Dagster wrote down of an error that is not one of ours."""
    head: UpstreamHead | None = None
    change_set: ChangeSet | None = None
    content: GeneratedContent | None = None
    published: PublishedUpdate | None = None


@dataclass
class _Seen:
    """What happened at the desk; Dagster keeps neither the desk nor the error objects of a failed run."""

    desk: Desk | None = None
    error: UpkeepError | None = None

    def opening(self, open_desk: OpenDesk) -> OpenDesk:
        @contextmanager
        def opened(*arguments: Any, **options: Any) -> Iterator[Desk]:
            try:
                with open_desk(*arguments, **options) as desk:
                    self.desk = desk
                    yield desk
            except UpkeepError as error:
                self.error = error
                raise

        return opened


def update(
    settings: Settings,
    watch: str,
    *,
    dry_run: bool = False,
    retry: bool = False,
    force: bool = False,
    trigger: Trigger = "cli",
    progress: Progress = lambda line: None,
    open_desk: OpenDesk = open_content_desk,
) -> Update:
    """Execute one update of `watch` to its end. Errors of the run are returned, not raised; ConfigError for an unknown
    watch and DatabaseError for an instance that cannot be reached are raised."""
    settings.watch(watch)
    _keep_off_stderr()
    seen, run_id, started = _Seen(), str(uuid4()), time.monotonic()
    desk = ContentDesk(dry_run=dry_run, retry=retry, force=force, settings=settings, open=seen.opening(open_desk))
    resources: dict[str, Any] = {"content_desk": desk}
    if dry_run:
        resources["io_manager"] = mem_io_manager
    definitions = build_defs(settings=settings, resources=resources, loggers={"progress": _progress_logger(progress)})
    job = definitions.resolve_job_def(JOB)
    with _instance(settings, dry_run) as instance, Cancellation(instance, run_id) as cancellation:
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            partition_key=watch,
            raise_on_error=False,
            run_config={"loggers": {"progress": {}}},
            tags={SUBJECT_TAG: subject_of(watch), TRIGGER_TAG: trigger, PROCESS_TAG: owner_token(os.getpid())},
        )
    outcome, reason, error = _ending(seen, cancelled=cancellation.seen)
    return Update(
        *(watch, run_id, outcome, reason, error, time.monotonic() - started),
        trace="" if isinstance(error, UpkeepError) else _trace(result),
        head=_value(result, content.UPSTREAM_HEAD.path, UpstreamHead),
        change_set=_value(result, content.CHANGE_SET.path, ChangeSet),
        content=_value(result, content.ANALYTICS_CONTENT.path, GeneratedContent),
        published=_value(result, content.PULL_REQUEST.path, PublishedUpdate),
    )


def _keep_off_stderr() -> None:
    """Dagster sets its own level and warns, for one, of checks that had nothing to check. Without any handler Python
    would print that."""
    dagster = logging.getLogger("dagster")
    if not dagster.handlers:
        dagster.addHandler(logging.NullHandler())


def _instance(settings: Settings, dry_run: bool) -> AbstractContextManager[DagsterInstance]:
    return DagsterInstance.ephemeral() if dry_run else open_instance(settings, brief=True)


def _ending(seen: _Seen, *, cancelled: bool) -> tuple[Outcome, str, BaseException | None]:
    if cancelled:
        error = RunCancelled("the run was cancelled in the UI", remedy="Start it again when it may run.")
        return Outcome.CANCELLED, error.reason, error
    if seen.desk is None:
        outcome = Outcome.LOCKED if isinstance(seen.error, LockError) else Outcome.FAILED
        return outcome, seen.error.reason if seen.error else "unexpected", seen.error
    run = seen.desk.run
    return run.outcome or Outcome.FAILED, run.reason, run.error or seen.error


def _trace(result: ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            return event.step_failure_data.error_display_string
        if event.is_run_failure and event.job_failure_data.error is not None:
            return event.job_failure_data.error.to_string()
    return ""


def _value(result: ExecuteInProcessResult, path: Any, kind: type[_Value]) -> _Value | None:
    """What an asset of the run produced; None where it did not get that far."""
    produced = {event.asset_key for event in result.get_asset_materialization_events()}
    key = next((key for key in produced if key is not None and list(key.path) == list(path)), None)
    value = None if key is None else result.asset_value(key)
    return value if isinstance(value, kind) else None


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
        # Dagster announces each step that it skips, and errors are told at the end: neither is progress.
        if record.levelno < logging.ERROR and not words.startswith("Skipping step "):
            self._progress(words)


def _progress_logger(progress: Progress) -> LoggerDefinition:
    def made(context: InitLoggerContext) -> logging.Logger:
        lines = logging.Logger("upkeep.progress", logging.INFO)
        lines.addHandler(_Lines(progress))
        return lines

    return LoggerDefinition(made, description="Progress of a command, for its terminal.")
