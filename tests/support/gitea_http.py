"""HTTP on loopback for the fake Gitea: its API, and its repositories through `git http-backend`.

What belongs here: the protocol, who may use git, and how a fault looks on the wire. What does not: what Gitea says
(`gitea_server.py`).
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.git_server import http_backend, read_body
from tests.support.gitea_server import GiteaServer, HostedRepository, Json, Request

_GIT = re.compile(r"/([^/]+/[^/]+?)(?:\.git)?(/(?:info/refs|git-upload-pack|git-receive-pack))")


@dataclass
class Fault:
    """What goes wrong with requests whose `METHOD /path` contains a match of `route`, `times` times.

    `after`: the request takes effect first. `drop`: the connection is closed without an answer. `delay`: seconds.
    `content`: the body instead of JSON, of the type `kind`. `cut`: the answer ends in the middle of its JSON, either as
    if that were all (`short`), or with the connection. `location`: where it redirects to, with `status`.
    """

    route: str
    status: int = 500
    times: int = 1
    after: bool = False
    drop: bool = False
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "Server Error"
    content: str | None = None
    kind: str = "application/json"
    cut: bool = False
    short: bool = False


@dataclass(frozen=True)
class Exchange:
    """What went over the wire, for the contract. `faulty`: the answer is a fault's."""

    request: Request
    content_type: str
    authorization: str
    status: int
    answer: Json
    faulty: bool


class GiteaHttp:
    """A running server at `url`. `exchanges` are all that went through its API."""

    def __init__(self, server: GiteaServer, root: Path, *, tls: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.root = root
        self.faults: list[Fault] = []
        self.exchanges: list[Exchange] = []
        self.pushes: list[tuple[str, str]] = []
        self._http = _Listener(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    def take_fault(self, route: str) -> Fault | None:
        with self.server.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.route, route):
                    fault.times -= 1
                    return fault
        return None


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: GiteaHttp

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away (it was killed, or ran out of time) is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, format: str, *args: object) -> None:
        """Requests are recorded, not logged."""

    def do_GET(self) -> None:
        owner = self.server.owner
        body = read_body(self)
        git = _GIT.fullmatch(urlsplit(self.path).path)
        fault = owner.take_fault(f"{self.command} {urlsplit(self.path).path}")
        if git is not None:
            self._serve_git(git[1], git[2], body, fault)
        else:
            self._serve_api(body, fault)

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    # The API

    def _serve_api(self, body: bytes, fault: Fault | None) -> None:
        server = self.server.owner.server
        headers = {key.lower(): value for key, value in self.headers.items()}
        status, extra, result = 0, dict[str, str](), None
        if fault is None or fault.after:
            status, extra, result = server.answer(self.command, self.path, headers, body)
            request = server.requests[-1]
        else:
            seen = 0 if fault.drop else fault.status
            request = Request(self.command, urlsplit(self.path).path, {}, None, seen, self.path)
            server.requests.append(request)
        self._record(request, headers, status, result, faulty=fault is not None)
        if fault is None:
            self._reply(status, extra, json.dumps(result).encode())
            return
        time.sleep(fault.delay)
        if fault.drop:
            self.close_connection = True
        elif fault.cut or fault.short:
            self._reply_half(status or 200, json.dumps(result or {"message": "x" * 100}).encode(), fault)
        else:
            content = json.dumps({"message": fault.message}) if fault.content is None else fault.content
            self._reply(fault.status, fault.headers, content.encode(), fault.kind)

    def _record(self, request: Request, headers: Mapping[str, str], status: int, answer: Json, *, faulty: bool) -> None:
        kind, login = headers.get("content-type", ""), headers.get("authorization", "")
        self.server.owner.exchanges.append(Exchange(request, kind, login, status, answer, faulty))

    def _reply_half(self, status: int, content: bytes, fault: Fault) -> None:
        content_length = len(content) if fault.cut else len(content) // 2
        self.send_response(status)
        self.send_header("Content-Type", "application/json;charset=utf-8")
        self.send_header("Content-Length", str(content_length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True

    def _reply(self, status: int, headers: Mapping[str, str], content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Type", f"{kind};charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    # git

    def _serve_git(self, name: str, rest: str, body: bytes, fault: Fault | None) -> None:
        owner = self.server.owner
        found = owner.server.named(name)
        query = f"?{urlsplit(self.path).query}" if urlsplit(self.path).query else ""
        if found is None and name.lower() in owner.server.redirects:
            there = owner.server.repositories[owner.server.redirects[name.lower()]]
            self._reply(307, {"Location": f"/{there.full_name}.git{rest}{query}"}, b"", "text/plain")
            return
        login, pushes = self._login(), "receive-pack" in self.path
        if found is None or found.path is None:
            self._reply(404, {}, b"not found", "text/plain")
        elif login is None or (not login and (pushes or found.private)):
            self._reply(401, {"WWW-Authenticate": 'Basic realm="Gitea"'}, b"Unauthorized", "text/plain")
        elif pushes and login in found.readers:
            self._reply(403, {}, b"Forbidden", "text/plain")
        elif fault is not None and fault.drop and not fault.after:
            self.close_connection = True
        elif fault is not None and not fault.after:
            self._reply(fault.status, fault.headers, fault.message.encode(), "text/plain")
        else:
            self._pass_on(found, rest + query, body, login, fault)

    def _pass_on(self, found: HostedRepository, rest: str, body: bytes, login: str, fault: Fault | None) -> None:
        owner = self.server.owner
        status, headers, content = http_backend(
            owner.root, self.command, f"/{found.full_name}.git{rest}", self.headers, body
        )
        if rest.startswith("/git-receive-pack"):
            owner.pushes.append((found.full_name, login))
            with owner.server.lock:
                owner.server.pushed(found, login)
        if fault is not None:
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _login(self) -> str | None:
        """Who uses git: any name with a token as the password. Empty: nobody said; None: that is no token."""
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        if not given:
            return ""
        token = base64.b64decode(given).decode().partition(":")[2] if scheme == "Basic" else ""
        return self.server.owner.server.tokens.get(token)
