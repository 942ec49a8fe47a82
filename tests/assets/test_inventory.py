"""The inventory as an asset: taken by a run, and by a command of which the sensor tells."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import AssetCheckEvaluation, AssetMaterialization, DagsterInstance, ExecuteInProcessResult

from assets import inventory
from orchestration.build import build_defs
from orchestration.jobs import FORGE_INVENTORY
from orchestration.schedules import default_schedules
from sensors.sync_events import translate
from tests.support.gitea import BOT, Gitea
from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.hub import hub_on_gitea as hub_on_gitea
from upkeep.config import Settings, load
from upkeep.database import events
from upkeep.database.server import connect

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def forged(hub_on_gitea: HubTerminal, gitea: Gitea) -> HubTerminal:
    """The hub's `sample` on a forge, beside one that nobody manages and is old, and one that is new."""
    now = datetime.now(UTC)
    gitea.lists("coulomb/old", created_at=now - timedelta(days=40))
    gitea.lists("coulomb/young", created_at=now - timedelta(days=4))
    return hub_on_gitea


def execute() -> ExecuteInProcessResult:
    job = build_defs(settings=load()).resolve_job_def(FORGE_INVENTORY)
    with DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET)


def shown(materialization: AssetMaterialization) -> Mapping[str, Any]:
    return {name: value.value for name, value in materialization.metadata.items()}


def verdicts(evaluations: list[AssetCheckEvaluation]) -> dict[str, tuple[bool, str | None]]:
    return {each.check_name: (each.passed, each.description) for each in evaluations}


def test_a_run_shows_the_sections_and_who_waits_for_a_decision(forged: HubTerminal) -> None:
    done = execute()

    (event,) = done.get_asset_materialization_events()
    metadata = shown(event.materialization)
    numbers = ("repositories", "registered", "unregistered", "hub_only", "ignored", "undecided")
    assert [metadata[name] for name in numbers] == [3, 1, 2, 0, 0, 0]
    assert (metadata["complete"], metadata["gaps"]) == (True, "none")
    assert [row.data["repository"] for row in metadata["unregistered_repositories"].records] == [
        "coulomb/old",
        "coulomb/young",
    ]
    assert verdicts(done.get_asset_check_evaluations()) == {
        inventory.CHECK_OVERDUE: (False, "register or ignore: coulomb/old"),
        inventory.CHECK_COMPLETE: (True, "every repository that the forges count was seen"),
    }


def test_a_list_with_gaps_is_shown_and_warned_of(forged: HubTerminal, gitea: Gitea) -> None:
    gitea.lists("coulomb/secret", hidden_from={BOT})
    done = execute()
    assert done.success
    passed, words = verdicts(done.get_asset_check_evaluations())[inventory.CHECK_COMPLETE]
    assert not passed
    assert "1 are not visible to this account" in str(words)


def test_a_forge_that_gives_no_list_fails_the_run_with_a_code(forged: HubTerminal, gitea: Gitea) -> None:
    gitea.fault("GET .*/repos$", status=200, content="<html>", kind="text/html", times=9)
    done = execute()
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    assert data.metadata["code"].value == "forge.not_json"


def test_an_inventory_by_command_is_told_of_without_a_run(forged: HubTerminal) -> None:
    forged.out("inventory")
    settings = load()
    with (
        DagsterInstance.ephemeral() as instance,
        connect(settings.home, settings.database_url) as database,
        database.session() as session,
    ):
        taken = events.of_subject(session, "sync", "forge:coulomb")
        told = translate(session, instance, taken).asset_events
        again = translate(session, instance, None).asset_events
    for found in (told, again):
        (made,) = [
            each for each in found if isinstance(each, AssetMaterialization) and each.asset_key == inventory.INVENTORY
        ]
        assert shown(made)["unregistered"] == 2
        checks = verdicts([each for each in found if isinstance(each, AssetCheckEvaluation)])
        assert checks[inventory.CHECK_OVERDUE] == (False, "register or ignore: coulomb/old")


def test_the_inventory_is_taken_every_day_where_a_forge_is_listed(forged: HubTerminal) -> None:
    assert "daily_inventory" in [each.name for each in default_schedules(load())]
    assert "daily_inventory" not in [each.name for each in default_schedules(Settings())]
