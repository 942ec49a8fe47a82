"""Whether a run is wanted, and why nothing happens in plain words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.updates import CART, WATCH, Pair, cart
from upkeep.config import Settings
from upkeep.content.watching import explain, last_run, poll_heads, wanted
from upkeep.database.events import Reason
from upkeep.database.locks import hold
from upkeep.database.state import WatchState, read_watch
from upkeep.errors import BranchGone
from upkeep.metrics import runs

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHA = "a" * 40
OTHER = "b" * 40


def with_attempts(limit: int = 3) -> Settings:
    watch = {
        "upstream": {"url": "u"},
        "target": {"url": "t", "forge": "here", "repo": "o/r"},
        "attempts": limit,
    }
    return Settings.model_validate({"watches": {WATCH: watch}})


def failed(times: int, *, ago: timedelta = timedelta(days=1)) -> WatchState:
    state = WatchState(watch=WATCH)
    for _ in range(times):
        state = state.with_attempt(SHA, "started", NOW - ago)
    return state


def test_a_head_that_was_processed_is_left_alone() -> None:
    known = WatchState(watch=WATCH, last_processed_commit=SHA)
    assert wanted(with_attempts(), WATCH, SHA, known, NOW).code == Reason.HEAD_PROCESSED
    assert wanted(with_attempts(), WATCH, OTHER, known, NOW).run


def test_attempts_back_off_and_are_capped() -> None:
    assert wanted(with_attempts(), WATCH, SHA, failed(0), NOW).attempt == 1
    early = wanted(with_attempts(), WATCH, SHA, failed(1, ago=timedelta(minutes=3)), NOW)
    assert (early.run, early.code) == (False, Reason.BACKING_OFF)
    late = wanted(with_attempts(), WATCH, SHA, failed(1, ago=timedelta(hours=3)), NOW)
    assert (late.run, late.attempt) == (True, 2)
    given_up = wanted(with_attempts(), WATCH, SHA, failed(3), NOW)
    assert (given_up.run, given_up.code) == (False, Reason.ATTEMPTS_EXHAUSTED)
    assert wanted(with_attempts(), WATCH, OTHER, failed(3), NOW).run


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 6), st.integers(1, 5), st.integers(0, 10_000))
def test_a_head_is_tried_at_most_so_often_and_never_forgotten(times: int, limit: int, minutes: int) -> None:
    verdict = wanted(with_attempts(limit), WATCH, SHA, failed(times, ago=timedelta(minutes=minutes)), NOW)
    assert verdict.run == (times < limit and (times == 0 or verdict.code != Reason.BACKING_OFF))
    assert verdict.reason
    if verdict.run:
        assert verdict.attempt == times + 1


def test_one_upstream_that_is_gone_costs_the_others_nothing(pair: Pair) -> None:
    watches = pair.settings.watches
    gone = watches[WATCH].model_copy(
        update={"upstream": watches[WATCH].upstream.model_copy(update={"url": (pair.folder / "nowhere").as_uri()})}
    )
    heads = poll_heads(pair.settings.model_copy(update={"watches": {**watches, "gone": gone}}), deadline=30)
    assert heads[WATCH].sha == pair.app.head()
    assert heads["gone"].sha is None
    assert heads["gone"].error is not None


def test_an_explanation_names_head_state_lock_and_past_runs(pair: Pair) -> None:
    fresh = explain(pair.settings, WATCH, pair.database)
    assert fresh.code == "run_wanted"
    assert any("No run of this watch is recorded" in line for line in fresh.lines)
    pair.update()
    done = explain(pair.settings, WATCH, pair.database)
    assert done.code == Reason.HEAD_PROCESSED
    assert done.last_processed_commit == pair.app.head()
    assert any("Its newest pull request" in line for line in done.lines)
    pair.push({CART: cart("cart opened")})
    with hold(pair.database, f"watch:{WATCH}", run_id="someone"):
        busy = explain(pair.settings, WATCH, pair.database)
    assert busy.code == "locked"
    assert any("locked" in line for line in busy.lines)


def test_a_run_that_was_killed_is_told_as_such_and_as_the_last_one_when_the_next_has_closed_it(pair: Pair) -> None:
    pair.update()
    pair.push({CART: cart("cart opened")})
    assert pair.killed_at("push").returncode == -9
    told = explain(pair.settings, WATCH, pair.database)
    assert told.code == Reason.BACKING_OFF
    assert any(line.startswith("A run was killed: pid") for line in told.lines)
    pair.upstream.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(BranchGone):
        pair.update()
    with pair.database.session() as session:
        ended = [(each.outcome, each.reason) for each in runs.newest(session, subject=f"watch:{WATCH}")]
        last = last_run(session, read_watch(session, WATCH))
    assert ended == [("failed", "git.branch_gone"), ("killed", "process_gone"), ("done", "created")]
    assert (last.last_run_status, last.reason) == ("failed", "git.branch_gone")


def test_an_upstream_that_cannot_be_read_is_said_with_its_remedy(pair: Pair) -> None:
    pair.upstream.git("update-ref", "-d", "refs/heads/main")
    told = explain(pair.settings, WATCH, pair.database)
    assert told.code == "git.branch_gone"
    assert any("could not be read" in line for line in told.lines)
