"""Runs the job of a rebase in this process: what `upkeep rebase` does.

What belongs here: executing the same job as the schedule's runs, against the same instance, and handing back its
report. What does not: how a run is executed in process (`inprocess.py`), and printing (`cli/rebase.py`).
"""

from uuid import uuid4

from orchestration.build import build_defs
from orchestration.home import open_instance
from orchestration.inprocess import Cancellation, Progress, progress_loggers, run_job, trace_of
from orchestration.jobs import FORK_REBASE
from resources.forks import Ask, ForkDesks, ask_nobody, subject_of
from upkeep.config import Settings
from upkeep.database.events import Trigger
from upkeep.errors import RunCancelled, UpkeepError
from upkeep.forks import service
from upkeep.forks.desk import Desk
from upkeep.forks.report import Draft, Report


def rebase(
    settings: Settings,
    fork: str,
    *,
    verify_only: bool = False,
    skip_gates: bool = False,
    restore: str | None = None,
    force: bool = False,
    ask: Ask = ask_nobody,
    trigger: Trigger = "cli",
    progress: Progress = lambda line: None,
) -> Report:
    """Execute one rebase of `fork` to its end and return its report, which is written whatever happened.

    Raises ConfigError for an unknown fork, and nothing else: an instance that cannot be reached is in the report, too.
    """
    settings.fork(fork)
    run_id = str(uuid4())
    # Until the run has made its own: the instance may be out of reach.
    desks = [Desk(fork, settings, run_id, Draft(fork, run_id, trigger=trigger, verify_only=verify_only))]
    resource = ForkDesks(
        verify_only=verify_only,
        skip_gates=skip_gates,
        force=force,
        restore=restore,
        settings=settings,
        ask=ask,
        hear=desks.append,
    )
    definitions = build_defs(settings=settings, resources={"fork_desks": resource}, loggers=progress_loggers(progress))
    try:
        with open_instance(settings, brief=True) as instance:
            result = run_job(
                definitions,
                FORK_REBASE,
                instance,
                run_id=run_id,
                partition=fork,
                subject=subject_of(fork),
                trigger=trigger,
                cancellation=Cancellation(instance, run_id),
            )
            if desks[-1].error is not None and not isinstance(desks[-1].error, UpkeepError):
                progress(trace_of(result))
    except UpkeepError as error:
        desks[-1].error = desks[-1].error or error
    desk = desks[-1]
    if desk.report is None and desk.error is None:
        desk.error = RunCancelled("the run was cancelled before it began", remedy="Start it again when it may run.")
    return service.closed(desk)
