"""Which engine a configured agent is.

What belongs here: from settings to an Agent, one line an engine. What does not: anything an engine does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upkeep.agents.base import Agent
from upkeep.agents.scan import ScanAgent
from upkeep.errors import ConfigError
from upkeep.settings.agents import (
    AgentSettings,
    ClaudeAgentSettings,
    CodexAgentSettings,
    CommandAgentSettings,
    OpencodeAgentSettings,
    ScanAgentSettings,
)

if TYPE_CHECKING:
    from upkeep.agents.budget import Purse

AVAILABLE = ("scan", "codex", "claude", "opencode", "command")


def open_agent(name: str, settings: AgentSettings, *, purse: Purse | None = None) -> Agent:
    """The agent under `agents: {name: …}`. Starts nothing. `purse`: the budgets of the run that it works for; without
    it only the agent's own `budget_usd` holds. Raises ConfigError for an engine that is not there."""
    # An engine is loaded where it is used: the prices and clients of one cost a third of a second.
    match settings:
        case ScanAgentSettings():
            return ScanAgent(name)
        case CodexAgentSettings():
            from upkeep.agents.codex import CodexAgent

            return CodexAgent(name, **_values(settings), purse=purse)
        case ClaudeAgentSettings():
            from upkeep.agents.claude import ClaudeAgent

            return ClaudeAgent(name, **_values(settings), purse=purse)
        case OpencodeAgentSettings():
            from upkeep.agents.opencode import OpencodeAgent

            return OpencodeAgent(name, **_values(settings), purse=purse)
        case CommandAgentSettings():
            from upkeep.agents.command import CommandAgent

            return CommandAgent(name, **_values(settings), purse=purse)
        case _:
            raise ConfigError(
                f"agents.{name}: there is no engine {getattr(settings, 'engine', None)!r}",
                code="config.unknown_engine",
                remedy=f"name one of: {', '.join(AVAILABLE)}",
            )


def _values(settings: AgentSettings) -> dict[str, Any]:
    return {key: value for key, value in settings if key != "engine"}
