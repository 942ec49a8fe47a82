"""Dagster's instance on the embedded database, opened by processes that know nothing of each other."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from dagster import AssetKey, AssetMaterialization, DagsterInstance

from orchestration.storage import home_of_instance
from sensors.events import MANY, store_many
from tests.support.waiting import until
from upkeep.database import supervisor
from upkeep.database.server import Database, connect

ROOT = Path(__file__).resolve().parents[2]

ADD = """
import sys
from dagster import AssetKey, AssetMaterialization, DagsterInstance
with DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("racers", [sys.argv[1]])
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new home with Dagster's folder in it, as DAGSTER_HOME names it and nothing else does."""
    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    storage = {"custom": {"module": "orchestration.storage", "class": "UpkeepStorage", "config": {}}}
    settings = {"storage": storage, "telemetry": {"enabled": False}}
    (home / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    for name in ("UPKEEP_HOME", "UPKEEP_CONFIG", "UPKEEP_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return home


def tables(url: str) -> dict[str, set[str]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
    found: dict[str, set[str]] = {}
    for schema, table in rows:
        found.setdefault(schema, set()).add(table)
    return found


def serves(home: Path) -> bool:
    return supervisor.ready(home / "database" / "data")


def test_the_repositorys_own_instance_file_names_this_storage() -> None:
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert settings["storage"]["custom"] == {
        "module": "orchestration.storage",
        "class": "UpkeepStorage",
        "config": {},
    }


def test_an_instance_starts_the_server_puts_its_tables_into_its_schema_and_gives_it_back(home: Path) -> None:
    with DagsterInstance.get() as instance:
        assert instance.get_runs() == []
        instance.add_dynamic_partitions("names", ["a"])
        with connect(home) as database:
            found = tables(database.url)
    assert set(found) == {"dagster"}
    assert {"runs", "event_logs", "jobs", "dynamic_partitions", "alembic_version"} <= found["dagster"]
    assert not serves(home)
    with DagsterInstance.get() as instance:
        assert instance.get_dynamic_partitions("names") == ["a"]


def test_processes_that_open_a_new_instance_at_once_all_succeed(home: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", ADD, str(number)],
            cwd="/",
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ},
        )
        for number in range(3)
    ]
    said = [racer.communicate()[1] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0], said
    with DagsterInstance.get() as instance:
        assert sorted(instance.get_dynamic_partitions("racers")) == ["0", "1", "2"]


def test_an_instance_outlives_its_server(home: Path) -> None:
    with DagsterInstance.get() as instance:
        os.kill(int((home / supervisor.SUPERVISOR_LOCK).read_text()), signal.SIGKILL)
        until(lambda: not serves(home))
        instance.add_dynamic_partitions("names", ["a"])
        assert instance.get_dynamic_partitions("names") == ["a"]
        assert serves(home)


def test_the_server_ends_with_a_process_that_never_closed_its_instance(home: Path) -> None:
    leave = "import os; from dagster import DagsterInstance; DagsterInstance.get().get_runs(); os._exit(7)"
    done = subprocess.run([sys.executable, "-P", "-c", leave], cwd="/", check=False)
    assert done.returncode == 7
    until(lambda: not serves(home))


def test_a_database_url_is_used_instead_of_an_embedded_server(
    home: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database.url)
    with DagsterInstance.get() as instance:
        assert instance.get_runs() == []
    found = tables(database.url)
    assert "runs" in found["dagster"]
    assert "events" in found["upkeep"]
    assert not (home / "database").exists()


@pytest.mark.parametrize(
    ("value", "home"), [("/x/dagster", "/x"), ("/x/elsewhere", None), ("dagster", None), ("", None), (None, None)]
)
def test_the_home_is_the_one_that_the_instance_lies_in(
    monkeypatch: pytest.MonkeyPatch, value: str | None, home: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
    else:
        monkeypatch.setenv("DAGSTER_HOME", value)
    assert home_of_instance() == (Path(home) if home else None)


def test_materializations_stored_together_are_as_those_stored_one_by_one(home: Path) -> None:
    def report(instance: DagsterInstance, key: str, partitions: str) -> None:
        for name in partitions:
            shown = AssetMaterialization(key, partition=name, metadata={"of": name}, tags={"upkeep/keep": "newest"})
            instance.report_runless_asset_event(shown)

    def told(instance: DagsterInstance, key: str) -> list[object]:
        kept = instance.fetch_materializations(AssetKey(key), limit=10, ascending=True).records
        shown = [one.asset_materialization for one in kept]
        return [(one.partition, dict(one.metadata), one.tags) for one in shown if one is not None]

    with DagsterInstance.get() as instance:
        storage: Any = instance.event_log_storage
        report(instance, "single", "abc")
        with storage.together():
            report(instance, "many", "abc")
            assert told(instance, "many") == []
        assert told(instance, "many") == told(instance, "single")
        assert len(told(instance, "many")) == 3
        latest = instance.get_latest_materialization_event(AssetKey("many"))
        assert latest is not None
        assert latest.asset_materialization is not None
        assert latest.asset_materialization.partition == "c"
        assert instance.get_materialized_partitions(AssetKey("many")) == {"a", "b", "c"}

        with pytest.raises(ZeroDivisionError), storage.together():
            1 / (report(instance, "none", "ab") or 0)
        report(instance, "many", "d")
        assert told(instance, "none") == []
        assert len(told(instance, "many")) == 4


def test_of_a_tick_that_tells_much_the_sensor_stores_what_is_many_itself(home: Path) -> None:
    def confirmed(number: int) -> AssetMaterialization:
        return AssetMaterialization("confirmed", partition=str(number))

    def stored(instance: DagsterInstance) -> list[object]:
        return [one.partition_key for one in instance.fetch_materializations(AssetKey("confirmed"), limit=100).records]

    other = AssetMaterialization("other")
    few = [*map(confirmed, range(MANY - 1)), other]
    many = [*map(confirmed, range(MANY)), other]
    with DagsterInstance.get() as instance:
        assert store_many(instance, few) == few, "Dagster stores them from the tick's result"
        assert stored(instance) == []
        assert store_many(instance, many) == [other]
        assert sorted(stored(instance), key=str) == sorted(map(str, range(MANY)))
