"""A real smart HTTP git server on loopback: `git http-backend` behind Python's threaded server, with faults on demand.

What belongs here: serving repositories and breaking on purpose. What does not: building them (`repositories.py`).
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

from tests.support.repositories import RepoBuilder

Kind = Literal["drop-request", "drop-response", "hang", "status", "redirect", "garbage"]


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path or query contains `where`.

    `drop-request`: the connection ends while the body is read, nothing was done. `drop-response`: git did its work, the
    answer never arrives. `hang`: no answer until `let_go`, or until the server is closed. `status`: that status with
    `words` as body. `redirect`: to the same path below `to`. `garbage`: 200 and a page of HTML.
    """

    kind: Kind
    where: str = ""
    times: int = 1
    status: int = 503
    words: str = ""
    to: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    authorized: bool


class GitServer:
    """Serves every repository below `root` at `url(name)`. With `login` set, it asks for that user and password."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.login: tuple[str, str] | None = None
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._let_go = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def url(self, name: str, *, login: str = "") -> str:
        """The URL of `root/name`; `login` is `user:password` to put into it."""
        return f"http://{login}@{self.address[7:]}/{name}" if login else f"{self.address}/{name}"

    def add(self, repository: RepoBuilder, name: str) -> str:
        """Serve a bare copy of a repository and return its URL."""
        repository.bare_clone(self.root / name)
        return self.url(name)

    def repository(self, name: str) -> RepoBuilder:
        """Look into (or commit to) what is served."""
        return RepoBuilder(self.root / name, create=False)

    def fail(self, kind: Kind, *, where: str = "", times: int = 1, **options: object) -> None:
        """Break the next requests: see Fault."""
        with self._lock:
            self._faults.append(Fault(kind, where, times, **options))  # type: ignore[arg-type]

    def mend(self) -> None:
        """Forget the faults that are left."""
        with self._lock:
            self._faults.clear()

    def let_go(self) -> None:
        """End what hangs, now and from now on: the connections close without an answer."""
        self._let_go.set()

    def hook(self, name: str, hook: str, script: str) -> None:
        """Install a server-side hook (`pre-receive`, `update`): a shell script's text."""
        file = self.root / name / "hooks" / hook
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def close(self) -> None:
        self.let_go()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def fault_for(self, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.where in path:
                    fault.times -= 1
                    return fault
        return None

    def hang(self) -> None:
        self._let_go.wait()


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, chunked or not."""
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def http_backend(
    root: Path, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Let `git http-backend` answer for the repositories below `root`: status, headers, content."""
    url = urlsplit(target)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "http.receivepack",
        "GIT_CONFIG_VALUE_0": "true",
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": "*",
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
        "REQUEST_METHOD": method,
        "PATH_INFO": url.path,
        "QUERY_STRING": url.query,
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""),
        "REMOTE_ADDR": "127.0.0.1",
    }
    done = subprocess.run(
        ["git", "http-backend"], input=body, capture_output=True, env=environment, timeout=60, check=False
    )
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    answered = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
    return int(answered.pop("Status", "200").split(" ")[0]), answered, content


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    owner: GitServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what many of these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: `GitServer.requests` is the log."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        owner = self.server.owner
        authorized = self._authorized(owner)
        owner.requests.append(Request(self.command, self.path, authorized))
        fault = owner.fault_for(self.path)
        if fault is not None and fault.kind == "drop-request":
            if {"Content-Length", "Transfer-Encoding"} & set(self.headers):
                # Some of the body is taken, as when a network goes away in the middle. Without one there is nothing to
                # wait for: git would give up after a minute.
                self.rfile.read1(64)
            self._hang_up()
            return
        body = read_body(self)
        if fault is not None and fault.kind != "drop-response":
            self._fail(owner, fault)
            return
        if not authorized:
            self._answer(401, {"WWW-Authenticate": 'Basic realm="tests"'}, b"login, please\n")
            return
        status, headers, content = http_backend(owner.root, self.command, self.path, self.headers, body)
        if fault is not None:
            self._hang_up()
            return
        self._answer(status, headers, content)

    def _fail(self, owner: GitServer, fault: Fault) -> None:
        if fault.kind == "hang":
            owner.hang()
            self._hang_up()
        elif fault.kind == "redirect":
            self._answer(302, {"Location": fault.to + self.path}, b"")
        elif fault.kind == "garbage":
            self._answer(200, {"Content-Type": "text/html"}, b"<html>Please sign in</html>")
        else:
            self._answer(fault.status, fault.headers, fault.words.encode())

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _authorized(self, owner: GitServer) -> bool:
        if owner.login is None:
            return True
        expected = base64.b64encode(":".join(owner.login).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    """A running GitServer over an empty folder."""
    assert shutil.which("git"), "the tests need git"
    root = tmp_path / "served"
    root.mkdir()
    server = GitServer(root)
    yield server
    server.close()
