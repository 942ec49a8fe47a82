"""Running an agent's CLI without a terminal: contained, metered, under three deadlines.

What belongs here: all that does not depend on which CLI it is. What does not: its arguments and formats, which are one
module an engine (`codex.py`, `claude.py`, `opencode.py`, `command.py`), the sandbox and the gateway themselves, and
judging whether the work is any good (the calling system).

An engine is a class below `CliAgent` that says how its CLI is called (`launch`) and what its lines mean (`read`,
`is_final`, `ending`).
"""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import SecretStr

from upkeep.agents import pricing, sandbox
from upkeep.agents.answers import answer_in, matching, shorten
from upkeep.agents.base import AgentResult, AgentTask, Usage
from upkeep.agents.budget import Purse
from upkeep.agents.folders import private_folder, sweep
from upkeep.agents.gateway.client import Route, open_gateway
from upkeep.agents.gateway.settings import ApiName, GatewayReport
from upkeep.agents.ledger import require_budget
from upkeep.agents.profile import GATEWAY_URL, Limits, Profile
from upkeep.agents.programs import Program, locate
from upkeep.errors import AgentError, AgentTimedOut, CommandNotFound
from upkeep.process import Completed, run
from upkeep.redaction import Redactor

AFTER_FINAL_SECONDS = 10.0
PROBE_SECONDS = 60.0


@dataclass(frozen=True)
class Call:
    """One run as an engine sees it. `home` is private and writable, by the CLI's tools too; `url` is where the gateway
    is reached, without a path, and `token` the key that it wants. `contained` False: there is no sandbox, and the
    settings let that pass."""

    task: AgentTask
    home: Path
    url: str
    token: str
    contained: bool = True

    @property
    def work(self) -> Path:
        return self.task.work.resolve()


@dataclass(frozen=True)
class Launch:
    """How a CLI is called: arguments after the program's name, its variables, and its standard input.
    `holds_itself`: without our sandbox, its own holds its tools."""

    arguments: Sequence[str]
    environment: dict[str, str]
    stdin: bytes
    holds_itself: bool = False


@dataclass(frozen=True)
class Ending:
    """What a CLI's lines amount to. `finished`: it said that it is done. `message`: its last words; `answer`: what it
    says is the structured answer. `error`: its own word for a failure ("": none). `incomplete`: a limit of the model
    cut the answer. `reported`: its own count of tokens. `failure`: an error that only this engine can tell, whatever
    else it says. `session`: lines of its own record of the run, kept beside the transcript."""

    finished: bool
    message: str = ""
    answer: dict[str, Any] | None = None
    error: str = ""
    incomplete: bool = False
    reported: Usage | None = None
    failure: AgentError | None = None
    session: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe:
    """What was found of the CLI on this machine. `program`: how it is called in the sandbox. `contained` False: the
    sandbox does not work here, `reason` says why."""

    program: Program
    version: str
    contained: bool
    reason: str = ""


@dataclass(frozen=True)
class _Start:
    """The whole command line, its environment, and the sandbox that it stands for (None: there is none)."""

    argv: list[str]
    environment: dict[str, str]
    profile: Profile | None = None


