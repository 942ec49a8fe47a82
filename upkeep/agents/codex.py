"""The engine `codex`: OpenAI's Codex CLI, run headless by `codex exec`.

What belongs here: how it is called and where it puts its answer. What does not: running it (`headless.py`), its
arguments (`codex_command.py`), its formats (`codex_events.py`), what it is on this machine (`codex_cli.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from upkeep.agents import codex_command as command
from upkeep.agents import codex_events as events
from upkeep.agents.codex_cli import CodexCli
from upkeep.agents.folders import plain_files, private_folder, read_plain
from upkeep.agents.gateway.settings import ApiName
from upkeep.agents.headless import Call, CliAgent, Ending, Launch
from upkeep.agents.programs import Program
from upkeep.process import Completed


@dataclass(frozen=True)
class CodexAgent(CliAgent):
    """One entry under `agents:` with `engine: codex`."""

    bin: str = "codex"
    model: str = "gpt-5.2"
    effort: str | None = "high"
    provider: str = "openai"

    engine: ClassVar[str] = "codex"
    api: ClassVar[ApiName] = "responses"
    default_url: ClassVar[str] = "https://api.openai.com/v1"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"
    install: ClassVar[str] = f"npm install -g @openai/codex@{command.TESTED_VERSION}"
    minimum: ClassVar[tuple[int, ...]] = command.MINIMUM_VERSION

    def program(self) -> Program:
        with private_folder("codex") as folder:
            home = command.PrivateHome(folder)
            home.create()
            return self._cli(home).program()

    def launch(self, call: Call) -> Launch:
        home = command.PrivateHome(call.home)
        home.create()
        home.schema.write_text(json.dumps(call.task.answer_schema))
        # Without our sandbox, which the settings allow, codex' own holds its tools where it works.
        access = None if call.contained else self._cli(home).own_sandbox(command.access(call.task))
        arguments = command.exec_arguments(
            home, work=call.work, access=access, model=self.model, effort=self.effort, base_url=f"{call.url}/v1"
        )
        variables = command.environment(home, call.token)
        return Launch(arguments, variables, call.task.prompt.encode(), holds_itself=access is not None)

    def read(self, line: str) -> events.Event | None:
        return events.parse_event(line)

    def is_final(self, event: Any) -> bool:
        return isinstance(event, events.TurnCompleted | events.TurnFailed)

    def ending(self, call: Call, seen: Sequence[Any], completed: Completed) -> Ending:
        home = command.PrivateHome(call.home)
        session = _session(home.codex_home)
        written = (read_plain(home.answer) or b"").decode(errors="replace")
        ending = events.ending(seen, completed, written=written, rollout=events.parse_rollout(session))
        return replace(ending, session=session)

    def _cli(self, home: command.PrivateHome) -> CodexCli:
        return CodexCli(self.name, self.bin, self.remedy, home)


def _session(codex_home: Path) -> tuple[str, ...]:
    """Lines of the session's file. The model's tools could write there too: what is no plain file is left alone."""
    contents = [read_plain(file) for file in plain_files(codex_home / "sessions", ".jsonl")]
    return tuple(
        line
        for content in contents
        if content is not None
        for line in content.decode(errors="replace").splitlines(keepends=True)
    )
