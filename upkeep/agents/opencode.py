"""The engine `opencode`: the opencode CLI, run headless by `opencode run`, with any server of the chat-completions API.

What belongs here: how it is called. What does not: running it (`headless.py`), its formats (`opencode_events.py`).
Facts are from running 1.18.33; https://opencode.ai/docs/config lists the settings.

Nothing of the user's own set-up takes part: HOME is private and thrown away, the configuration is ours, that of a
project is not read, plug-ins, skills, sharing, updates and the tools that reach the network are off. It has no sandbox
of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from upkeep.agents import opencode_events as events
from upkeep.agents.gateway.settings import MAX_OUTPUT_TOKENS, ApiName
from upkeep.agents.headless import Call, CliAgent, Ending, Launch
from upkeep.process import Completed

TESTED_VERSION = "1.18.33"
CONTEXT_TOKENS = 200_000
"""Where it begins to shorten a conversation by itself."""

_PROVIDER = "upkeep"
_TOOLS_OFF = ("webfetch", "websearch", "codesearch", "task", "skill", "todowrite", "todoread", "question")
_OFF = (
    *("OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_AUTOUPDATE", "OPENCODE_DISABLE_PROJECT_CONFIG"),
    *("OPENCODE_DISABLE_DEFAULT_PLUGINS", "OPENCODE_DISABLE_EXTERNAL_SKILLS", "OPENCODE_DISABLE_CLAUDE_CODE"),
    *("OPENCODE_DISABLE_SHARE", "OPENCODE_DISABLE_PRUNE", "OPENCODE_DISABLE_LSP_DOWNLOAD", "OPENCODE_PURE"),
)


@dataclass(frozen=True)
class OpencodeAgent(CliAgent):
    """One entry under `agents:` with `engine: opencode`."""

    bin: str = "opencode"
    model: str = "gpt-5.2"
    effort: str | None = None
    provider: str = "openai"

    engine: ClassVar[str] = "opencode"
    api: ClassVar[ApiName] = "chat"
    default_url: ClassVar[str] = "https://api.openai.com/v1"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    install: ClassVar[str] = f"npm install -g opencode-ai@{TESTED_VERSION}"
    minimum: ClassVar[tuple[int, ...]] = (1, 18, 0)

    def launch(self, call: Call) -> Launch:
        config = call.home / "opencode.json"
        config.write_text(json.dumps(self._config(call)))
        arguments = [
            *("run", "--format", "json", "-m", f"{_PROVIDER}/{self.model}", "--dir", str(call.work), "--pure"),
            # Without a title it asks the model for one, in a request that no figure of its own counts.
            *("--title", "upkeep", "--auto"),
        ]
        environment = {
            "OPENCODE_CONFIG": str(config),
            "XDG_CONFIG_HOME": str(call.home / "config"),
            "XDG_DATA_HOME": str(call.home / "data"),
            "XDG_STATE_HOME": str(call.home / "state"),
            "XDG_CACHE_HOME": str(call.home / "cache"),
            **dict.fromkeys(_OFF, "1"),
        }
        return Launch(arguments, environment, call.task.prompt.encode())

    def _config(self, call: Call) -> dict[str, object]:
        limits = {"context": CONTEXT_TOKENS, "output": MAX_OUTPUT_TOKENS}
        return {
            "provider": {
                _PROVIDER: {
                    "npm": "@ai-sdk/openai-compatible",
                    "options": {"baseURL": f"{call.url}/v1", "apiKey": call.token},
                    "models": {self.model: {"name": self.model, "limit": limits}},
                }
            },
            "model": f"{_PROVIDER}/{self.model}",
            "small_model": f"{_PROVIDER}/{self.model}",
            "permission": {"edit": "allow", "bash": "allow", "external_directory": "allow"},
            "tools": dict.fromkeys(_TOOLS_OFF, False),
            "share": "disabled",
            "autoupdate": False,
            "snapshot": False,
            "lsp": False,
            "formatter": False,
        }

    def read(self, line: str) -> events.Event | None:
        return events.parse_event(line)

    def is_final(self, event: Any) -> bool:
        return events.ends(event)

    def ending(self, call: Call, seen: Sequence[Any], completed: Completed) -> Ending:
        return events.ending(seen, exited=completed.outcome == "exited" and completed.returncode == 0)
