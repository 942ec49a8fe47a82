from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.agents import codex_events as events
from upkeep.agents.codex_events import Tokens

STREAMS = Path(__file__).with_name("streams")
VERSIONS = sorted(folder.name for folder in STREAMS.glob("[0-9]*"))
"""Of codex; the other CLIs' folders begin with their name."""


def stream(version: str, name: str) -> list[events.Event]:
    with (STREAMS / version / f"{name}.events.jsonl").open() as lines:
        return list(events.parse_events(lines))


def rollout(version: str, name: str) -> events.Rollout:
    with (STREAMS / version / f"{name}.rollout.jsonl").open() as lines:
        return events.parse_rollout(lines)


@pytest.mark.parametrize("version", VERSIONS)
class TestRecordedStreams:
    def test_a_helpful_run_tells_what_it_did_and_what_it_used(self, version: str) -> None:
        seen = stream(version, "helpful")
        assert [type(event).__name__ for event in seen] == [
            *("ThreadStarted", "Notice", "TurnStarted", "FileChange", "Command", "Command", "Message", "TurnCompleted")
        ]
        commands = [event for event in seen if isinstance(event, events.Command)]
        assert [(command.exit_code, command.status) for command in commands] == [(0, "completed"), (3, "failed")]
        assert events.FileChange(("/home/agent/work/b.txt",), "completed") in seen
        assert seen[-2:] == [events.Message('{"ok": true}'), events.TurnCompleted(Tokens(3100, 1840, 0, 150, 57))]

    def test_the_session_tells_requests_apart_and_agrees_with_the_stream(self, version: str) -> None:
        session = rollout(version, "helpful")
        assert session.cli_version == version
        assert session.requests == (
            Tokens(1000, 300, 0, 50, 20),
            Tokens(100, 40, 0, 20, 7),
            Tokens(2000, 1500, 0, 80, 30),
        )
        assert stream(version, "helpful")[-1] == events.TurnCompleted(events.add(session.requests))
        assert (session.tool_outputs, session.sandbox_failures) == (3, 0)

    def test_a_failed_turn_has_its_usage_in_the_session_only(self, version: str) -> None:
        last = stream(version, "failed")[-1]
        assert isinstance(last, events.TurnFailed)
        assert "temporary errors" in last.message
        assert rollout(version, "failed").requests == (Tokens(1000, 300, 0, 50, 20),)

    def test_reconnecting_is_told_from_the_final_error(self, version: str) -> None:
        notices = [event for event in stream(version, "unauthorized") if isinstance(event, events.Notice)]
        assert [notice.reconnecting for notice in notices] == [False, True, True, False]

    def test_silence_is_a_completed_turn_without_a_message(self, version: str) -> None:
        kinds = [type(event) for event in stream(version, "silent")]
        assert events.TurnCompleted in kinds
        assert events.Message not in kinds

    def test_a_sandbox_that_does_not_start_shows_only_in_the_session(self, version: str) -> None:
        assert isinstance(stream(version, "sandbox_broken")[-1], events.TurnCompleted)
        session = rollout(version, "sandbox_broken")
        assert (session.tool_outputs, session.sandbox_failures) == (1, 1)
        assert "codex-linux-sandbox" in session.sandbox_message


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
    assert events.parse_event(line) is None
    assert events.parse_rollout([line]) == events.Rollout()


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"input_tokens": None, "output_tokens": -1, "cached_input_tokens": "1"}]
)
def test_a_missing_number_is_zero(usage: object) -> None:
    line = json.dumps({"type": "turn.completed", "usage": usage})
    assert events.parse_event(line) == events.TurnCompleted(Tokens())


def test_a_session_cut_short_by_a_kill_is_read_up_to_there() -> None:
    record = json.dumps({"type": "token_usage_record", "payload": {"usage": {"input_tokens": 5}}})
    assert events.parse_rollout([record, record[:40]]).requests == (Tokens(input=5),)


def test_a_file_that_talks_about_sandboxes_is_no_failure() -> None:
    output = {"type": "function_call_output", "output": "Output:\ndocs/bwrap.md: how bwrap: works\n"}
    session = events.parse_rollout([json.dumps({"type": "response_item", "payload": output})])
    assert (session.tool_outputs, session.sandbox_failures) == (1, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(
    ["item.completed", "turn.completed", "turn.failed", "error", "thread.started", "session_meta", "token_usage_record"]
)
FIELDS = st.sampled_from(["item", "usage", "error", "message", "payload", "thread_id", "type"])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(kind=KINDS, fields=st.dictionaries(FIELDS, JSON, max_size=4))
def test_no_shape_of_a_known_event_breaks_the_parser(kind: str, fields: dict[str, object]) -> None:
    line = json.dumps({**fields, "type": kind})
    event = events.parse_event(line)
    if isinstance(event, events.TurnCompleted):
        assert min(event.tokens.input, event.tokens.cached, event.tokens.output, event.tokens.reasoning) >= 0
    assert events.parse_rollout([line]).sandbox_failures == 0
