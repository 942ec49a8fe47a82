"""The three APIs that a gateway speaks: what of a request goes on, and in which words it is refused.

What belongs here: fields, tools, headers and error bodies of one API, as pure functions. What does not: sending
(`server.py`), the tokens in an answer (`meter.py`).

A field that stands in no list here is taken out of the request, and reported: what a provider adds tomorrow may cost
money that nobody reserved. A field that makes the provider act or remember is refused, so that nobody wonders why it
does nothing.

References: platform.openai.com/docs/api-reference/responses and /chat, docs.claude.com/en/api/messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upkeep.agents.gateway.contents import Piece, Refused, pieces
from upkeep.agents.gateway.settings import ApiName

LEAST_OUTPUT = 2_048
"""An answer that may be no longer than this is still of use; with less left of a budget none is asked for."""

_COMMON_HEADERS = ("accept", "content-type")


@dataclass(frozen=True)
class Pins:
    """What is forced on every request."""

    model: str
    effort: str | None
    max_output: int


@dataclass(frozen=True)
class Prepared:
    """A request that may go on. `output`: the most that its answer may have of tokens, before the budget has its say;
    `dropped`: fields that were taken out."""

    body: dict[str, Any]
    output: int
    stream: bool
    pieces: tuple[Piece, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Api:
    """One API. `path` is the only one that a gateway for it serves, `upstream` what is added to the provider's URL.

    `fields` go on; `refused` are refused with a reason; `turns` is the field that holds the conversation; `tools` are
    the types of tools that the client itself runs; `outputs` name the limit of the answer, the first is set where a
    request names none.
    """

    name: ApiName
    path: str
    upstream: str
    turns: str
    fields: frozenset[str]
    refused: Mapping[str, str]
    tools: frozenset[str]
    outputs: tuple[str, ...]
    headers: tuple[str, ...] = _COMMON_HEADERS

    def prepare(self, body: dict[str, Any], pins: Pins) -> Prepared:
        """The request as it goes on. Raises Refused."""
        for name, why in self.refused.items():
            if body.get(name):
                raise Refused("reference" if name in _REMEMBERED else "hosted_tool", f"{name} is not passed on: {why}")
        self._refuse_tools(body.get("tools"))
        if not isinstance(body.get(self.turns), str | list):
            raise Refused("request", f"{self.turns} must be there")
        sent = {name: value for name, value in body.items() if name in self.fields}
        sent["model"] = pins.model
        stream = sent.get("stream") is True
        _PIN[self.name](sent, pins.effort, stream=stream)
        asked = [value for name in self.outputs if isinstance(value := sent.get(name), int) and value > 0]
        output = min([pins.max_output, *asked])
        return Prepared(
            body=sent,
            output=output,
            stream=stream,
            pieces=tuple(self._pieces(sent)),
            dropped=tuple(sorted(set(body) - self.fields)),
        )

    def bound(self, body: dict[str, Any], output: int) -> None:
        """Set the most tokens that the answer may have."""
        present = [name for name in self.outputs if name in body]
        for name in present or self.outputs[:1]:
            body[name] = output
        thinking = body.get("thinking")
        if isinstance(thinking, dict) and isinstance(thinking.get("budget_tokens"), int):
            # It must be below max_tokens, and 1,024 at least.
            body["thinking"] = {**thinking, "budget_tokens": min(thinking["budget_tokens"], max(1024, output - 1024))}

    def key_headers(self, key: str | None) -> dict[str, str]:
        if key is None:
            return {}
        return {"x-api-key": key} if self.name == "messages" else {"authorization": f"Bearer {key}"}

    def token(self, headers: Mapping[str, str]) -> str:
        """The key that a client sent: ours, if it is our client."""
        bearer = headers.get("authorization", "")
        return headers.get("x-api-key", "") or bearer.removeprefix("Bearer ").strip()

    def error(self, message: str, *, status: int, code: str) -> bytes:
        """An error body in this API's form."""
        if self.name == "messages":
            kind = _ANTHROPIC_TYPES.get(status, "api_error")
            return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
        kind = _OPENAI_TYPES.get(status, "invalid_request_error")
        return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()

    def _refuse_tools(self, tools: object) -> None:
        for tool in tools if isinstance(tools, list) else ():
            kind = (
                tool.get("type", "custom" if self.name == "messages" else "function") if isinstance(tool, dict) else ""
            )
            if not isinstance(kind, str) or kind not in self.tools:
                raise Refused("hosted_tool", f"the tool {kind!r} is not passed on: the provider would run it")

    def _pieces(self, body: dict[str, Any]) -> list[Piece]:
        turns = body[self.turns]
        tools = body.get("tools")
        rest = [{name: value} for name, value in body.items() if name not in (self.turns, "tools", *self.outputs)]
        system = body.get("system")
        blocks = system if isinstance(system, list) else []
        return [
            *pieces(turns if isinstance(turns, list) else [turns]),
            *(_as_text(tools if isinstance(tools, list) else [])),
            *pieces(blocks),
            *_as_text(entry for entry in rest if "system" not in entry or not blocks),
        ]


