"""What commands, hooks and checks did, told to Dagster."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import (
    AddDynamicPartitionsRequest,
    AssetCheckEvaluation,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    DagsterRun,
    SensorResult,
    build_sensor_context,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import sync
from assets.partitions import REPOSITORIES
from sensors.events import EVENTS_PER_TICK, Told, dump_cursor, events_sensor, parse_cursor, tell
from sensors.sync_events import KEEP_TAG, translate
from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.workplans import plan, task
from upkeep.config import load
from upkeep.database import events, tables
from upkeep.database.events import EventType
from upkeep.database.server import Database, connect
from upkeep.sync import service, survey


class Telling:
    """Ticks of the sensor, one after the other, with what each told kept in a real instance."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance
        self.cursor: str | None = None
        self.told: list[Any] = []

    def tick(self) -> "Telling":
        of_database(settle)
        sensor = events_sensor(load(), {"sync": translate})
        found = sensor(build_sensor_context(self.instance, cursor=self.cursor, sensor_name=sensor.name))
        assert isinstance(found, SensorResult)
        self.told, self.cursor = found.asset_events, found.cursor
        for each in found.asset_events:
            self.instance.report_runless_asset_event(each)
        for request in found.dynamic_partitions_requests or []:
            if isinstance(request, AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(REPOSITORIES, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(REPOSITORIES, key)
        return self

    def of(self, key: AssetKey) -> list[AssetMaterialization]:
        return [each for each in self.told if isinstance(each, AssetMaterialization) and each.asset_key == key]

    def shown(self, key: AssetKey) -> dict[str, Any]:
        (only,) = self.of(key)
        return {name: value.value for name, value in only.metadata.items()}

    def checks(self) -> dict[str, bool]:
        return {each.check_name: each.passed for each in self.told if isinstance(each, AssetCheckEvaluation)}


@pytest.fixture
def telling(hub: HubTerminal) -> Any:
    with DagsterInstance.ephemeral() as instance:
        yield Telling(instance).tick()


def settle(database: Database) -> None:
    """An event is given out once no transaction of the whole server is older, and other tests use the same server."""
    until = time.monotonic() + 60
    while True:
        with database.session() as session:
            last = session.execute(sa.select(sa.func.max(tables.events.c.id))).scalar() or 0
            if events.newest(session) == last:
                return
        assert time.monotonic() < until
        time.sleep(0.05)


def of_database(work: Callable[[Database], Any]) -> Any:
    chosen = load()
    with connect(chosen.home, chosen.database_url) as database:
        return work(database)


def test_a_sync_by_command_is_a_materialization_of_its_repository_within_a_tick(
    hub: HubTerminal, telling: Telling
) -> None:
    (done,) = hub.json("sync", "sample", "--fix")["repositories"]

    telling.tick()

    assert [each.partition for each in telling.of(sync.SYNC_TIMESTAMPS)] == ["sample"]
    times = telling.shown(sync.SYNC_TIMESTAMPS)
    (listed,) = hub.json("repos", "list")
    assert (times["trigger"], times["reason"], times["head"]) == ("cli", "none", hub.sample.head())
    assert done["last_state_synced_at"] == listed["last_state_synced_at"]
    assert telling.shown(sync.WORKPLANS)["tasks"] == 2
    assert telling.checks() == {sync.CHECK_CONSISTENT: True, sync.CHECK_STALE: True}
    assert telling.shown(sync.SYNC_HEALTH)["fresh"] == 1
    assert telling.instance.get_dynamic_partitions(REPOSITORIES) == ["sample"]
    assert telling.instance.get_materialized_partitions(sync.SYNC_TIMESTAMPS) == {"sample"}


def test_an_event_is_told_once(hub: HubTerminal, telling: Telling) -> None:
    hub.out("sync", "sample")
    assert telling.tick().told
    assert telling.tick().told == []
    hub.out("sync", "sample")
    assert len(telling.tick().of(sync.SYNC_TIMESTAMPS)) == 1


def test_a_sync_with_errors_moves_only_the_attempt_and_shows_its_findings(hub: HubTerminal, telling: Telling) -> None:
    hub.write(plan("A", "active", task("A-1", "someday"), task("A-2")))
    hub.out("sync", "sample", exit_code=2)

    telling.tick()

    times = telling.shown(sync.SYNC_TIMESTAMPS)
    assert times["last_state_synced_at"] == "never"
    assert times["last_attempt_at"] > 0
    assert times["reason"].startswith("C-08 ")
    report = telling.shown(sync.CONSISTENCY_REPORT)
    assert report["errors"] == 1
    assert dict(report["findings"].records[0].data)["code"] == "C-08"
    assert telling.checks() == {sync.CHECK_CONSISTENT: False, sync.CHECK_STALE: False}


def test_ten_syncs_are_ten_materializations_and_one_health(hub: HubTerminal, telling: Telling) -> None:
    for _ in range(10):
        hub.out("sync", "sample")

    telling.tick()

    assert len(telling.of(sync.SYNC_TIMESTAMPS)) == 10
    assert len(telling.of(sync.SYNC_HEALTH)) == 1


def test_a_check_that_confirms_a_repository_materializes_its_timestamps(hub: HubTerminal, telling: Telling) -> None:
    hub.out("sync", "sample", "--fix")
    telling.tick()
    hub.out("sync", "--all")
    hub.out("sync", "--all")

    telling.tick()

    # The first of the two was overtaken: what it confirmed was confirmed again.
    (only,) = telling.of(sync.SYNC_TIMESTAMPS)
    assert (only.partition, only.metadata["trigger"].value) == ("sample", "check")
    assert (only.tags or {})[KEEP_TAG] == "newest"
    assert telling.of(sync.WORKPLANS) == []
    assert telling.shown(sync.SYNC_HEALTH)["fresh"] == 1


def test_what_a_run_did_is_told_by_the_run_alone(hub: HubTerminal, telling: Telling) -> None:
    hub.out("repos", "list")
    telling.tick()
    run = telling.instance.add_run(DagsterRun(job_name="repository_sync"))

    def synced(database: Database) -> None:
        with database.session() as session:
            from upkeep.sync import registry

            managed = registry.find(session, "sample")
        service.sync(database, managed, fix=False, trigger="sensor", run_id=run.run_id)

    of_database(synced)

    telling.tick()
    assert telling.of(sync.SYNC_TIMESTAMPS) == []
    assert len(telling.of(sync.SYNC_HEALTH)) == 1


def test_a_change_of_the_registry_materializes_it_and_makes_the_partitions_fit(
    hub: HubTerminal, telling: Telling
) -> None:
    hub.out("repos", "register", str(hub.sample.path), "--slug", "other")
    telling.tick()
    assert [dict(row.data)["repository"] for row in telling.shown(sync.REPOSITORIES)["registry"].records] == [
        "other",
        "sample",
    ]
    assert sorted(telling.instance.get_dynamic_partitions(REPOSITORIES)) == ["other", "sample"]
    hub.out("repos", "ignore", "other")
    telling.tick()
    assert telling.instance.get_dynamic_partitions(REPOSITORIES) == ["sample"]


def test_without_a_cursor_what_is_so_now_is_told_and_not_the_history(hub: HubTerminal) -> None:
    for _ in range(3):
        hub.out("sync", "sample")
    with DagsterInstance.ephemeral() as instance:
        telling = Telling(instance).tick()
        assert [each.partition for each in telling.of(sync.SYNC_TIMESTAMPS)] == ["sample"]
        assert telling.shown(sync.SYNC_TIMESTAMPS)["last_state_synced_at"] > 0
        assert telling.tick().told == []


def test_a_repository_that_cannot_be_reached_is_told(hub: HubTerminal, telling: Telling) -> None:
    hub.out("sync", "sample")
    telling.tick()
    hub.sample.path.rename(hub.sample.path.with_name("elsewhere"))
    of_database(survey.check)

    telling.tick()

    times = telling.shown(sync.SYNC_TIMESTAMPS)
    assert (times["trigger"], times["reason"][:4]) == ("check", "C-24")
    assert telling.of(sync.WORKPLANS) == []


def test_rows_of_others_and_rows_that_nobody_can_read_are_passed_over(database: Database) -> None:
    heard: list[int] = []

    def hear(session: Any, instance: Any, found: Any) -> Told:
        heard.extend(event.id for event in found or [])
        return translate(session, instance, found)

    with DagsterInstance.ephemeral() as instance:
        with database.session() as session:
            for system in ("content", "sync"):
                events.record(session, system=system, subject="repositories", type=EventType.STATE_WRITTEN, agree="x")
            events.record(session, system="sync", subject="repository:x", type=EventType.RUN_STARTED)
        settle(database)
        with database.session() as session:
            _, cursor, count = tell(session, instance, {"sync": hear}, 0)
            assert (count, len(heard)) == (1, 1)
            assert cursor == events.newest(session) > heard[0]
            assert tell(session, instance, {"sync": hear}, cursor)[2] == 0


def test_a_backlog_is_told_in_parts(database: Database) -> None:
    heard: list[int] = []

    def hear(session: Any, instance: Any, found: Any) -> Told:
        heard.extend(event.id for event in found or [])
        return Told()

    with database.session() as session:
        for _ in range(EVENTS_PER_TICK + 3):
            events.record(session, system="sync", subject="x", type=EventType.STATE_WRITTEN)
    settle(database)
    cursor: int | None = 0
    with DagsterInstance.ephemeral() as instance, database.session() as session:
        for _ in range(3):
            _, cursor, _ = tell(session, instance, {"sync": hear}, cursor)
    assert heard == sorted(set(heard))
    assert len(heard) == EVENTS_PER_TICK + 3


@settings(deadline=None, max_examples=200)
@given(
    text=st.one_of(st.none(), st.text(), st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
)
def test_any_garbage_in_the_cursor_tells_what_is_so_now(text: str | None) -> None:
    assert parse_cursor(text) is None


@pytest.mark.parametrize("after", ["-1", "true", "1.5", "null", '"3"'])
def test_a_cursor_of_another_shape_tells_what_is_so_now(after: str) -> None:
    assert parse_cursor(f'{{"v": 1, "after": {after}}}') is None
    assert parse_cursor('{"v": 2, "after": 1}') is None
    assert parse_cursor(dump_cursor(7)) == 7
