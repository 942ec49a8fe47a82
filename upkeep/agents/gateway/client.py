"""Starting a gateway for one agent run, and ending it.

What belongs here: the life of the gateway's process as seen by the engine that needs it. What does not: what the
gateway does with a request (`server.py` and the pure modules beside it).

The gateway is a process of its own, so that the key is in no memory that the agent's CLI shares, and so that it ends
with the run however that ends: `upkeep.process` ends it when we die, and it ends itself when its standard input closes.
It listens before it has loaded its libraries, so an engine can start at once: the first request waits in the socket.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr, ValidationError

from upkeep.agents.budget import Account
from upkeep.agents.folders import private_folder
from upkeep.agents.gateway.settings import MAX_OUTPUT_TOKENS, ApiName, GatewayReport, GatewaySettings, Ready
from upkeep.errors import AgentError, CommandTimeout
from upkeep.process import Child, base_environment, start

START_SECONDS = 20.0
FINISH_SECONDS = 20.0
"""At the end: for answers whose client has gone, so that their figures are known, and for the books."""

_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_KEPT = (*_PROXIES, *(name.lower() for name in _PROXIES))


@dataclass(frozen=True)
class Route:
    """Where a gateway sends and as whom. Fields as in `GatewaySettings`."""

    agent: str
    api: ApiName
    upstream: str
    api_key: SecretStr | None
    model: str
    provider: str
    effort: str | None = None
    priced: bool = True
    limit_usd: float | None = None
    account: Account | None = None
    max_output_tokens: int = MAX_OUTPUT_TOKENS


class Gateway:
    """A gateway that listens. `socket`: give it to the sandbox. `token`: the dummy key that its clients must send; it
    is good for nothing else. `port`: of loopback, only with `loopback=True` (a run without a sandbox)."""

    def __init__(self, child: Child, socket: Path, token: str, port: int | None) -> None:
        self._child = child
        self._report: GatewayReport | None = None
        self.socket = socket
        self.token = token
        self.port = port

    def finish(self) -> GatewayReport:
        """End it and return what it did. Every request is settled afterwards. Never raises for a gateway that died:
        its report says `lost`. A second call returns the same."""
        if self._report is None:
            self._report = self._finish()
        return self._report

    def _finish(self) -> GatewayReport:
        with contextlib.suppress(OSError):
            self._child.stdin.close()
        said = _line(self._child, FINISH_SECONDS)
        with contextlib.suppress(CommandTimeout):
            self._child.wait(2.0)
        try:
            return GatewayReport.model_validate_json(said)
        except ValidationError:
            return GatewayReport(lost=True)


@contextlib.contextmanager
def open_gateway(route: Route, *, transcript: Path, log: Path, loopback: bool = False) -> Iterator[Gateway]:
    """Start a gateway and end it with the context. Call `finish` inside for its report.

    `transcript`: a JSONL file that it writes, without secrets and bounded. `log`: what it says to standard error.
    Raises AgentError (code `agent.gateway`) where it does not start.
    """
    token = f"upkeep-{secrets.token_urlsafe(24)}"
    fields = {name: getattr(route, name) for name in route.__dataclass_fields__}
    settings = GatewaySettings(**fields, token=SecretStr(token), transcript=str(transcript), loopback=loopback)
    with private_folder("gw") as folder:
        # Short: the path of a socket has at most 107 bytes.
        socket = folder / "s"
        command = [sys.executable, "-P", "-m", "upkeep.agents.gateway", str(socket)]
        with start(command, env=base_environment(keep=_KEPT), pipes=True, stderr_path=log) as child:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(settings.model_dump_json().encode() + b"\n")
            said = _line(child, START_SECONDS)
            try:
                ready = Ready.model_validate_json(said)
            except ValidationError as error:
                raise AgentError(
                    f"the gateway of agent {route.agent} does not start",
                    code="agent.gateway",
                    remedy=f"look into {log}",
                    retryable=True,
                ) from error
            yield Gateway(child, socket, token, ready.port)


def _line(child: Child, seconds: float) -> str:
    """One line that the child says, or what there was of it after so many seconds or at its end."""
    until = time.monotonic() + seconds
    said = b""
    with contextlib.suppress(OSError, ValueError):
        while not said.endswith(b"\n") and (left := until - time.monotonic()) > 0:
            if not select.select([child.stdout], [], [], left)[0]:
                break
            more = child.stdout.read(1 << 16)
            if not more:
                break
            said += more
    return said.decode(errors="replace")
