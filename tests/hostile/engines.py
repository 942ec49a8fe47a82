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
from upkeep.agents.codex import CodexAgent

KEY = "sk-canary-model-key-0123456789abcdef"
"""The provider's key: the gateway holds it and nobody else may see it."""


def codex(server: ModelServer, **settings: Any) -> Agent:
    values = {"bin": tool("codex"), "bwrap": tool("bwrap"), "api_key": SecretStr(KEY), "base_url": server.base_url}
    return CodexAgent("writer", **{**values, **settings})


ENGINES: dict[str, Callable[..., Agent]] = {"codex": codex}
"""Name → maker, called with the model's server and with settings that every engine has: `bwrap`, `limits`,
`timeout_minutes`, `idle_minutes`, `budget_usd`, `after_final_seconds`."""
