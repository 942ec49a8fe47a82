"""What reading a forge's whole list of repositories costs beside fetching the same pages with curl in parallel.

In one run, alternating, on the same server and with as many connections:

- `curl --parallel`, which fetches all pages and throws them away;
- the Gitea forge's `list_repositories`: the server's settings, all pages, parsed, proven to be whole;
- `stocktaking.take`: that, kept in the database and compared with the registry.

The server is a process of its own that sends prepared pages, each after the time that a page is thought about: a Gitea
makes a page of 50 from some two hundred queries. With none, what is measured is Python against C at receiving bytes:
a page costs this process 1.5 ms, which is hidden as long as the server takes more than that for eight of them.

    python -P bench/inventory.py [--json FILE] [--repositories N] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.gitea_server import GiteaServer, HostedRepository  # noqa: E402
from upkeep.config import Settings  # noqa: E402
from upkeep.database import schema  # noqa: E402
from upkeep.database.server import connect  # noqa: E402
from upkeep.forges.gitea import GiteaForge  # noqa: E402
from upkeep.forges.gitea_repositories import WORKERS  # noqa: E402
from upkeep.sync import stocktaking  # noqa: E402

RATIO = 1.3
THINKING_MS = (0, 10, 40)
COUNTED_MS = 10
"""The one that the figure is about: quicker than any Gitea makes a page of 50."""

PAGE = 50


def pages(count: int) -> dict[str, bytes]:
    """Every answer of the server, by its target."""
    gitea = GiteaServer()
    gitea.organizations.add("coulomb")
    for number in range(1, count + 1):
        words = f"Repository {number}: what it is for, in a sentence as people write them"
        gitea.repositories[number] = HostedRepository(number, f"coulomb/repository-{number:04}", description=words)
    made = {"/api/v1/settings/api": answer({}, gitea.get_settings())}
    for page in range(1, -(-count // PAGE) + 1):
        query = {"limit": str(PAGE), "page": str(page)}
        _, headers, rows = gitea.list_organization_repositories("coulomb", query=query, login="bench")
        made[f"/api/v1/orgs/coulomb/repos?{page}"] = answer(headers, rows)
    return made


def answer(headers: dict[str, str], body: Any) -> bytes:
    content = json.dumps(body).encode()
    shown = {**headers, "Content-Type": "application/json;charset=utf-8", "Content-Length": str(len(content))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + content


async def serve(count: int, thinking: float) -> None:
    """Print the port, then answer until the process is ended."""
    made = pages(count)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = urlsplit(head.split(b" ", 2)[1].decode())
                number = parse_qs(target.query).get("page")
                if number:
                    await asyncio.sleep(thinking)
                writer.write(made[f"{target.path}?{number[0]}" if number else target.path])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(count: int, thinking_ms: int) -> Iterator[str]:
    command = [sys.executable, "-P", __file__, "--serve", str(count), str(thinking_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def curl(url: str, count: int) -> float:
    last = -(-count // PAGE)
    place = f"{url}/api/v1/orgs/coulomb/repos?limit={PAGE}&page=[1-{last}]"
    command = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", str(WORKERS), "-o", "/dev/null", place]
    return timed(lambda: subprocess.run(command, check=True, timeout=120, stderr=subprocess.DEVNULL))


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(count: int, rounds: int, thinking_ms: int, home: Path) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"curl": [], "list": [], "take": []}
    with serving(count, thinking_ms) as url, connect(home) as database:
        schema.ensure(database)
        forges = {"bench": {"kind": "gitea", "url": url, "orgs": ["coulomb"]}}
        settings = Settings.model_validate({"home": home, "forges": forges})

        def read() -> None:
            found = GiteaForge("bench", url=url).list_repositories(["coulomb"], own=False)
            assert found.complete, found.gaps
            assert len(found.repositories) == count

        curl(url, count)
        read()
        for _ in range(rounds):
            seconds["curl"].append(curl(url, count))
            seconds["list"].append(timed(read))
            seconds["take"].append(timed(lambda: stocktaking.take(settings, database)))
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    ratios = [ours / theirs for ours, theirs in zip(seconds["list"], seconds["curl"], strict=True)]
    return {**medians, "ratio": round(statistics.median(ratios), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repositories", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", nargs=2, type=int, metavar=("N", "MS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve[0], options.serve[1] / 1000))
        return
    gc.set_threshold(50_000)  # as `cli/main.py` does
    count = options.repositories
    size = sum(map(len, pages(count).values()))
    figures: dict[str, Any] = {"repositories": count, "megabytes": round(size / 1e6, 1), "connections": WORKERS}
    print(f"{count} repositories, {figures['megabytes']} MB, {WORKERS} connections", flush=True)
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-inventory-") as folder:
        for thinking_ms in THINKING_MS:
            found = measure(count, options.rounds, thinking_ms, Path(folder) / "home")
            figures[f"thinking_{thinking_ms}_ms"] = found
            print(f"{thinking_ms:3} ms a page: {found}", flush=True)
    ratio = figures[f"thinking_{COUNTED_MS}_ms"]["ratio"]
    print(f"list over curl at {COUNTED_MS} ms a page: {ratio} (wanted: at most {RATIO})")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
