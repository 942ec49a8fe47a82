"""The sensor's decisions, without a daemon."""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    SensorDefinition,
    SensorResult,
    SkipReason,
    build_sensor_context,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.runs import SUBJECT_TAG
from sensors.content import (
    NOTES_SHOWN,
    Cursor,
    Plan,
    Request,
    content_sensor,
    due_watches,
    explain_plan,
    plan_requests,
    tick_seconds,
)
from tests.support.updates import Pair
from upkeep.config import Settings
from upkeep.content.watching import Wanted
from upkeep.errors import RemoteUnavailable
from upkeep.heads import HeadResult

A, B = "a" * 40, "b" * 40
NOW = 1_800_000_000.0


def watching(**minutes: float) -> Settings:
    watch = {"upstream": {"url": "file:///x"}, "target": {"url": "file:///y", "forge": "here", "repo": "y"}}
    return Settings.model_validate({"watches": {name: {**watch, "poll_minutes": m} for name, m in minutes.items()}})


def at(sha: str) -> HeadResult:
    return HeadResult(sha, None, 0.1)


def plan(heads: Mapping[str, HeadResult], **options: Any) -> Plan:
    chosen: dict[str, Any] = {
        "in_flight": frozenset(),
        "decide": lambda name, sha: Wanted(True, 1, "new"),
        "ended": lambda name, sha, attempt: [],
        "now": NOW,
    }
    return plan_requests(options.pop("due", list(heads)), heads, **(chosen | options))


def test_a_moved_head_asks_for_one_run_whose_key_holds_head_and_attempt() -> None:
    found = plan({"app": at(A)}, decide=lambda name, sha: Wanted(True, 2, "again"))

    assert found.requests == (Request("app", A, 2, f"app@{A}#2"),)
    assert found.notes == ()


def test_a_head_that_was_dealt_with_asks_for_nothing_and_says_why() -> None:
    found = plan({"app": at(A)}, decide=lambda name, sha: Wanted(False, 0, "was processed"))

    assert found.requests == ()
    assert found.notes == ("app: was processed",)


def test_a_watch_that_cannot_be_read_costs_the_others_nothing() -> None:
    found = plan({"down": HeadResult(None, RemoteUnavailable("no route"), 0.1), "app": at(A)})

    assert [request.watch for request in found.requests] == ["app"]
    assert found.notes == ("down: could not be read: no route",)


def test_a_watch_with_a_run_in_flight_is_left_alone() -> None:
    found = plan({"app": at(A)}, in_flight=frozenset({"watch:app"}))

    assert found.requests == ()
    assert "in flight" in found.notes[0]


def test_a_watch_that_was_not_reached_is_first_in_the_next_look() -> None:
    found = plan({"one": at(A)}, due=["one", "two"])
    assert found.late == ("two",)

    cursor = Cursor.parse(Cursor(NOW, found.late).dump())
    assert due_watches(watching(one=10, two=10), cursor, NOW)[0] == "two"


def test_a_run_that_ended_before_it_began_its_work_is_asked_for_again_under_another_key() -> None:
    found = plan({"app": at(A)}, ended=lambda name, sha, attempt: [NOW - 3600])

    assert found.requests == (Request("app", A, 1, f"app@{A}#1.1"),)


def test_runs_that_keep_ending_before_their_work_are_asked_for_ever_more_slowly() -> None:
    lost = [NOW - 30.0 * index for index in range(5)]
    assert plan({"app": at(A)}, ended=lambda *_: lost).requests == ()
    assert plan({"app": at(A)}, ended=lambda *_: lost, now=NOW + 60 * 16).requests != ()


heads = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.one_of(st.sampled_from([at(A), at(B)]), st.just(HeadResult(None, RemoteUnavailable("x"), 1.0))),
)


@settings(deadline=None, max_examples=100)
@given(
    found=heads,
    due=st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True),
    busy=st.frozensets(st.sampled_from(["watch:a", "watch:b"])),
    decided=st.builds(Wanted, st.booleans(), st.integers(1, 3), st.just("because")),
    lost=st.lists(st.floats(NOW - 10_000, NOW), max_size=4),
)
def test_every_watch_that_was_due_is_asked_for_or_told_about_and_never_both(
    found: dict[str, HeadResult], due: list[str], busy: frozenset[str], decided: Wanted, lost: list[float]
) -> None:
    made = plan(found, due=due, in_flight=busy, decide=lambda *_: decided, ended=lambda *_: lost)

    asked = [request.watch for request in made.requests]
    told = [note.partition(":")[0] for note in made.notes]
    assert sorted([*asked, *told]) == sorted(due)
    assert len({request.key for request in made.requests}) == len(made.requests)
    for request in made.requests:
        assert found[request.watch].sha == request.sha
        assert f"watch:{request.watch}" not in busy
    assert set(made.late) == set(due) - set(found)


