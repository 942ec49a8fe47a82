"""`upkeep web` as a process of its own.

What belongs here: starting it, asking it, ending it. What does not: what it must do (the tests).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.waiting import until

UPKEEP = Path(sys.executable).with_name("upkeep")
SECONDS = 120.0


class Served:
    """A running service. `home` holds its output."""

    def __init__(self, home: Path, *arguments: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.output = home / "web.out"
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                [str(UPKEEP), "web", *arguments], env=dict(os.environ), stdout=log, stderr=log
            )

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def url(self) -> str:
        return re.findall(r"API is up\.\s+(http\S+)", self.said())[-1]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.said()
            return "Ctrl-C stops it." in self.said()

        until(ready, "the start")

    def ask(self, path: str, token: str | None = None, method: str = "GET", **more: Any) -> httpx.Response:
        headers = {**more.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        return httpx.request(method, self.url + path, headers=headers, timeout=SECONDS, trust_env=False, **more)


@contextmanager
def served(home: Path, *arguments: str) -> Iterator[Served]:
    """A service on a free port, ready."""
    server = Served(home, "--port", "0", *arguments)
    try:
        server.wait_until_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


def new_token(scope: str = "read") -> str:
    """A token made by the command."""
    made = subprocess.run(
        [str(UPKEEP), "token", "create", f"{scope}-{time.monotonic_ns()}", "--scope", scope, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    token: str = json.loads(made.stdout)["token"]
    return token
