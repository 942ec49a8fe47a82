"""Taking turns: an agent that starts only when it is let.

What belongs here: the wrapper around an agent. What does not: who lets it (`resources/pools.py`), and budgets, which
are about money and not about how many work at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from upkeep.agents.base import Agent, AgentResult, AgentTask

Turn = Callable[[Agent], AbstractContextManager[None]]
"""Waits until this agent may work, and says at the end of the block that it is done. May raise RunCancelled."""


@contextmanager
def at_once(agent: Agent) -> Iterator[None]:
    """Nobody waits for anybody."""
    yield


@dataclass(frozen=True)
class InTurn:
    """An agent whose every run waits for its turn."""

    agent: Agent
    turn: Turn

    @property
    def name(self) -> str:
        return self.agent.name

    @property
    def engine(self) -> str:
        return self.agent.engine

    @property
    def model(self) -> str:
        return self.agent.model

    @property
    def writes_with_model(self) -> bool:
        return self.agent.writes_with_model

    def run(self, task: AgentTask) -> AgentResult:
        with self.turn(self.agent):
            return self.agent.run(task)


def in_turn(agent: Agent, turn: Turn) -> Agent:
    """The agent, waiting for its turn where it asks a model; what asks none is done before one could wait."""
    return InTurn(agent, turn) if agent.writes_with_model else agent
