"""What codex is on this machine: its native program, its own sandbox.

What belongs here: asking the CLI without a key and without a model. What does not: running it for a task (`codex.py`),
its arguments (`codex_command.py`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from upkeep.agents import codex_command as command
from upkeep.agents.programs import Program, locate, native
from upkeep.errors import AgentError, CommandNotFound
from upkeep.process import Completed, run

PROBE_SECONDS = 30.0


@dataclass(frozen=True)
class CodexCli:
    """The program `bin` of agent `agent`, asked with `home` as its home. `remedy`: how to get one."""

    agent: str
    bin: str
    remedy: str
    home: command.PrivateHome

    def program(self) -> Program:
        """The native program: what the user names may be npm's script, or a shim that needs its manager around it.

        Raises AgentError `agent.not_installed`, or `agent.program` where neither npm's package nor codex itself tells.
        """
        try:
            program = locate(self.bin, agent=self.agent, remedy=self.remedy)
        except AgentError as error:
            path = self._asked_path() if error.reason == "agent.program" else None
            if path is None:
                raise
            return native(path)
        inner = command.native_program(Path(program.argv[-1]))
        return program if inner is None else native(inner)

    def own_sandbox(self, access: command.Access) -> command.Access | None:
        """What codex' own sandbox would hold its tools to; None where it does not start here, or lets a canary be
        read. Only of use where ours is not to be had."""
        path = self._asked_path()
        if path is None:
            return None
        access = command.Access(access.write, access.read, command.program_files(path))
        said = self._ask(command.probe_arguments(self.home, work=access.write[0], access=access))
        return access if said.returncode == 0 and said.text.strip() == "contained" else None

    def _asked_path(self) -> Path | None:
        said = self._ask(command.locate_arguments())
        path = Path(said.text.strip())
        return path if said.returncode == 0 and path.is_absolute() else None

    def _ask(self, arguments: Sequence[str]) -> Completed:
        env = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **command.environment(self.home, None)}
        try:
            return run([self.bin, *arguments], cwd=self.home.folder, env=env, deadline=PROBE_SECONDS, check=False)
        except CommandNotFound as error:
            raise AgentError(
                f"agent {self.agent}: {error.message}", code="agent.not_installed", remedy=self.remedy
            ) from error
