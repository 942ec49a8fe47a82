"""The engines that the suite drives. Another one joins by an entry.

What belongs here: making an agent of an engine that talks to the scripted model. What does not: any attack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from tests.support.model_server import ModelServer
from tests.support.tools import tool
from upkeep.agents.base import Agent
from upkeep.agents.claude import ClaudeAgent
from upkeep.agents.codex import CodexAgent
from upkeep.agents.opencode import OpencodeAgent

KEY = "sk-canary-model-key-0123456789abcdef"
"""The provider's key: the gateway holds it and nobody else may see it."""


def _settings(name: str, base_url: str, settings: dict[str, Any]) -> dict[str, Any]:
    values = {"bin": tool(name), "bwrap": tool("bwrap"), "api_key": SecretStr(KEY), "base_url": base_url}
    return {**values, **settings}


def codex(server: ModelServer, **settings: Any) -> Agent:
    return CodexAgent("writer", **_settings("codex", server.base_url, settings))


def claude(server: ModelServer, **settings: Any) -> Agent:
    return ClaudeAgent("writer", **_settings("claude", server.base_url.removesuffix("/v1"), settings))


def opencode(server: ModelServer, **settings: Any) -> Agent:
    return OpencodeAgent("writer", **_settings("opencode", server.base_url, settings))


ENGINES: dict[str, Callable[..., Agent]] = {"codex": codex, "claude": claude, "opencode": opencode}
"""Name → maker, called with the model's server and with settings that every engine has: `bwrap`, `limits`,
`timeout_minutes`, `idle_minutes`, `budget_usd`, `after_final_seconds`."""
