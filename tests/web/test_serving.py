"""Listening: addresses, slow clients, and an end in order."""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.support.waiting import until
from tests.support.web_server import SECONDS
from upkeep.errors import ConfigError
from web.serving import host_names, is_loopback, listen, url_of

# An application that answers once it is told to, on standard input.
PROGRAM = """
import sys, threading
from upkeep.redaction import Redactor
from web.serving import listen, serve, url_of
go = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), go.set()), daemon=True).start()
async def app(scope, receive, send):
    import asyncio
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        print("cleaned up", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        print("begun", flush=True)
        while not go.is_set():
            await asyncio.sleep(0.05)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"whole"})
sock = listen("127.0.0.1", 0)
ready = lambda: print(url_of(sock), flush=True)
serve(app, sock, redact=Redactor(), ready=ready, head_seconds=float(sys.argv[1]), keep_alive_seconds=1)
print("stopped", flush=True)
"""


@pytest.fixture
def start() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-P", "-c", PROGRAM, "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        yield program
        program.kill()


def line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def test_who_sends_no_request_is_hung_up_on_and_others_are_served(start: subprocess.Popen[str]) -> None:
    url = line(start)
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with (
        closing(socket.create_connection(address, SECONDS)) as silent,
        closing(socket.create_connection(address, SECONDS)) as slow,
        closing(socket.create_connection(address, SECONDS)) as second,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")
        # A whole request, and then a head that does not come to its end.
        second.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /")
        assert httpx.get(url, timeout=SECONDS, trust_env=False).text == "whole"
        assert silent.recv(1) == b""
        assert slow.recv(1) == b""
        received = b""
        while chunk := second.recv(4096):
            received += chunk
        assert received.count(b"HTTP/1.1 200") == 1


def test_what_has_begun_is_finished_before_it_ends(start: subprocess.Popen[str]) -> None:
    url = line(start)
    answers: list[str] = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{url}/slow", timeout=SECONDS, trust_env=False).text)
    )
    asking.start()
    assert line(start) == "begun"
    start.send_signal(signal.SIGTERM)
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    until(lambda: refuses(address), "the end of listening")
    assert start.stdin is not None
    start.stdin.write("go\n")
    start.stdin.flush()
    asking.join(SECONDS)
    assert answers == ["whole"]
    assert [line(start), line(start)] == ["cleaned up", "stopped"]
    assert start.wait(SECONDS) == 0


def refuses(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == errno.ECONNREFUSED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_end_it_in_order(start: subprocess.Popen[str], number: int) -> None:
    line(start)
    start.send_signal(number)
    assert [line(start), line(start)] == ["cleaned up", "stopped"]
    assert start.wait(SECONDS) == 0


def test_a_port_that_is_taken_is_told() -> None:
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken") as taken:
            listen("127.0.0.1", port)
    assert taken.value.reason == "web.port"
    assert f":{port}" in taken.value.remedy
    with listen("127.0.0.1", port) as again:
        assert url_of(again) == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_let_in_only_where_that_is_said(host: str) -> None:
    with pytest.raises(ConfigError) as refused:
        listen(host, 0)
    assert refused.value.reason == "web.public"
    assert "--public" in refused.value.remedy


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a" * 300])
def test_an_address_of_somebody_else_is_none(host: str) -> None:
    with pytest.raises(ConfigError) as refused:
        listen(host, 0, public=True)
    assert refused.value.reason == "web.host"


def test_hosts_that_requests_may_be_for() -> None:
    with listen("127.0.0.1", 0) as loopback:
        assert set(host_names("127.0.0.1", loopback, ["hub.example"])) == {
            *("localhost", "127.0.0.1", "::1", "hub.example")
        }
    with listen("0.0.0.0", 0, public=True) as everywhere:
        assert host_names("0.0.0.0", everywhere, []) == []
        assert "hub.example" in host_names("0.0.0.0", everywhere, ["hub.example"])


@pytest.mark.parametrize(
    ("address", "is_it"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False), ("x", False)],
)
def test_what_is_loopback(address: str, is_it: bool) -> None:
    assert is_loopback(address) is is_it
