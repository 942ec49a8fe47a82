"""How the scripted model's replies look in each of the three APIs, and how to read what a CLI asked.

What belongs here: the wire formats (server-sent events, usage), as pure functions. What does not: the server and the
vocabulary of scripts (`model_server.py`).

https://platform.openai.com/docs/api-reference/responses-streaming,
https://docs.claude.com/en/docs/build-with-claude/streaming, https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.model_server import Reply, Request, Tokens, ToolCall

_PATHS = {"/v1/responses": "responses", "/v1/messages": "messages", "/v1/chat/completions": "chat"}


def api_of(path: str) -> str:
    """Name of the API; empty for another path."""
    return _PATHS.get(path.partition("?")[0], "")


def tools(api: str, body: dict[str, Any]) -> list[str]:
    given = body.get("tools", [])
    if api == "chat":
        return [tool["function"]["name"] for tool in given]
    return [tool.get("name") or tool["type"] for tool in given]


def texts(api: str, body: dict[str, Any]) -> list[str]:
    if api == "responses":
        items = [item for item in body.get("input", []) if item.get("type") == "message"]
        return [part["text"] for item in items for part in item["content"] if "text" in part]
    system = body.get("system", [])
    spoken = [entry["content"] for entry in body.get("messages", [])]
    return [text for content in ([system] if system else []) + spoken for text in _texts(content)]


def tool_outputs(api: str, body: dict[str, Any]) -> list[str]:
    if api == "responses":
        items = [item for item in body.get("input", []) if item.get("type") == "function_call_output"]
        return [item["output"] if isinstance(item["output"], str) else json.dumps(item["output"]) for item in items]
    messages = body.get("messages", [])
    if api == "chat":
        return ["".join(_texts(entry["content"])) for entry in messages if entry["role"] == "tool"]
    blocks = [block for entry in messages if isinstance(entry["content"], list) for block in entry["content"]]
    return ["".join(_texts(block.get("content"))) for block in blocks if block["type"] == "tool_result"]


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if "text" in part] if isinstance(content, list) else []


def events(request: Request, reply: Reply) -> Iterator[bytes]:
    """The server-sent events of a reply; of a hang or a cut only the first."""
    match request.api:
        case "responses":
            stream = _responses(request, reply)
        case "messages":
            stream = _messages(request, reply)
        case _:
            stream = _chat(request, reply)
    for number, (kind, data) in enumerate(stream):
        if number and _stops(reply):
            return
        head = f"event: {kind}\n" if kind else ""
        yield f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def whole(request: Request, reply: Reply) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    spent = _tokens(reply)
    match request.api:
        case "responses":
            output = _items(request, reply)
            return {"id": _id(request), "object": "response", "output": output, "usage": _responses_usage(spent)}
        case "messages":
            usage = {**_messages_input(spent), "output_tokens": spent.output}
            return {
                **_message(request),
                "content": _blocks(request, reply),
                "stop_reason": _reason(reply),
                "usage": usage,
            }
        case _:
            choice = {"index": 0, "message": _chat_message(request, reply), "finish_reason": _finish(reply)}
            return {"id": _id(request), "object": "chat.completion", "choices": [choice], "usage": _chat_usage(spent)}


def _stops(reply: Reply) -> bool:
    return type(reply).__name__ in ("Hang", "Cut")


def _tokens(reply: Reply) -> Tokens:
    from tests.support.model_server import Tokens

    return getattr(reply, "tokens", Tokens())


def _id(request: Request) -> str:
    return f"resp_{request.number}"


def _calls(request: Request, reply: Reply) -> list[tuple[str, ToolCall]]:
    """Id and call. Ids are unique over a conversation: the CLI pairs outputs by them."""
    calls = [call.on(request.api) for call in getattr(reply, "calls", ())]
    return [(f"call_{_id(request)}_{index}", call) for index, call in enumerate(calls)]


def _responses(request: Request, reply: Reply) -> Iterator[tuple[str, Any]]:
    def event(kind: str, **fields: Any) -> tuple[str, Any]:
        return kind, {"type": kind, **fields}

    yield event("response.created", response={"id": _id(request)})
    for index, item in enumerate(_items(request, reply)):
        yield event("response.output_item.done", output_index=index, item=item)
    ending: dict[str, Any] = {"id": _id(request), "usage": _responses_usage(_tokens(reply))}
    if (reason := getattr(reply, "reason", None)) is not None:
        ending["incomplete_details"] = {"reason": reason}
        yield event("response.incomplete", response=ending)
    else:
        yield event("response.completed", response=ending)


def _items(request: Request, reply: Reply) -> list[dict[str, Any]]:
    if calls := _calls(request, reply):
        return [
            {
                "type": "function_call",
                "id": f"fc_{name}",
                "call_id": name,
                "name": call.name,
                "arguments": json.dumps(call.arguments),
            }
            for name, call in calls
        ]
    if (text := getattr(reply, "text", None)) is None:
        return []
    content = [{"type": "output_text", "text": text}]
    return [{"type": "message", "id": f"msg_{_id(request)}", "role": "assistant", "content": content}]


def _responses_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }


def _message(request: Request) -> dict[str, Any]:
    return {
        "id": _id(request),
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model"),
        "content": [],
    }


def _messages_input(tokens: Tokens) -> dict[str, int]:
    uncached = tokens.input - tokens.cached
    return {"input_tokens": uncached, "cache_read_input_tokens": tokens.cached, "cache_creation_input_tokens": 0}


def _messages(request: Request, reply: Reply) -> Iterator[tuple[str, Any]]:
    def event(kind: str, **fields: Any) -> tuple[str, Any]:
        return kind, {"type": kind, **fields}

    spent = _tokens(reply)
    usage = {**_messages_input(spent), "output_tokens": 1}
    yield event("message_start", message={**_message(request), "stop_reason": None, "usage": usage})
    for index, block in enumerate(_blocks(request, reply)):
        if block["type"] == "tool_use":
            empty, delta = (
                {**block, "input": {}},
                {"type": "input_json_delta", "partial_json": json.dumps(block["input"])},
            )
        else:
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        yield event("content_block_start", index=index, content_block=empty)
        yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    ending = {"stop_reason": _reason(reply), "stop_sequence": None}
    yield event("message_delta", delta=ending, usage={"output_tokens": spent.output})
    yield event("message_stop")


def _blocks(request: Request, reply: Reply) -> list[dict[str, Any]]:
    calls = [(name, call.name, call.arguments) for name, call in _calls(request, reply)]
    value = getattr(reply, "value", None)
    if isinstance(value, dict) and "StructuredOutput" in request.tools:
        # How claude has its model answer with `--json-schema`.
        calls = [(f"call_{_id(request)}", "StructuredOutput", value)]
    if calls:
        return [
            {"type": "tool_use", "id": f"toolu_{name}", "name": tool, "input": given} for name, tool, given in calls
        ]
    text = getattr(reply, "text", None)
    return [] if text is None else [{"type": "text", "text": text}]


def _reason(reply: Reply) -> str:
    if hasattr(reply, "reason"):
        return "max_tokens"
    return "tool_use" if hasattr(reply, "calls") else "end_turn"


def _chat(request: Request, reply: Reply) -> Iterator[tuple[str, Any]]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> tuple[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return "", {"id": _id(request), "object": "chat.completion.chunk", "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    message = _chat_message(request, reply)
    if message["content"] is not None:
        yield chunk({"content": message["content"]})
    for index, call in enumerate(message.get("tool_calls", ())):
        yield chunk({"tool_calls": [{"index": index, **call}]})
    yield chunk({}, _finish(reply))
    if request.body.get("stream_options", {}).get("include_usage"):
        usage = _chat_usage(_tokens(reply))
        yield "", {"id": _id(request), "object": "chat.completion.chunk", "choices": [], "usage": usage}
    yield "", "[DONE]"


def _chat_message(request: Request, reply: Reply) -> dict[str, Any]:
    calls = [
        {"id": name, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for name, call in _calls(request, reply)
    ]
    message = {"role": "assistant", "content": getattr(reply, "text", None)}
    return {**message, "tool_calls": calls} if calls else message


def _finish(reply: Reply) -> str:
    if hasattr(reply, "reason"):
        return "length"
    return "tool_calls" if hasattr(reply, "calls") else "stop"


def _chat_usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens.input,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens": tokens.output,
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }
