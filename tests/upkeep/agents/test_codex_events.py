"""Streams recorded from the real codex, and lines that nobody expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.agents.base import Usage
from upkeep.agents.codex_events import (
    Event,
    Message,
    Notice,
    Rollout,
    TurnCompleted,
    TurnFailed,
    ending,
    parse_event,
    parse_rollout,
)
from upkeep.agents.headless import Ending
from upkeep.process import Completed, Outcome

STREAMS = Path(__file__).parent / "streams" / "codex-0.169.0"
USED = Usage(engine="codex", input_uncached=30, output=3, basis="events")


def events_of(name: str) -> list[Event]:
    lines = (STREAMS / f"{name}.jsonl").read_text().splitlines()
    return [event for line in lines if (event := parse_event(line)) is not None]


def session_of(name: str) -> Rollout:
    return parse_rollout((STREAMS / f"{name}.session.jsonl").read_text().splitlines())


def end(
    *seen: Event,
    ended: Outcome = "exited",
    status: int = 0,
    stderr: bytes = b"",
    written: str = "",
    rollout: Rollout | None = None,
) -> Ending:
    completed = Completed(("codex",), status, ended, b"", stderr, truncated=False, seconds=1.0)
    return ending(seen, completed, written=written, rollout=rollout or Rollout())


class TestRecordedStreams:
    def test_a_run_that_answers_has_the_answer_and_its_own_count(self) -> None:
        done = end(*events_of("helpful"), rollout=session_of("helpful"))
        assert (done.finished, done.error, done.incomplete, done.failure) == (True, "", False, None)
        assert json.loads(done.message) == {"ok": True}
        assert done.reported == Usage(
            engine="codex", input_uncached=1260, cache_read=1840, output=93, reasoning=57, basis="events"
        )

    @pytest.mark.parametrize(
        ("name", "words", "incomplete"),
        [
            ("failed", "temporary errors", False),
            ("unauthorized", "401 Unauthorized", False),
            ("incomplete", "max_output_tokens", True),
        ],
    )
    def test_a_turn_that_failed_says_why(self, name: str, words: str, incomplete: bool) -> None:
        done = end(*events_of(name), status=1)
        assert (done.finished, done.incomplete, done.reported) == (True, incomplete, None)
        assert words in done.error

    def test_silence_is_a_completed_turn_without_words(self) -> None:
        done = end(*events_of("silent"))
        assert (done.finished, done.message, done.error) == (True, "", "")

    def test_a_sandbox_that_does_not_start_shows_only_in_the_session(self) -> None:
        seen, session = events_of("sandbox_broken"), session_of("sandbox_broken")
        assert isinstance(seen[-1], TurnCompleted)
        assert (session.tool_outputs, session.sandbox_failures) == (1, 1)
        done = end(*seen, rollout=session)
        assert done.failure is not None
        assert (done.failure.reason, "codex-linux-sandbox" in done.failure.message) == ("agent.sandbox", True)


class TestEnding:
    def test_a_turn_that_failed_after_another_completed_is_a_failure(self) -> None:
        assert end(TurnCompleted(USED), TurnFailed("boom")).error == "boom"
        assert end(TurnFailed("")).error == "no message"

    def test_the_last_total_counts_not_the_sum(self) -> None:
        """codex reports a thread's total at each turn."""
        first = TurnCompleted(USED.model_copy(update={"input_uncached": 10}))
        assert end(first, TurnCompleted(USED)).reported == USED

    def test_the_file_wins_over_the_stream_and_the_last_message_over_the_first(self) -> None:
        seen = (Message("first"), Message("last"), TurnCompleted(USED))
        assert end(*seen, written="file\n").message == "file"
        assert end(*seen).message == "last"

    def test_an_end_without_a_final_event_tells_what_was_said(self) -> None:
        done = end(Notice("half way"), status=-9, stderr=b"killed\n")
        assert (done.finished, done.error, done.failure) == (False, "killed", None)
        assert end(Notice("half way"), status=-9).error == "half way"

    @pytest.mark.parametrize(
        "said",
        [
            b"Error loading config.toml: unknown configuration field `x` in -c/--config override",
            b"Error: Unknown feature flag: foobar",
            b"error: unexpected argument '--strict-config' found",
        ],
    )
    def test_arguments_that_a_version_does_not_take(self, said: bytes) -> None:
        failure = end(status=1, stderr=said).failure
        assert failure is not None
        assert failure.reason == "agent.version"

    def test_tools_of_which_some_ran_are_no_failure(self) -> None:
        partly = Rollout(tool_outputs=2, sandbox_failures=1, sandbox_message="bwrap: no")
        assert end(TurnCompleted(USED), rollout=partly).failure is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 100, "cached_input_tokens": 40, "cache_write_input_tokens": 10}, (50, 40, 10, 0, 0)),
        ({"output_tokens": 20, "reasoning_output_tokens": 15}, (0, 0, 0, 5, 15)),
        ({"input_tokens": 10, "cached_input_tokens": 50, "output_tokens": 1, "reasoning_output_tokens": 9}, None),
        (None, (0, 0, 0, 0, 0)),
        ({"input_tokens": None, "output_tokens": -1, "cached_input_tokens": "1"}, (0, 0, 0, 0, 0)),
    ],
)
def test_parts_of_the_usage_are_disjoint_and_never_below_zero(usage: object, expected: tuple[int, ...] | None) -> None:
    event = parse_event(json.dumps({"type": "turn.completed", "usage": usage}))
    assert isinstance(event, TurnCompleted)
    used = event.usage
    counts = (used.input_uncached, used.cache_read, used.cache_write, used.output, used.reasoning)
    assert min(counts) >= 0
    assert expected is None or counts == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no JSON",
        "[]",
        '"thread.started"',
        '{"type": "thread.renamed", "name": "x"}',
        '{"type": "item.completed", "item": {"type": "hologram"}}',
        '{"type": "item.completed", "item": null}',
        '{"type": "item.started", "item": {"type": "agent_message", "text": "not yet"}}',
        "[" * 100_000,
    ],
)
def test_what_is_unknown_is_skipped(line: str) -> None:
    assert parse_event(line) is None
    assert parse_rollout([line]) == Rollout()


def test_a_session_cut_short_by_a_kill_is_read_up_to_there() -> None:
    record = json.dumps({"type": "response_item", "payload": {"type": "function_call_output", "output": "x"}})
    assert parse_rollout([record, record[:40]]).tool_outputs == 1


def test_a_file_that_talks_about_sandboxes_is_no_failure() -> None:
    output = {"type": "function_call_output", "output": "Output:\ndocs/bwrap.md: how bwrap: works\n"}
    session = parse_rollout([json.dumps({"type": "response_item", "payload": output})])
    assert (session.tool_outputs, session.sandbox_failures) == (1, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["item.completed", "turn.completed", "turn.failed", "error", "response_item"])
FIELDS = st.sampled_from(["item", "usage", "error", "message", "payload", "thread_id", "type"])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(kind=KINDS, fields=st.dictionaries(FIELDS, JSON, max_size=4))
def test_no_shape_of_a_known_event_breaks_the_parser(kind: str, fields: dict[str, Any]) -> None:
    line = json.dumps({**fields, "type": kind})
    event = parse_event(line)
    assert end(*([] if event is None else [event])).finished == isinstance(event, TurnCompleted | TurnFailed)
    assert parse_rollout([line]).sandbox_failures == 0
