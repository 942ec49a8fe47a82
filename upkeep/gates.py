"""Gates: the test and lint commands of a repository, run in the sandbox on a tree that nobody has vouched for.

What belongs here: running one gate in its two phases and saying what came of it. What does not: which gates there are
(`settings/forks.py`), what a failed one means (the calling system), the sandbox itself (`agents/sandbox.py`).

`prepare` has the network, to fetch dependencies, and no secret; `run` has neither. Both see the tree (writable, its
`.git` read-only), the toolchain folders that the configuration names (read-only, without the credentials in them), and
a build cache of the subject. What a phase of a hostile tree leaves in that cache is seen by the subject's next gates,
and by nobody else's.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from upkeep.agents.folders import remove
from upkeep.agents.profile import GIB, Limits, Profile
from upkeep.agents.sandbox import Sandbox, stopped
from upkeep.errors import AgentError
from upkeep.process import Completed
from upkeep.settings.forks import Gate

Verdict = Literal["pass", "fail", "could_not_run"]
Reason = Literal[
    "", "failed", "missing_tool", "prepare_failed", "timed_out", "limit", "killed", "no_sandbox", "no_folder"
]

LIMITS = Limits(processes=4096, memory=12 * GIB, file=8 * GIB, disk=20 * GIB, temp=2 * GIB, open_files=65536)
TAIL_LINES = 40
_KILLED = 137

_NOT_FOUND = re.compile(r"^.*: (?:.*not found|Permission denied|No such file or directory)$", re.MULTILINE)
# Tools' words for a missing part of themselves: they end with the same status as a failed test does.
_MISSING = re.compile(
    r"^error: no such (?:sub)?command: .*"
    r"|^error: (?:toolchain '.*' is not installed|rustup could not choose a version of .*)"
    r"|^error: '.*' is not installed for the (?:custom )?toolchain .*"
    r"|^\S*python[\d.]*: No module named .*"
    r"|^npm (?:error|ERR!) Missing script: .*"
    r"|^make: \*\*\* .* Error 127$",
    re.MULTILINE,
)
# Of a toolchain's folder: what holds nothing else, and settings that may hold some.
_CREDENTIALS = ("credentials", "credentials.toml", ".netrc", ".git-credentials", ".npmrc", ".pypirc", ".ssh", ".gnupg")
_SETTINGS = ("config", "config.toml", "settings.xml", "gradle.properties", "auth.json", ".yarnrc.yml", "pip.conf")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_NETWORK_VARIABLES = (
    *(
        *_CERTIFICATES,
        "PIP_CERT",
        "PIP_INDEX_URL",
        "PIP_FIND_LINKS",
        "NPM_CONFIG_REGISTRY",
        "CARGO_HTTP_CAINFO",
        "GOPROXY",
    ),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
)
_OFFLINE = {
    "CARGO_NET_OFFLINE": "true",
    "npm_config_offline": "true",
    "PIP_NO_INDEX": "1",
    "GOFLAGS": "-mod=mod",
    "GOPROXY": "off",
}
# Public parts of tools' configuration that name a mirror: path in a home → path in the gate's home.
_MIRRORS = (".cargo/config.toml", ".npmrc", ".config/pip/pip.conf", ".pip/pip.conf")
_SECRET_LINE = re.compile(r"auth|token|passw|secret|credential|\bkey\b|://[^/\s]*@", re.IGNORECASE)


class GateResult(BaseModel):
    """What came of one gate. `pass` and `fail` are the command's own word; `could_not_run` is never either: `reason`
    says what stood in the way, `message` what a person reads.

    `seconds` of both phases, `exit_code` of the last command that ran, `output` the file with all that it printed,
    `tail` its last lines. `cached`: the same command passed or failed on the same tree before.
    """

    model_config = ConfigDict(frozen=True)

    gate: str
    verdict: Verdict
    reason: Reason = ""
    message: str = ""
    seconds: float = 0.0
    exit_code: int | None = None
    output: Path | None = None
    tail: str = ""
    cached: bool = False


@dataclass(frozen=True)
class Gates:
    """The gates of one subject on one tree.

    `tree`: the folder to work in. `cache`: a folder of the subject alone, kept from run to run. `outputs`: where the
    output files go. `mounts`: toolchain folders; their `bin` is put on PATH. `home`: whose package mirrors are used.
    """

    tree: Path
    cache: Path
    outputs: Path
    mounts: tuple[Path, ...] = ()
    limits: Limits = LIMITS
    bwrap: str = "bwrap"
    home: Path = field(default_factory=Path.home)

    def run(self, gate: Gate, *, tree_id: str | None = None) -> GateResult:
        """Run one gate. Raises nothing for what the gate does; OSError where our own folders cannot be written.

        `tree_id` names the content of the tree (git's id of it): a verdict on the same content, command, folder and
        toolchain is taken from before. Gates that mend the tree are always run.
        """
        known = None if tree_id is None or gate.fix else self._record(gate, tree_id)
        if known is not None and (before := _read(known)) is not None:
            return before
        result = self._run(gate)
        if known is not None and result.verdict != "could_not_run":
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(result.model_dump_json())
        return result

    def _run(self, gate: Gate) -> GateResult:
        if not (self.tree / gate.directory).resolve().is_relative_to(self.tree.resolve()):
            return _could_not(gate, "no_folder", f"{gate.directory} leads out of the repository")
        if not (self.tree / gate.directory).is_dir():
            return _could_not(gate, "no_folder", f"the repository has no folder {gate.directory}")
        self._lay_out()
        seconds = 0.0
        for phase, command in (("prepare", gate.prepare), ("run", gate.run)):
            if command is None:
                continue
            output = self.outputs / f"{_slug(gate)}-{phase}.txt"
            try:
                done = self._phase(gate, command, output, network=phase == "prepare")
            except AgentError as error:
                return _could_not(gate, "no_sandbox", f"{error.message}: {error.remedy}")
            seconds += done.seconds
            result = _judge(gate, phase, done, output).model_copy(update={"seconds": round(seconds, 3)})
            if result.verdict != "pass":
                return result
        return result

    def _phase(self, gate: Gate, command: str, output: Path, *, network: bool) -> Completed:
        sandbox = Sandbox(self.profile(gate, network=network), self.bwrap)
        # One file with both streams in their order; what is left on standard error is the sandbox' own.
        script = f'exec 2>&1; mkdir -p "$UPKEEP_GATE_CACHE/cargo-registry" "$UPKEEP_GATE_CACHE/cargo-git"\n{command}'
        return sandbox.run(["sh", "-c", script], deadline=gate.timeout_minutes * 60, stdout_path=output)

    def profile(self, gate: Gate, *, network: bool = False) -> Profile:
        """The sandbox of one phase."""
        tree, build = self.tree.resolve(), self._build
        git = (tree / ".git",) if (tree / ".git").exists() else ()
        mounts = tuple(path.resolve() for path in self.mounts)
        return Profile(
            directory=(tree / gate.directory).resolve(),
            home=self._home,
            private=(tree, build, self._home),
            read=(*git, *mounts),
            environment=self._environment(network=network),
            network=network,
            uncounted_memory=True,
            hide=frozenset(),
            hidden=tuple(path for folder in mounts for path in _secrets_of(folder)),
            git="read",
            limits=self.limits,
        )

    @property
    def _home(self) -> Path:
        return (self.cache / "home").resolve()

    @property
    def _build(self) -> Path:
        return (self.cache / "build").resolve()

    def _environment(self, *, network: bool) -> dict[str, str]:
        build = self._build
        folders = [folder / "bin" for folder in self.mounts if (folder / "bin").is_dir()]
        rustup = [folder for folder in self.mounts if (folder / "toolchains").is_dir()]
        return {
            "PATH": os.pathsep.join([*map(str, folders), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"]),
            "CI": "true",
            "UPKEEP_GATE_CACHE": str(build),
            "CARGO_HOME": str(self._home / ".cargo"),
            "CARGO_TARGET_DIR": str(build / "target"),
            "GOPATH": str(build / "go"),
            "npm_config_cache": str(build / "npm"),
            "npm_config_update_notifier": "false",
            "PIP_CACHE_DIR": str(build / "pip"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"RUSTUP_HOME": str(rustup[0])} if rustup else {}),
            **(_reachable(os.environ) if network else _OFFLINE),
        }

    def _lay_out(self) -> None:
        """Make the home anew: what was in it the hostile tree of another run may have left there, links among it. For
        the same reason nothing is ever written below `build` from outside."""
        home, build = self._home, self._build
        remove(home)
        for folder in (home / ".cargo", build, self.outputs):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("registry", "git"):
            (home / ".cargo" / name).symlink_to(build / f"cargo-{name}")
        for name in _MIRRORS:
            if (source := self.home / name).is_file():
                lines = source.read_text(errors="replace").splitlines(keepends=True)
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_text("".join(line for line in lines if not _SECRET_LINE.search(line)))

    def _record(self, gate: Gate, tree_id: str) -> Path:
        """Where a verdict is kept: outside of what a gate can write."""
        same = [tree_id, gate.run, gate.prepare, gate.directory, *map(str, self.mounts)]
        return self.cache / "verdicts" / f"{hashlib.sha256(json.dumps(same).encode()).hexdigest()}.json"


def _secrets_of(toolchain: Path) -> Iterator[Path]:
    """Files and folders of a toolchain that no gate may see. What of its settings names a mirror is in the gate's home,
    without the rest."""
    yield from (path for name in _CREDENTIALS if (path := toolchain / name).exists())
    for name in _SETTINGS:
        path = toolchain / name
        if path.is_file() and _SECRET_LINE.search(path.read_text(errors="replace")):
            yield path


def _reachable(outside: Mapping[str, str]) -> dict[str, str]:
    """Where registries are and whose certificates hold, as far as it can be told without a secret."""
    return {name: outside[name] for name in _NETWORK_VARIABLES if name in outside and "@" not in outside[name]}


def _read(record: Path) -> GateResult | None:
    """The verdict of before; None where there is none, or none that can be read."""
    try:
        result = GateResult.model_validate_json(record.read_text())
    except (OSError, ValidationError):
        return None
    return result.model_copy(update={"cached": True})


def _judge(gate: Gate, phase: str, done: Completed, output: Path) -> GateResult:
    tail = "\n".join(done.text.splitlines()[-TAIL_LINES:])
    could_not = GateResult(gate=gate.run, verdict="could_not_run", exit_code=done.returncode, output=output, tail=tail)

    def stands_in_the_way(reason: Reason, message: str) -> GateResult:
        return could_not.model_copy(update={"reason": reason, "message": f"{phase}: {message}"})

    stop = stopped(done)
    if stop is not None and stop.cause == "not_started":
        return stands_in_the_way("no_sandbox", stop.message)
    if stop is not None:
        return stands_in_the_way("limit", stop.message)
    if done.outcome != "exited":
        return stands_in_the_way("timed_out", f"it was still at work after {gate.timeout_minutes:g} minutes")
    if done.returncode == 0:
        return GateResult(gate=gate.run, verdict="pass", exit_code=0, output=output, tail=tail)
    # Of the shell: 127 is a program that is not there, 126 one that cannot be executed (sh(1)).
    if missing := (_NOT_FOUND if done.returncode in (126, 127) else _MISSING).search(tail):
        return stands_in_the_way("missing_tool", missing[0])
    if done.returncode in (126, 127):
        return stands_in_the_way("missing_tool", "a program of the command is not there")
    if done.returncode == _KILLED:
        return stands_in_the_way("killed", "it was killed: most likely the machine had no memory left")
    if phase == "prepare":
        return stands_in_the_way("prepare_failed", f"it ended with status {done.returncode}")
    message = f"it ended with status {done.returncode}"
    return could_not.model_copy(update={"verdict": "fail", "reason": "failed", "message": message})


def _could_not(gate: Gate, reason: Reason, message: str) -> GateResult:
    return GateResult(gate=gate.run, verdict="could_not_run", reason=reason, message=message)


def _slug(gate: Gate) -> str:
    """A file name for a gate: readable, and different for different gates."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", gate.run).strip("-")[:40]
    return f"{words}-{hashlib.sha256(gate.model_dump_json().encode()).hexdigest()[:8]}"
