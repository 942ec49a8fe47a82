"""One rebase in this process, against the instance that daemon and UI use."""

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterRunStatus

from orchestration.home import open_instance
from orchestration.inprocess import PROCESS_TAG
from orchestration.rebase import rebase
from resources.runs import SUBJECT_TAG
from tests.support.rebases import World, theirs
from tests.support.tools import tool
from upkeep.config import Settings
from upkeep.database import events
from upkeep.database.locks import holder_of
from upkeep.database.server import connect
from upkeep.forks.outcomes import Outcome


@pytest.fixture
def settings(world: World, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("UPKEEP_HOME", str(world.home))
    monkeypatch.setenv("DAGSTER_HOME", "")
    fork = {"path": str(world.work.path), "trunk": "trunk", "forge": "here", "repo": "o/fork", "gates": ["true"]}
    return Settings.model_validate({"home": world.home, "database_url": database_url, "forks": {"fork": fork}})


def test_a_rebase_is_a_run_of_the_shared_instance_with_records_and_events(world: World, settings: Settings) -> None:
    tool("bwrap")
    world.commit_upstream({"a.txt": theirs()})
    said: list[str] = []

    report = rebase(settings, "fork", progress=said.append)

    assert report.outcome is Outcome.REBASED
    assert said[:3] == ["lock", "snapshot", "verify"]
    assert "gate on tip: true" in said
    only: list[str] = []
    assert rebase(settings, "fork", verify_only=True, progress=only.append).outcome is Outcome.NO_CHANGE
    assert only == ["lock", "snapshot", "verify"]
    with open_instance(settings) as instance:
        run = instance.get_run_by_id(report.run_id)
        assert run is not None
        assert run.status == DagsterRunStatus.SUCCESS
        assert run.tags[SUBJECT_TAG] == "fork:fork"
        assert PROCESS_TAG in run.tags
    with connect(settings.home, settings.database_url) as database, database.session() as session:
        assert events.of_run(session, report.run_id)[0].summary["trigger"] == "cli"
        assert events.open_runs(session) == []


def test_days_that_the_machine_slept_through_are_made_up_for_once(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert instance.scheduler.max_catchup_runs == 1  # type: ignore[union-attr]


def test_a_bug_is_told_with_its_trace_and_ends_in_a_report(world: World, settings: Settings) -> None:
    def stumble(gates: object) -> None:
        raise ZeroDivisionError("a bug")

    world.commit_upstream({"a.txt": theirs()})
    said: list[str] = []

    report = rebase(settings, "fork", ask=stumble, progress=said.append)

    assert (report.outcome, report.error and report.error["code"]) == (Outcome.FAILED, "unexpected")
    assert "ZeroDivisionError: a bug" in said[-1]


def cancelled(settings: Settings, hang: Any) -> Any:
    """A rebase whose question about its gates hangs until a person cancels the run in the UI."""
    began = threading.Event()

    def press_the_button() -> None:
        assert began.wait(60)
        with open_instance(settings) as instance:
            (run,) = instance.get_runs(limit=1)
            instance.report_run_canceling(run)

    def ask(gates: object) -> None:
        began.set()
        hang()

    button = threading.Thread(target=press_the_button)
    button.start()
    try:
        return rebase(settings, "fork", ask=ask)
    finally:
        button.join()


def wait_long() -> None:
    time.sleep(120)


def wait_deafly() -> None:
    with suppress(BaseException):
        time.sleep(120)


@pytest.mark.parametrize("hang", [wait_long, wait_deafly])
def test_a_run_that_is_cancelled_in_the_ui_stops_and_pushes_nothing(
    world: World, settings: Settings, hang: Any
) -> None:
    world.commit_upstream({"a.txt": theirs()})
    before = world.everything()

    report = cancelled(settings, hang)

    assert (report.outcome, report.exit_code) == (Outcome.CANCELLED, 1)
    assert report.seconds < 60
    assert world.everything() == before
    assert list(Path(settings.home).glob(f"reports/rebase/fork/*/{report.run_id}/report.json"))
    with open_instance(settings) as instance:
        run = instance.get_run_by_id(report.run_id)
        assert run is not None
        assert run.status == DagsterRunStatus.CANCELED
    with connect(settings.home, settings.database_url) as database:
        assert holder_of(database, "fork:fork") is None
        with database.session() as session:
            assert events.of_run(session, report.run_id)[-1].summary["outcome"] == "cancelled"
    assert not (settings.home / "forks/fork/lock").exists()
