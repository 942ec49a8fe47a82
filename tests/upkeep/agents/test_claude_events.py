"""Streams recorded from the real claude, and lines that nobody expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.agents.claude_events import Event, Result, Said, ending, parse_event

STREAMS = Path(__file__).parent / "streams" / "claude-2.1.197"


def events_of(name: str) -> list[Event]:
    lines = (STREAMS / f"{name}.jsonl").read_text().splitlines()
    return [event for line in lines if (event := parse_event(line)) is not None]


def test_a_run_that_answers_has_the_answer_and_its_own_count() -> None:
    done = ending(events_of("helpful"))
    assert (done.finished, done.error, done.incomplete, done.answer) == (True, "", False, {"ok": True})
    assert done.reported is not None
    usage = done.reported
    assert (usage.input_uncached, usage.cache_read, usage.cache_write, usage.output) == (1200, 1800, 0, 130)
    assert usage.cost_reported_usd == pytest.approx((1200 * 3 + 1800 * 0.3 + 130 * 15) / 1e6)


def test_words_without_an_answer_are_words() -> None:
    done = ending(events_of("said"))
    assert (done.finished, done.answer) == (True, None)
    assert "I could not find any event." in done.message


@pytest.mark.parametrize(("name", "words"), [("unauthorized", "API key"), ("incomplete", "")])
def test_an_api_error_is_one_although_its_subtype_says_success(name: str, words: str) -> None:
    events = events_of(name)
    assert isinstance(events[-1], Result)
    assert (events[-1].subtype, events[-1].error) == ("success", True)
    done = ending(events)
    assert words in done.error
    assert done.incomplete is (name == "incomplete")


def test_a_stream_that_was_cut_has_no_end() -> None:
    said = [event for event in events_of("said") if isinstance(event, Said)]
    assert ending(said).finished is False
    assert ending([]) == ending(said[:0])


def test_a_guessed_price_is_not_taken() -> None:
    line = {"type": "result", "subtype": "success", "total_cost_usd": 9, "modelUsage": {"m": {"costBasis": "unknown"}}}
    event = parse_event(json.dumps(line))
    assert isinstance(event, Result)
    assert event.usage.cost_reported_usd is None


_KEYS = st.sampled_from(["type", "message", "content", "text", "usage", "modelUsage", "result", "m", "inputTokens"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(["assistant", "result", "user", "new"]), st.dictionaries(_KEYS, _JSON, max_size=6))
@settings(deadline=None, max_examples=100)
def test_no_line_breaks_the_parser(kind: str, record: dict[str, Any]) -> None:
    event = parse_event(json.dumps({**record, "type": kind}))
    assert event is None or ending([event]).reported is None or isinstance(event, Result)


@pytest.mark.parametrize("line", ["", "{", "[]", "7", '{"type": 3}', "[" * 100_000])
def test_a_line_that_is_no_event_is_skipped(line: str) -> None:
    assert parse_event(line) is None