def _as_text(values: Any) -> list[Piece]:
    """Pieces of what holds names of its own making, such as a tool's schema: no key in it refers to anything."""
    return pieces(json.dumps(value, ensure_ascii=False) for value in values)


def _pin_responses(body: dict[str, Any], effort: str | None, *, stream: bool) -> None:
    body["store"] = False
    if effort is not None:
        reasoning = body.get("reasoning")
        body["reasoning"] = {**(reasoning if isinstance(reasoning, dict) else {}), "effort": effort}


def _pin_messages(body: dict[str, Any], effort: str | None, *, stream: bool) -> None:
    for name in ("system", "messages", "tools"):
        if name in body:
            body[name] = _short_lived(body[name])
    config = body.get("output_config")
    if effort is not None and isinstance(config, dict) and "effort" in config:
        # Only where it stands already: models that know no effort refuse the field.
        body["output_config"] = {**config, "effort": effort}


def _pin_chat(body: dict[str, Any], effort: str | None, *, stream: bool) -> None:
    if body.get("n") not in (None, 1):
        raise Refused("request", "n is not passed on: one answer a request")
    if stream:
        # Without it a streamed answer has no usage.
        body["stream_options"] = {"include_usage": True}
    if effort is not None:
        body["reasoning_effort"] = effort


def _short_lived(value: Any) -> Any:
    """Without the lifetime of cache marks: an hour costs twice as much to write as the default."""
    if isinstance(value, list):
        return [_short_lived(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    copied = {key: _short_lived(entry) if key in ("content", "system") else entry for key, entry in value.items()}
    if isinstance(copied.get("cache_control"), dict):
        copied["cache_control"] = {key: entry for key, entry in copied["cache_control"].items() if key != "ttl"}
    return copied


_PIN = {"responses": _pin_responses, "messages": _pin_messages, "chat": _pin_chat}

_REMEMBERED = ("previous_response_id", "conversation", "background", "prompt")

_OPENAI_TYPES = {401: "authentication_error", 402: "insufficient_quota", 429: "rate_limit_error", 503: "server_error"}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}

_SAMPLING = ("model", "stream", "temperature", "top_p", "tools", "tool_choice")

RESPONSES = Api(
    name="responses",
    path="/v1/responses",
    upstream="/responses",
    turns="input",
    fields=frozenset(
        {
            *_SAMPLING,
            *("input", "instructions", "parallel_tool_calls", "reasoning", "store", "include", "text"),
            *("max_output_tokens", "truncation", "prompt_cache_key", "metadata", "stream_options"),
        }
    ),
    refused={
        "previous_response_id": "the conversation must stand in the request",
        "conversation": "the conversation must stand in the request",
        "background": "an answer that nobody waits for cannot be counted",
        "prompt": "a stored prompt cannot be seen",
    },
    tools=frozenset({"function", "custom"}),
    outputs=("max_output_tokens",),
)

MESSAGES = Api(
    name="messages",
    path="/v1/messages",
    upstream="/v1/messages",
    turns="messages",
    fields=frozenset(
        {
            *_SAMPLING,
            *("messages", "system", "max_tokens", "metadata", "stop_sequences", "top_k", "thinking"),
            *("output_config", "output_format"),
        }
    ),
    refused={
        "mcp_servers": "the provider would call them",
        "container": "the provider would run code in it",
    },
    tools=frozenset({"custom"}),
    outputs=("max_tokens",),
    headers=(*_COMMON_HEADERS, "anthropic-version", "anthropic-beta"),
)

CHAT = Api(
    name="chat",
    path="/v1/chat/completions",
    upstream="/chat/completions",
    turns="messages",
    fields=frozenset(
        {
            *_SAMPLING,
            *("messages", "parallel_tool_calls", "max_tokens", "max_completion_tokens", "stop", "seed", "n"),
            *("presence_penalty", "frequency_penalty", "response_format", "reasoning_effort", "stream_options"),
        }
    ),
    refused={
        "web_search_options": "the provider would search the web",
        "plugins": "the provider would run them",
        "audio": "its cost cannot be seen",
    },
    tools=frozenset({"function", "custom"}),
    outputs=("max_tokens", "max_completion_tokens"),
)

APIS: dict[ApiName, Api] = {api.name: api for api in (RESPONSES, MESSAGES, CHAT)}
