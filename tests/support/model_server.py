"""A model that plays a script: an HTTP server on loopback that speaks to a real agent CLI.

What belongs here: the server, and the vocabulary of scripts. What does not: how a reply looks in each of the three APIs
(`model_apis.py`), what a test's model says or does (the test), and how a CLI is called (`upkeep/agents`).

A script is a function from the request just received to a reply, so a test can react to what the tools returned:

    model_server.script = play(CallTools(shell("echo hi > x")), Answer({"ok": True}))

The API is told by the path of the request: `/v1/responses`, `/v1/messages` or `/v1/chat/completions`, streamed or not.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support import model_apis as wire


@dataclass(frozen=True)
class Tokens:
    """Usage as the API reports it: `cached` is part of `input`, `reasoning` is part of `output`."""

    input: int = 100
    cached: int = 40
    output: int = 20
    reasoning: int = 7


@dataclass(frozen=True)
class ToolCall:
    """One function call of the model, by the tool's name in the request's `tools`. `elsewhere`: the same call for a CLI
    that speaks another API than Responses and has other tools."""

    name: str
    arguments: dict[str, Any]
    elsewhere: dict[str, ToolCall] = field(default_factory=dict)

    def on(self, api: str) -> ToolCall:
        return self.elsewhere.get(api, self)


def shell(command: str) -> ToolCall:
    """Run a command with the CLI's shell tool. Codex' returns when the command ends, or after ten seconds."""
    arguments = {"command": command, "description": "run it"}
    elsewhere = {"messages": ToolCall("Bash", arguments), "chat": ToolCall("bash", arguments)}
    return ToolCall("exec_command", {"cmd": command, "yield_time_ms": 10_000}, elsewhere)


def write_file(path: str, text: str) -> ToolCall:
    """Create a file: by the patch command that codex intercepts in its shell tool, by the shell in the others."""
    added = "\n".join("+" + line for line in text.removesuffix("\n").split("\n"))
    patch = shell(f"apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: {path}\n{added}\n*** End Patch\nEOF")
    plain = shell(f"mkdir -p $(dirname {path}) && cat > {path} <<'EOF'\n{text.removesuffix(chr(10))}\nEOF")
    return ToolCall(patch.name, patch.arguments, plain.elsewhere)


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


@dataclass(frozen=True)
class Cut:
    """The connection ends in the middle of the stream."""


Reply = CallTools | Answer | Silence | Incomplete | Failure | Hang | Cut


@dataclass(frozen=True)
class Request:
    """One request as received. `number` counts from 1 over the life of the server."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def api(self) -> str:
        return wire.api_of(self.path)

    @property
    def tools(self) -> list[str]:
        return wire.tools(self.api, self.body)

    @property
    def texts(self) -> list[str]:
        """Every text of the conversation, instructions included, in order."""
        return wire.texts(self.api, self.body)

    @property
    def tool_outputs(self) -> list[str]:
        return wire.tool_outputs(self.api, self.body)


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
            if not request.api:
                self._error(Failure(404, f"no such path: {self.path}"))
                return
            try:
                self._reply(request, server.script(request))
            except (BrokenPipeError, ConnectionResetError):
                # The CLI was killed by a deadline; that is what the test is about.
                return

        def _reply(self, request: Request, reply: Reply) -> None:
            if isinstance(reply, Failure):
                self._error(reply)
                return
            if isinstance(reply, Hang) and not reply.streaming:
                server.released.wait()
                return
            events = wire.events(request, reply)
            if not request.body.get("stream"):
                self._body(200, wire.whole(request, reply), {})
                return
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            for event in events:
                self.wfile.write(event)
                self.wfile.flush()
            if isinstance(reply, Hang):
                server.released.wait()

        def _error(self, failure: Failure) -> None:
            error = {"message": failure.message, "type": "error", "code": None}
            self._body(failure.status, {"type": "error", "error": error}, failure.headers)

        def _body(self, status: int, value: dict[str, Any], headers: dict[str, str]) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            for name, text in headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

    return Handler


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """A scripted model; a test sets `script` before it starts the CLI."""
    server = ModelServer()
    try:
        yield server
    finally:
        server.close()
