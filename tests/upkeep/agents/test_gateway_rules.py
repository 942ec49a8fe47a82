"""The gateway's pure rules: what of a request goes on, what it can cost at most, what an answer says it cost."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.agents.base import Usage
from upkeep.agents.budget import MemoryLedger
from upkeep.agents.gateway.admission import Admission, Bounds
from upkeep.agents.gateway.apis import APIS, LEAST_OUTPUT, MESSAGES, Pins
from upkeep.agents.gateway.contents import IMAGE_TOKENS, OVERHEAD_TOKENS, Refused, pieces
from upkeep.agents.gateway.meter import Meter
from upkeep.errors import BudgetExhausted

PINS = Pins("claude-sonnet-4-5", "high", 32_000)


def turn(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, **more}]}


def image(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}


class TestContents:
    @pytest.mark.parametrize(
        "part",
        [
            image("https://evil.example/?secret"),
            image("file:///etc/passwd"),
            {"type": "input_image", "image_url": "http://evil.example"},
            {"type": "input_image", "file_id": "file_1"},
            {"type": "input_file", "file_data": "data:application/pdf;base64,AA"},
            {"type": "image", "source": {"type": "url", "url": "http://evil.example"}},
            {"type": "document", "source": {"type": "base64", "data": "AA"}},
            {"type": "document", "source": {"type": "file", "file_id": "f"}},
            {"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]},
            {"type": "input_audio", "input_audio": {"data": "AA"}},
        ],
    )
    def test_what_the_provider_would_fetch_or_only_it_can_read_is_refused(self, part: dict[str, Any]) -> None:
        with pytest.raises(Refused):
            pieces([{"role": "user", "content": [part, {"type": "text", "text": "x"}]}])

    def test_what_the_model_said_itself_is_never_followed(self) -> None:
        call = {"type": "tool_use", "name": "Read", "input": {"file_id": "x", "image_url": "http://x", "type": "file"}}
        assert pieces([{"role": "assistant", "content": [call]}])[0].images == 0

    def test_an_image_counts_as_the_most_that_one_costs(self) -> None:
        (piece,) = pieces([image("data:image/png;base64," + "A" * 100_000)])
        assert (piece.images, piece.tokens - piece.size, piece.size < 200) == (1, IMAGE_TOKENS, True)

    @given(st.text(max_size=200))
    @settings(deadline=None, max_examples=60)
    def test_a_piece_has_a_byte_for_every_token_that_any_text_can_be(self, text: str) -> None:
        (piece,) = pieces([turn(text)])
        assert piece.size >= len(text.encode(errors="surrogatepass"))


class TestBounds:
    def test_what_the_provider_counted_once_is_not_counted_by_bytes_again(self) -> None:
        bounds = Bounds()
        first = pieces([turn("a" * 10_000)])
        assert 10_000 < bounds.input_tokens(first) - OVERHEAD_TOKENS < 10_100
        bounds.learn(first, 2_500)
        longer = pieces([turn("a" * 10_000), turn("b" * 100)])
        assert 2_600 < bounds.input_tokens(longer) - OVERHEAD_TOKENS < 2_700

    def test_a_cache_mark_that_moved_changes_nothing(self) -> None:
        marked, plain = turn("hello", cache_control={"type": "ephemeral"}), turn("hello")
        assert pieces([marked]) == pieces([plain])

    def test_the_same_piece_twice_counts_twice(self) -> None:
        bounds = Bounds()
        bounds.learn(pieces([turn("x" * 1000)]), 10)
        assert bounds.input_tokens(pieces([turn("x" * 1000)] * 2)) > OVERHEAD_TOKENS + 1000

    @given(st.lists(st.text(max_size=30), max_size=6), st.lists(st.text(max_size=30), max_size=6), st.data())
    @settings(deadline=None, max_examples=80)
    def test_the_bound_is_never_below_what_a_tokenizer_of_bytes_can_make(
        self, before: list[str], now: list[str], data: Any
    ) -> None:
        """The worst tokenizer: one token a byte of text. Whatever was learnt, its count stays within the bound."""
        bounds = Bounds()
        bounds.learn(pieces(map(turn, before)), sum(len(text.encode(errors="surrogatepass")) for text in before))
        worst = sum(len(text.encode(errors="surrogatepass")) for text in now)
        assert bounds.input_tokens(pieces(map(turn, now))) >= worst


class TestAdmission:
    def admission(self, limit: float | None) -> Admission:
        return Admission("claude-sonnet-4-5", "anthropic", True, MemoryLedger(limit), None)

    def prepared(self, text: str = "hello") -> Any:
        return MESSAGES.prepare({"messages": [turn(text)], "max_tokens": 32_000}, PINS)

    def test_the_answer_is_as_long_as_the_budget_pays_for(self) -> None:
        rich, poor = self.admission(None).admit(self.prepared()), self.admission(0.1).admit(self.prepared())
        assert rich.output == 32_000
        assert LEAST_OUTPUT < poor.output < 32_000
        # 15 dollars a million for the answer, 3.75 for input that is written to a cache.
        assert poor.output * 15e-6 + poor.input * 3.75e-6 <= 0.1
        assert (poor.output + 2) * 15e-6 + poor.input * 3.75e-6 > 0.1

    def test_less_than_a_useful_answer_is_refused(self) -> None:
        with pytest.raises(BudgetExhausted):
            self.admission(LEAST_OUTPUT * 15e-6).admit(self.prepared())

    @given(
        st.floats(0.01, 2),
        st.lists(st.tuples(st.integers(0, 30_000), st.floats(0, 1), st.booleans()), max_size=12),
    )
    @settings(deadline=None, max_examples=40)
    def test_no_row_of_requests_passes_the_limit(self, limit: float, asked: list[tuple[int, float, bool]]) -> None:
        """Whatever a provider that keeps to its limits reports, or fails to report."""
        admission = self.admission(limit)
        for size, share, told in asked:
            prepared = self.prepared("x" * size)
            try:
                admitted = admission.admit(prepared)
            except BudgetExhausted:
                continue
            usage = Usage(engine="", requests=1, cache_write=size, output=int(admitted.output * share))
            if told:
                admission.settle(admitted, prepared, usage)
            else:
                admission.presume(admitted, None)
            assert admission.own.spent + admission.own.reserved <= Decimal(repr(limit)) + Decimal("1e-8")
        assert admission.own.reserved == 0


class TestRequests:
    def test_effort_and_lifetimes_are_ours(self) -> None:
        marked = {"type": "ephemeral", "ttl": "1h"}
        body = {
            "messages": [turn("x", cache_control=marked)],
            "system": [{"type": "text", "text": "s", "cache_control": marked}],
            "output_config": {"effort": "max", "format": 1},
            "service_tier": "auto",
            "speed": "fast",
        }
        prepared = MESSAGES.prepare(body, PINS)
        assert "ttl" not in json.dumps(prepared.body)
        assert prepared.body["output_config"] == {"effort": "high", "format": 1}
        assert prepared.dropped == ("service_tier", "speed")
        assert body["system"][0]["cache_control"] == marked, "what came in is left as it is"

    def test_thinking_stays_below_the_answers_limit(self) -> None:
        body = {"messages": [], "thinking": {"type": "enabled", "budget_tokens": 31_999}}
        MESSAGES.bound(body, 4_000)
        assert (body["max_tokens"], body["thinking"]) == (4_000, {"type": "enabled", "budget_tokens": 2_976})

    @given(
        st.sampled_from(sorted(APIS)),
        st.dictionaries(
            st.sampled_from(["messages", "input", "tools", "system", "stream", "n", "model", "max_tokens", "x"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=4),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["type", "content", "source", "input"]), inner, max_size=3)
                ),
                max_leaves=8,
            ),
        ),
    )
    @settings(deadline=None, max_examples=150)
    def test_any_body_is_passed_or_refused_and_the_model_is_always_ours(self, api: Any, body: dict[str, Any]) -> None:
        try:
            prepared = APIS[api].prepare(body, PINS)
        except Refused:
            return
        assert prepared.body["model"] == PINS.model
        assert set(prepared.body) <= APIS[api].fields | {"reasoning_effort", "stream_options"}
        assert 0 < prepared.output <= PINS.max_output
        json.dumps(prepared.body)


STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":10,'
    b'"cache_creation_input_tokens":5,"cache_read_input_tokens":7,"output_tokens":1}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"\\"usage\\""}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":42}}\r\n\r\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


class TestMeter:
    @given(st.lists(st.integers(1, len(STREAM)), max_size=8))
    @settings(deadline=None, max_examples=80)
    def test_it_does_not_matter_where_the_network_cuts(self, cuts: list[int]) -> None:
        meter = Meter("messages", stream=True)
        places = [0, *sorted(cuts), len(STREAM)]
        for start, end in pairwise(places):
            meter.feed(STREAM[start:end])
        meter.finish()
        usage = meter.usage
        assert meter.ended
        assert usage is not None
        assert (usage.input_uncached, usage.cache_write, usage.cache_read, usage.output) == (10, 5, 7, 42)

    def test_a_stream_that_was_cut_has_figures_but_no_end(self) -> None:
        meter = Meter("messages", stream=True)
        meter.feed(STREAM[: STREAM.index(b"event: message_stop")])
        meter.finish()
        assert (meter.ended, meter.usage is not None) == (False, True)

    @pytest.mark.parametrize("api", sorted(APIS))
    @given(st.binary(max_size=300))
    @settings(deadline=None, max_examples=30)
    def test_no_bytes_break_it(self, api: Any, data: bytes) -> None:
        for stream in (True, False):
            meter = Meter(api, stream=stream)
            meter.feed(b'data: {"usage": ' + data + b"}\n" + data)
            meter.finish()
            assert meter.usage is None or meter.usage.tokens >= 0

    def test_nonsense_figures_are_held_to_sense(self) -> None:
        meter = Meter("chat", stream=False)
        usage = {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 99}, "completion_tokens": -3}
        meter.feed(json.dumps({"usage": usage}).encode())
        meter.finish()
        counted = meter.usage
        assert counted is not None
        assert (counted.input_uncached, counted.cache_read, counted.output) == (0, 5, 0)
