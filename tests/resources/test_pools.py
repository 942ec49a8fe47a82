"""A pool of an engine binds every run, on the real instance: PostgreSQL, several processes, and one that was killed."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from dagster import DagsterInstance

from orchestration.home import open_instance
from resources.pools import pool_of, slot, turns
from tests.upkeep.agents.test_turns import Idle
from upkeep.config import Settings
from upkeep.errors import RunCancelled

POOL = pool_of("codex")
Claim = Callable[..., AbstractContextManager[None]]

HOLD = """
import sys, time
from dagster import DagsterInstance
from resources.pools import slot
from upkeep import config
with DagsterInstance.get() as instance, slot(
    instance, sys.argv[1], sys.argv[2], config.load(), holder="agent a", before=len, say=len
):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(home=tmp_path / "home", database_url=database_url)


@pytest.fixture
def instance(settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DagsterInstance]:
    """As every part of Upkeep opens it, with our own dagster.yaml."""
    for name in ("DAGSTER_HOME", "UPKEEP_HOME", "UPKEEP_CONFIG"):
        # Opening sets them for this process; this way they are as before at the end.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    with open_instance(settings) as opened:
        yield opened


@pytest.fixture
def claim(instance: DagsterInstance, settings: Settings) -> Claim:
    def make(run_id: str, *, before: Callable[[str], None] = lambda step: None, heard: list[str] | None = None):  # type: ignore[no-untyped-def]
        say = (lambda words: None) if heard is None else heard.append
        return slot(instance, POOL, run_id, settings, holder="agent a", before=before, say=say)

    return make


def claimed(instance: DagsterInstance) -> set[str]:
    return {each.run_id for each in instance.event_log_storage.get_concurrency_info(POOL).claimed_slots}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_more_work_at_once_than_the_pool_has_slots(instance: DagsterInstance, claim: Claim) -> None:
    """Six runs, two slots by default: each gets its turn, and never three at a time."""
    at_work: list[str] = []
    most = 0

    def work(run_id: str) -> None:
        nonlocal most
        with claim(run_id):
            at_work.append(run_id)
            most = max(most, len(at_work))
            time.sleep(0.2)
            at_work.remove(run_id)

    threads = [threading.Thread(target=work, args=(f"run-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
    assert claimed(instance) == set()
    assert instance.event_log_storage.get_concurrency_info(POOL).limit == 2


def test_a_number_that_a_person_set_is_kept(instance: DagsterInstance, claim: Claim) -> None:
    instance.event_log_storage.set_concurrency_slots(POOL, 1)
    heard: list[str] = []
    with claim("one"):
        second = claim("two", heard=heard)
        waiting = threading.Thread(target=second.__enter__)
        waiting.start()
        until(lambda: bool(heard))
        assert claimed(instance) == {"one"}
    waiting.join()
    assert claimed(instance) == {"two"}
    second.__exit__(None, None, None)
    assert heard == [f"waiting for one of 1 slots of the pool {POOL}"]
    assert instance.event_log_storage.get_concurrency_info(POOL).limit == 1


def test_one_that_is_cancelled_while_it_waits_holds_up_nobody(instance: DagsterInstance, claim: Claim) -> None:
    instance.event_log_storage.set_concurrency_slots(POOL, 1)

    def cancelled(step: str) -> None:
        raise RunCancelled(f"cancelled before it could {step}")

    with claim("one"):
        with pytest.raises(RunCancelled, match="let its agent work"), claim("two", before=cancelled):
            raise AssertionError("it had no slot")
        pending = instance.event_log_storage.get_concurrency_info(POOL).pending_steps
        assert [step.run_id for step in pending] == ["one"], "which has its slot"
    with claim("three"):
        assert claimed(instance) == {"three"}


def test_an_agent_that_fails_gives_its_slot_back(instance: DagsterInstance, claim: Claim) -> None:
    with pytest.raises(ZeroDivisionError), claim("one"):
        raise ZeroDivisionError
    assert claimed(instance) == set()


def test_a_run_that_was_killed_gives_its_slot_back_with_its_record(instance: DagsterInstance, claim: Claim) -> None:
    """What the daemon's monitoring does, and `upkeep up` at its start."""
    instance.event_log_storage.set_concurrency_slots(POOL, 1)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOLD, POOL, "dead"], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    assert claimed(instance) == {"dead"}
    instance.event_log_storage.free_concurrency_slots_for_run("dead")
    with claim("next"):
        assert claimed(instance) == {"next"}


def test_engines_have_pools_of_their_own(instance: DagsterInstance, settings: Settings) -> None:
    turn = turns(instance, "run", settings, before=lambda step: None, say=lambda words: None)
    with turn(Idle("a", engine="codex")), turn(Idle("b", engine="claude")):
        held = {name: instance.event_log_storage.get_concurrency_info(pool_of(name)) for name in ("codex", "claude")}
    assert {name: [slot.step_key for slot in info.claimed_slots] for name, info in held.items()} == {
        "codex": ["agent a"],
        "claude": ["agent b"],
    }


def test_a_dry_run_waits_for_nobody() -> None:
    nowhere = Settings(home=Path("/nonexistent"))
    with (
        DagsterInstance.ephemeral() as instance,
        slot(instance, POOL, "r", nowhere, holder="a", before=print, say=print),
    ):
        assert claimed_nowhere(instance)


def claimed_nowhere(instance: DagsterInstance) -> bool:
    return not instance.event_log_storage.supports_global_concurrency_limits
