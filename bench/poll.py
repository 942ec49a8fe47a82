"""How long it takes to ask many upstreams for their heads: `upkeep.heads.poll` against `git ls-remote` for each.

Both run with the same number of remotes in flight, against a server in a process of its own that answers protocol v2
`ls-refs` from memory, so that the client is what is measured. Processor time is the client's: ours, or of all the git
processes. Run `python bench/poll.py [--upstreams 1000] [--width 32] [--json FILE]` from the repository.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET_RATIO = 10.0


def sha_of(name: str) -> str:
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


def pkt(line: str) -> bytes:
    return b"%04x" % (len(line) + 4) + line.encode()


class Server(asyncio.Protocol):
    """As little of HTTP as git and we need: the capabilities on GET, one ref on POST."""

    CAPABILITIES = pkt("# service=git-upload-pack\n") + b"0000" + pkt("version 2\n") + pkt("ls-refs=unborn\n") + b"0000"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            lower = head.lower()
            at = lower.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.answer(head.split(b" ", 2))

    def answer(self, request: list[bytes]) -> None:
        name = request[1].decode().split("/")[1]
        if request[0] == b"GET":
            kind, body = b"advertisement", self.CAPABILITIES
        else:
            kind, body = b"result", pkt(f"{sha_of(name)} refs/heads/main\n") + b"0000"
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-%s\r\nContent-Length: %d\r\n\r\n%s"
            % (kind, len(body), body)
        )


def serve(ready: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=1024)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def ask_with_git(urls: list[str], width: int) -> dict[str, str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": tempfile.gettempdir(),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }

    def one(url: str) -> str:
        argv = ["git", "ls-remote", url, "refs/heads/main"]
        return subprocess.run(argv, capture_output=True, check=True, env=environment, text=True).stdout.split("\t")[0]

    with ThreadPoolExecutor(width) as pool:
        return dict(zip(urls, pool.map(one, urls), strict=True))


def ask_with_poll(urls: list[str], width: int) -> dict[str, str]:
    from upkeep.heads import HeadRequest, poll

    results = poll([HeadRequest(url, url, "main") for url in urls], deadline=40, concurrency=width)
    failed = [result.error for result in results.values() if result.error is not None]
    if failed:
        raise SystemExit(f"{len(failed)} failed, the first: {failed[0]}")
    return {url: str(result.sha) for url, result in results.items()}


def measure(ask: Callable[[list[str], int], dict[str, str]], urls: list[str], width: int) -> dict[str, float]:
    def processor() -> float:
        times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in times)

    before, started = processor(), time.perf_counter()
    answers = ask(urls, width)
    seconds, used = time.perf_counter() - started, processor() - before
    if answers != {url: sha_of(url.rsplit("/", 1)[1]) for url in urls}:
        raise SystemExit("an answer was wrong")
    return {"wall_seconds": round(seconds, 3), "cpu_seconds": round(used, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--upstreams", type=int, default=1000)
    parser.add_argument("--width", type=int, default=32, help="remotes in flight at once, for both")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        port = ours.recv()
        urls = [f"http://127.0.0.1:{port}/r{number}" for number in range(arguments.upstreams)]
        # Once before: imports and the first connections are paid once a process, not once a poll.
        for ask in (ask_with_poll, ask_with_git):
            ask(urls[:20], arguments.width)
        figures = {
            "git ls-remote": measure(ask_with_git, urls, arguments.width),
            "upkeep.heads.poll": measure(ask_with_poll, urls, arguments.width),
        }
    finally:
        server.terminate()
        server.join()
    slow, quick = figures.values()
    ratios = {name: round(slow[name] / max(quick[name], 0.001), 1) for name in slow}
    print(f"{arguments.upstreams} upstreams, {arguments.width} at once\n")
    print("| | wall s | client CPU s |\n| --- | ---: | ---: |")
    for name, row in [*figures.items(), ("ratio", ratios)]:
        print(f"| {name} | {row['wall_seconds']} | {row['cpu_seconds']} |")
    if arguments.json is not None:
        record = {"upstreams": arguments.upstreams, "width": arguments.width, "figures": figures, "ratios": ratios}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    return 0 if min(ratios.values()) >= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
