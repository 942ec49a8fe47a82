"""The drift sensor's decisions, and ticks of it over real repositories."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AddDynamicPartitionsRequest,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DeleteDynamicPartitionsRequest,
    SensorDefinition,
    SensorResult,
    build_sensor_context,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.partitions import REPOSITORIES
from resources.runs import PARTITION_TAG, SUBJECT_TAG
from sensors.sync import (
    JOB,
    NOTES_SHOWN,
    ROUND_SECONDS,
    Cursor,
    Plan,
    Request,
    explain,
    plan_partitions,
    plan_syncs,
    sync_sensor,
    tags_of,
)
from tests.support.hub import FILE, HubTerminal
from tests.support.hub import hub as hub
from upkeep.config import load
from upkeep.sync import markers
from upkeep.sync.survey import Checked

NOW = 1_800_000_000.0
TRIED = datetime(2026, 11, 29, 14, tzinfo=UTC)


def planned(checked: Checked, **options: Any) -> Plan:
    chosen: dict[str, Any] = {
        "waiting": frozenset(),
        "in_flight": frozenset(),
        "ended": lambda slug, attempt: [],
        "now": NOW,
    }
    return plan_syncs(checked, **(chosen | options))


def test_drift_asks_for_one_run_whose_key_follows_from_the_last_attempt() -> None:
    plan = planned(Checked(drifted={"a": "the head moved", "b": "it was never synced"}, attempts={"a": TRIED}))

    at = TRIED.isoformat()
    assert plan.requests == (
        Request("a", at, f"a@{at}", "the head moved"),
        Request("b", "never", "b@never", "it was never synced"),
    )


def test_what_agrees_or_has_errors_as_before_or_cannot_be_reached_asks_for_nothing() -> None:
    plan = planned(Checked(agree=("a",), failing={"b": "C-08 …"}, unreachable={"c": "gone"}))

    assert plan.requests == ()
    assert plan.notes == ("b: C-08 …", "c: gone")


def test_a_commit_that_no_sync_took_asks_for_a_run() -> None:
    plan = planned(Checked(agree=("a", "b"), attempts={"b": TRIED}), waiting=frozenset({"b"}))

    assert [each.slug for each in plan.requests] == ["b"]


def test_a_run_that_recorded_no_attempt_is_asked_for_again_under_another_key_and_later() -> None:
    checked = Checked(drifted={"a": "the head moved"}, attempts={"a": TRIED})

    (again,) = planned(checked, ended=lambda slug, attempt: [NOW - 3600]).requests
    assert again.key == f"a@{TRIED.isoformat()}.1"
    waits = planned(checked, ended=lambda slug, attempt: [NOW])
    assert waits.requests == ()
    assert "in 60 s" in waits.notes[0]


def test_more_than_a_tick_may_ask_for_follows_in_the_next() -> None:
    checked = Checked(drifted={f"r{number}": "x" for number in range(5)})

    plan = planned(checked, limit=2)
    assert ([each.slug for each in plan.requests], plan.more) == (["r0", "r1"], "r1")
    assert planned(Checked(drifted={"a": "x"}, more="q")).more == "q"


SLUGS = st.sampled_from("abcdefgh")
WORDS = st.dictionaries(SLUGS, st.just("why"))


@settings(deadline=None, max_examples=150)
@given(
    groups=st.tuples(st.sets(SLUGS), WORDS, WORDS, WORDS),
    waiting=st.frozensets(SLUGS),
    busy=st.frozensets(SLUGS),
    lost=st.lists(st.floats(NOW - 10_000, NOW), max_size=4),
    limit=st.integers(1, 4),
)
def test_every_drifted_repository_is_asked_for_told_about_or_left_to_the_next_tick(
    groups: Any, waiting: frozenset[str], busy: frozenset[str], lost: list[float], limit: int
) -> None:
    agree, drifted, failing, unreachable = groups
    drifted = {slug: why for slug, why in drifted.items() if slug not in agree}
    checked = Checked(agree=tuple(agree), drifted=drifted, failing=failing, unreachable=unreachable)

    plan = planned(checked, waiting=waiting, in_flight=busy, ended=lambda *_: lost, limit=limit)

    asked = [each.slug for each in plan.requests]
    told = {note.partition(":")[0] for note in plan.notes}
    assert len(asked) == len(set(asked)) <= limit
    assert set(asked) <= (set(drifted) | (set(agree) & waiting)) - busy
    for slug in drifted:
        assert slug in asked or slug in told or (plan.more is not None and slug > plan.more)


@settings(deadline=None, max_examples=200)
@given(
    text=st.one_of(st.none(), st.text(), st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
)
def test_any_garbage_in_the_cursor_begins_a_round(text: str | None) -> None:
    assert Cursor.parse(text) == Cursor()
    assert Cursor.parse(text).at(NOW) == Cursor(NOW, "")


@pytest.mark.parametrize(
    "text",
    [
        '{"v": 2, "at": 5, "after": null}',
        '{"v": 1, "at": "x", "after": null}',
        '{"v": 1, "at": NaN, "after": null}',
        '{"v": 1, "at": 5, "after": 3}',
        '{"v": 1}',
        "[" * 100_000,
    ],
)
def test_a_cursor_of_another_version_or_shape_begins_a_round(text: str) -> None:
    assert Cursor.parse(text) == Cursor()


def test_a_round_comes_every_fifteen_minutes_and_an_incomplete_one_goes_on_at_once() -> None:
    complete = Cursor.parse(Cursor(NOW).dump())
    assert complete.at(NOW + 60) is None
    assert complete.at(NOW + ROUND_SECONDS) == Cursor(NOW + ROUND_SECONDS, "")
    assert ROUND_SECONDS + 60 == 15 * 60
    cut = Cursor(NOW, "m")
    assert Cursor.parse(cut.dump()).at(NOW + 60) == cut


def test_a_clock_that_was_set_back_begins_a_round() -> None:
    assert Cursor(NOW).at(NOW - 86_400) == Cursor(NOW - 86_400, "")


def test_partitions_become_equal_to_the_registry() -> None:
    assert plan_partitions(["a"], ["a"]) == []
    assert plan_partitions(["a", "old"], ["b", "a", "c"]) == [
        AddDynamicPartitionsRequest(REPOSITORIES, ["b", "c"]),
        DeleteDynamicPartitionsRequest(REPOSITORIES, ["old"]),
    ]


def test_what_was_looked_at_is_said_and_bounded() -> None:
    assert "no repository is managed" in explain(Checked(), Plan())
    said = explain(Checked(agree=("a",), drifted={"b": "x"}), Plan((Request("b", "never", "k", "x"),), (), "b"))
    assert said == "looked at 2: 1 agree, 1 drifted; b: x; the rest follows"
    many = Plan((), tuple(f"r{index}: x" for index in range(NOTES_SHOWN + 5)))
    assert explain(Checked(agree=("a",)), many).endswith("… and 5 more")


@pytest.fixture
def tick(hub: HubTerminal) -> Callable[..., SensorResult]:
    """One tick of the sensor, with a cursor."""

    def look(instance: DagsterInstance, cursor: str | None = None) -> SensorResult:
        sensor: SensorDefinition = sync_sensor(load())
        found = sensor(build_sensor_context(instance, cursor=cursor, sensor_name=sensor.name))
        assert isinstance(found, SensorResult)
        return found

    return look


def test_a_tick_asks_for_the_repository_that_was_never_synced_and_for_its_partition(
    hub: HubTerminal, tick: Callable[..., SensorResult]
) -> None:
    with DagsterInstance.ephemeral() as instance:
        found, again = tick(instance), tick(instance)

    for each in (found, again):
        (request,) = each.run_requests or []
        assert (request.run_key, request.partition_key) == ("sample@never", "sample")
        assert request.tags[SUBJECT_TAG] == "repository:sample"
        assert each.dynamic_partitions_requests == [AddDynamicPartitionsRequest(REPOSITORIES, ["sample"])]


def test_a_tick_over_repositories_that_did_not_change_asks_for_nothing_and_keeps_them_fresh(
    hub: HubTerminal, tick: Callable[..., SensorResult]
) -> None:
    hub.out("sync", "sample", "--fix")
    before = hub.json("repos", "list")[0]["last_state_synced_at"]
    with DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(REPOSITORIES, ["sample"])
        found = tick(instance)
        soon = tick(instance, found.cursor)
        hub.write(hub.read() + "\nmore\n")
        later = tick(instance, Cursor(1.0).dump())

    assert not found.run_requests
    assert found.dynamic_partitions_requests == []
    assert str(found.skip_reason and found.skip_reason.skip_message) == "looked at 1: 1 agree"
    assert hub.json("repos", "list")[0]["last_state_synced_at"] > before
    assert "is due in" in str(soon.skip_reason and soon.skip_reason.skip_message)
    assert [each.partition_key for each in later.run_requests or []] == ["sample"]


def test_a_run_in_flight_is_not_asked_for_again(hub: HubTerminal, tick: Callable[..., SensorResult]) -> None:
    with DagsterInstance.ephemeral() as instance:
        tags = {PARTITION_TAG: "sample", **tags_of("sample", "never")}
        instance.add_run(DagsterRun(job_name=JOB, status=DagsterRunStatus.STARTED, tags=tags))
        found = tick(instance)

    assert not found.run_requests
    assert "a run is in flight" in str(found.skip_reason and found.skip_reason.skip_message)


def test_a_repository_that_is_gone_gets_its_finding_and_no_run(
    hub: HubTerminal, tick: Callable[..., SensorResult]
) -> None:
    hub.out("sync", "sample", "--fix")
    hub.sample.path.rename(hub.sample.path.with_name("elsewhere"))
    with DagsterInstance.ephemeral() as instance:
        found = tick(instance)

    assert not found.run_requests
    assert "1 cannot be reached" in str(found.skip_reason and found.skip_reason.skip_message)
    assert hub.json("repos", "list")[0]["last_attempt_reason"].startswith("C-24 ")


def test_a_marker_that_nobody_took_asks_for_a_run(hub: HubTerminal, tick: Callable[..., SensorResult]) -> None:
    import os

    hub.out("sync", "sample", "--fix")
    marker = markers.prepare(hub.home, "sample") / "4711"
    marker.touch()
    with DagsterInstance.ephemeral() as instance:
        assert not tick(instance).run_requests
        os.utime(marker, (1, 1))
        assert [each.partition_key for each in tick(instance).run_requests or []] == ["sample"]


def test_the_registry_follows_the_file_as_it_is_now_and_survives_one_that_is_broken(
    hub: HubTerminal, tick: Callable[..., SensorResult], tmp_path: Path
) -> None:
    file = tmp_path / "upkeep.yaml"
    text = file.read_text()
    sensor = sync_sensor(load())
    file.write_text(text + f"  later: {{path: {hub.sample.path}}}\n")
    with DagsterInstance.ephemeral() as instance:
        found = sensor(build_sensor_context(instance, sensor_name=sensor.name))
        assert isinstance(found, SensorResult)
        assert sorted(each.partition_key or "" for each in found.run_requests or []) == ["later", "sample"]
        file.write_text(text + "nonsense: 1\n")
        found = sensor(build_sensor_context(instance, sensor_name=sensor.name))
        assert isinstance(found, SensorResult)
        assert sorted(each.partition_key or "" for each in found.run_requests or []) == ["later", "sample"]
    assert FILE in hub.sample.files()
