"""How codex is called: arguments, environment and private home, forced for every run.

What belongs here: building the command from settings, purely but for making the home's folders. What does not: running
it (`codex.py`). Facts are from running codex-cli 0.169.0, whose configuration reference is
https://developers.openai.com/codex/config-reference.

Nothing of the user's own set-up takes part: HOME and CODEX_HOME are private and thrown away, configuration, rules,
project documents, skills, plugins and hooks are off, and only the variables named here reach codex. The model's own
shell gets less still: no variable of codex' own environment, so not the key either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from upkeep.agents.base import AgentTask

MINIMUM_VERSION = (0, 169, 0)
TESTED_VERSION = "0.169.0"

KEY_VARIABLE = "UPKEEP_AGENT_KEY"
OPENAI_URL = "https://api.openai.com/v1"

_PROFILE = "upkeep"
_PROVIDER = "upkeep"

_SHELL_PATH = "/usr/local/bin:/usr/bin:/bin"
# `unbounded_connection_retries`: with the network down codex says "Reconnecting... waiting for network" for ever.
# `shell_snapshot`: it runs the user's login shell to copy its state. The others add tools or instructions.
_DISABLED_FEATURES = (
    *("multi_agent", "plugins", "apps", "hooks", "goals", "shell_snapshot", "unbounded_connection_retries"),
    *("browser_use", "computer_use", "image_generation", "remote_plugin", "skill_search", "tool_suggest"),
)


@dataclass(frozen=True)
class PrivateHome:
    """A throw-away home, as an absolute path without symlinks."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def codex_home(self) -> Path:
        return self.folder / "codex"

    @property
    def temp(self) -> Path:
        """TMPDIR of codex and of the model's shell. It must not hold `codex_home`: below the temporary folder codex
        refuses to make its sandbox helper, and then every tool call fails while the run exits with 0."""
        return self.folder / "tmp"

    @property
    def schema(self) -> Path:
        return self.folder / "answer.schema.json"

    @property
    def answer(self) -> Path:
        return self.folder / "answer.json"

    @property
    def canary(self) -> Path:
        """A file that no agent may read; the sandbox probe tries to."""
        return self.folder / "canary"

    def create(self) -> None:
        for folder in (self.home, self.codex_home, self.temp):
            folder.mkdir()
        self.canary.write_text("canary\n")


@dataclass(frozen=True)
class Access:
    """What the model's tools may touch. Everything else but the system's own folders is hidden from them.

    `program`: codex' own files, which its sandbox starts itself from.
    """

    write: tuple[Path, ...]
    read: tuple[Path, ...]
    program: tuple[Path, ...] = ()


def access(task: AgentTask) -> Access:
    """What a task lets codex' tools touch."""
    return Access(write=(task.work.resolve(),), read=tuple(path.resolve() for path in task.reads.values()))


def environment(home: PrivateHome, token: str | None) -> dict[str, str]:
    """Variables of the codex process that are ours. `token`: the gateway's, for the provider's key is in the gateway
    alone. No proxy and no certificate: the gateway on loopback is all that codex may reach."""
    private = {"HOME": str(home.home), "CODEX_HOME": str(home.codex_home), "TMPDIR": str(home.temp)}
    return private if token is None else {**private, KEY_VARIABLE: token}


def exec_arguments(
    home: PrivateHome, *, work: Path, access: Access | None, model: str, effort: str | None, base_url: str
) -> list[str]:
    """Arguments after the program's name for one run with the prompt on standard input.

    `access` None leaves the model's tools uncontained (`unsafe_no_sandbox`). `--strict-config`: a key that this
    version no longer knows stops the run, where without it the restriction behind the key would silently be gone.
    """
    settings: dict[str, object] = {
        "model": model,
        **({} if effort is None else {"model_reasoning_effort": effort}),
        "model_provider": _PROVIDER,
        f"model_providers.{_PROVIDER}": _provider(base_url),
        "approval_policy": "never",
        "project_doc_max_bytes": 0,
        "skills.include_instructions": False,
        "web_search": "disabled",
        "history.persistence": "none",
        "analytics.enabled": False,
        "feedback.enabled": False,
        "check_for_update_on_startup": False,
        "allow_login_shell": False,
        "shell_environment_policy.inherit": "none",
        "shell_environment_policy.set": {
            "PATH": _SHELL_PATH,
            "HOME": home.temp,
            "TMPDIR": home.temp,
            "LANG": "C.UTF-8",
        },
    }
    containment = ["-s", "danger-full-access"]
    if access is not None:
        settings |= {"default_permissions": _PROFILE, f"permissions.{_PROFILE}.filesystem": _filesystem(home, access)}
        containment = []
    return [
        *("exec", "--json", "--strict-config", "--ignore-user-config", "--ignore-rules", "--skip-git-repo-check"),
        *("-C", str(work), *containment),
        *_overrides(settings),
        *(part for feature in _DISABLED_FEATURES for part in ("--disable", feature)),
        *("--output-schema", str(home.schema), "-o", str(home.answer), "-"),
    ]


def locate_arguments() -> list[str]:
    """Arguments that print the native program's path: it is process 1 of its own sandbox. The program that a user
    names may be a script of npm's or a version manager's shim."""
    return ["sandbox", "--", "readlink", "/proc/1/exe"]


def probe_arguments(home: PrivateHome, *, work: Path, access: Access) -> list[str]:
    """Arguments that print `contained` if tools start, may write where they must and may not read the canary."""
    script = 'touch "$TMPDIR/probe" && test -w "$1" && ! test -e "$2" && echo contained'
    settings = {f"permissions.{_PROFILE}.filesystem": _filesystem(home, access)}
    command = ["/bin/sh", "-c", script, "sh", str(work), str(home.canary)]
    return ["sandbox", "-P", _PROFILE, *_overrides(settings), "-C", str(work), "--", *command]


def native_program(script: Path) -> Path | None:
    """The native program of npm's package, by the path of its script `…/@openai/codex/bin/codex.js`: it lies in a
    package of the platform, beside this one or below it. None: it is not laid out so."""
    package = script.parent.parent
    for modules in (package.parent, package / "node_modules" / "@openai"):
        found = sorted(modules.glob("codex-*/vendor/*/bin/codex"))
        if found:
            return found[0]
    return None


def program_files(native: Path) -> tuple[Path, ...]:
    """What must be readable for the sandbox to start: the whole package where it is one, else the program alone."""
    package = native.parent.parent
    return (package,) if (package / "codex-package.json").is_file() else (native,)


def _provider(base_url: str) -> dict[str, object]:
    return {
        "name": "upkeep",
        "base_url": base_url,
        "wire_api": "responses",
        "request_max_retries": 2,
        "stream_max_retries": 2,
        "env_key": KEY_VARIABLE,
    }


def _filesystem(home: PrivateHome, access: Access) -> dict[str, object]:
    """The permission profile's table. `:minimal` is codex' name for what programs need of the system."""
    read = (*access.read, *access.program, home.codex_home / "tmp")
    return {
        ":minimal": "read",
        **{str(path): "read" for path in read},
        **{str(path): "write" for path in (*access.write, home.temp)},
    }


def _overrides(settings: Mapping[str, object]) -> Iterable[str]:
    return [part for key, value in settings.items() for part in ("-c", f"{key}={_toml(value)}")]


def _toml(value: object) -> str:
    """A TOML value on one line. JSON's strings, numbers and booleans are TOML's too (https://toml.io/en/v1.0.0), but
    for DEL, which TOML wants escaped."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()) + "}"
    plain = str(value) if isinstance(value, Path) else value
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
