"""When a fork is rebased, and how long that may take."""

from datetime import UTC, datetime
from typing import Any

import pytest
from dagster import DagsterInstance, DefaultScheduleStatus, RunRequest, build_schedule_context

from orchestration.build import build_defs
from orchestration.jobs import BESIDE_THE_GATES_SECONDS, FORK_REBASE, MAX_RUNTIME_TAG, longest_rebase_seconds
from orchestration.schedules import default_schedules, schedule_names
from resources.runs import PARTITION_TAG, SUBJECT_TAG
from upkeep.config import Settings
from upkeep.cron import machine_zone


def settings_of(**forks: dict[str, Any]) -> Settings:
    common = {"path": "/nowhere", "trunk": "trunk", "forge": "here", "repo": "o/r"}
    return Settings.model_validate(
        {"home": "/nowhere", "forks": {name: {**common, **fork} for name, fork in forks.items()}}
    )


def test_every_fork_has_a_schedule_of_its_own_in_its_time_zone_or_the_machines() -> None:
    settings = settings_of(tool={"schedule": "30 4 * * 1-5", "time_zone": "Europe/Berlin"}, other={})

    _, tool, other = default_schedules(settings)

    assert (tool.name, tool.cron_schedule, tool.execution_timezone) == ("rebase_tool", "30 4 * * 1-5", "Europe/Berlin")
    assert (other.cron_schedule, other.execution_timezone) == ("0 5 * * *", machine_zone())
    assert tool.default_status == DefaultScheduleStatus.RUNNING
    assert tool.job_name == FORK_REBASE


def test_a_tick_asks_for_the_forks_own_partition_and_queues_behind_its_other_runs() -> None:
    settings = settings_of(tool={})
    definitions = build_defs(settings=settings)
    schedule = definitions.resolve_schedule_def("rebase_tool")
    moment = datetime(2026, 3, 1, 5, tzinfo=UTC)
    with DagsterInstance.ephemeral() as instance:
        context = build_schedule_context(
            instance, scheduled_execution_time=moment, repository_def=definitions.get_repository_def()
        )
        (request,) = schedule.evaluate_tick(context).run_requests or ()

    assert isinstance(request, RunRequest)
    assert request.partition_key == "tool"
    assert request.tags[SUBJECT_TAG] == "fork:tool"
    assert request.tags[PARTITION_TAG] == "tool"


def test_a_fork_without_a_schedule_is_rebased_by_hand_only() -> None:
    assert [each.name for each in default_schedules(settings_of(tool={"schedule": None}))] == ["nightly_housekeeping"]


def test_forks_whose_names_differ_in_signs_only_have_schedules_of_their_own() -> None:
    names = schedule_names(["a-b", "a_b", "a.b", "my-tool"])

    assert len(set(names.values())) == 4
    assert all(name.replace("_", "").isalnum() for name in names.values())
    assert names["my-tool"] == "rebase_my_tool"


@pytest.mark.parametrize(
    ("gates", "baseline", "minutes"),
    [
        ([], True, 0),
        ([{"run": "a", "timeout_minutes": 120}], False, 120),
        ([{"run": "a", "prepare": "p", "timeout_minutes": 10}, {"run": "b", "timeout_minutes": 5}], False, 25),
        ([{"run": "a", "fix": True, "timeout_minutes": 10}], False, 20),
        ([{"run": "a", "fix": True, "prepare": "p", "timeout_minutes": 10}], True, 60),
    ],
)
def test_a_run_may_take_as_long_as_all_its_gates_may(gates: list[Any], baseline: bool, minutes: int) -> None:
    settings = settings_of(tool={"gates": gates, "baseline": baseline}, small={"gates": ["true"]})

    longest = longest_rebase_seconds(settings) - BESIDE_THE_GATES_SECONDS

    assert longest == max(minutes, 30) * 60  # `small` has the default of half an hour
    job = build_defs(settings=settings).resolve_job_def(FORK_REBASE)
    assert job.tags[MAX_RUNTIME_TAG] == str(longest_rebase_seconds(settings))
