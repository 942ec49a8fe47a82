"""What is recorded for each watch, and the event that goes with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import JSONB

from upkeep.database import events, state
from upkeep.database.events import EventType, Outcome
from upkeep.database.server import Database
from upkeep.database.state import WatchState
from upkeep.database.tables import watches
from upkeep.errors import StateCorrupt

HEAD = "a" * 40
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def test_a_watch_that_never_ran_has_an_empty_state(database: Database) -> None:
    with database.session() as session:
        assert state.read_watch(session, "new") == WatchState(watch="new")
        assert state.all_watches(session) == []


def test_a_state_comes_back_as_it_was_written(database: Database) -> None:
    written = WatchState(
        watch="a",
        last_processed_commit=HEAD,
        last_run_at=MOMENT,
        last_run_status=Outcome.DONE,
        last_pr_url="https://forge/1",
        reason="not_relevant",
    ).with_attempt("b" * 40, "agent.failed", MOMENT)
    for _ in range(2):
        with database.session() as session:
            state.write_watch(session, written)
        with database.session() as session:
            assert state.read_watch(session, "a") == written
            assert state.all_watches(session) == [written]


def test_state_and_event_are_written_together_or_not_at_all(database: Database) -> None:
    done = WatchState(watch="a", last_processed_commit=HEAD)
    with database.session() as session:
        state.write_watch(session, done)
        session.rollback()
    with database.session() as session:
        assert state.read_watch(session, "a") == WatchState(watch="a")
        assert events.of_subject(session, "content", "watch:a") == []
    with database.session() as session:
        state.write_watch(session, done, run_id="r", event=EventType.STATE_REBUILT, source="forge")
    with database.session() as session:
        (event,) = events.of_run(session, "r")
    assert event.type == "state.rebuilt"
    assert event.summary == {"changes": {"last_processed_commit": HEAD}, "source": "forge"}


def test_an_event_tells_only_what_changed(database: Database) -> None:
    first = WatchState(watch="a", last_processed_commit=HEAD, last_pr_url="https://forge/1")
    with database.session() as session:
        state.write_watch(session, first)
    with database.session() as session:
        state.write_watch(session, first.model_copy(update={"last_processed_commit": "b" * 40, "last_pr_url": None}))
    with database.session() as session:
        newest = events.of_subject(session, "content", "watch:a")[0]
    assert newest.summary["changes"] == {"last_processed_commit": "b" * 40, "last_pr_url": None}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("last_processed_commit", "HEAD"),
        ("last_run_status", "fine"),
        ("attempts", [["a", {"count": "many"}]]),
        ("attempts", 3),
        ("attempts", {"a": 1}),
    ],
)
def test_a_state_that_makes_no_sense_says_how_to_get_it_back(database: Database, column: str, value: object) -> None:
    stored = sa.cast(sa.literal(value, JSONB), JSONB) if column == "attempts" else value
    with database.session() as session:
        session.execute(sa.insert(watches).values({"watch": "a", column: stored}))
    with database.session() as session, pytest.raises(StateCorrupt, match=column) as corrupt:
        state.read_watch(session, "a")
    assert "`upkeep state rebuild a`" in corrupt.value.remedy
    with database.session() as session:
        state.write_watch(session, WatchState(watch="a", last_processed_commit=HEAD), event=EventType.STATE_REBUILT)
        assert state.read_watch(session, "a").last_processed_commit == HEAD


def test_attempts_count_for_their_head_alone_and_are_spaced_out() -> None:
    fresh = WatchState(watch="a")
    assert (fresh.attempts_at(HEAD), fresh.next_attempt_at(HEAD)) == (0, None)
    once = fresh.with_attempt(HEAD, "agent.failed", MOMENT)
    twice = once.with_attempt(HEAD, "content.invalid", MOMENT)
    thrice = twice.with_attempt(HEAD, "content.invalid", MOMENT)
    assert [each.attempts_at(HEAD) for each in (once, twice, thrice)] == [1, 2, 3]
    assert once.next_attempt_at(HEAD) == MOMENT + timedelta(minutes=10)
    assert twice.next_attempt_at(HEAD) == thrice.next_attempt_at(HEAD) == MOMENT + timedelta(minutes=40)
    assert thrice.attempts_at("b" * 40) == 0
    assert thrice.without_attempts(HEAD) == fresh


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=80))
def test_only_the_newest_heads_are_remembered(heads: list[int]) -> None:
    recorded = WatchState(watch="a")
    for head in heads:
        recorded = recorded.with_attempt(str(head), "x", MOMENT)
    newest_first = list(dict.fromkeys(reversed(heads)))[: state.HEADS_KEPT]
    assert list(recorded.attempts) == [str(head) for head in reversed(newest_first)]
