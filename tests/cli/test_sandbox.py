"""`upkeep sandbox show`: what is printed before an agent is let loose."""

from __future__ import annotations

import json
import os
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
        f"  other: {{engine: claude, bin: {tool('claude')}}}\n  third: {{engine: opencode, bin: {tool('opencode')}}}\n"
        "  own: {engine: command, bin: /usr/bin/env, model: m}\n  gone: {engine: codex, bin: no-such-codex}\n"
        f"forks:\n  mine: {{url: 'file:///x.git', trunk: t, forge: here, repo: o/x, gate_mounts: [{tmp_path}/tools], "
        "remotes: {upstream: 'file:///up.git'}}\n"
    )
    monkeypatch.setenv("UPKEEP_CONFIG", str(tmp_path / "upkeep.yaml"))
    (tmp_path / "tools" / "bin").mkdir(parents=True)
    (tmp_path / "tools" / "credentials.toml").write_text("sk-canary-0123456789")
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


@pytest.mark.parametrize("agent", ["writer", "other", "third", "own"])
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


def test_an_engine_that_is_not_configured_is_shown_by_its_defaults(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(tool('opencode')).parent}{os.pathsep}{os.environ['PATH']}")
    printed = json.loads(show("opencode", "--json").stdout)
    assert (printed["engine"], printed["works"]) == ("opencode", True)
    with pytest.raises(ConfigError, match="any program of yours"):
        show("command")


def test_both_phases_of_a_gate_are_shown(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:sk-canary-0123456789@host/simple")
    printed = json.loads(show("gate", "--fork", "mine", "--json").stdout)
    prepare, run = printed["phases"]["prepare"], printed["phases"]["run"]
    assert (prepare["network"], run["network"]) == ("the host's", "none")
    for phase in (prepare, run):
        tools = str(configured / "tools")
        kinds = {mount["target"]: mount["kind"] for mount in phase["mounts"]}
        assert (kinds[tools], kinds["<run>/tree"], kinds["<run>/tree/.git"]) == ("read", "write", "read")
        assert phase["environment"]["PATH"].startswith(f"{tools}/bin:")
        hidden = next(mount for mount in phase["mounts"] if mount["target"] == f"{tools}/credentials.toml")
        assert hidden["source"] != hidden["target"], "nothing stands there"
    assert "sk-canary" not in json.dumps(printed)
    text = show("gate").stdout
    assert text.index("prepare\nnetwork     the host's") < text.index("run\nnetwork     none")


def test_only_a_gate_is_of_a_fork(configured: Path) -> None:
    assert show("writer", "--fork", "mine").exit_code == 2


def test_an_unknown_agent_is_told_the_nearest(configured: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        show("writr")
    assert (caught.value.reason, "writer" in caught.value.message) == ("config.unknown_agent", True)


def test_a_cli_that_is_not_there(configured: Path) -> None:
    with pytest.raises(AgentError) as caught:
        show("gone")
    assert caught.value.reason == "agent.not_installed"
