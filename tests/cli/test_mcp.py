"""The MCP server as an agent's client sees it: in this process, on stdio, and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import jsonschema
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from cli.mcp_server import server
from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.waiting import until
from tests.support.web_server import SECONDS, UPKEEP, new_token, served
from upkeep.database.server import Database
from upkeep.sync import registry
from upkeep.sync.dispatch import Dispatch

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "dispatch.schema.json"


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
    assert health.structured_content == {
        **{"fresh": 1, "ageing": 0, "stale": 0, "failing": 0},
        **{"attention": [], "attention_omitted": 0},
    }
    assert unknown.is_error
    assert "did you mean sample" in unknown.content[0].text


async def ask_over_http(url: str, token: str, *calls: tuple[str, dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS) as http:
        return await ask(streamable_http_client(url, http_client=http), *calls)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`upkeep mcp --http` as a process of its own: its address."""
    log = folder / "mcp.out"
    with log.open("wb") as output:
        program = subprocess.Popen([str(UPKEEP), "mcp", "--http", "--port", "0"], stdout=output, stderr=output)

    def address() -> str | None:
        assert program.poll() is None, log.read_text()
        return next(iter(re.findall(r"MCP is up\.\s+(http\S+)", log.read_text())), None)

    try:
        yield until(address, "the start")
        program.send_signal(signal.SIGTERM)
        assert program.wait(SECONDS) == 0
        assert log.read_text().endswith("stopped\n")
    finally:
        program.kill()
        program.wait()


def test_every_way_gives_the_same_answer_and_the_same_schema(hub: HubTerminal, tmp_path: Path) -> None:
    hub.out("sync", "sample", "--fix")
    wanted = hub.json("dispatch", "sample")
    call = ("get_repo_dispatch", {"repo_slug": "sample"})
    with serving(tmp_path) as url:
        http_tools, (over_http,) = asyncio.run(ask_over_http(url, new_token(), call))
    command = StdioServerParameters(command=str(UPKEEP), args=["mcp"], env=dict(os.environ))
    stdio_tools, (over_stdio,) = asyncio.run(ask(stdio_client(command), call))
    with served(tmp_path / "out") as service:
        over_rest = service.ask("/repos/sample/dispatch", new_token()).json()
        described = service.ask("/openapi.json").json()["components"]["schemas"]
    assert wanted == over_http.structured_content == over_stdio.structured_content == over_rest
    assert json.loads(over_http.content[0].text) == wanted

    published = json.loads(PUBLISHED.read_text())
    jsonschema.validate(wanted, published)
    assert published == json.loads(hub.out("dispatch", "--schema"))
    for tools in (http_tools, stdio_tools):
        (tool,) = [tool for tool in tools if tool.name == "get_repo_dispatch"]
        assert tool.output_schema == published
    parts = json.loads(json.dumps(published).replace("#/$defs/", "#/components/schemas/"))
    assert described["Dispatch"] == {key: value for key, value in parts.items() if key != "$defs"}
    for name, part in parts["$defs"].items():
        assert described[name] == part, name


def test_pages_of_a_browser_and_other_hosts_are_refused(hub: HubTerminal, tmp_path: Path) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accept = {"Accept": "application/json, text/event-stream"}
    with serving(tmp_path) as url:
        port = url.partition("//")[2].partition("/")[0].rpartition(":")[2]
        accept["Authorization"] = f"Bearer {new_token()}"

        def status(**headers: str) -> int:
            return httpx.post(
                url, json=body, headers={**accept, **headers}, timeout=SECONDS, trust_env=False
            ).status_code

        assert status() == 200
        assert status(Origin=f"http://localhost:{port}") == 200
        for origin in ("https://evil.example", "null", f"http://127.0.0.1.evil.example:{port}", "file://"):
            assert status(Origin=origin) == 403, origin
        for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}"):
            assert status(Host=host) == 421, host
        large = httpx.post(url, content=b" " * 100_000, headers={**accept, "Content-Type": "application/json"})
        assert large.status_code == 413


def test_over_http_it_takes_the_tokens_of_the_api_and_nothing_else(hub: HubTerminal, tmp_path: Path) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accept = {"Accept": "application/json, text/event-stream"}
    read, write = new_token(), new_token("write")
    with serving(tmp_path) as url:

        def answer(address: str = url, method: str = "POST", **headers: str) -> httpx.Response:
            return httpx.request(
                method, address, json=body, headers={**accept, **headers}, timeout=SECONDS, trust_env=False
            )

        assert [answer(Authorization=f"Bearer {token}").status_code for token in (read, write)] == [200, 200]
        for headers in ({}, {"Authorization": f"Bearer {read[:-1]}x"}, {"Authorization": f"Basic {read}"}):
            refused = answer(**headers)
            assert (refused.status_code, refused.headers["WWW-Authenticate"][:6]) == (401, "Bearer")
            assert "upkeep token create" in refused.json()["remedy"]
        unasked = answer(method="GET", Authorization=f"Bearer {read}")
        assert (unasked.status_code, unasked.headers["Allow"]) == (405, "POST"), "no stream is held that says nothing"
        for path in ("/state/health", "/openapi.json", "/nowhere"):
            assert answer(url.removesuffix("/mcp") + path, "GET").status_code == 401, path


def test_a_port_that_is_taken_is_told(hub: HubTerminal, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        port = url.partition("//")[2].partition("/")[0].rpartition(":")[2]
        second = subprocess.run(
            [str(UPKEEP), "mcp", "--http", "--port", port], capture_output=True, text=True, check=False
        )
    assert second.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in second.stderr


def test_lists_of_thousands_come_in_parts(hub: HubTerminal, database: Database) -> None:
    hub.out("repos", "list")
    with database.session() as session:
        for number in range(130):
            registry.register(session, hub.sample.path, slug=f"r{number:03}")
    calls = (("list_repos", {}), ("list_repos", {"after": "r099", "limit": 3}), ("get_sync_health", {}))
    _, (first, second, health) = asyncio.run(ask(server(database), *calls))
    assert len(first.structured_content["repositories"]) == 100
    assert first.structured_content["next_after"] == "r099"
    assert [one["repo_slug"] for one in second.structured_content["repositories"]] == ["r100", "r101", "r102"]
    assert (health.structured_content["stale"], health.structured_content["attention_omitted"]) == (131, 81)


@pytest.mark.parametrize("slug", ["", "no such", "../x"])
def test_any_slug_is_answered_or_refused(hub: HubTerminal, database: Database, slug: str) -> None:
    hub.out("repos", "list")
    _, (told,) = asyncio.run(ask(server(database), ("get_repo_dispatch", {"repo_slug": slug})))
    assert told.is_error
