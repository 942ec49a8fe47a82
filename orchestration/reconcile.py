"""Closes what earlier processes left open: runs whose worker is gone, in our events and in Dagster's records, and what
their agents had reserved of a budget.

What belongs here: judging whether a run can still be alive, at the start of `upkeep up`. What does not: ending
processes (`upkeep/process.py` sweeps those first), and runs that end while somebody watches (`sensors/failures.py`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from orchestration.inprocess import PROCESS_TAG
from upkeep import reaper
from upkeep.agents.ledger import presume_dead
from upkeep.database import events
from upkeep.database.events import Event
from upkeep.database.locks import here, holder_of, proven_dead
from upkeep.database.server import Database

JUST_STARTED = timedelta(seconds=30)
"""A run records its start a moment before it takes the lock that proves it alive."""

_BEGUN = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class Reconciled:
    """Ids of runs that were closed: in our events, and in Dagster's records. `requests`: how many requests to models
    count in full now, because whoever made them died before their figures came."""

    events: tuple[str, ...]
    dagster: tuple[str, ...]
    requests: int


def reconcile(database: Database, instance: DagsterInstance) -> Reconciled:
    """Close every run that cannot be alive any more. Runs that wait in the queue stay: the daemon will start them.

    Call it when no code server of this home runs: a run that a launcher started then has no worker. A run of a command
    in another terminal carries its process in a tag.
    """
    ended: list[str] = []
    for run in instance.get_runs(filters=RunsFilter(statuses=_BEGUN)):
        if _executes(run):
            continue
        if run.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "its process is gone")
        else:
            instance.report_run_failed(run, "Its process is gone: it was killed, or the machine went down.")
        if instance.event_log_storage.supports_global_concurrency_limits:
            # The daemon's monitoring does so a minute after the end; whoever waits for the slot need not.
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    with database.session() as session:
        closed = events.reconcile(session, is_alive=lambda event: _works(database, event))
    return Reconciled(tuple(closed), tuple(ended), presume_dead(database))


def _executes(run: DagsterRun) -> bool:
    token = run.tags.get(PROCESS_TAG)
    return token is not None and not reaper.owner_is_gone(token)


def _works(database: Database, started: Event) -> bool:
    """Whether the run holds its subject's lock with a process that may be alive, or is about to take it."""
    holder = holder_of(database, started.subject)
    if holder is not None and holder.run_id == started.run_id:
        return not proven_dead(holder, here())
    return datetime.now(UTC) - started.at < JUST_STARTED
