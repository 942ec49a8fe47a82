"""Runs a program in a sandbox of bubblewrap: nothing but what its profile lists exists for it.

What belongs here: the command line, trying whether it works on this machine, and what its end means. What does not:
what a program sees (`profile.py`), the limits' watcher (`warden.py`), the way to the gateway inside (`relay.py`).

    sandbox = Sandbox(Profile(directory=work, home=home, write=(work,), private=(home,), gateway=socket))
    done = sandbox.run(["codex", "exec", …], deadline=1800)

What is promised holds for root and for an unprivileged user with user namespaces alike, and is proven by
`tests/hostile/`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from upkeep.agents import profile as profiles
from upkeep.agents import warden
from upkeep.agents.folders import private_folder
from upkeep.agents.profile import Profile
from upkeep.errors import AgentError, CommandNotFound
from upkeep.process import Completed, run
from upkeep.redaction import Redactor

PROBE_SECONDS = 20.0
OLDEST = (0, 8, 0)
"""`--disable-userns` is of bubblewrap 0.8.0."""

REMEDY = (
    "install bubblewrap 0.8 or newer (apt-get install bubblewrap) and allow user namespaces "
    "(sysctl kernel.unprivileged_userns_clone=1, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0)"
)

Cause = Literal["not_started", "no_program", "processes", "memory", "disk"]


@dataclass(frozen=True)
class Stop:
    """Why a sandbox ended that did not end by its command: it never started, its program is not there, or a limit was
    passed. `message` is one sentence for people."""

    cause: Cause
    message: str


@dataclass(frozen=True)
class Probe:
    """What was found on this machine. `contained` False: agents cannot be contained here, `reason` says why."""

    contained: bool
    version: str = ""
    reason: str = ""


_went_well: dict[tuple[str, int], Probe] = {}


@dataclass(frozen=True)
class Sandbox:
    """A profile that programs can be run in, one after the other or at the same time.

    `bwrap` is a name on PATH or a path.
    """

    profile: Profile
    bwrap: str = "bwrap"

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` inside, for `upkeep.process.run` or `start`, from any folder and with any
        environment: neither reaches the inside.

        Raises AgentError `agent.sandbox` where bubblewrap is not installed, `agent.sandbox.missing` where a path of
        the profile does not exist.
        """
        profile, limits = self.profile, self.profile.limits
        self._require_paths()
        python = [str(profiles.interpreter()), "-I", "-S"]
        folders = [str(path) for path in profile.writable]
        calls = profile.system_calls()
        bounds_outside = map(str, (limits.processes, limits.memory, limits.disk))
        watched = [*bounds_outside, "-" if calls is None else calls.hex(), str(len(folders)), *folders]
        bounds = f"NPROC={limits.processes + warden.SLACK},FSIZE={limits.file},NOFILE={limits.open_files},CORE=0"
        socket = "-" if profile.gateway is None else str(profiles.GATEWAY_SOCKET)
        return [
            *(*python, str(Path(warden.__file__)), *watched),
            *(self._program(), *profile.arguments(), "--"),
            *(*python, str(profiles.RELAY), bounds, socket, str(profiles.RELAY_PORT)),
            *map(str, argv),
        ]

    def run(
        self,
        argv: Sequence[str],
        *,
        deadline: float,
        input: bytes | None = None,
        idle: float | None = None,
        after_final: float | None = None,
        on_line: Callable[[str], bool | None] | None = None,
        stdout_path: Path | None = None,
        stderr_path: Path | None = None,
        redact: Redactor | None = None,
    ) -> Completed:
        """Run `argv` inside to its end; everything as in `upkeep.process.run`. A status other than 0 is no error here:
        ask `stopped` first, then judge.

        Raises AgentError as `command` does.
        """
        return run(
            self.command(argv),
            cwd=Path("/"),
            input=input,
            deadline=deadline,
            idle=idle,
            after_final=after_final,
            on_line=on_line,
            stdout_path=stdout_path,
            stderr_path=stderr_path,
            redact=redact,
            check=False,
        )

    def _program(self) -> str:
        found = shutil.which(self.bwrap)
        if found is None:
            raise AgentError("bubblewrap (bwrap) is not installed", code="agent.sandbox", remedy=REMEDY)
        return str(Path(found).absolute())

    def _require_paths(self) -> None:
        profile = self.profile
        socket = () if profile.gateway is None else (profile.gateway,)
        for path in (*profile.writable, *profile.read, *profile.programs, *socket):
            if not path.is_absolute() or not os.path.lexists(path):
                raise AgentError(
                    f"{path} is to be shown in a sandbox and is not there",
                    code="agent.sandbox.missing",
                    remedy="check the configuration of the agent or gate that names it",
                )


