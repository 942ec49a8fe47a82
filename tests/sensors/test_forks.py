"""Whose turn it is to be looked at, and what a tick tells Dagster."""

from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetMaterialization,
    DagsterInstance,
    SensorResult,
    build_sensor_context,
)
from hypothesis import given
from hypothesis import strategies as st

from assets.early_warning import EARLY_WARNING
from assets.forks import REBASED_TRUNK
from orchestration.build import build_defs
from sensors.forks import (
    AGAIN_SECONDS,
    DEADLINE_SECONDS,
    EVERY_SECONDS,
    NAME,
    dump,
    early_warning_sensor,
    look_around,
    parse,
)
from tests.support.rebases import World, theirs
from upkeep.config import Settings
from upkeep.errors import RemoteUnavailable
from upkeep.forks.records import Behind, Forecast, Outlook

NOW = 1_800_000_000.0


class Clock:
    """A clock that stands still but for what looking costs."""

    def __init__(self) -> None:
        self.now = NOW
        self.looked: list[str] = []
        self.cost = 1.0
        self.failing: set[str] = set()

    def __call__(self) -> float:
        return self.now

    def look(self, name: str, seconds: float) -> Forecast:
        self.looked.append(name)
        self.now += self.cost
        if name in self.failing:
            raise RemoteUnavailable(f"{name} did not answer")
        outlook = Outlook(branch="main", head="b" * 40, patches=1)
        moment = "2026-01-01T00:00:00Z"
        return Forecast.model_validate(
            {"fork": name, "looked_at": moment, "trunk": "a" * 40, "behind": Behind(commits=0), "seconds": 0.1}
            | {"outlooks": [outlook]}
        )


def test_every_fork_is_looked_at_once_an_hour_the_most_overdue_first() -> None:
    clock = Clock()
    due = {"a": NOW - 5, "b": NOW - 50, "c": NOW + 60}

    done = look_around(dict.fromkeys(("a", "b", "c", "new")), due, clock.look, clock, deadline=DEADLINE_SECONDS)

    assert clock.looked == ["new", "b", "a"]
    assert done.due == {"a": NOW + 3 + EVERY_SECONDS, "b": NOW + 2 + EVERY_SECONDS, "c": NOW + 60} | {
        "new": NOW + 1 + EVERY_SECONDS
    }


def test_one_that_fails_comes_again_sooner_and_keeps_nobody_waiting() -> None:
    clock = Clock()
    clock.failing = {"a"}

    done = look_around(dict.fromkeys("ab"), {}, clock.look, clock, deadline=DEADLINE_SECONDS)

    assert [each.fork for each in done.seen] == ["b"]
    assert done.notes == ("a: a did not answer",)
    assert done.due["a"] < done.due["b"]
    assert done.due["a"] == NOW + 1 + AGAIN_SECONDS


def test_what_is_not_reached_in_time_is_first_in_the_next_tick() -> None:
    clock = Clock()
    clock.cost = 18.0
    forks = dict.fromkeys("abc")

    first = look_around(forks, {}, clock.look, clock, deadline=DEADLINE_SECONDS)
    second = look_around(forks, first.due, clock.look, clock, deadline=DEADLINE_SECONDS)

    assert clock.looked == ["a", "b", "c"]
    assert [note[:1] for note in first.notes] == ["c"]
    assert second.notes == ()


def test_a_fork_that_is_gone_is_forgotten_and_a_clock_that_was_set_back_puts_nobody_off() -> None:
    clock = Clock()

    done = look_around({"a": None}, {"a": NOW + 10 * EVERY_SECONDS, "gone": NOW}, clock.look, clock, deadline=40)

    assert clock.looked == ["a"]
    assert list(done.due) == ["a"]


@given(st.text() | st.none())
def test_no_cursor_stops_the_sensor(cursor: str | None) -> None:
    assert parse(cursor) == {} or cursor is not None
    assert parse(dump({"a": 1.0})) == {"a": 1.0}


@pytest.fixture
def settings(world: World, database_url: str) -> Settings:
    fork = {"path": str(world.work.path), "trunk": "trunk", "forge": "here", "repo": "o/fork"}
    return Settings.model_validate({"home": world.home, "database_url": database_url, "forks": {"fork": fork}})


def tick(settings: Settings, cursor: str | None = None) -> SensorResult:
    with DagsterInstance.ephemeral() as instance:
        definitions = build_defs(settings=settings)
        context = build_sensor_context(instance, cursor=cursor, repository_def=definitions.get_repository_def())
        result: Any = early_warning_sensor(settings)(context)
    assert isinstance(result, SensorResult)
    return result


def test_a_tick_shows_which_patch_will_break_without_starting_a_run(world: World, settings: Settings) -> None:
    world.commit_upstream({"a.txt": theirs(3)}, "Break it")

    done = tick(settings)

    assert not done.run_requests
    made, goes, current = done.asset_events
    assert isinstance(made, AssetMaterialization)
    assert (made.asset_key, made.partition) == (EARLY_WARNING, "fork")
    assert made.metadata["will_break_tonight"].value == 1
    assert isinstance(goes, AssetCheckEvaluation)
    assert (goes.passed, goes.severity, goes.partition) == (False, AssetCheckSeverity.WARN, "fork")
    assert goes.description == "main: patch 1 (First patch) will break"
    assert isinstance(current, AssetCheckEvaluation)
    assert (current.asset_key, current.passed) == (REBASED_TRUNK, False)  # commits of 2026-01 that nobody took over
    again = tick(settings, done.cursor)
    assert not again.asset_events
    assert again.skip_reason is not None
    assert again.skip_reason.skip_message == "no fork is due"


def test_a_tick_without_forks_says_so(settings: Settings) -> None:
    done = tick(settings.model_copy(update={"forks": {}}))

    assert done.skip_reason is not None
    assert done.skip_reason.skip_message == "no fork is configured"


def test_a_person_can_look_at_once_by_a_run(world: World, settings: Settings) -> None:
    world.commit_upstream({"a.txt": theirs(3)}, "Break it")
    definitions = build_defs(settings=settings)
    assert NAME in {sensor.name for sensor in definitions.sensors or ()}
    with DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=instance,
            partition_key="fork",
            asset_selection=[EARLY_WARNING],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("nothing_will_break", False)
    found = result.asset_value(EARLY_WARNING)
    assert isinstance(found, Forecast)
    assert found.tonight.breaks
