"""HTTP over a unix socket for the fake GitHub: requests in, answers or faults out.

What belongs here: the protocol, and how a fault looks on the wire. What does not: what GitHub says (github_server.py).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.github_server import GitHubServer, Json, Request


class _Listener(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away (it was killed, or ran out of time) is part of the tests."""


def serve(server: GitHubServer, socket: Path) -> Callable[[], None]:
    """Listen on `socket` in a thread; the returned function stops it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.read_body()
            target = self.path
            fault = server.take_fault(f"{self.command} {urlsplit(target).path}")
            status, headers, result = 0, dict[str, str](), None
            if fault is None or fault.after:
                lowered = {key.lower(): value for key, value in self.headers.items()}
                status, headers, result = server.answer(self.command, target, lowered, body)
            else:
                path = urlsplit(target).path
                server.requests.append(Request(self.command, path, {}, None, 0 if fault.drop else fault.status))
            if fault is not None:
                time.sleep(fault.delay)
                status, headers, result = fault.status, {**headers, **fault.headers}, {"message": fault.message}
            if fault is not None and fault.drop:
                self.close_connection = True
                return
            self.reply(status, headers, result)

        do_POST = do_PATCH = do_GET

        def read_body(self) -> bytes:
            """gh sends bodies from stdin chunked."""
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            chunks = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                chunks += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return chunks

        def reply(self, status: int, headers: Mapping[str, str], result: Json) -> None:
            content = json.dumps(result).encode()
            self.send_response(status)
            for key, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(content)),
            }.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def address_string(self) -> str:
            return "unix socket"

        def log_message(self, *_: object) -> None:
            """Requests are recorded, not logged."""

    listener = _Listener(str(socket), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def stop() -> None:
        listener.shutdown()
        listener.server_close()
        thread.join(5)

    return stop
