"""What the gateway costs: to an agent's start, to a request, and to a stream.

- start: from the engine's call until its sandbox may start, and until the first request is answered;
- request: median of requests through the gateway beside the same straight to the provider (a server on loopback that
  answers at once), with a body as codex sends it, booked in a real PostgreSQL;
- stream: how long after the provider sent a chunk the client has it, while the answer goes on.

    python -P bench/gateway.py [--json FILE] [--requests N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from upkeep.agents.budget import Account, Limits
from upkeep.agents.gateway.client import Route, open_gateway
from upkeep.database import schema
from upkeep.database.server import connect

CHUNKS = 20
PAUSE = 0.02


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


async def provider(pause: float) -> tuple[web.AppRunner, str]:
    """Answers every request with `CHUNKS` events that say when they were sent, `pause` seconds apart."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(CHUNKS if pause else 1):
            await response.write(event("response.output_text.delta", sent=time.perf_counter()))
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
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


async def timed(session: aiohttp.ClientSession, url: str, data: bytes, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        async with session.post(url, data=data, headers={"content-type": "application/json"}) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        seconds.append(time.perf_counter() - started)
    return seconds


async def delays(session: aiohttp.ClientSession, url: str, data: bytes) -> list[float]:
    """Seconds between a chunk's sending and its arrival, over one answer."""
    async with session.post(url, data=data, headers={"content-type": "application/json"}) as answer:
        arrived = [(time.perf_counter(), line) async for line in answer.content]
    return [at - json.loads(line[5:])["sent"] for at, line in arrived if b'"sent"' in line]


async def measure(count: int, account: Account, folder: Path) -> dict[str, float]:
    quick, quick_url = await provider(0)
    slow, slow_url = await provider(PAUSE)
    data = json.dumps(body()).encode()
    figures: dict[str, float] = {}
    for name, upstream in (("request", quick_url), ("stream", slow_url)):
        route = Route("bench", "responses", upstream, SecretStr("k" * 20), "gpt-5.2", "openai", account=account)
        started = time.perf_counter()
        # Like an engine, which does not wait in an event loop: the provider answers from this very process.
        opened = open_gateway(route, transcript=folder / f"{name}.jsonl", log=folder / "log.txt")
        gateway = await asyncio.to_thread(opened.__enter__)
        figures.setdefault("start_seconds", time.perf_counter() - started)
        try:
            headers = {"authorization": f"Bearer {gateway.token}"}
            socket = aiohttp.UnixConnector(str(gateway.socket))
            async with (
                aiohttp.ClientSession(connector=socket, headers=headers) as through,
                aiohttp.ClientSession() as straight,
            ):
                url = "http://gateway/v1/responses"
                first = await timed(through, url, data, 1)
                figures.setdefault("first_request_seconds", first[0])
                if name == "stream":
                    figures["stream_delay_seconds"] = statistics.median(await delays(through, url, data))
                    figures["stream_delay_straight_seconds"] = statistics.median(
                        await delays(straight, f"{upstream}/responses", data)
                    )
                else:
                    # Interleaved: what else the machine does falls on both.
                    pairs = [
                        (await timed(through, url, data, 5), await timed(straight, f"{upstream}/responses", data, 5))
                        for _ in range(count // 5)
                    ]
                    figures["request_seconds"] = statistics.median(each for pair in pairs for each in pair[0])
                    figures["request_straight_seconds"] = statistics.median(each for pair in pairs for each in pair[1])
            await asyncio.to_thread(gateway.finish)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)
    for runner in (quick, slow):
        await runner.cleanup()
    figures["request_added_seconds"] = figures["request_seconds"] - figures["request_straight_seconds"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as name, connect(Path(name)) as database:
        schema.ensure(database)
        limits = Limits(per_run_usd=1e6, per_subject_day_usd=1e6, per_agent_month_usd=1e6)
        url = SecretStr(database.url)
        account = Account(database_url=url, agent="bench", subject="bench", run_id="bench", limits=limits)
        figures = asyncio.run(measure(options.requests, account, Path(name)))
    for key, value in figures.items():
        print(f"{key:<32} {value * 1000:8.1f} ms")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
