"""Which engine a configured agent is.

What belongs here: from settings to an Agent, one line an engine. What does not: anything an engine does.
"""

from __future__ import annotations

from upkeep.agents.base import Agent
from upkeep.agents.codex import CodexAgent
from upkeep.agents.scan import ScanAgent
from upkeep.config import AgentSettings, CodexAgentSettings, ScanAgentSettings
from upkeep.errors import ConfigError

AVAILABLE = ("scan", "codex")


def open_agent(name: str, settings: AgentSettings) -> Agent:
    """The agent under `agents: {name: …}`. Starts nothing. Raises ConfigError for an engine that is not there."""
    match settings:
        case ScanAgentSettings():
            return ScanAgent(name)
        case CodexAgentSettings():
            return CodexAgent(name, **{key: value for key, value in settings if key != "engine"})
        case _:
            raise ConfigError(
                f"agents.{name}: there is no engine {getattr(settings, 'engine', None)!r}",
                code="config.unknown_engine",
                remedy=f"name one of: {', '.join(AVAILABLE)}",
            )
