"""A model that plays a script: an HTTP server on loopback that speaks the Responses API to a real agent CLI.

What belongs here: the wire protocol (server-sent events, error bodies, usage) and the vocabulary of scripts. What does
not: what a test's model says or does (the test), and how a CLI is called (`upkeep/agents`).

A script is a function from the request just received to a reply, so a test can react to what the tools returned:

    model_server.script = play(CallTools(shell("echo hi > x")), Answer({"ok": True}))

The protocol is OpenAI's "Responses" with `stream: true`: `response.created`, one `response.output_item.done` an item,
`response.completed` with usage (https://platform.openai.com/docs/api-reference/responses-streaming).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Tokens:
    """Usage as the API reports it: `cached` is part of `input`, `reasoning` is part of `output`."""

    input: int = 100
    cached: int = 40
    output: int = 20
    reasoning: int = 7

    def as_json(self) -> dict[str, Any]:
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }


@dataclass(frozen=True)
class ToolCall:
    """One function call of the model, by the tool's name in the request's `tools`."""

    name: str
    arguments: dict[str, Any]


def shell(command: str) -> ToolCall:
    """Run a command with codex' shell tool; it returns when the command ends, or after ten seconds."""
    return ToolCall("exec_command", {"cmd": command, "yield_time_ms": 10_000})


def write_file(path: str, text: str) -> ToolCall:
    """Create a file by the patch command that codex intercepts in its shell tool."""
    added = "\n".join("+" + line for line in text.removesuffix("\n").split("\n"))
    return shell(f"apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: {path}\n{added}\n*** End Patch\nEOF")


@dataclass(frozen=True)
class CallTools:
    """Ask for tool calls; the CLI comes back with their outputs in the next request."""

    calls: tuple[ToolCall, ...]
    tokens: Tokens = Tokens()

    def __init__(self, *calls: ToolCall, tokens: Tokens | None = None) -> None:
        object.__setattr__(self, "calls", calls)
        object.__setattr__(self, "tokens", tokens or Tokens())


@dataclass(frozen=True)
class Answer:
    """The final message: a JSON object, or any text."""

    value: dict[str, Any] | str
    tokens: Tokens = Tokens()

    @property
    def text(self) -> str:
        return self.value if isinstance(self.value, str) else json.dumps(self.value)


@dataclass(frozen=True)
class Silence:
    """The model ends its turn without any output item."""

    tokens: Tokens = Tokens()


@dataclass(frozen=True)
class Incomplete:
    """The answer stops in the middle because a limit of the API was reached."""

    text: str = '{"ok": tr'
    reason: str = "max_output_tokens"
    tokens: Tokens = Tokens()


@dataclass(frozen=True)
class Failure:
    """An HTTP error with the API's error body."""

    status: int
    message: str = "scripted failure"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Accept the request and say nothing more: before the first byte, or after the first event of the stream."""

    streaming: bool = False


Reply = CallTools | Answer | Silence | Incomplete | Failure | Hang


@dataclass(frozen=True)
class Request:
    """One request as received. `number` counts from 1 over the life of the server."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def tools(self) -> list[str]:
        return [tool.get("name") or tool["type"] for tool in self.body.get("tools", [])]

    @property
    def texts(self) -> list[str]:
        """Every text of the conversation, instructions included, in order."""
        return [
            part["text"]
            for item in self.body.get("input", [])
            if item.get("type") == "message"
            for part in item["content"]
            if "text" in part
        ]

    @property
    def tool_outputs(self) -> list[str]:
        return [
            item["output"] if isinstance(item["output"], str) else json.dumps(item["output"])
            for item in self.body.get("input", [])
            if item.get("type") == "function_call_output"
        ]


Script = Callable[[Request], Reply]


def play(*replies: Reply) -> Script:
    """Reply in this order; a request too many is a scripting error that the CLI sees as HTTP 400 and the test sees as
    more `requests` than replies."""

    def script(request: Request) -> Reply:
        if request.number > len(replies):
            return Failure(400, f"the script has {len(replies)} replies, this is request {request.number}")
        return replies[request.number - 1]

    return script


def always(reply: Reply) -> Script:
    return lambda request: reply


class ModelServer:
    """The server, listening from construction to `close()`."""

    def __init__(self, script: Script | None = None) -> None:
        self.script: Script = script or play()
        self.requests: list[Request] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def record(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Request:
        with self._lock:
            request = Request(len(self.requests) + 1, path, headers, body)
            self.requests.append(request)
        return request

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing: a test's failure shows `requests`."""

        def do_GET(self) -> None:
            self._error(Failure(404, f"no such path: {self.path}"))

        def do_POST(self) -> None:
            self.close_connection = True
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
            request = server.record(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            if self.path != "/v1/responses":
                self._error(Failure(404, f"no such path: {self.path}"))
                return
            try:
                self._reply(server.script(request), f"resp_{request.number}")
            except (BrokenPipeError, ConnectionResetError):
                # The CLI was killed by a deadline; that is what the test is about.
                return

        def _reply(self, reply: Reply, response_id: str) -> None:
            if isinstance(reply, Failure):
                self._error(reply)
                return
            if isinstance(reply, Hang) and not reply.streaming:
                server.released.wait()
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self._event("response.created", response={"id": response_id})
            if isinstance(reply, Hang):
                server.released.wait()
                return
            for index, item in enumerate(_items(reply, response_id)):
                self._event("response.output_item.done", output_index=index, item=item)
            ending: dict[str, Any] = {"id": response_id, "usage": reply.tokens.as_json()}
            if isinstance(reply, Incomplete):
                ending["incomplete_details"] = {"reason": reply.reason}
                self._event("response.incomplete", response=ending)
            else:
                self._event("response.completed", response=ending)

        def _event(self, kind: str, **fields: Any) -> None:
            self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())
            self.wfile.flush()

        def _error(self, failure: Failure) -> None:
            body = json.dumps({"error": {"message": failure.message, "type": "error", "code": None}}).encode()
            self.send_response(failure.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            for name, value in failure.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _items(reply: CallTools | Answer | Silence | Incomplete, response_id: str) -> list[dict[str, Any]]:
    """The output items of a reply. Call ids are unique over a conversation: the CLI pairs outputs by them."""
    if isinstance(reply, CallTools):
        return [
            {
                "type": "function_call",
                "id": f"fc_{response_id}_{index}",
                "call_id": f"call_{response_id}_{index}",
                "name": call.name,
                "arguments": json.dumps(call.arguments),
            }
            for index, call in enumerate(reply.calls)
        ]
    if isinstance(reply, Silence):
        return []
    content = [{"type": "output_text", "text": reply.text}]
    return [{"type": "message", "id": f"msg_{response_id}", "role": "assistant", "content": content}]


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """A scripted model; a test sets `script` before it starts the CLI."""
    server = ModelServer()
    try:
        yield server
    finally:
        server.close()
