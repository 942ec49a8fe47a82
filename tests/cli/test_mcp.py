"""The MCP server as an agent's client sees it: in this process, and as a program on stdio."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from cli.mcp_server import server
from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from upkeep.database.server import Database
from upkeep.sync.dispatch import Dispatch

PROGRAM = "import typer; from cli.mcp import mcp; typer.run(mcp)"


async def ask(target: Any, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    async with Client(target) as client:
        tools = (await client.list_tools()).tools
        return tools, [await client.call_tool(name, arguments) for name, arguments in calls]


def test_the_tools_answer_with_the_published_models(hub: HubTerminal, database: Database) -> None:
    hub.out("sync", "sample", "--fix")
    calls = (
        ("get_repo_dispatch", {"repo_slug": "sample"}),
        ("list_repos", {}),
        ("get_sync_health", {}),
        ("get_repo_dispatch", {"repo_slug": "sampel"}),
    )
    tools, (told, repos, health, unknown) = asyncio.run(ask(server(database), *calls))
    assert {tool.name for tool in tools} == {"get_repo_dispatch", "list_repos", "get_sync_health"}
    assert told.structured_content == hub.json("dispatch", "sample")
    assert Dispatch.model_validate(told.structured_content).active_goal is not None
    assert [one["repo_slug"] for one in repos.structured_content["repositories"]] == ["sample"]
    assert health.structured_content == {"fresh": 1, "ageing": 0, "stale": 0, "failing": 0, "attention": []}
    assert unknown.is_error
    assert "did you mean sample" in unknown.content[0].text


def test_the_program_speaks_the_protocol_on_stdio(hub: HubTerminal) -> None:
    hub.out("sync", "sample", "--fix")
    parameters = StdioServerParameters(command=sys.executable, args=["-P", "-c", PROGRAM], env=dict(os.environ))
    _, (told,) = asyncio.run(ask(stdio_client(parameters), ("get_repo_dispatch", {"repo_slug": "sample"})))
    assert told.structured_content == hub.json("dispatch", "sample")


def test_the_program_serves_http_on_loopback(hub: HubTerminal) -> None:
    hub.out("sync", "sample", "--fix")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-P", "-c", PROGRAM, "--http", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as program:
        try:
            until = time.monotonic() + 30
            while not listens(port) and time.monotonic() < until:
                time.sleep(0.05)
            url = f"http://127.0.0.1:{port}/mcp"
            _, (told,) = asyncio.run(ask(url, ("get_repo_dispatch", {"repo_slug": "sample"})))
        finally:
            program.terminate()
    assert told.structured_content == hub.json("dispatch", "sample")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("slug", ["", "no such", "../x"])
def test_any_slug_is_answered_or_refused(hub: HubTerminal, database: Database, slug: str) -> None:
    hub.out("repos", "list")
    _, (told,) = asyncio.run(ask(server(database), ("get_repo_dispatch", {"repo_slug": slug})))
    assert told.is_error
