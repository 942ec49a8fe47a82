"""The gateway's process: `python -P -m upkeep.agents.gateway SOCKET`, started by `client.py` and by nobody else.

What belongs here: listening first, then reading the settings from standard input, loading the server, and ending. What
does not: serving (`server.py`). The settings hold the key, so they come through a pipe; the report goes the same way
back. It ends when standard input closes, or by SIGTERM, which settles what is on its way at the most that it can cost.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upkeep.agents.gateway.settings import GatewayReport, GatewaySettings


MEMORY = 2 << 30
"""Bytes. What a hostile client makes of one request (32 MB of empty lists take 600 MB) must not become the host's
trouble; real ones take some 100 MB."""


def main(path: str) -> int:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    # A request must not wait 5 ms, Python's default, for a thread that writes the transcript.
    sys.setswitchinterval(0.0005)
    listeners = [socket.socket(socket.AF_UNIX)]
    listeners[0].bind(path)
    listeners[0].listen(128)
    given = sys.stdin.buffer.raw.readline() if hasattr(sys.stdin.buffer, "raw") else sys.stdin.buffer.readline()
    fields = json.loads(given)
    port = None
    if fields.get("loopback"):
        listeners.append(socket.create_server(("127.0.0.1", 0)))
        port = listeners[1].getsockname()[1]
    # Before the libraries are loaded, which takes longer than everything else: requests wait in the socket.
    print(json.dumps({"listening": True, "port": port}), flush=True)

    import uvloop

    from upkeep.agents.gateway.settings import GatewaySettings

    # Of what the gateway adds to a request it takes away a sixth (bench/gateway.py).
    report = uvloop.run(_serve(GatewaySettings.model_validate(fields), listeners))
    print(report.model_dump_json(), flush=True)
    return 0


async def _serve(settings: GatewaySettings, listeners: list[socket.socket]) -> GatewayReport:
    from upkeep.agents.gateway.server import Server

    shared: Any = None
    if settings.account is not None:
        from upkeep.agents.ledger import DatabaseLedger

        shared = DatabaseLedger(settings.account)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bool] = loop.create_future()

    def end(*, at_once: bool) -> None:
        if not ended.done():
            ended.set_result(at_once)

    loop.add_signal_handler(signal.SIGTERM, lambda: end(at_once=True))
    loop.add_reader(sys.stdin.fileno(), lambda: end(at_once=False))
    server = Server(settings, shared)
    await server.serve(listeners)
    at_once = await ended
    loop.remove_reader(sys.stdin.fileno())
    return await server.finish(at_once=at_once)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
