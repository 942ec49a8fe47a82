"""The graph of the sync system, executed in process on a real repository and a real database."""

from collections.abc import Mapping
from typing import Any

from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult, materialize

from assets import sync
from assets.partitions import REPOSITORIES
from orchestration.build import build_defs
from sensors.sync import JOB
from tests.support.hub import FILE, HubTerminal
from tests.support.hub import hub as hub
from tests.support.workplans import plan, task
from upkeep.config import load
from upkeep.database.server import connect
from upkeep.metrics import runs
from upkeep.sync import markers, registry
from upkeep.sync.registry import Managed

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def execute(slug: str = "sample") -> ExecuteInProcessResult:
    job = build_defs(settings=load()).resolve_job_def(JOB)
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(REPOSITORIES, [slug])
        return job.execute_in_process(instance=instance, partition_key=slug, raise_on_error=False, run_config=QUIET)


def metadata(result: ExecuteInProcessResult, key: AssetKey) -> Mapping[str, Any]:
    (found,) = [each for each in result.get_asset_materialization_events() if each.asset_key == key]
    return {name: value.value for name, value in found.materialization.metadata.items()}


def row() -> Managed:
    settings = load()
    with connect(settings.home, settings.database_url) as database, database.session() as session:
        return registry.find(session, "sample")


def test_a_run_syncs_one_repository_and_shows_workplans_report_and_timestamps(hub: HubTerminal) -> None:
    done = execute()

    assert done.success, [e.event_specific_data.error_display_string for e in done.all_events if e.is_step_failure]
    assert hub.read().count("state_hub_task_id") == 2
    assert metadata(done, sync.WORKPLANS) == {
        "workplans": 1,
        "tasks": 2,
        "changed_rows": 3,
        "edited_files": 1,
        "head": hub.sample.head(),
    }
    times = metadata(done, sync.SYNC_TIMESTAMPS)
    now = row()
    assert now.last_state_synced_at is not None
    assert (times["last_state_synced_at"], times["reason"]) == (now.last_state_synced_at.timestamp(), "none")
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.description) == (sync.CHECK_CONSISTENT, True, "none of 1 has errors")


def test_a_run_is_a_row_of_the_runs_under_its_own_id(hub: HubTerminal) -> None:
    done = execute()

    settings = load()
    with connect(settings.home, settings.database_url) as database, database.session() as session:
        (found,) = runs.newest(session, system="sync")
    assert (found.run_id, found.subject, found.trigger) == (done.run_id, "repository:sample", "ui")
    assert (found.outcome, found.counts) == ("done", {"changed_rows": 3, "edited_files": 1})


def test_errors_make_a_red_check_and_a_report_and_no_failed_run(hub: HubTerminal) -> None:
    hub.write(plan("A", "active", task("A-1", "someday"), task("A-2")))

    done = execute()

    assert done.success
    report = metadata(done, sync.CONSISTENCY_REPORT)
    assert (report["errors"], report["reason"]) == (1, "C-08 workplans/a.md:11 there is no status 'someday'")
    first = dict(report["findings"].records[0].data)
    assert (first["severity"], first["code"], first["place"]) == ("error", "C-08", f"{FILE}:11")
    (check,) = done.get_asset_check_evaluations()
    assert (check.passed, check.description) == (False, "with errors: sample")
    times = metadata(done, sync.SYNC_TIMESTAMPS)
    assert times["last_state_synced_at"] == "never"
    assert times["last_attempt_at"] > 0


def test_a_run_takes_the_commits_that_no_sync_took(hub: HubTerminal) -> None:
    (markers.prepare(hub.home, "sample") / "4711").touch()

    assert execute().success
    assert markers.waiting(hub.home) == []


def test_a_repository_that_is_not_managed_fails_with_a_code_and_what_to_do(hub: HubTerminal) -> None:
    done = execute("sampel")

    assert not done.success
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    shown = failed.step_failure_data.user_failure_data
    assert shown is not None
    assert shown.metadata["code"].value == "config.unknown_repository"
    assert "did you mean sample" in str(shown.description)


def test_registry_and_health_are_tables_and_a_stale_repository_is_a_warning(hub: HubTerminal) -> None:
    definitions = build_defs(settings=load())
    assets = [
        definitions.get_assets_def(sync.REPOSITORIES),
        definitions.get_assets_def(sync.SYNC_HEALTH),
        *(each for each in sync.sync_assets() if getattr(each, "check_keys", None) and not getattr(each, "keys", None)),
    ]
    resources = {"settings": load()}

    done = materialize(assets, resources=resources, run_config=QUIET)

    (only,) = metadata(done, sync.REPOSITORIES)["registry"].records
    assert dict(only.data)["goal"] == "Write it down"
    health = metadata(done, sync.SYNC_HEALTH)
    assert {name: health[name] for name in ("repositories", "fresh", "ageing", "stale")} == {
        "repositories": 1,
        "fresh": 0,
        "ageing": 0,
        "stale": 1,
    }
    (check,) = done.get_asset_check_evaluations()
    assert (check.passed, check.severity.value, check.description) == (False, "WARN", "stale: sample")
    hub.out("sync", "sample")
    again = materialize(assets, resources=resources, run_config=QUIET)
    assert metadata(again, sync.SYNC_HEALTH)["fresh"] == 1
    (check,) = again.get_asset_check_evaluations()
    assert (check.passed, check.description) == (True, "all 1 are fresh or ageing")


def test_a_stranger_understands_every_asset() -> None:
    for each in sync.sync_assets():
        for spec in getattr(each, "specs", [each] if hasattr(each, "description") else []):
            assert len(spec.description or "") > 60, spec
            assert (spec.group_name, list(spec.owners)) == ("sync", ["team:upkeep"])
            assert spec.kinds
