"""What the gateway costs: to an agent's start, to a request, and to a stream.

- start: from the engine's call until its sandbox may start, and until the first request is answered;
- request: median of requests through the gateway beside the same straight to the provider (a process of its own on
  loopback that answers at once), with a body as codex sends it, booked in a real PostgreSQL, with a pause between two
  as an agent makes one to run a tool; and the same through the sandbox' relay as well;
- stream: how long after the provider sent a chunk the client has it, while the answer goes on.

    python -P bench/gateway.py [--json FILE] [--requests N]

Wake-ups from one process to the next are most of it, so on a busy machine it measures the machine: `chrt -r 5` before
the command keeps others out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from upkeep.agents import relay as relay_module
from upkeep.agents.budget import Account, Limits
from upkeep.agents.gateway.client import Gateway, Route, open_gateway
from upkeep.agents.profile import RELAY_PORT
from upkeep.database import schema
from upkeep.database.server import connect
from upkeep.process import start

RELAY = Path(relay_module.__file__)

CHUNKS = 20
PAUSE = 0.02
TARGET_MS = 5.0


def body(size: int = 60_000) -> dict[str, Any]:
    """A conversation of some turns, with tools, as large as codex' third request."""
    turn = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "word " * 400}]}
    tool = {"type": "function", "name": "exec", "parameters": {"type": "object"}, "description": "word " * 800}
    return {
        "model": "m",
        "stream": True,
        "input": [turn] * (size // 2_400),
        "tools": [tool] * 3,
        "instructions": "x" * 8_000,
    }


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


async def serve(pause: float) -> None:
    """The provider, until standard input ends. Answers every request with `CHUNKS` events that say when they were sent,
    `pause` seconds apart; with one where there is no pause."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(CHUNKS if pause else 1):
            await response.write(event("response.output_text.delta", sent=time.monotonic()))
            await asyncio.sleep(pause)
        usage = {"input_tokens": 15_000, "output_tokens": 100}
        await response.write(event("response.completed", response={"usage": usage}))
        return response

    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/responses", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextmanager
def provider(pause: float) -> Iterator[str]:
    """A provider in a process of its own, as a real one is; its base URL."""
    argv = [sys.executable, "-P", __file__, "--serve", str(pause)]
    with start(argv, pipes=True) as child:
        yield child.stdout.readline().decode().strip()
        child.stdin.close()


async def timed(session: aiohttp.ClientSession, url: str, data: bytes, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        await asyncio.sleep(PAUSE)
        started = time.perf_counter()
        async with session.post(url, data=data, headers={"content-type": "application/json"}) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        seconds.append(time.perf_counter() - started)
    return seconds


async def delays(session: aiohttp.ClientSession, url: str, data: bytes) -> list[float]:
    """Seconds between a chunk's sending and its arrival, over one answer."""
    async with session.post(url, data=data, headers={"content-type": "application/json"}) as answer:
        arrived = [(time.monotonic(), line) async for line in answer.content]
    return [at - json.loads(line[5:])["sent"] for at, line in arrived if b'"sent"' in line]


@contextmanager
def through(account: Account, upstream: str, folder: Path, name: str) -> Iterator[tuple[Gateway, float]]:
    """A gateway, and how many seconds its start took."""
    route = Route("bench", "responses", upstream, SecretStr("k" * 20), "gpt-5.2", "openai", account=account)
    began = time.perf_counter()
    with open_gateway(route, transcript=folder / f"{name}.jsonl", log=folder / "log.txt") as gateway:
        yield gateway, time.perf_counter() - began
        gateway.finish()


@contextmanager
def relayed(gateway: Gateway) -> Iterator[str]:
    """The sandbox' relay in front of a gateway, as it is inside; its URL."""
    argv = [sys.executable, "-I", "-S", str(RELAY), "", str(gateway.socket), str(RELAY_PORT), "sleep", "600"]
    with start(argv):
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", RELAY_PORT)).close()
                break
            except OSError:
                time.sleep(0.01)
        yield f"http://127.0.0.1:{RELAY_PORT}/v1/responses"


async def requests(gateway: Gateway, relay: str, upstream: str, count: int) -> dict[str, float]:
    """Interleaved: what else the machine does falls on all ways."""
    data, headers = json.dumps(body()).encode(), {"authorization": f"Bearer {gateway.token}"}
    unix = aiohttp.UnixConnector(str(gateway.socket))
    async with (
        aiohttp.ClientSession(connector=unix, headers=headers) as direct,
        aiohttp.ClientSession(headers=headers) as relayed,
        aiohttp.ClientSession() as straight,
    ):
        first = await timed(direct, "http://gateway/v1/responses", data, 1)
        ways = [(straight, f"{upstream}/responses"), (direct, "http://gateway/v1/responses"), (relayed, relay)]
        found: list[list[float]] = [[], [], []]
        for _ in range(count // 5):
            for times, (session, url) in zip(found, ways, strict=True):
                times += await timed(session, url, data, 5)
    plain, gated, whole = map(statistics.median, found)
    return {
        "first_request_seconds": first[0],
        "request_straight_seconds": plain,
        "request_seconds": gated,
        "request_relayed_seconds": whole,
        "request_added_seconds": gated - plain,
        "request_added_relayed_seconds": whole - plain,
    }


async def stream(gateway: Gateway, upstream: str) -> dict[str, float]:
    data, headers = json.dumps(body()).encode(), {"authorization": f"Bearer {gateway.token}"}
    unix = aiohttp.UnixConnector(str(gateway.socket))
    async with aiohttp.ClientSession(connector=unix, headers=headers) as gated, aiohttp.ClientSession() as straight:
        return {
            "stream_delay_seconds": statistics.median(await delays(gated, "http://gateway/v1/responses", data)),
            "stream_delay_straight_seconds": statistics.median(await delays(straight, f"{upstream}/responses", data)),
        }


def measure(count: int, account: Account, folder: Path) -> dict[str, float]:
    with provider(0) as url, through(account, url, folder, "request") as (gateway, seconds), relayed(gateway) as relay:
        figures = {"start_seconds": seconds, **asyncio.run(requests(gateway, relay, url, count))}
    with provider(PAUSE) as url, through(account, url, folder, "stream") as (gateway, _):
        return {**figures, **asyncio.run(stream(gateway, url))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as name, connect(Path(name)) as database:
        schema.ensure(database)
        limits = Limits(per_run_usd=1e6, per_subject_day_usd=1e6, per_agent_month_usd=1e6)
        url = SecretStr(database.url)
        account = Account(database_url=url, agent="bench", subject="bench", run_id="bench", limits=limits)
        figures = measure(options.requests, account, Path(name))
    for key, value in figures.items():
        print(f"{key:<32} {value * 1000:8.1f} ms")
    met = figures["request_added_relayed_seconds"] * 1000 <= TARGET_MS
    print(f"target: gateway and relay add at most {TARGET_MS:g} ms to a request: {'met' if met else 'MISSED'}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
