"""`upkeep sandbox show`: what is printed before an agent is let loose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.sandbox import app
from tests.support.tools import tool
from upkeep.errors import AgentError, ConfigError


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tool("bwrap")
    (tmp_path / "upkeep.yaml").write_text(
        f"agents:\n  writer: {{engine: codex, bin: {tool('codex')}, api_key: '${{KEY}}'}}\n"
        f"  other: {{engine: claude, bin: {tool('claude')}}}\n  gone: {{engine: codex, bin: no-such-codex}}\n"
    )
    monkeypatch.setenv("UPKEEP_CONFIG", str(tmp_path / "upkeep.yaml"))
    monkeypatch.setenv("KEY", "sk-canary-0123456789")
    return tmp_path


def show(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["show", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_people_read_mounts_limits_environment_and_network(configured: Path) -> None:
    result = show("writer")
    assert result.exit_code == 0
    lines = {line.strip() for line in result.stdout.splitlines()}
    assert {"read    <run>/upstream", "write   <run>/work", "memory  /tmp up to 512 MiB"} <= lines
    assert "none, but http://127.0.0.1:8317 leads to the gateway" in result.stdout
    assert "AGENTS.md" in result.stdout
    assert "sk-canary" not in result.stdout


@pytest.mark.parametrize("agent", ["writer", "other"])
def test_machines_read_the_same(configured: Path, agent: str) -> None:
    printed = json.loads(show(agent, "--json").stdout)
    assert (printed["agent"], printed["works"], printed["reason"]) == (agent, True, "")
    profile = printed["profile"]
    assert profile["directory"] == "<run>/work"
    writable = [mount["target"] for mount in profile["mounts"] if mount["kind"] == "write"]
    assert "<run>/work" in writable
    assert all(target.startswith("<run>/") for target in writable)
    assert profile["limits"]["processes"] == 1024
    assert "sk-canary" not in json.dumps(printed)


def test_an_engine_without_a_program_has_nothing_to_hold(configured: Path) -> None:
    assert "starts no program" in show("scan").stdout


def test_an_unknown_agent_is_told_the_nearest(configured: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        show("writr")
    assert (caught.value.reason, "writer" in caught.value.message) == ("config.unknown_agent", True)


def test_a_cli_that_is_not_there(configured: Path) -> None:
    with pytest.raises(AgentError) as caught:
        show("gone")
    assert caught.value.reason == "agent.not_installed"
