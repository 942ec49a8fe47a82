"""The engine `command`: any program that reads a prompt and writes an answer, contained and metered like the others.

What belongs here: how such a program is called and what it has to do. What does not: running it (`headless.py`).

It gets the prompt on standard input, works in its current folder, and ends with status 0 and its answer, a JSON object
of the demanded schema, as the last line of standard output. It finds in its environment: UPKEEP_MODEL,
UPKEEP_ANSWER_SCHEMA (a file), UPKEEP_GATEWAY_URL and UPKEEP_GATEWAY_KEY, and the same two in the usual variables of the
API that the settings name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from upkeep.agents.gateway.settings import ApiName
from upkeep.agents.headless import Call, CliAgent, Ending, Launch
from upkeep.agents.programs import Program
from upkeep.process import Completed

_DEFAULT_URLS: dict[ApiName, str] = {
    "responses": "https://api.openai.com/v1",
    "chat": "https://api.openai.com/v1",
    "messages": "https://api.anthropic.com",
}


@dataclass(frozen=True)
class CommandAgent(CliAgent):
    """One entry under `agents:` with `engine: command`. `arguments` follow the program `bin`; `files` are further files
    and folders that it needs, read-only; `api` is the one that it speaks to its model."""

    bin: str = ""
    model: str = ""
    effort: str | None = None
    provider: str = "openai"
    arguments: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    api: ApiName = "chat"  # type: ignore[misc]

    engine: ClassVar[str] = "command"
    key_variable: ClassVar[str] = "MODEL_API_KEY"
    install: ClassVar[str] = "install the program"

    @property
    def default_url(self) -> str:  # type: ignore[override]
        return _DEFAULT_URLS[self.api]

    def version(self, home: Path) -> str:
        """Unknown: a program of anybody's need not say one."""
        return ""

    def program(self) -> Program:
        found = super().program()
        return Program(found.argv, (*found.files, *(path.resolve() for path in self.files)))

    def launch(self, call: Call) -> Launch:
        schema = call.home / "answer.schema.json"
        schema.write_text(json.dumps(call.task.answer_schema))
        environment = {
            "UPKEEP_MODEL": self.model,
            "UPKEEP_ANSWER_SCHEMA": str(schema),
            "UPKEEP_GATEWAY_URL": call.url,
            "UPKEEP_GATEWAY_KEY": call.token,
        }
        if self.api == "messages":
            environment |= {"ANTHROPIC_BASE_URL": call.url, "ANTHROPIC_API_KEY": call.token}
        else:
            environment |= {"OPENAI_BASE_URL": f"{call.url}/v1", "OPENAI_API_KEY": call.token}
        return Launch(self.arguments, environment, call.task.prompt.encode())

    def read(self, line: str) -> str | None:
        return line if line.strip() else None

    def is_final(self, event: Any) -> bool:
        """Only its exit is its end: a line may be anything."""
        return False

    def ending(self, call: Call, seen: Sequence[Any], completed: Completed) -> Ending:
        exited = completed.outcome == "exited"
        failed = exited and completed.returncode != 0
        error = (completed.error_text.strip() or f"status {completed.returncode}") if failed else ""
        return Ending(finished=exited, message=seen[-1] if seen else "", error=error)
