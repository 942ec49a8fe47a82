"""The sections `agents` and `budgets`: which engine may be asked, and for how much money."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from upkeep.settings.base import LocalPath, Section


class ScanAgentSettings(Section):
    """Offline, deterministic, no model."""

    engine: Literal["scan"]


class ModelAgentSettings(Section):
    """What every engine with a model takes. `unsafe_no_budget`: a model without a known price may run, at any cost."""

    api_key: SecretStr | None = None
    base_url: str | None = None
    timeout_minutes: float = Field(default=30, gt=0)
    idle_minutes: float = Field(default=5, gt=0)
    budget_usd: float | None = Field(default=1.00, ge=0)
    unsafe_no_budget: bool = False
    unsafe_no_sandbox: bool = False


class CodexAgentSettings(ModelAgentSettings):
    engine: Literal["codex"]
    bin: str = "codex"
    model: str = "gpt-5.2"
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] = "high"


class ClaudeAgentSettings(ModelAgentSettings):
    engine: Literal["claude"]
    bin: str = "claude"
    model: str = "claude-sonnet-4-5"
    effort: Literal["low", "medium", "high", "xhigh", "max"] = "high"


class OpencodeAgentSettings(ModelAgentSettings):
    """`base_url`: any server that speaks the chat-completions API. `provider`: the price list's name for it."""

    engine: Literal["opencode"]
    bin: str = "opencode"
    model: str = "gpt-5.2"
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    provider: str = "openai"


class CommandAgentSettings(ModelAgentSettings):
    """Any program. `files`: what it needs beside itself, read-only. `api`: the one that it speaks to its model."""

    engine: Literal["command"]
    bin: str
    arguments: tuple[str, ...] = ()
    files: tuple[LocalPath, ...] = ()
    api: Literal["responses", "messages", "chat"] = "chat"
    model: str
    effort: str | None = None
    provider: str = "openai"


AgentSettings = Annotated[
    ScanAgentSettings | CodexAgentSettings | ClaudeAgentSettings | OpencodeAgentSettings | CommandAgentSettings,
    Field(discriminator="engine"),
]


class Budgets(Section):
    """US dollars."""

    per_run_usd: float = Field(default=1.00, ge=0)
    per_subject_day_usd: float = Field(default=5.00, ge=0)
    per_agent_month_usd: float = Field(default=100.00, ge=0)