def stopped(completed: Completed) -> Stop | None:
    """Why the sandbox ended, or None where its command ended by itself. A program inside can claim a stop that was
    none; it only ends its own run by that."""
    lines = [line for line in completed.error_text.splitlines() if line.startswith(warden.MARK)]
    said = lines[-1].removeprefix(warden.MARK) if lines else ""
    match completed.returncode, re.match(r"stopped: (processes|memory|disk): (.*)", said):
        case warden.STOPPED, re.Match() as found:
            return Stop(found[1], f"the sandbox was ended: {found[2]}")
        case warden.NOT_STARTED, _:
            before = [line for line in completed.error_text.splitlines() if line.startswith("bwrap: ")]
            return Stop("not_started", f"the sandbox did not start: {before[-1] if before else said}")
        case 127, _ if said.startswith("cannot run"):
            return Stop("no_program", said)
        case _:
            return None


def stop_error(completed: Completed, *, agent: str) -> AgentError | None:
    """The error for an end that was not the agent's own: `agent.sandbox` (did not start), `agent.not_installed`,
    `agent.limit.processes`, `agent.limit.memory`, `agent.limit.disk`. None: it ended by itself."""
    stop = stopped(completed)
    if stop is None:
        return None
    code, remedy = f"agent.limit.{stop.cause}", "look into the transcript: an agent does not need so much by itself"
    if stop.cause == "not_started":
        code, remedy = "agent.sandbox", "run `upkeep doctor`: the sandbox does not start here"
    elif stop.cause == "no_program":
        code, remedy = "agent.not_installed", f"check agents.{agent}.bin: inside the sandbox it does not run"
    return AgentError(f"agent {agent}: {stop.message}", code=code, remedy=remedy, retryable=False)


def probe(bwrap: str = "bwrap") -> Probe:
    """Try whether this machine can contain an agent: a program must start, write its work folder, fail to read a canary
    beside it, and find no network. Takes about 0.1 s; never raises."""
    try:
        version = (
            run([bwrap, "--version"], deadline=PROBE_SECONDS, check=False).text.strip().removeprefix("bubblewrap ")
        )
    except CommandNotFound:
        return Probe(False, reason="bubblewrap (bwrap) is not installed")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers < OLDEST:
        return Probe(False, version, f"bubblewrap {version} is too old: {'.'.join(map(str, OLDEST))} is needed")
    with private_folder("probe") as folder:
        work, canary = folder / "work", folder / "canary"
        work.mkdir()
        canary.write_text("canary")
        script = 'touch "$1/probe" && ! test -e "$2" && test "$(tail -n +3 /proc/net/dev | cut -d: -f1)" = "    lo"'
        sandbox = Sandbox(Profile(directory=work, home=work, private=(work,)), bwrap)
        try:
            done = sandbox.run(["sh", "-c", script, "sh", str(work), str(canary)], deadline=PROBE_SECONDS)
        except AgentError as error:
            return Probe(False, version, error.message)
    if done.returncode == 0:
        return Probe(True, version)
    stop = stopped(done)
    return Probe(False, version, stop.message if stop else f"it does not contain: {done.error_text.strip()[-500:]}")


def require(agent: str, *, unsafe_no_sandbox: bool = False, bwrap: str = "bwrap") -> bool:
    """Whether an agent runs in the sandbox: True, or False where it does not work and the settings let that pass.

    Raises AgentError (code `agent.sandbox`) where it does not work and nobody said that this is fine.
    """
    found = _probe_once(bwrap)
    if not found.contained and not unsafe_no_sandbox:
        raise AgentError(
            f"agent {agent} cannot be contained on this machine: {found.reason}",
            code="agent.sandbox",
            remedy=f"{REMEDY}, or set agents.{agent}.unsafe_no_sandbox: true, which lets the agent read and change "
            "what you can",
        )
    return found.contained


def _probe_once(bwrap: str) -> Probe:
    """A probe that went well is not made again in this process: a host that stops allowing namespaces later makes
    bubblewrap itself fail, and the run with it."""
    found = shutil.which(bwrap)
    if found is None:
        return probe(bwrap)
    key = (found, Path(found).stat().st_mtime_ns)
    known = _went_well.get(key) or probe(bwrap)
    if known.contained:
        _went_well[key] = known
    return known
