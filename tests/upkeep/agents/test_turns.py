from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from upkeep.agents.base import Agent, AgentResult, AgentTask, Usage
from upkeep.agents.turns import InTurn, at_once, in_turn


@dataclass(frozen=True)
class Idle:
    """An agent that does nothing."""

    name: str
    engine: str = "codex"
    model: str = "m"
    writes_with_model: bool = True
    fails: bool = False

    def run(self, task: AgentTask) -> AgentResult:
        if self.fails:
            raise ZeroDivisionError
        return AgentResult(outcome="said_nothing", usage=Usage(engine=self.engine), seconds=0.0)


@pytest.fixture
def task(tmp_path: Path) -> AgentTask:
    return AgentTask(subject="s", work=tmp_path, prompt="", answer_schema={}, log_dir=tmp_path)


@pytest.mark.parametrize("fails", [False, True])
def test_an_agent_runs_inside_its_turn(task: AgentTask, fails: bool) -> None:
    seen: list[str] = []

    @contextmanager
    def turn(agent: Agent) -> Iterator[None]:
        seen.append(f"begin {agent.engine}")
        try:
            yield
        finally:
            seen.append("end")

    agent = in_turn(Idle("a", fails=fails), turn)
    try:
        assert agent.run(task).outcome == "said_nothing"
    except ZeroDivisionError:
        assert fails
    assert seen == ["begin codex", "end"]


def test_it_looks_like_the_agent_that_it_is() -> None:
    agent: Agent = in_turn(Idle("a", engine="claude"), at_once)
    assert isinstance(agent, InTurn)
    assert (agent.name, agent.engine, agent.model, agent.writes_with_model) == ("a", "claude", "m", True)


def test_what_asks_no_model_waits_for_nobody() -> None:
    offline = Idle("scan", writes_with_model=False)
    assert in_turn(offline, at_once) is offline
