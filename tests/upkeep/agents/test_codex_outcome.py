from __future__ import annotations

import json

import pytest

from upkeep.agents import codex_outcome as outcome
from upkeep.agents.codex_events import Event, Message, Notice, Rollout, Tokens, TurnCompleted, TurnFailed
from upkeep.agents.codex_outcome import Remains
from upkeep.errors import AgentError
from upkeep.process import Completed, Outcome

SCHEMA = {"type": "object", "properties": {"ok": {}, "why": {}}, "required": ["ok", "why"]}


def remains(
    *seen: Event, ended: Outcome = "exited", status: int = 0, stderr: bytes = b"", rollout: Rollout | None = None
) -> Remains:
    completed = Completed(("codex",), status, ended, b"", stderr, truncated=False, seconds=1.0)
    return Remains(completed, seen, rollout or Rollout())


def failure(what: Remains) -> AgentError | None:
    return outcome.failure(what, agent="writer", timeout_minutes=30, idle_minutes=5)


class TestFailure:
    def test_a_completed_turn_is_none_however_the_process_ended(self) -> None:
        for ended in ("exited", "final", "deadline", "idle"):
            assert failure(remains(TurnCompleted(Tokens()), ended=ended)) is None  # type: ignore[arg-type]

    def test_a_turn_that_failed_after_another_completed_is_one(self) -> None:
        error = failure(remains(TurnCompleted(Tokens()), TurnFailed("boom")))
        assert error is not None
        assert "boom" in error.message

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ("unexpected status 401 Unauthorized: bad key, url: http://x/v1/responses", "agent.authentication"),
            ("exceeded retry limit, last status: 429 Too Many Requests", "agent.rate_limited"),
            ("unexpected status 402 Payment Required", "agent.quota"),
            ("You exceeded your current quota, please check your plan and billing details", "agent.quota"),
            ("We’re currently experiencing high demand, which may cause temporary errors.", "agent.unavailable"),
            ("unexpected status 503 Service Unavailable", "agent.unavailable"),
            ("Connection failed: error sending request", "agent.unavailable"),
            ("stream disconnected before completion", "agent.unavailable"),
            ("Incomplete response returned, reason: max_output_tokens", "agent.incomplete"),
            ("something new", "agent.failed"),
        ],
    )
    def test_messages_of_the_cli_have_stable_codes(self, message: str, code: str) -> None:
        error = failure(remains(TurnFailed(message), status=1))
        assert error is not None
        assert (error.reason, bool(error.remedy)) == (code, True)
        assert "{agent}" not in error.remedy

    def test_an_end_without_a_final_event_tells_what_was_said(self) -> None:
        error = failure(remains(Notice("half way"), status=-9, stderr=b"killed\n"))
        assert error is not None
        assert "status -9" in error.message
        assert "killed" in error.message

    @pytest.mark.parametrize(
        "said",
        [
            b"Error loading config.toml: unknown configuration field `x` in -c/--config override",
            b"Error: Unknown feature flag: foobar",
            b"error: unexpected argument '--strict-config' found",
        ],
    )
    def test_arguments_that_a_version_does_not_take(self, said: bytes) -> None:
        error = failure(remains(status=1, stderr=said))
        assert error is not None
        assert error.reason == "agent.version"

    def test_tools_that_never_ran(self) -> None:
        partly = Rollout(tool_outputs=2, sandbox_failures=1, sandbox_message="bwrap: no")
        wholly = Rollout(tool_outputs=2, sandbox_failures=2, sandbox_message="bwrap: no")
        assert failure(remains(TurnCompleted(Tokens()), rollout=partly)) is None
        error = failure(remains(TurnCompleted(Tokens()), rollout=wholly))
        assert error is not None
        assert error.reason == "agent.sandbox"


class TestAnswer:
    def test_the_file_wins_over_the_stream_and_the_last_message_over_the_first(self) -> None:
        seen = (Message("first"), Message("last"))
        assert outcome.answer_text("file\n", seen) == "file"
        assert outcome.answer_text("", seen) == "last"
        assert outcome.answer_text("", ()) == ""

    def test_an_object_with_what_is_required_is_an_answer(self) -> None:
        value = {"ok": True, "why": "", "more": 1}
        assert outcome.as_answer(json.dumps(value), SCHEMA) == value

    @pytest.mark.parametrize("text", ["", "done", "[]", "null", '{"ok": true}', '{"ok": true, "why', "[" * 100_000])
    def test_anything_else_is_none(self, text: str) -> None:
        assert outcome.as_answer(text, SCHEMA) is None


class TestUsage:
    def usage(self, what: Remains, model: str = "gpt-5.2") -> dict[str, object]:
        return outcome.usage(what, model=model, version="1.2.3").model_dump()

    def test_the_last_total_counts_not_the_sum(self) -> None:
        """codex reports a thread's total at each turn."""
        used = self.usage(remains(TurnCompleted(Tokens(10, output=1)), TurnCompleted(Tokens(30, output=3))))
        assert (used["input_uncached"], used["output"], used["basis"], used["complete"]) == (30, 3, "events", True)

    def test_parts_are_disjoint(self) -> None:
        used = self.usage(remains(TurnCompleted(Tokens(100, cached=40, cache_write=10, output=20, reasoning=15))))
        assert [used[key] for key in ("input_uncached", "cache_read", "cache_write", "output", "reasoning")] == [
            *(50, 40, 10, 5, 15)
        ]

    def test_a_difference_between_the_sources_is_told(self) -> None:
        rollout = Rollout(requests=(Tokens(10), Tokens(10)))
        assert self.usage(remains(TurnCompleted(Tokens(20)), rollout=rollout))["complete"] is True
        assert self.usage(remains(TurnCompleted(Tokens(30)), rollout=rollout))["complete"] is False

    def test_each_request_is_priced_by_itself(self) -> None:
        """gpt-5.4 costs more for prompts above 272,000 tokens; two prompts of 200,000 are not one of 400,000."""
        halves = Rollout(requests=(Tokens(200_000), Tokens(200_000)))
        apart = self.usage(remains(TurnCompleted(Tokens(400_000)), rollout=halves), model="gpt-5.4")
        together = self.usage(remains(TurnCompleted(Tokens(400_000))), model="gpt-5.4")
        assert apart["cost_priced_usd"] == pytest.approx(1.0)
        assert together["cost_priced_usd"] == pytest.approx(2.0)

    def test_nothing_answered_is_nothing_used(self) -> None:
        used = self.usage(remains(TurnFailed("boom")))
        assert (used["requests"], used["basis"], used["complete"], used["cost_priced_usd"]) == (0, "none", False, 0.0)

    def test_absurd_numbers_of_a_provider_never_go_below_zero(self) -> None:
        used = self.usage(remains(TurnCompleted(Tokens(10, cached=50, output=1, reasoning=9))))
        assert (used["input_uncached"], used["output"]) == (0, 0)
