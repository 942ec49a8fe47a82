"""One writer a subject: who gets the lock, who does not, and who notices that it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tests.support.waiting import until
from upkeep.database import events, locks
from upkeep.database.events import EventType
from upkeep.database.server import Database
from upkeep.database.tables import locks as table
from upkeep.errors import LockError, LockLost

SUBJECT = "watch:chalo"

HOLDER = """
import sys, time
from pathlib import Path
from upkeep.database.locks import hold
from upkeep.database.server import connect
with connect(Path("/nonexistent"), sys.argv[1]) as database, hold(database, sys.argv[2], run_id="other") as lock:
    print(lock.epoch, flush=True)
    time.sleep(600)
"""


@contextmanager
def another_process_holds(url: str, subject: str = SUBJECT) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, url, subject], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def takeovers(database: Database) -> list[events.Event]:
    with database.session() as session:
        return [event for event in events.of_subject(session, "content", SUBJECT) if event.type == "lock.taken_over"]


def plant(database: Database, **values: Any) -> None:
    """A row that a holder left whose advisory lock is gone."""
    now = locks.here()
    row = {"host": now.host, "boot": now.boot, "pid": now.pid, "process_start": now.process_start, "epoch": 1_000_000}
    with database.session() as session:
        session.execute(sa.insert(table).values(subject=SUBJECT, run_id="old", **{**row, **values}))


def drop_connection(database: Database) -> None:
    """What a restarting server does to the connection of a lock."""
    with database.session() as session:
        found = session.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name LIKE 'upkeep lock%' AND datname = current_database()"
            )
        )
        assert found.scalars().all() == [True]


def test_a_lock_is_held_shown_and_given_back(database: Database) -> None:
    with locks.hold(database, SUBJECT, run_id="r1", snapshot={"head": "abc"}) as lock:
        lock.check()
        shown = locks.holder_of(database, SUBJECT)
        assert shown is not None
        assert (shown.pid, shown.epoch) == (os.getpid(), lock.epoch)
        assert (shown.run_id, shown.snapshot) == ("r1", {"head": "abc"})
    assert locks.holder_of(database, SUBJECT) is None
    with pytest.raises(LockLost):
        lock.check()
    with locks.hold(database, SUBJECT) as again:
        assert again.epoch > lock.epoch
    assert takeovers(database) == []


def test_two_subjects_do_not_wait_for_each_other(database: Database) -> None:
    with locks.hold(database, SUBJECT) as first, locks.hold(database, "watch:other") as second:
        first.check()
        second.check()


@pytest.mark.parametrize("force", [False, True])
def test_a_living_holder_is_named_and_never_overridden(database: Database, database_url: str, force: bool) -> None:
    with another_process_holds(database_url) as process:
        with pytest.raises(LockError) as refused, locks.hold(database, SUBJECT, force=force):
            pytest.fail("the lock was given twice")
        assert refused.value.exit_code == 15
        assert f"pid {process.pid} on {locks.here().host} since " in refused.value.message
        assert "(run other)" in refused.value.message
        assert not isinstance(refused.value, LockLost)


def test_a_lock_is_free_when_its_holder_was_killed_and_the_takeover_is_recorded(
    database: Database, database_url: str
) -> None:
    with database.session() as session:
        started = {"system": "content", "subject": SUBJECT, "type": EventType.RUN_STARTED}
        events.record(session, run_id="other", trigger="cli", **started)
    with another_process_holds(database_url) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with locks.hold(database, SUBJECT, run_id="next") as lock:
            lock.check()
    with database.session() as session:
        ended = events.of_run(session, "other")[-1]
    assert (ended.type, ended.summary) == ("run.ended", {"outcome": "killed", "reason": "process_gone"})
    (event,) = takeovers(database)
    assert event.run_id == "next"
    assert event.summary["forced"] is False
    assert event.summary["holder"]["pid"] == process.pid


def test_a_stopped_holder_is_alive(database: Database, database_url: str) -> None:
    with another_process_holds(database_url) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(LockError), locks.hold(database, SUBJECT):
            pytest.fail("the lock was given twice")


def test_a_holder_that_lost_its_connection_but_lives_is_not_overridden(database: Database, database_url: str) -> None:
    with another_process_holds(database_url) as process:
        drop_connection(database)
        with pytest.raises(LockError, match=f"pid {process.pid}"), locks.hold(database, SUBJECT, force=True):
            pytest.fail("the lock was given twice")


def test_a_lost_connection_loses_the_lock_and_leaves_it_free(database: Database) -> None:
    with locks.hold(database, SUBJECT) as lock:
        drop_connection(database)
        with pytest.raises(LockLost, match="connection") as lost:
            lock.check()
        assert lost.value.exit_code == 15
        with pytest.raises(LockLost), database.session() as session:
            lock.fence(session)
    with locks.hold(database, SUBJECT):
        assert takeovers(database) == []


def test_a_taken_over_lock_is_lost_to_its_former_holder(database: Database) -> None:
    with locks.hold(database, SUBJECT) as lock:
        with database.session() as session:
            session.execute(sa.update(table).values(epoch=table.c.epoch + 1))
        with pytest.raises(LockLost, match="taken over"):
            lock.check()
    assert locks.holder_of(database, SUBJECT) is not None, "the new holder's row is not ours to remove"


def test_nobody_takes_over_between_the_fence_and_the_end_of_its_transaction(database: Database) -> None:
    with locks.hold(database, SUBJECT) as lock, database.session() as session:
        lock.fence(session)
        with database.engine.begin() as other:
            other.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(OperationalError, match="lock timeout"):
                other.execute(sa.update(table).values(epoch=0))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"process_start": 1}, id="number of the process given to another"),
        pytest.param({"pid": 2**22 + 1}, id="no such process"),
        pytest.param({"boot": "before/" + locks.here().boot.partition("/")[2]}, id="earlier boot"),
        pytest.param({}, id="an earlier run of this very process"),
    ],
)
def test_a_holder_proven_dead_is_taken_over_without_force(database: Database, values: dict[str, Any]) -> None:
    plant(database, **values)
    with locks.hold(database, SUBJECT) as lock:
        lock.check()
    assert [event.summary["forced"] for event in takeovers(database)] == [False]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"host": "elsewhere", "pid": 2**22 + 1}, id="another host"),
        pytest.param({"boot": locks.here().boot.partition("/")[0] + "/1"}, id="another pid namespace"),
    ],
)
def test_what_cannot_be_proven_dead_needs_six_silent_hours_and_force(
    database: Database, values: dict[str, Any]
) -> None:
    plant(database, **values)
    with pytest.raises(LockError, match="is being worked on") as early, locks.hold(database, SUBJECT, force=True):
        pytest.fail("it showed signs of life just now")
    assert "use --force in 5 h 59 min" in early.value.remedy
    with database.session() as session:
        session.execute(sa.update(table).values(heartbeat_at=sa.text("now() - interval '6 hours 1 minute'")))
    with pytest.raises(LockError) as silent, locks.hold(database, SUBJECT):
        pytest.fail("nobody said force")
    assert "FORCE_STALE_LOCK=1" in silent.value.remedy
    with locks.hold(database, SUBJECT, force=True) as lock:
        lock.check()
    assert [event.summary["forced"] for event in takeovers(database)] == [True]


def test_force_does_nothing_where_nobody_holds_the_lock(database: Database) -> None:
    with locks.hold(database, SUBJECT, force=True) as lock:
        lock.check()
    assert takeovers(database) == []


def test_a_holder_gives_signs_of_life(database: Database) -> None:
    with locks.hold(database, SUBJECT, heartbeat_seconds=0.01) as lock:
        until(lambda: (found := locks.holder_of(database, SUBJECT)) and found.heartbeat_at > lock.holder.heartbeat_at)


def test_a_failed_run_gives_its_lock_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), locks.hold(database, SUBJECT):
        raise ZeroDivisionError
    assert locks.holder_of(database, SUBJECT) is None


def test_of_many_that_start_at_once_one_gets_the_lock(database_url: str) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER.replace("time.sleep(600)", "sys.stdin.read()"), database_url, SUBJECT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    winners = []
    try:
        until(lambda: sum(racer.poll() is not None for racer in racers) == 3)
        winners = [racer for racer in racers if racer.poll() is None]
    finally:
        said = [racer.communicate()[1] for racer in racers]
    assert len(winners) == 1
    assert sum("is being worked on by" in text for text in said) == 3


def test_a_holder_that_is_alive_is_not_proven_dead() -> None:
    now = locks.here()
    parent = os.getppid()
    holder = locks.Holder(1, now.host, now.boot, parent, 0, None, {}, *[locks.datetime.now(locks.UTC)] * 2)
    assert locks.proven_dead(holder, now)
    alive = replace(holder, process_start=locks.reaper.start_time(parent) or 0)
    assert not locks.proven_dead(alive, now)
