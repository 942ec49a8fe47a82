"""Opening an engine by its settings, and the engine without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.tools import ROOT
from upkeep.agents import claude, opencode
from upkeep.agents.base import Agent, AgentTask, Usage
from upkeep.agents.budget import Purse
from upkeep.agents.codex import CodexAgent
from upkeep.agents.codex_command import TESTED_VERSION as CODEX
from upkeep.agents.registry import open_agent
from upkeep.agents.scan import ScanAgent
from upkeep.errors import AgentError, ConfigError
from upkeep.settings.agents import (
    Budgets,
    ClaudeAgentSettings,
    CodexAgentSettings,
    CommandAgentSettings,
    OpencodeAgentSettings,
    ScanAgentSettings,
)


def test_codex_takes_every_setting() -> None:
    settings = CodexAgentSettings(
        engine="codex",
        bin="/opt/codex",
        model="m",
        effort="low",
        api_key=SecretStr("key-123456"),
        base_url="http://localhost/v1",
        timeout_minutes=1,
        idle_minutes=2,
        budget_usd=None,
        unsafe_no_budget=True,
        unsafe_no_sandbox=True,
    )
    agent = open_agent("writer", settings)
    assert agent == CodexAgent(
        "writer",
        "/opt/codex",
        "m",
        "low",
        "openai",
        SecretStr("key-123456"),
        "http://localhost/v1",
        timeout_minutes=1,
        idle_minutes=2,
        budget_usd=None,
        unsafe_no_budget=True,
        unsafe_no_sandbox=True,
    )
    assert (agent.engine, agent.writes_with_model) == ("codex", True)
    assert "key-123456" not in repr(agent)


def test_the_versions_that_tests_pin_are_those_that_we_name_and_have_streams_of() -> None:
    """A newer CLI is pinned together with a recording of what it prints."""
    tested = {"codex": CODEX, "claude": claude.TESTED_VERSION, "opencode": opencode.TESTED_VERSION}
    pinned = json.loads((ROOT / "tests" / "tools" / "package.json").read_text())["dependencies"]
    packages = {"codex": "@openai/codex", "claude": "@anthropic-ai/claude-code", "opencode": "opencode-ai"}
    assert {engine: pinned[name] for engine, name in packages.items()} == tested
    for engine, version in tested.items():
        assert (Path(__file__).parent / "streams" / f"{engine}-{version}" / "helpful.jsonl").is_file()


def test_scan_has_no_model() -> None:
    agent = open_agent("scan", ScanAgentSettings(engine="scan"))
    assert (agent.name, agent.engine, agent.model, agent.writes_with_model) == ("scan", "scan", "", False)


def test_an_engine_that_is_not_there_is_named_with_those_that_are() -> None:
    stranger: Any = type("OtherSettings", (), {"engine": "gemini"})()
    with pytest.raises(ConfigError) as caught:
        open_agent("writer", stranger)
    assert "gemini" in caught.value.message
    assert "scan, codex, claude, opencode, command" in caught.value.remedy


@pytest.mark.parametrize(
    "settings",
    [
        CodexAgentSettings(engine="codex"),
        ClaudeAgentSettings(engine="claude", effort="max", idle_minutes=2),
        OpencodeAgentSettings(engine="opencode", provider="groq", budget_usd=None),
        CommandAgentSettings(engine="command", bin="x", arguments=("-y",), model="m", api="messages"),
    ],
)
def test_every_engine_takes_its_settings_and_the_runs_purse(settings: Any) -> None:
    purse = Purse(SecretStr("postgresql://h/d"), "run-1", Budgets())
    agent: Any = open_agent("writer", settings, purse=purse)
    assert (agent.name, agent.engine, agent.writes_with_model) == ("writer", settings.engine, True)
    assert {key: getattr(agent, key) for key, _ in settings} == dict(settings)
    assert agent.purse.account("writer", "watch:a").limits.per_subject_day_usd == 5


@pytest.fixture
def task(tmp_path: Path) -> AgentTask:
    return AgentTask(
        subject="watch/app", work=tmp_path, prompt="", answer_schema={}, log_dir=tmp_path, offline=lambda: {"ok": True}
    )


def test_scan_runs_the_offline_procedure_for_nothing(task: AgentTask) -> None:
    agent: Agent = ScanAgent("scan")
    result = agent.run(task)
    assert (result.outcome, result.answer, result.transcript, result.sandbox) == ("answered", {"ok": True}, None, "")
    assert result.usage == Usage(engine="scan", cost_priced_usd=0.0, basis="none")
    assert result.usage.cost_usd == 0


def test_scan_refuses_what_only_a_model_can_do(task: AgentTask) -> None:
    with pytest.raises(AgentError) as caught:
        ScanAgent("scan").run(task.model_copy(update={"offline": None}))
    assert (caught.value.reason, caught.value.exit_code) == ("agent.no_offline", 4)


def test_what_the_offline_procedure_raises_goes_through(task: AgentTask) -> None:
    def broken() -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ScanAgent("scan").run(task.model_copy(update={"offline": broken}))


class TestUsage:
    def test_attempts_add_up(self) -> None:
        first = Usage(engine="codex", requests=1, input_uncached=10, output=2, basis="events", cost_priced_usd=0.5)
        second = Usage(engine="codex", requests=2, cache_read=5, reasoning=3, basis="rollout", complete=False)
        total = first + second
        assert (total.requests, total.tokens, total.cost_usd, total.complete) == (3, 20, 0.5, False)
        assert (Usage(engine="codex") + first).basis == "events"

    def test_an_unknown_cost_stays_unknown(self) -> None:
        unpriced = Usage(engine="codex")
        assert (unpriced + unpriced).cost_priced_usd is None
        assert unpriced.cost_usd == 0.0
