"""The engine `codex`: OpenAI's Codex CLI, run headless by `codex exec`.

What belongs here: running it in the sandbox, with the gateway as its only way out, under three deadlines. What does
not: its arguments (`codex_command.py`), its formats (`codex_events.py`), what a run amounts to (`codex_outcome.py`),
what it is on this machine (`codex_cli.py`), the sandbox and the gateway themselves, taking files out of the work tree
(`harvest.py`), or judging whether the work is any good (the calling system).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from upkeep.agents import codex_command as command
from upkeep.agents import codex_events as events
from upkeep.agents import codex_outcome as outcome
from upkeep.agents import pricing, sandbox
from upkeep.agents.base import AgentResult, AgentTask
from upkeep.agents.budget import Purse
from upkeep.agents.codex_cli import CodexCli
from upkeep.agents.folders import plain_files, private_folder, read_plain
from upkeep.agents.gateway.client import Gateway, Route, open_gateway
from upkeep.agents.ledger import require_budget
from upkeep.agents.profile import GATEWAY_URL, Limits, Profile
from upkeep.agents.programs import Program
from upkeep.errors import AgentError
from upkeep.process import Completed, Redactor, run

AFTER_FINAL_SECONDS = 10.0
"""How long codex may take to exit after its final event; measured 0.05 s."""

_INSIDE = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


@dataclass(frozen=True)
class Probe:
    """What was found of the CLI on this machine. `program`: how it is called in the sandbox. `contained` False: the
    sandbox does not work here, `reason` says why."""

    program: Program
    version: str
    contained: bool
    reason: str = ""


@dataclass(frozen=True)
class CodexAgent:
    """Settings of one entry under `agents:` with `engine: codex`. Minutes and US dollars.

    `api_key` None: the provider behind `base_url` needs none. `budget_usd` None: run without asking for a price.
    `bwrap`: bubblewrap, by name or path. `purse`: the budgets of the run that this belongs to; None: only `budget_usd`
    holds.
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
    limits: Limits = field(default_factory=Limits)
    bwrap: str = "bwrap"
    purse: Purse | None = None

    engine = "codex"
    writes_with_model = True

    def run(self, task: AgentTask) -> AgentResult:
        self._require_credential()
        self._require_budget(task)
        with private_folder("upkeep-codex-") as folder:
            home = command.PrivateHome(folder)
            home.create()
            home.schema.write_text(json.dumps(task.answer_schema))
            cli = CodexCli(self.name, self.bin, home)
            version = cli.version()
            contained = sandbox.require(self.name, unsafe_no_sandbox=self.unsafe_no_sandbox, bwrap=self.bwrap)
            return self._attempt(task, cli, version, contained=contained)

    def probe(self) -> Probe:
        """Look at the CLI and the sandbox without a model. Raises AgentError where the CLI is missing or too old."""
        with private_folder("upkeep-codex-") as folder:
            home = command.PrivateHome(folder)
            home.create()
            cli = CodexCli(self.name, self.bin, home)
            version, program = cli.version(), cli.program()
        found = sandbox.probe(self.bwrap)
        return Probe(program, version, found.contained, found.reason)

    def profile(
        self, task: AgentTask, home: command.PrivateHome, program: Program, *, socket: Path | None, token: str
    ) -> Profile:
        """What codex and its tools see: the work tree, what the task names, its own files and its throw-away home."""
        work = task.work.resolve()
        return Profile(
            directory=work,
            home=home.home,
            write=(work,),
            private=(home.folder,),
            read=tuple(path.resolve() for path in task.reads.values()),
            programs=program.files,
            environment=command.environment(home, token, _INSIDE),
            gateway=socket,
            limits=self.limits,
        )

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

    def _require_budget(self, task: AgentTask) -> None:
        require_budget(
            self.purse,
            self.budget_usd,
            agent=self.name,
            subject=task.subject,
            model=self.model,
            provider=outcome.PROVIDER,
        )

    def _route(self, task: AgentTask) -> Route:
        return Route(
            agent=self.name,
            api="responses",
            upstream=self.base_url or command.OPENAI_URL,
            api_key=self.api_key if self._key() else None,
            model=self.model,
            provider=outcome.PROVIDER,
            effort=self.effort,
            priced=pricing.has_price(model=self.model, provider=outcome.PROVIDER),
            limit_usd=self.budget_usd,
            account=None if self.purse is None else self.purse.account(self.name, task.subject),
        )

    def _attempt(self, task: AgentTask, cli: CodexCli, version: str, *, contained: bool) -> AgentResult:
        redact = Redactor([key] if (key := self._key()) else [])
        logs = _Logs.next_in(task.log_dir)
        with open_gateway(
            self._route(task), transcript=logs.requests, log=logs.gateway, loopback=not contained
        ) as gateway:
            session = _Session(task, cli, gateway, logs, redact)
            held, completed, seen = self._in_sandbox(session) if contained else self._in_the_open(session)
            report = gateway.finish()
        if contained:
            sandbox.raise_if_stopped(completed, agent=self.name)
        rollout = events.parse_rollout(_keep_rollout(cli.home.codex_home, logs.transcript, redact))
        remains = outcome.Remains(completed, seen, rollout)
        reported = outcome.usage(remains, model=self.model, version=version)
        usage = report.usage(engine=self.engine, version=version, model=self.model)
        usage = usage.checked(reported if reported.basis == "events" else None)
        error = report.failure(self.name) or outcome.failure(
            remains, agent=self.name, timeout_minutes=self.timeout_minutes, idle_minutes=self.idle_minutes
        )
        if error is not None:
            error.details |= {
                "usage": usage.model_dump(mode="json"),
                "seconds": round(completed.seconds, 3),
                "transcript": str(logs.transcript if logs.transcript.is_file() else logs.events),
            }
            raise error
        written = (read_plain(cli.home.answer) or b"").decode(errors="replace")
        message = redact(outcome.answer_text(written, seen))
        answer = outcome.as_answer(message, task.answer_schema)
        return AgentResult(
            outcome="said_nothing" if answer is None else "answered",
            answer=answer,
            message="" if answer is not None else outcome.shorten(message),
            usage=usage,
            seconds=completed.seconds,
            exit_code=completed.returncode,
            transcript=logs.transcript,
            sandbox=held,
        )

    def _in_sandbox(self, session: _Session) -> tuple[str, Completed, list[events.Event]]:
        gateway, home, program = session.gateway, session.cli.home, session.cli.program()
        profile = self.profile(session.task, home, program, socket=gateway.socket, token=gateway.token)
        session.logs.profile.write_text(json.dumps(profile.as_record(), indent=1))
        arguments = self._arguments(session, None, f"{GATEWAY_URL}/v1")
        argv = sandbox.Sandbox(profile, self.bwrap).command([*program.argv, *arguments])
        return "upkeep", *self._exec(session, argv, {})

    def _in_the_open(self, session: _Session) -> tuple[str, Completed, list[events.Event]]:
        """Without our sandbox, which the settings allow: with codex' own where that works."""
        gateway, cli = session.gateway, session.cli
        access = cli.own_sandbox(command.access(session.task))
        arguments = self._arguments(session, access, f"http://127.0.0.1:{gateway.port}/v1")
        environment = command.environment(cli.home, gateway.token, os.environ)
        held = "none" if access is None else "codex"
        return held, *self._exec(session, [self.bin, *arguments], environment)

    def _arguments(self, session: _Session, access: command.Access | None, base_url: str) -> list[str]:
        return command.exec_arguments(
            session.cli.home,
            work=session.task.work.resolve(),
            access=access,
            model=self.model,
            effort=self.effort,
            base_url=base_url,
            keyed=True,
        )

    def _exec(
        self, session: _Session, argv: list[str], environment: dict[str, str]
    ) -> tuple[Completed, list[events.Event]]:
        seen: list[events.Event] = []

        def on_line(line: str) -> bool:
            event = events.parse_event(line)
            if event is not None:
                seen.append(event)
            return isinstance(event, events.TurnCompleted | events.TurnFailed)

        completed = run(
            argv,
            cwd=session.cli.home.folder,
            env=environment,
            input=session.task.prompt.encode(),
            deadline=self.timeout_minutes * 60,
            idle=self.idle_minutes * 60,
            after_final=self.after_final_seconds,
            on_line=on_line,
            stdout_path=session.logs.events,
            stderr_path=session.logs.errors,
            redact=session.redact,
            check=False,
        )
        return completed, seen


