"""Runs the job of an update in this process: what `upkeep update` does.

What belongs here: executing the same job as the daemon's runs, against the same instance, and handing back what came of
it. What does not: how a run is executed in process (`inprocess.py`), and printing (`cli/update.py`).
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

from dagster import DagsterInstance, ExecuteInProcessResult, mem_io_manager

from assets import content
from orchestration.build import build_defs
from orchestration.home import open_instance
from orchestration.inprocess import Cancellation, Progress, progress_loggers, run_job, trace_of
from resources.content import ContentDesk, OpenDesk, open_content_desk, subject_of
from sensors.content import JOB
from upkeep.config import Settings
from upkeep.content.desk import Desk
from upkeep.content.records import ChangeSet, GeneratedContent, PublishedUpdate, UpstreamHead
from upkeep.content.service import refuse_unfit
from upkeep.database.events import Outcome, Trigger
from upkeep.errors import LockError, RunCancelled, UpkeepError

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
    seen, run_id, started = _Seen(), str(uuid4()), time.monotonic()
    desk = ContentDesk(dry_run=dry_run, retry=retry, force=force, settings=settings, open=seen.opening(open_desk))
    resources: dict[str, Any] = {"content_desk": desk}
    if dry_run:
        resources["io_manager"] = mem_io_manager
    definitions = build_defs(settings=settings, resources=resources, loggers=progress_loggers(progress))
    with _instance(settings, dry_run) as instance:
        cancellation = Cancellation(instance, run_id)
        result = run_job(
            definitions,
            JOB,
            instance,
            run_id=run_id,
            partition=watch,
            subject=subject_of(watch),
            trigger=trigger,
            cancellation=cancellation,
        )
    outcome, reason, error = _ending(seen, cancelled=cancellation.seen)
    written = _value(result, content.ANALYTICS_CONTENT.path, GeneratedContent)
    error = error or _refusal(written)
    return Update(
        *(watch, run_id, outcome, reason, error, time.monotonic() - started),
        trace="" if isinstance(error, UpkeepError) else trace_of(result),
        head=_value(result, content.UPSTREAM_HEAD.path, UpstreamHead),
        change_set=_value(result, content.CHANGE_SET.path, ChangeSet),
        content=written,
        published=_value(result, content.PULL_REQUEST.path, PublishedUpdate),
    )


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


def _refusal(content: GeneratedContent | None) -> UpkeepError | None:
    """A blocking check stops a run by an error of Dagster's: what the check said is what a person has to read."""
    try:
        if content is not None and content.outcome != "no_change":
            refuse_unfit(content)
    except UpkeepError as error:
        return error
    return None


def _value(result: ExecuteInProcessResult, path: Any, kind: type[_Value]) -> _Value | None:
    """What an asset of the run produced; None where it did not get that far."""
    produced = {event.asset_key for event in result.get_asset_materialization_events()}
    key = next((key for key in produced if key is not None and list(key.path) == list(path)), None)
    value = None if key is None else result.asset_value(key)
    return value if isinstance(value, kind) else None
