"""Runs that a sensor asked for before, and what that means for the next request.

What belongs here: which partitions have a run that has not ended, and how a request is repeated whose run ended before
it could record anything. What does not: what a sensor looks at.
"""

from collections.abc import Mapping, Sequence

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from resources.runs import PARTITION_TAG

ATTEMPT_TAG = "upkeep/attempt"

LONGEST_WAIT_SECONDS = 3600.0

IN_FLIGHT = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def partitions_in_flight(instance: DagsterInstance, job: str) -> frozenset[str]:
    """Partition keys of the job's runs that have not ended, whoever started them: a run that a person starts in the UI
    has a partition and no tag of ours."""
    runs = instance.get_runs(filters=RunsFilter(job_name=job, statuses=IN_FLIGHT))
    return frozenset(run.tags[PARTITION_TAG] for run in runs if PARTITION_TAG in run.tags)


def ended_at(instance: DagsterInstance, job: str, tags: Mapping[str, str]) -> list[float]:
    """When runs with these tags ended, whatever became of them, in seconds since 1970."""
    records = instance.get_run_records(filters=RunsFilter(job_name=job, tags=dict(tags)), limit=50)
    return [
        record.end_time or record.update_timestamp.timestamp() for record in records if record.dagster_run.is_finished
    ]


def repeated(key: str, lost: Sequence[float], now: float) -> tuple[str, float]:
    """The run key of the next request, and how many seconds it has to wait yet (0: none).

    `lost`: when runs of exactly this request ended that left no record: they died, or were refused the lock. Dagster
    deduplicates a key for ever, so each repetition has its own; and each waits longer than the one before.
    """
    if not lost:
        return key, 0.0
    ready = max(lost) + min(60.0 * 2 ** min(len(lost) - 1, 10), LONGEST_WAIT_SECONDS)
    return f"{key}.{len(lost)}", max(ready - now, 0.0)
