"""The engine `claude`: Anthropic's Claude Code, run headless by `claude -p`.

What belongs here: how it is called. What does not: running it (`headless.py`), its formats (`claude_events.py`).
Facts are from running 2.1.197; https://docs.claude.com/en/docs/claude-code/cli-reference lists the options.

Nothing of the user's own set-up takes part: HOME is private and thrown away, no settings are read, MCP servers, hooks,
skills, memory and project instructions are off, and of its tools only those are on that read, write and run commands.
Their permissions are all granted: the sandbox is what holds them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from upkeep.agents import claude_events as events
from upkeep.agents.gateway.settings import MAX_OUTPUT_TOKENS, ApiName
from upkeep.agents.headless import Call, CliAgent, Ending, Launch
from upkeep.process import Completed

TESTED_VERSION = "2.1.197"
TOOLS = ("Bash", "Read", "Edit", "Write", "Glob", "Grep")

_OFF = (
    *("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_CLAUDE_MDS"),
    *("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS", "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"),
    *("CLAUDE_CODE_DISABLE_FAST_MODE", "CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS", "DISABLE_INSTALLATION_CHECKS"),
)


@dataclass(frozen=True)
class ClaudeAgent(CliAgent):
    """One entry under `agents:` with `engine: claude`."""

    bin: str = "claude"
    model: str = "claude-sonnet-4-5"
    effort: str | None = "high"
    provider: str = "anthropic"

    engine: ClassVar[str] = "claude"
    api: ClassVar[ApiName] = "messages"
    default_url: ClassVar[str] = "https://api.anthropic.com"
    key_variable: ClassVar[str] = "ANTHROPIC_API_KEY"
    install: ClassVar[str] = f"npm install -g @anthropic-ai/claude-code@{TESTED_VERSION}"
    minimum: ClassVar[tuple[int, ...]] = (2, 1, 0)

    def launch(self, call: Call) -> Launch:
        config = call.home / "config"
        config.mkdir(exist_ok=True)
        arguments = [
            *("-p", "--output-format", "stream-json", "--verbose", "--model", self.model),
            *(("--effort", self.effort) if self.effort else ()),
            *("--json-schema", json.dumps(call.task.answer_schema), "--tools", ",".join(TOOLS)),
            *("--permission-mode", "bypassPermissions", "--setting-sources", "", "--strict-mcp-config"),
            *("--no-session-persistence", "--disable-slash-commands"),
            *(part for path in call.task.reads.values() for part in ("--add-dir", str(path.resolve()))),
        ]
        environment = {
            "ANTHROPIC_BASE_URL": call.url,
            "ANTHROPIC_API_KEY": call.token,
            # It asks a smaller model for small things; the gateway would answer with the pinned one all the same.
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": self.model,
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(MAX_OUTPUT_TOKENS),
            "CLAUDE_CONFIG_DIR": str(config),
            # Without it, it refuses to run as root with all permissions, also where nothing is root in fact.
            "IS_SANDBOX": "1",
            **dict.fromkeys(_OFF, "1"),
        }
        return Launch(arguments, environment, call.task.prompt.encode())

    def read(self, line: str) -> events.Event | None:
        return events.parse_event(line)

    def is_final(self, event: Any) -> bool:
        return isinstance(event, events.Result)

    def ending(self, call: Call, seen: Sequence[Any], completed: Completed) -> Ending:
        return events.ending(seen)
