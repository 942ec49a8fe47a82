"""What is deleted of Dagster's records, on the real storage."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import AssetKey, AssetMaterialization, DagsterInstance, asset, materialize

from orchestration.home import open_instance
from orchestration.retention import CHATTER_DAYS, NEWEST_DAYS, RUN_DAYS, prune
from sensors.sync_events import KEEP_TAG, NEWEST
from tests.orchestration.test_reconcile import add
from upkeep.config import Settings
from upkeep.database.server import Database


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("UPKEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.chdir(tmp_path)
    return Settings(home=tmp_path / "home", database_url=database_url)


def kinds(database: Database) -> set[str | None]:
    with database.session() as session:
        return set(session.execute(sa.text("SELECT dagster_event_type FROM dagster.event_logs")).scalars())


def run_something(instance: DagsterInstance) -> None:
    @asset
    def head() -> int:
        return 1

    assert materialize([head], instance=instance).success


def test_old_chatter_goes_and_what_people_look_at_stays(settings: Settings, database: Database) -> None:
    with open_instance(settings) as instance:
        run_something(instance)
        assert prune(settings, instance).events == 0
        assert "STEP_START" in kinds(database)

        later = datetime.now(UTC) + timedelta(days=CHATTER_DAYS + 1)
        assert prune(settings, instance, now=later).events > 0
        assert prune(settings, instance, now=later).events == 0

        assert kinds(database) >= {"ASSET_MATERIALIZATION", "PIPELINE_START", "PIPELINE_SUCCESS"}
        assert not kinds(database) & {
            None,
            "STEP_START",
            "STEP_OUTPUT",
            "ENGINE_EVENT",
            "ASSET_MATERIALIZATION_PLANNED",
        }
        assert instance.get_latest_materialization_event(AssetKey("head")) is not None


def tell(instance: DagsterInstance, partition: str | None, **tags: str) -> None:
    instance.report_runless_asset_event(AssetMaterialization("times", partition=partition, tags=tags))


def told(database: Database) -> list[str | None]:
    query = "SELECT partition FROM dagster.event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' ORDER BY id"
    with database.session() as session:
        return list(session.execute(sa.text(query)).scalars())


def test_materializations_of_which_only_the_newest_counts_go_when_a_newer_one_is_there(
    settings: Settings, database: Database
) -> None:
    newest = {KEEP_TAG: NEWEST}
    with open_instance(settings) as instance:
        tell(instance, "a", **newest)
        tell(instance, "b", **newest)
        tell(instance, None, **newest)
        tell(instance, "c")
        tell(instance, "a", **newest)
        tell(instance, None, **newest)
        tell(instance, "c")
        assert prune(settings, instance).events == 0

        later = datetime.now(UTC) + timedelta(days=NEWEST_DAYS + 1)
        assert prune(settings, instance, now=later).events == 2
        assert prune(settings, instance, now=later).events == 0

        assert told(database) == ["b", "c", "a", None, "c"]
        assert instance.get_latest_materialization_event(AssetKey("times")) is not None
        assert instance.get_materialized_partitions(AssetKey("times")) == {"a", "b", "c"}


def test_very_old_finished_runs_go_and_unfinished_stay(settings: Settings) -> None:
    from dagster import DagsterRunStatus

    with open_instance(settings) as instance:
        finished, stuck = add(instance, DagsterRunStatus.SUCCESS), add(instance, DagsterRunStatus.STARTED)
        later = datetime.now(UTC) + timedelta(days=RUN_DAYS + 1)

        assert prune(settings, instance, now=later).runs == 1

        assert instance.get_run_by_id(finished) is None
        assert instance.get_run_by_id(stuck) is not None
