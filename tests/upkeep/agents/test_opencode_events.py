"""Streams recorded from the real opencode, and lines that nobody expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.agents.opencode_events import Event, Failed, Step, ending, ends, parse_event

STREAMS = Path(__file__).parent / "streams" / "opencode-1.18.33"


def events_of(name: str) -> list[Event]:
    lines = (STREAMS / f"{name}.jsonl").read_text().splitlines()
    return [event for line in lines if (event := parse_event(line)) is not None]


def test_a_run_that_answers_has_the_answer_and_its_own_count() -> None:
    events = events_of("helpful")
    assert [ends(event) for event in events] == [False, False, True]
    done = ending(events, exited=True)
    assert (done.finished, done.error, done.incomplete) == (True, "", False)
    assert json.loads(done.message) == {"ok": True}
    assert done.reported is not None
    usage = done.reported
    assert (usage.requests, usage.input_uncached, usage.cache_read) == (2, 1200, 1800)
    assert (usage.output, usage.reasoning) == (80, 50)


def test_a_refusal_of_the_provider_ends_the_run() -> None:
    events = events_of("unauthorized")
    assert isinstance(events[-1], Failed)
    assert "Incorrect API key" in ending(events, exited=False).error
    assert ending(events, exited=True).reported is None


def test_an_answer_that_was_cut_is_told() -> None:
    assert ending(events_of("incomplete"), exited=True).incomplete


def test_a_last_line_that_was_lost_is_no_failure_of_a_run_that_ended_well() -> None:
    events = events_of("said")
    assert isinstance(events[-1], Step)
    done = ending(events[:-1], exited=True)
    assert (done.finished, done.message, done.reported) == (True, "I could not find any event.", None)
    assert ending(events[:-1], exited=False).finished is False
    assert ending([], exited=True).finished is False


_NAMES = ["type", "part", "text", "reason", "tokens", "cache", "input", "cost", "error", "data", "message"]
_KEYS = st.sampled_from(_NAMES)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(["text", "step_finish", "error", "new"]), st.dictionaries(_KEYS, _JSON, max_size=6))
@settings(deadline=None, max_examples=100)
def test_no_line_breaks_the_parser(kind: str, record: dict[str, Any]) -> None:
    event = parse_event(json.dumps({**record, "type": kind}))
    assert (event is None) == (kind == "new")
    if event is not None:
        ending([event], exited=True)


@pytest.mark.parametrize("line", ["", "{", "[]", "7", '{"type": 3}', "[" * 100_000])
def test_a_line_that_is_no_event_is_skipped(line: str) -> None:
    assert parse_event(line) is None