@settings(deadline=None, max_examples=200)
@given(
    text=st.one_of(st.none(), st.text(), st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
)
def test_any_garbage_in_the_cursor_means_to_look_at_everything(text: str | None) -> None:
    assert Cursor.parse(text) == Cursor()


@pytest.mark.parametrize(
    "text",
    [
        '{"v": 2, "at": 5, "late": []}',
        '{"v": 1, "at": "x", "late": []}',
        '{"v": 1, "at": NaN, "late": []}',
        '{"v": 1, "at": 1e999, "late": []}',
        '{"v": 1, "at": 5, "late": 3}',
        '{"v": 1}',
        "[" * 100_000,
    ],
)
def test_a_cursor_of_another_version_or_shape_means_to_look_at_everything(text: str) -> None:
    assert Cursor.parse(text) == Cursor()


@settings(deadline=None, max_examples=50)
@given(looked_at=st.floats(0, 1e11), late=st.lists(st.text(max_size=20), max_size=5))
def test_a_cursor_survives_being_stored(looked_at: float, late: list[str]) -> None:
    again = Cursor.parse(Cursor(looked_at, tuple(late)).dump())

    assert again.late == tuple(late)
    assert abs(again.looked_at - looked_at) <= 0.001


@settings(deadline=None, max_examples=100)
@given(minutes=st.floats(0.05, 60), start=st.floats(1e9, 2e9), name=st.text(min_size=1, max_size=10))
def test_each_watch_is_due_exactly_once_in_its_interval(minutes: float, start: float, name: str) -> None:
    chosen = watching(x=minutes)
    chosen = chosen.model_copy(update={"watches": {name: chosen.watches["x"]}})
    seconds = minutes * 60
    step = seconds / 7
    ticks = [start + step * index for index in range(1, 22)]
    looks = 0
    before = start
    for tick in ticks:
        looks += len(due_watches(chosen, Cursor(before), tick))
        before = tick
    assert looks == pytest.approx(3, abs=1)


def test_a_first_look_is_at_every_watch() -> None:
    assert sorted(due_watches(watching(a=10, b=60), Cursor(), NOW)) == ["a", "b"]


def test_watches_that_were_removed_from_the_configuration_are_forgotten() -> None:
    assert due_watches(watching(a=10), Cursor(NOW, ("gone",)), NOW) == []


def test_the_sensor_ticks_as_often_as_its_most_eager_watch_wants() -> None:
    assert tick_seconds(watching(a=10)) == 30
    assert tick_seconds(watching(a=10, b=0.1)) == 6
    assert tick_seconds(watching(a=0.001)) == 1
    assert tick_seconds(watching()) == 30


def test_what_was_looked_at_is_said_and_bounded() -> None:
    assert "no watch is configured" in explain_plan(Plan((), (), ()), watching(), [])
    assert explain_plan(Plan((), (), ()), watching(a=10), []) == "none of 1 watches is due"
    many = Plan((), tuple(f"w{index}: nothing" for index in range(NOTES_SHOWN + 5)), ())
    said = explain_plan(many, watching(a=10), ["a"])
    assert said.startswith("looked at 1 of 1 watches; w0: nothing")
    assert said.endswith("… and 5 more")


@pytest.fixture
def paired(pair: Pair, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    return pair


def look(tick: SensorDefinition, instance: DagsterInstance) -> SensorResult:
    found = tick(build_sensor_context(instance, sensor_name=tick.name))
    assert isinstance(found, SensorResult)
    return found


def test_a_tick_over_a_real_upstream_asks_once_and_changes_nothing(paired: Pair) -> None:
    tick = content_sensor(paired.settings)
    head = paired.upstream.head("main")
    with DagsterInstance.ephemeral() as instance:
        first, again = look(tick, instance), look(tick, instance)

    requests = first.run_requests or []
    assert [(request.run_key, request.partition_key) for request in requests] == [(f"ferry@{head}#1", "ferry")]
    assert requests[0].tags[SUBJECT_TAG] == "watch:ferry"
    assert [request.run_key for request in again.run_requests or []] == [f"ferry@{head}#1"]


def test_a_tick_whose_upstream_is_gone_says_so_and_keeps_its_cursor(paired: Pair) -> None:
    subprocess.run(["rm", "-r", str(paired.upstream.path)], check=True)
    tick = content_sensor(paired.settings)
    with DagsterInstance.ephemeral() as instance:
        found = look(tick, instance)

    assert not found.run_requests
    assert isinstance(found.skip_reason, SkipReason)
    assert "ferry: could not be read" in str(found.skip_reason.skip_message)
    assert Cursor.parse(found.cursor).looked_at == pytest.approx(datetime.now(UTC).timestamp(), abs=60)
