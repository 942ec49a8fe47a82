"""Who started a run, and whether it may go on."""

from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from resources.runs import SCHEDULE_TAG, SENSOR_TAG, TRIGGER_TAG, may_continue, trigger_of
from upkeep.errors import RunCancelled


@pytest.mark.parametrize(
    ("tags", "trigger"),
    [
        ({TRIGGER_TAG: "cli"}, "cli"),
        ({TRIGGER_TAG: "demo"}, "demo"),
        ({TRIGGER_TAG: "cli", SENSOR_TAG: "x"}, "cli"),
        ({SENSOR_TAG: "content_heads"}, "sensor"),
        ({SCHEDULE_TAG: "rebase_tool"}, "schedule"),
        ({}, "ui"),
        ({TRIGGER_TAG: "nonsense"}, "ui"),
    ],
)
def test_who_started_a_run_is_read_from_its_tags(tags: dict[str, str], trigger: str) -> None:
    assert trigger_of(tags) == trigger


@pytest.mark.parametrize("status", [DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED])
def test_a_cancelled_run_may_not_take_its_next_step(status: Any) -> None:
    with DagsterInstance.ephemeral() as instance:
        run = instance.add_run(DagsterRun(job_name="content_update", status=status))

        with pytest.raises(RunCancelled, match="before it could push") as raised:
            may_continue(instance, run.run_id, "Start it again.")("push")

        assert raised.value.remedy == "Start it again."


def test_a_run_that_works_may_go_on() -> None:
    with DagsterInstance.ephemeral() as instance:
        run = instance.add_run(DagsterRun(job_name="content_update", status=DagsterRunStatus.STARTED))

        may_continue(instance, run.run_id, "")("push")
        may_continue(instance, "unknown", "")("push")
        assert instance.get_run_by_id(run.run_id) is not None
