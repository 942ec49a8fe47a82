"""The tokens of an answer, read off while its bytes pass.

What belongs here: usage in the answers of the three APIs, streamed or not. What does not: what they cost
(`admission.py`), and what else an answer says.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html. All three APIs put an event's JSON
on one `data:` line.
"""

from __future__ import annotations

from typing import Any

from upkeep.agents.base import Usage
from upkeep.agents.fields import as_object, parse_object
from upkeep.agents.gateway.settings import ApiName

MAX_EVENT = 32 << 20
"""Bytes of one event that are looked into: the last of the Responses API repeats the whole answer."""

_DATA = b"data:"


class Meter:
    """Give it every chunk of a successful answer as it comes, then ask.

    `usage` is what was reported so far (None: nothing); `ended` whether the answer came to its own end, so that the
    figures are final.
    """

    def __init__(self, api: ApiName, *, stream: bool) -> None:
        self._api = api
        self._stream = stream
        self._pending = bytearray()
        self._skipping = False
        self._figures: dict[str, Any] = {}
        self.ended = False

    def feed(self, chunk: bytes) -> None:
        self._pending += chunk
        if len(self._pending) > MAX_EVENT:
            self._pending.clear()
            self._skipping = True
        if not self._stream or b"\n" not in chunk:
            return
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        for line in lines[1:] if self._skipping else lines:
            self._line(line)
        self._skipping = False

    def finish(self) -> None:
        """The body is at its end."""
        if not self._stream:
            self._take(parse_object(bytes(self._pending)), whole=True)
        elif self._pending:
            self._line(bytes(self._pending))

    @property
    def usage(self) -> Usage | None:
        if not self._figures:
            return None
        return _messages_usage(self._figures) if self._api == "messages" else _openai_usage(self._figures)

    def _line(self, line: bytes) -> None:
        if not line.startswith(_DATA):
            return
        data = line[len(_DATA) :].strip()
        if data == b"[DONE]":
            self.ended = True
        elif b'usage"' in data or b'"message_stop"' in data:
            self._take(parse_object(data), whole=False)

    def _take(self, event: dict[str, Any], *, whole: bool) -> None:
        match self._api:
            case "responses":
                response = event if whole else as_object(event.get("response"))
                final = whole or event.get("type") in ("response.completed", "response.incomplete", "response.failed")
                self._add(response.get("usage"))
                self.ended = self.ended or (final and bool(self._figures))
            case "messages":
                # The start holds the input's figures, later events the output's so far: each is a running total.
                self._add(as_object(event.get("message")).get("usage"))
                self._add(event.get("usage"))
                self.ended = self.ended or whole or event.get("type") == "message_stop"
            case "chat":
                self._add(event.get("usage"))
                self.ended = self.ended or (whole and bool(self._figures))

    def _add(self, usage: object) -> None:
        self._figures |= {key: value for key, value in as_object(usage).items() if value is not None}


def _openai_usage(figures: dict[str, Any]) -> Usage:
    """`cached` is part of the input, `reasoning` of the output. Names differ between Responses and chat."""
    given = _count(figures, "input_tokens", "prompt_tokens")
    made = _count(figures, "output_tokens", "completion_tokens")
    of_input = as_object(figures.get("input_tokens_details") or figures.get("prompt_tokens_details"))
    of_output = as_object(figures.get("output_tokens_details") or figures.get("completion_tokens_details"))
    cached = min(_count(of_input, "cached_tokens"), given)
    written = min(_count(of_input, "cache_write_tokens"), given - cached)
    reasoning = min(_count(of_output, "reasoning_tokens"), made)
    return Usage(
        engine="",
        requests=1,
        input_uncached=given - cached - written,
        cache_read=cached,
        cache_write=written,
        output=made - reasoning,
        reasoning=reasoning,
    )


def _messages_usage(figures: dict[str, Any]) -> Usage:
    """The three kinds of input are disjoint; thinking is part of the output and not told apart."""
    return Usage(
        engine="",
        requests=1,
        input_uncached=_count(figures, "input_tokens"),
        cache_read=_count(figures, "cache_read_input_tokens"),
        cache_write=_count(figures, "cache_creation_input_tokens"),
        output=_count(figures, "output_tokens"),
    )


def _count(figures: dict[str, Any], *names: str) -> int:
    """The first of these that is a number; never negative: a provider may report anything."""
    for name in names:
        value = figures.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return max(0, value)
    return 0
