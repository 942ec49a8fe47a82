"""Listening: a socket, a server on it, and an end that leaves nothing behind.

What belongs here: addresses, limits of a connection, signals, the log. What does not: what is served (`app.py`, and the
MCP server of `upkeep mcp --http`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from upkeep.errors import ConfigError
from upkeep.redaction import Redactor

HEAD_SECONDS = 10.0
"""How long a client may take to send a request's head. uvicorn has no such limit."""
HEAD_BYTES = 32 * 1024
KEEP_ALIVE_SECONDS = 30
CONNECTIONS = 256
"""More are answered by a 503 at once."""
GRACE_SECONDS = 10
"""What is being answered when we are asked to end may take so long."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen(host: str, port: int, *, public: bool = False) -> socket.socket:
    """A listening socket. `port` 0: any that is free. Raises ConfigError `web.public` (not on loopback, and `public`
    does not say that this is meant), `web.host`, `web.port`."""
    family, address = address_of(host, port, public=public)
    sock = socket.socket(family)
    try:
        # What an earlier server's connections leave behind (TIME_WAIT) keeps nobody from listening; a listener does.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise _cannot(host, port, error) from error
    return sock


def address_of(host: str, port: int, *, public: bool) -> tuple[int, tuple[Any, ...]]:
    """Family and address to listen on. Raises ConfigError `web.public`, `web.host`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"{host!r} is no address of this machine", code="web.host", remedy="Give --host 127.0.0.1, or leave it out."
        ) from error
    family, _, _, _, address = found[0]
    if not public and not is_loopback(str(address[0])):
        raise ConfigError(
            f"{host} can be reached from other machines, and what is served here speaks plain HTTP",
            code="web.public",
            remedy="Listen on 127.0.0.1 behind a proxy that speaks TLS (docs/api.md); if this is meant, say --public, "
            "or `web: public: true` in upkeep.yaml.",
        )
    return family, address


def _cannot(host: str, port: int, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"port {port} of {host} is taken",
            code="web.port",
            remedy=f"Stop what listens there (`ss -ltnp 'sport = :{port}'` names it), or choose another with --port.",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"port {port} is not ours to take", code="web.port", remedy="Choose one from 1024 on with --port."
        )
    return ConfigError(
        f"{host}:{port} cannot be listened on: {error.strerror}", code="web.host", remedy="Leave --host out."
    )


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def url_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def host_names(host: str, sock: socket.socket, more: Sequence[str]) -> list[str]:
    """For which hosts requests may be, on this socket: those of loopback, or the address itself, and `more`. Empty
    (any) where we listen on every address and nobody said which names it has."""
    address = str(sock.getsockname()[0])
    if is_loopback(address):
        return ["localhost", "127.0.0.1", "::1", host, *more]
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        return [*more, "localhost", "127.0.0.1", "::1"] if more else []
    return [address, host, *more]


def serve(
    app: ASGIApp,
    sock: socket.socket,
    *,
    redact: Redactor,
    ready: Callable[[], None],
    head_seconds: float = HEAD_SECONDS,
    keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP; then finish what has begun and return. A second signal does not wait."""
    _log_to_stderr(redact)
    config = uvicorn.Config(
        app,
        http=_connection(head_seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=CONNECTIONS,
    )
    asyncio.run(_Server(config, ready).serve(sockets=[sock]))


class _Server(uvicorn.Server):
    """uvicorn's, but a signal ends it in order: uvicorn raises the signal again afterwards, and we would die of it with
    the database open."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._asked) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: object) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


def _connection(head_seconds: float) -> type[H11Protocol]:
    """A connection whose client has to send the head of each request in time: whoever sends a byte a minute would hold
    it for ever, and a few hundred such would hold all of them."""

    class Connection(H11Protocol):
        patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self.relax()
            super().connection_lost(exc)

        def watch(self) -> None:
            """Between the first byte of a head and its last, time runs."""
            if self.conn.their_state is not h11.IDLE:
                self.relax()
            elif self.patience is None:
                self.patience = self.loop.call_later(head_seconds, self.hang_up)

        def relax(self) -> None:
            if self.patience is not None:
                self.patience.cancel()
                self.patience = None

        def hang_up(self) -> None:
            self.patience = None
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self.transport.close()

    return Connection


def _log_to_stderr(redact: Redactor) -> None:
    """One line an event, without secrets: a client that puts its token into a URL has it in no log of ours."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(redact))
    levels = {"uvicorn.error": logging.WARNING, "uvicorn.access": logging.INFO, "upkeep.web": logging.INFO}
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(level)


class _Formatter(logging.Formatter):
    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))
