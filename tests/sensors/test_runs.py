"""What earlier runs mean for the next request."""

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from resources.runs import PARTITION_TAG, SUBJECT_TAG
from sensors.runs import ATTEMPT_TAG, ended_at, partitions_in_flight, repeated

JOB = "some_job"
NOW = 1_800_000_000.0


def add_run(instance: DagsterInstance, status: DagsterRunStatus, job: str = JOB, **tags: str) -> None:
    instance.add_run(DagsterRun(job_name=job, status=status, tags=tags))


def test_only_runs_that_have_not_ended_are_in_flight() -> None:
    with DagsterInstance.ephemeral() as instance:
        add_run(instance, DagsterRunStatus.STARTED, **{PARTITION_TAG: "a"})
        add_run(instance, DagsterRunStatus.NOT_STARTED, **{PARTITION_TAG: "b"})
        add_run(instance, DagsterRunStatus.SUCCESS, **{PARTITION_TAG: "c"})
        add_run(instance, DagsterRunStatus.CANCELING, **{PARTITION_TAG: "d"})
        add_run(instance, DagsterRunStatus.STARTED, "another", **{PARTITION_TAG: "e"})
        add_run(instance, DagsterRunStatus.STARTED)

        assert partitions_in_flight(instance, JOB) == {"a", "b", "d"}


def test_only_ended_runs_of_the_same_attempt_count_as_lost() -> None:
    with DagsterInstance.ephemeral() as instance:
        same = {SUBJECT_TAG: "watch:a", ATTEMPT_TAG: "head.1"}
        add_run(instance, DagsterRunStatus.FAILURE, **same)
        add_run(instance, DagsterRunStatus.STARTED, **same)
        add_run(instance, DagsterRunStatus.FAILURE, **{**same, ATTEMPT_TAG: "head.2"})
        add_run(instance, DagsterRunStatus.FAILURE, **{**same, SUBJECT_TAG: "watch:b"})
        add_run(instance, DagsterRunStatus.FAILURE, "another", **same)

        assert len(ended_at(instance, JOB, same)) == 1


def test_a_request_is_repeated_under_another_key_and_ever_more_slowly() -> None:
    assert repeated("k", [], NOW) == ("k", 0.0)
    assert repeated("k", [NOW], NOW) == ("k.1", 60.0)
    assert repeated("k", [NOW - 60], NOW) == ("k.1", 0.0)
    assert repeated("k", [NOW, NOW - 60], NOW) == ("k.2", 120.0)
    assert repeated("k", [NOW] * 40, NOW) == ("k.40", 3600.0)