@dataclass(frozen=True)
class CliAgent(ABC):
    """Settings that all CLIs have. Minutes and US dollars.

    `api_key` None: the provider behind `base_url` needs none. `budget_usd` None: no limit of its own.
    `unsafe_no_budget`: a model without a known price may run; no budget holds it then. `provider`: the price list's
    name for it. `purse`: the budgets of the run that this belongs to; None: only `budget_usd` holds. `bwrap`:
    bubblewrap, by name or path.
    """

    name: str
    bin: str
    model: str
    effort: str | None
    provider: str
    api_key: SecretStr | None = None
    base_url: str | None = None
    timeout_minutes: float = 30
    idle_minutes: float = 5
    budget_usd: float | None = 1.00
    unsafe_no_budget: bool = False
    unsafe_no_sandbox: bool = False
    after_final_seconds: float = AFTER_FINAL_SECONDS
    limits: Limits = field(default_factory=Limits)
    bwrap: str = "bwrap"
    purse: Purse | None = None

    engine: ClassVar[str]
    api: ClassVar[ApiName]
    default_url: ClassVar[str]
    key_variable: ClassVar[str]
    install: ClassVar[str]
    minimum: ClassVar[tuple[int, ...]] = ()
    writes_with_model: ClassVar[bool] = True

    @abstractmethod
    def launch(self, call: Call) -> Launch:
        """How the CLI is called; may write what it needs into `call.home`."""

    @abstractmethod
    def read(self, line: str) -> Any:
        """One line of output as an event; None for one that does not matter. With `is_final` it ends the run."""

    @abstractmethod
    def is_final(self, event: Any) -> bool:
        """Whether the CLI has nothing more to say after this event and should exit."""

    @abstractmethod
    def ending(self, call: Call, seen: Sequence[Any], completed: Completed) -> Ending:
        """What the run amounts to: `seen` are the events that `read` made of its lines."""

    @property
    def remedy(self) -> str:
        return f"{self.install}, or set agents.{self.name}.bin to its path"

    def run(self, task: AgentTask) -> AgentResult:
        """As `Agent.run`. Raises AgentError and its kinds."""
        self._require_credential()
        self._require_budget(task)
        sweep()
        with private_folder(self.engine) as folder:
            home = folder / "home"
            home.mkdir()
            version = self.version(home)
            contained = sandbox.require(self.name, unsafe_no_sandbox=self.unsafe_no_sandbox, bwrap=self.bwrap)
            return self._attempt(task, home, version, contained=contained)

    def probe(self) -> Probe:
        """Look at the CLI and the sandbox without a model. Raises AgentError where the CLI is missing or too old."""
        with private_folder(self.engine) as home:
            version = self.version(home)
        found = sandbox.probe(self.bwrap)
        return Probe(self.program(), version, found.contained, found.reason)

    def program(self) -> Program:
        """Raises AgentError `agent.not_installed`, `agent.program`."""
        return locate(self.bin, agent=self.name, remedy=self.remedy)

    def version(self, home: Path) -> str:
        """What `--version` says. Raises AgentError `agent.not_installed`, `agent.version`."""
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8"}
        try:
            said = run([self.bin, "--version"], cwd=home, env=env, deadline=PROBE_SECONDS, check=False)
        except CommandNotFound as error:
            words = f"agent {self.name}: {error.message}"
            raise AgentError(words, code="agent.not_installed", remedy=self.remedy) from error
        found = re.search(r"\d+\.\d+\.\d+", said.text)
        if said.returncode != 0 or found is None:
            words = f"{self.bin} --version said {shorten(said.text + said.error_text)!r}"
            raise AgentError(words, code="agent.not_installed", remedy=self.remedy)
        if tuple(map(int, found[0].split("."))) < self.minimum:
            needed = ".".join(map(str, self.minimum))
            words = f"{self.engine} {found[0]} is too old: Upkeep needs {needed} or newer"
            raise AgentError(words, code="agent.version", remedy=self.install)
        return found[0]

    def profile(
        self, task: AgentTask, home: Path, program: Program, *, environment: dict[str, str], socket: Path | None
    ) -> Profile:
        """What the CLI and its tools see: the work tree, what the task names, its own files, its throw-away home."""
        work = task.work.resolve()
        return Profile(
            directory=work,
            home=home,
            write=(work,),
            private=(home,),
            read=tuple(path.resolve() for path in task.reads.values()),
            programs=program.files,
            environment=environment,
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
                remedy=f'set agents.{self.name}.api_key: "${{{self.key_variable}}}" and the variable, '
                f"or agents.{self.name}.base_url to a provider that needs none",
            )

    @property
    def priced(self) -> bool:
        """Whether the model has a known price, so that budgets can be held."""
        return pricing.has_price(model=self.model, provider=self.provider)

    def _require_price(self) -> None:
        if not self.unsafe_no_budget:
            pricing.require_price(model=self.model, provider=self.provider, agent=self.name)

    def _require_budget(self, task: AgentTask) -> None:
        """Refuse before anything starts what the first request would be refused for."""
        self._require_price()
        require_budget(self.purse, self.budget_usd, agent=self.name, subject=task.subject)

    def _route(self, task: AgentTask) -> Route:
        return Route(
            agent=self.name,
            api=self.api,
            upstream=self.base_url or self.default_url,
            api_key=self.api_key if self._key() else None,
            model=self.model,
            provider=self.provider,
            effort=self.effort,
            priced=self.priced,
            limit_usd=self.budget_usd,
            account=None if self.purse is None else self.purse.account(self.name, task.subject),
        )

    def _attempt(self, task: AgentTask, home: Path, version: str, *, contained: bool) -> AgentResult:
        logs = Logs.next_in(task.log_dir)
        with open_gateway(
            self._route(task), transcript=logs.gateway, log=logs.gateway_errors, loopback=not contained
        ) as gateway:
            redact = Redactor([gateway.token, *([key] if (key := self._key()) else [])])
            url = GATEWAY_URL if contained else f"http://127.0.0.1:{gateway.port}"
            call = Call(task, home, url, gateway.token, contained)
            launch = self.launch(call)
            start = self._in_sandbox(call, launch, gateway.socket) if contained else self._in_the_open(call, launch)
            if start.profile is not None:
                logs.profile.write_text(redact(json.dumps(start.profile.as_record(), indent=1)))
            completed, seen = self._exec(call, launch, start, logs, redact)
            report = gateway.finish()
        ending = self.ending(call, seen, completed)
        if ending.session:
            logs.session.write_text("".join(map(redact, ending.session)), encoding="utf-8")
        usage = report.usage(engine=self.engine, version=version, model=self.model).checked(ending.reported)
        error = (
            (sandbox.stop_error(completed, agent=self.name) if contained else None)
            or report.failure(self.name)
            or ending.failure
            or self._failure(ending, completed, report)
        )
        if error is not None:
            error.details |= {
                "usage": usage.model_dump(mode="json"),
                "seconds": round(completed.seconds, 3),
                "transcript": str(logs.gateway),
            }
            raise error
        message = redact(ending.message)
        answer = matching(ending.answer, task.answer_schema) or answer_in(message, task.answer_schema)
        return AgentResult(
            outcome="said_nothing" if answer is None else "answered",
            answer=answer,
            message="" if answer is not None else shorten(message),
            usage=usage,
            seconds=completed.seconds,
            exit_code=completed.returncode,
            transcript=logs.gateway,
            sandbox="upkeep" if contained else self.engine if launch.holds_itself else "none",
            profile=None if start.profile is None else start.profile.summary(),
        )

    def _in_sandbox(self, call: Call, launch: Launch, socket: Path) -> _Start:
        program = self.program()
        profile = self.profile(call.task, call.home, program, environment=launch.environment, socket=socket)
        argv = sandbox.Sandbox(profile, self.bwrap).command([*program.argv, *launch.arguments])
        return _Start(argv, {}, profile)

    def _in_the_open(self, call: Call, launch: Launch) -> _Start:
        """As the settings allow."""
        open_air = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": str(call.home)}
        return _Start([self.bin, *launch.arguments], {**open_air, "TMPDIR": str(call.home), **launch.environment})

    def _exec(
        self, call: Call, launch: Launch, start: _Start, logs: Logs, redact: Redactor
    ) -> tuple[Completed, list[Any]]:
        seen: list[Any] = []
        completed = run(
            start.argv,
            cwd=call.home if call.contained else call.work,
            env=start.environment,
            input=launch.stdin,
            deadline=self.timeout_minutes * 60,
            idle=self.idle_minutes * 60,
            after_final=self.after_final_seconds,
            on_line=partial(self._on_line, seen),
            stdout_path=logs.events,
            stderr_path=logs.errors,
            redact=redact,
            check=False,
        )
        return completed, seen

    def _on_line(self, seen: list[Any], line: str) -> bool:
        event = self.read(line)
        if event is None:
            return False
        seen.append(event)
        return self.is_final(event)

    def _failure(self, ending: Ending, completed: Completed, report: GatewayReport) -> AgentError | None:
        """The error, unless the CLI came to an end of its own."""
        if ending.incomplete:
            return AgentError(
                f"agent {self.name}: the model's own limit cut its answer",
                code="agent.incomplete",
                remedy="look into the transcript",
                retryable=False,
            )
        if ending.finished and not ending.error:
            return None
        if completed.outcome in ("deadline", "idle") and not ending.finished:
            return self._timed_out(completed.outcome)
        said = shorten(ending.error or completed.error_text or completed.text) or "nothing"
        if report.last_status == 429:
            code, remedy, retryable = "agent.rate_limited", "try again later, or let fewer agents run at once", True
        elif report.last_status == 0 or (report.last_status or 0) >= 500:
            remedy = f"try again later, check agents.{self.name}.base_url and the network"
            code, retryable = "agent.unavailable", True
            said = f"the provider did not answer as it should: {report.last_error}"
        else:
            code, remedy, retryable = "agent.failed", "look into the transcript and the events beside it", False
        ended = f"ended with status {completed.returncode} and" if not ending.finished else "failed and"
        return AgentError(f"agent {self.name} {ended} said: {said}", code=code, remedy=remedy, retryable=retryable)

    def _timed_out(self, limit: str) -> AgentError:
        key = "timeout_minutes" if limit == "deadline" else "idle_minutes"
        doing = (
            f"was still at work after {self.timeout_minutes:g} minutes"
            if limit == "deadline"
            else f"said nothing for {self.idle_minutes:g} minutes"
        )
        return AgentTimedOut(
            f"agent {self.name} {doing} and was ended",
            code=f"agent.timed_out.{limit}",
            remedy=f"look into the transcript; raise agents.{self.name}.{key} if the work needs it",
            retryable=True,
        )


@dataclass(frozen=True)
class Logs:
    """Files of one run, numbered so that a second run of a task does not overwrite the first's."""

    events: Path
    errors: Path
    gateway: Path
    gateway_errors: Path
    profile: Path
    session: Path

    @classmethod
    def next_in(cls, folder: Path) -> Logs:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + len(list(folder.glob("*-events.jsonl")))
        names = (
            *("events.jsonl", "stderr.txt", "transcript.jsonl"),
            *("gateway-stderr.txt", "sandbox.json", "session.jsonl"),
        )
        return cls(*(folder / f"{number}-{name}" for name in names))