@dataclass(frozen=True)
class _Logs:
    """Files of one run, numbered so that a second run of a task does not overwrite the first's."""

    events: Path
    errors: Path
    transcript: Path
    requests: Path
    gateway: Path
    profile: Path

    @classmethod
    def next_in(cls, folder: Path) -> _Logs:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + len(list(folder.glob("*-events.jsonl")))
        names = (
            *("events.jsonl", "stderr.txt", "transcript.jsonl"),
            *("gateway.jsonl", "gateway-stderr.txt", "sandbox.json"),
        )
        return cls(*(folder / f"{number}-{name}" for name in names))


@dataclass(frozen=True)
class _Session:
    """What one run has in hand."""

    task: AgentTask
    cli: CodexCli
    gateway: Gateway
    logs: _Logs
    redact: Redactor


def _keep_rollout(codex_home: Path, transcript: Path, redact: Redactor) -> list[str]:
    """Copy the session's file to `transcript` without secrets and return its lines. No session: no file, no lines.

    The model's tools could write there too: what is no plain file is left alone.
    """
    contents = [read_plain(file) for file in plain_files(codex_home / "sessions", ".jsonl")]
    lines = [
        redact(line)
        for content in contents
        if content is not None
        for line in content.decode(errors="replace").splitlines(keepends=True)
    ]
    if lines:
        transcript.write_text("".join(lines), encoding="utf-8")
    return lines
