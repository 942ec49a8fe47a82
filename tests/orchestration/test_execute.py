"""One update in this process, against the instance that daemon and UI use."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus

from orchestration.execute import Update, update
from orchestration.home import open_instance
from orchestration.inprocess import PROCESS_TAG
from resources.content import open_content_desk
from resources.runs import SUBJECT_TAG
from sensors.runs import IN_FLIGHT
from tests.assets.test_content import Scripted
from tests.support.updates import WATCH, Pair
from upkeep.content.desk import Desk
from upkeep.database import events, state
from upkeep.database.events import Outcome
from upkeep.database.locks import holder_of
from upkeep.errors import ConfigError, LockError, RunCancelled
from upkeep.runs import open_run


@pytest.fixture
def ours(pair: Pair, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("UPKEEP_HOME", str(pair.settings.home))
    monkeypatch.setenv("UPKEEP_CONFIG", str(pair.config))
    monkeypatch.setenv("DAGSTER_HOME", "")
    return pair


# The signal may strike inside a scan of a folder. The garbage collector then closes its iterator, with a warning.
interrupted = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def working_with(agent: Scripted) -> Callable[..., Any]:
    @contextmanager
    def opened(*arguments: Any, **options: Any) -> Iterator[Desk]:
        with open_content_desk(*arguments, **options) as desk:
            yield replace(desk, agent=agent)

    return opened


def test_an_update_is_a_run_of_the_shared_instance_with_records_and_events(ours: Pair) -> None:
    said: list[str] = []

    done = update(ours.settings, WATCH, progress=said.append)

    assert (done.outcome, done.error) == (Outcome.DONE, None)
    assert done.published is not None
    assert done.published.pull_request is not None
    assert said[0] == "looking at the upstream of ferry"
    assert said[-1] == "publishing"
    with open_instance(ours.settings) as instance:
        run = instance.get_run_by_id(done.run_id)
        assert run is not None
        assert run.status == DagsterRunStatus.SUCCESS
        assert run.tags[SUBJECT_TAG] == "watch:ferry"
        assert PROCESS_TAG in run.tags
    with ours.database.session() as session:
        started = events.of_run(session, done.run_id)[0]
        assert started.summary["trigger"] == "cli"
        assert events.open_runs(session) == []
        assert state.read_watch(session, WATCH).last_processed_commit == ours.upstream.head("main")


def test_a_dry_run_leaves_no_run_in_the_instance_and_no_branch(ours: Pair) -> None:
    done = update(ours.settings, WATCH, dry_run=True)

    assert done.outcome == Outcome.DONE
    assert done.published is not None
    assert "Update analytics docs" in done.published.title
    assert list(ours.branches()) == ["main"]
    assert not (ours.settings.home / "dagster").exists()
    with ours.database.session() as session:
        assert events.of_run(session, done.run_id) == []


def test_a_locked_watch_is_reported_with_its_holder(ours: Pair) -> None:
    with open_run(ours.database, system="content", subject=f"watch:{WATCH}", run_id="other", trigger="cli"):
        done = update(ours.settings, WATCH)

    assert done.outcome == Outcome.LOCKED
    assert isinstance(done.error, LockError)
    assert "run other" in done.error.message
    assert done.head is None


def test_an_unknown_watch_is_refused_before_anything_starts(ours: Pair) -> None:
    with pytest.raises(ConfigError, match="ferry"):
        update(ours.settings, "fery")

    assert not (ours.settings.home / "dagster").exists()


def test_a_bug_is_shown_with_its_trace(ours: Pair) -> None:
    def stumble(folder: Path) -> None:
        raise ZeroDivisionError("a bug")

    done = update(ours.settings, WATCH, open_desk=working_with(Scripted(stumble)))

    assert done.outcome == Outcome.FAILED
    assert "ZeroDivisionError: a bug" in done.trace


def _cancel_once_it_runs(ours: Pair, began: threading.Event) -> None:
    """What the UI's button does to a run that no launcher started: its status is set, nobody is signalled."""
    assert began.wait(120)
    with open_instance(ours.settings) as instance:
        (run,) = instance.get_runs(filters=None, limit=1)
        assert run.status in IN_FLIGHT
        instance.report_run_canceling(run)


def _cancelled(ours: Pair, work: Callable[[threading.Event, Path], object]) -> Update:
    began = threading.Event()
    agent = Scripted(lambda folder: work(began, folder))
    canceller = threading.Thread(target=_cancel_once_it_runs, args=(ours, began))
    canceller.start()
    try:
        return update(ours.settings, WATCH, open_desk=working_with(agent))
    finally:
        canceller.join()


@interrupted
def test_a_run_that_is_cancelled_in_the_ui_stops_within_seconds(ours: Pair) -> None:
    def hang(began: threading.Event, folder: Path) -> None:
        began.set()
        time.sleep(3600)

    done = _cancelled(ours, hang)

    assert done.outcome == Outcome.CANCELLED
    assert isinstance(done.error, RunCancelled)
    with open_instance(ours.settings) as instance:
        assert _status(instance, done.run_id) == DagsterRunStatus.CANCELED
    with ours.database.session() as session:
        last = events.of_run(session, done.run_id)[-1]
    assert last.summary["outcome"] == Outcome.CANCELLED
    assert holder_of(ours.database, f"watch:{WATCH}") is None
    assert list(ours.branches()) == ["main"]


def _status(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


@interrupted
def test_a_run_whose_agent_swallows_the_signal_still_publishes_nothing(ours: Pair) -> None:
    def write_deafly(began: threading.Event, folder: Path) -> None:
        began.set()
        with suppress(BaseException):
            time.sleep(3600)
        shutil.rmtree(folder / "search")

    done = _cancelled(ours, write_deafly)

    assert done.outcome == Outcome.CANCELLED
    assert list(ours.branches()) == ["main"]
