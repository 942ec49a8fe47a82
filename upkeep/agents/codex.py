"""The engine `codex`: OpenAI's Codex CLI, run headless by `codex exec`.

What belongs here: probing the CLI and running it under three deadlines. What does not: its arguments
(`codex_command.py`), its formats (`codex_events.py`), what a run amounts to (`codex_outcome.py`), taking files out of
the work tree (`harvest.py`), or judging whether the work is any good (the calling system).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from upkeep.agents import codex_command as command
from upkeep.agents import codex_events as events
from upkeep.agents import codex_outcome as outcome
from upkeep.agents import pricing
from upkeep.agents.base import AgentResult, AgentTask
from upkeep.errors import AgentError, BudgetExhausted, CommandNotFound
from upkeep.process import Completed, Redactor, run

PROBE_SECONDS = 30.0
AFTER_FINAL_SECONDS = 10.0
"""How long codex may take to exit after its final event; measured 0.05 s."""

_INSTALL = f"npm install -g @openai/codex@{command.TESTED_VERSION}"


@dataclass(frozen=True)
class Probe:
    """What was found of the CLI on this machine. `contained` False: its sandbox does not start, `reason` says why."""

    program: str
    version: str
    contained: bool
    reason: str = ""
    program_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class CodexAgent:
    """Settings of one entry under `agents:` with `engine: codex`. Minutes and US dollars.

    `api_key` None: the provider behind `base_url` needs none. `budget_usd` None: run without asking for a price.
    """

    name: str
    bin: str = "codex"
    model: str = "gpt-5.2"
    effort: str = "high"
    api_key: SecretStr | None = None
    base_url: str | None = None
    timeout_minutes: float = 30
    idle_minutes: float = 5
    budget_usd: float | None = 1.00
    unsafe_no_sandbox: bool = False
    after_final_seconds: float = AFTER_FINAL_SECONDS

    engine = "codex"
    writes_with_model = True

    def run(self, task: AgentTask) -> AgentResult:
        self._require_credential()
        self._require_budget()
        with tempfile.TemporaryDirectory(prefix="upkeep-codex-", ignore_cleanup_errors=True) as folder:
            home = command.PrivateHome(Path(folder).resolve())
            home.create()
            probe = self._probe(home, _access(task))
            self._require_containment(probe)
            return self._attempt(task, home, probe)

    def probe(self) -> Probe:
        """Look at the CLI and its sandbox without a model. Raises AgentError where it is missing or too old."""
        with tempfile.TemporaryDirectory(prefix="upkeep-codex-", ignore_cleanup_errors=True) as folder:
            home = command.PrivateHome(Path(folder).resolve())
            home.create()
            work = home.folder / "work"
            work.mkdir()
            return self._probe(home, command.Access(write=(work,), read=()))

    def _key(self) -> str | None:
        """The key; None where there is none, or an empty one from an empty variable."""
        return (self.api_key.get_secret_value() or None) if self.api_key else None

    def _require_credential(self) -> None:
        if self._key() is None and self.base_url is None:
            raise AgentError(
                f"agent {self.name} has no API key",
                code="agent.authentication",
                remedy=f'set agents.{self.name}.api_key: "${{OPENAI_API_KEY}}" and the variable, '
                f"or agents.{self.name}.base_url to a provider that needs none",
            )

    def _require_budget(self) -> None:
        if self.budget_usd is None:
            return
        if self.budget_usd <= 0:
            raise BudgetExhausted(
                f"the budget of agent {self.name} is {self.budget_usd:.2f} USD a run",
                remedy=f"raise agents.{self.name}.budget_usd",
            )
        pricing.require_price(model=self.model, provider=outcome.PROVIDER, agent=self.name)

    def _probe(self, home: command.PrivateHome, access: command.Access) -> Probe:
        said = self._ask(home, ["--version"])
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", said.text)
        if said.returncode != 0 or found is None:
            raise AgentError(
                f"{self.bin} --version said {outcome.shorten(said.text + said.error_text)!r}",
                code="agent.not_installed",
                remedy=f"install it anew ({_INSTALL}), or set agents.{self.name}.bin",
            )
        if tuple(map(int, found.groups())) < command.MINIMUM_VERSION:
            raise AgentError(
                f"codex {found[0]} is too old: Upkeep needs {'.'.join(map(str, command.MINIMUM_VERSION))} or newer",
                code="agent.version",
                remedy=_INSTALL,
            )
        located = self._ask(home, command.locate_arguments())
        native = Path(located.text.strip())
        files = command.program_files(native) if located.returncode == 0 and native.is_absolute() else ()
        access = command.Access(write=access.write, read=access.read, program=files)
        tried = self._ask(home, command.probe_arguments(home, work=access.write[0], access=access))
        contained = tried.returncode == 0 and tried.text.strip() == "contained"
        reason = (
            "" if contained else outcome.shorten(tried.error_text + tried.text + located.error_text) or "no message"
        )
        return Probe(self.bin, found[0], contained, reason, files)

    def _ask(self, home: command.PrivateHome, arguments: Sequence[str]) -> Completed:
        """Run the CLI without a key and without a model."""
        env = command.environment(home, None, os.environ)
        try:
            return run([self.bin, *arguments], cwd=home.folder, env=env, deadline=PROBE_SECONDS, check=False)
        except CommandNotFound as error:
            raise AgentError(
                f"agent {self.name}: {error.message}",
                code="agent.not_installed",
                remedy=f"{_INSTALL}, or set agents.{self.name}.bin to its path",
            ) from error

    def _require_containment(self, probe: Probe) -> None:
        if not probe.contained and not self.unsafe_no_sandbox:
            raise AgentError(
                f"codex' sandbox does not work on this machine: {probe.reason}",
                code="agent.sandbox",
                remedy="install bubblewrap and allow unprivileged user namespaces (sysctl "
                "kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), or set "
                f"agents.{self.name}.unsafe_no_sandbox: true, which lets the agent read and change what you can",
            )

    def _attempt(self, task: AgentTask, home: command.PrivateHome, probe: Probe) -> AgentResult:
        redact = Redactor([key] if (key := self._key()) else [])
        logs = _Logs.next_in(task.log_dir)
        remains = self._exec(task, home, probe, logs, redact)
        usage = outcome.usage(remains, model=self.model, version=probe.version)
        error = outcome.failure(
            remains, agent=self.name, timeout_minutes=self.timeout_minutes, idle_minutes=self.idle_minutes
        )
        if error is not None:
            error.details |= {
                "usage": usage.model_dump(mode="json"),
                "seconds": round(remains.completed.seconds, 3),
                "transcript": str(logs.transcript if logs.transcript.is_file() else logs.events),
            }
            raise error
        message = redact(outcome.answer_text(_read(home.answer), remains.seen))
        answer = outcome.as_answer(message, task.answer_schema)
        return AgentResult(
            outcome="said_nothing" if answer is None else "answered",
            answer=answer,
            message="" if answer is not None else outcome.shorten(message),
            usage=usage,
            seconds=remains.completed.seconds,
            exit_code=remains.completed.returncode,
            transcript=logs.transcript,
            sandbox="codex" if probe.contained else "none",
        )

    def _exec(
        self, task: AgentTask, home: command.PrivateHome, probe: Probe, logs: _Logs, redact: Redactor
    ) -> outcome.Remains:
        home.schema.write_text(json.dumps(task.answer_schema))
        arguments = command.exec_arguments(
            home,
            work=task.work.resolve(),
            access=_access(task, program=probe.program_files) if probe.contained else None,
            model=self.model,
            effort=self.effort,
            base_url=self.base_url or command.OPENAI_URL,
            keyed=self._key() is not None,
        )
        seen: list[events.Event] = []

        def on_line(line: str) -> bool:
            event = events.parse_event(line)
            if event is not None:
                seen.append(event)
            return isinstance(event, events.TurnCompleted | events.TurnFailed)

        completed = run(
            [self.bin, *arguments],
            cwd=home.folder,
            env=command.environment(home, self._key(), os.environ),
            input=task.prompt.encode(),
            deadline=self.timeout_minutes * 60,
            idle=self.idle_minutes * 60,
            after_final=self.after_final_seconds,
            on_line=on_line,
            stdout_path=logs.events,
            stderr_path=logs.errors,
            redact=redact,
            check=False,
        )
        rollout = events.parse_rollout(_keep_rollout(home.codex_home, logs.transcript, redact))
        return outcome.Remains(completed, seen, rollout)


@dataclass(frozen=True)
class _Logs:
    """Files of one run, numbered so that a second run of a task does not overwrite the first's."""

    events: Path
    errors: Path
    transcript: Path

    @classmethod
    def next_in(cls, folder: Path) -> _Logs:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + len(list(folder.glob("*-events.jsonl")))
        names = ("events.jsonl", "stderr.txt", "transcript.jsonl")
        return cls(*(folder / f"{number}-{name}" for name in names))


def _access(task: AgentTask, *, program: tuple[Path, ...] = ()) -> command.Access:
    read = tuple(path.resolve() for path in task.reads.values())
    return command.Access(write=(task.work.resolve(),), read=read, program=program)


def _keep_rollout(codex_home: Path, transcript: Path, redact: Redactor) -> list[str]:
    """Copy the session's file to `transcript` without secrets and return its lines. No session: no file, no lines."""
    lines: list[str] = []
    files = sorted((codex_home / "sessions").rglob("*.jsonl"))
    if not files:
        return lines
    with transcript.open("w", encoding="utf-8") as copy:
        for file in files:
            with file.open(encoding="utf-8", errors="replace") as source:
                for line in source:
                    lines.append(redact(line))
                    copy.write(lines[-1])
    return lines


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
