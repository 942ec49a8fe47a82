"""Running git: its environment, its configuration, and what its words mean as errors.

What belongs here: the one way from us to the git program, for our own calls and for GitPython's. What does not: what a
command is for (`upkeep/git.py`, `transfer.py`, `checkout.py`).

Two kinds of calls. A *local* one reads and writes objects and refs: no configuration of the user or the machine is
read, and the repository is named outright, so that nothing is discovered by walking up folders. A *personal* one talks
to a remote or works in a person's working copy: there the user's own configuration counts (credential helpers, proxies,
ssh). In both, nothing that a repository's own configuration names is run: no hooks, no fsmonitor, no automatic gc.
"""

from __future__ import annotations

import base64
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from upkeep.errors import CommandTimeout, GitError, RemoteUnavailable, RepositoryNotReady, UpkeepError
from upkeep.process import MIB, Completed, base_environment, run
from upkeep.redaction import Redactor

LOCAL_SECONDS = 300.0
NETWORK_SECONDS = 900.0
# More than any content or patch that we handle; a bigger answer is an error, never a part taken for the whole.
MAX_OUTPUT = 512 * MIB

_ALWAYS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
    "protocol.ext.allow": "never",
    # A server that sends less than this for so long has stopped; the wall-clock deadline is for all else.
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "60",
}
_LOCAL_ONLY = {"safe.bareRepository": "explicit", "core.attributesFile": os.devnull, "core.excludesFile": os.devnull}
# What people set to reach their remotes. GIT_DIR, GIT_INDEX_FILE and the like, which a calling hook adds, stay out.
_PERSONAL_VARIABLES = (
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GH_CONFIG_DIR"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"),
)
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|KEY|AUTH", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+@")


def environment(config: Mapping[str, str], extra: Mapping[str, str], *, personal: bool) -> dict[str, str]:
    """Return git's environment. Configuration goes in as GIT_CONFIG_* variables (git-config(1)) and not as `-c`
    arguments, which everybody on the machine can read."""
    settings = {**_ALWAYS, **({} if personal else _LOCAL_ONLY), **config}
    variables = {
        "GIT_TERMINAL_PROMPT": "0",
        "GCM_INTERACTIVE": "never",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    if not personal:
        variables |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1"}
    for number, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return base_environment({**variables, **extra}, keep=_PERSONAL_VARIABLES if personal else ())


def separate_credentials(url: str) -> tuple[str, dict[str, str]]:
    """Split `https://user:secret@host/path` into the URL without them and the configuration that sends them.

    git would pass the URL on as an argument of its helpers. Other kinds of URLs, and those without a password, stay.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.password is None:
        return url, {}
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    login = f"{unquote(parts.username or '')}:{unquote(parts.password)}"
    header = "Authorization: Basic " + base64.b64encode(login.encode()).decode()
    return bare, {f"http.{bare}.extraHeader": header}


def display_url(url: str) -> str:
    """The URL without user and password, for people."""
    return _USERINFO.sub("", url)


def redactor(config: Mapping[str, str], env: Mapping[str, str]) -> Redactor:
    """Hides what is secret in a call: tokens in the environment, authorization headers in the configuration."""
    secrets = [value for name, value in env.items() if _SECRET_NAME.search(name)]
    for key, value in config.items():
        if key.lower().endswith("extraheader"):
            secrets += value.split()[1:]
    return Redactor(secret for secret in secrets if secret not in ("Basic", "Bearer", "basic", "bearer"))


def run_git(
    arguments: Sequence[str],
    *,
    git_dir: Path | None = None,
    cwd: Path | None = None,
    config: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    personal: bool = False,
    data: bytes | None = None,
    deadline: float = LOCAL_SECONDS,
    accept: Sequence[int] = (0,),
    remote: str = "",
) -> Completed:
    """Run one git command and return what it left. `git_dir` names the repository outright; else `cwd` is in it.

    Raises what `error_of` makes of a status that is not in `accept`, RemoteUnavailable when a command with `remote`
    passes its deadline, CommandTimeout for another.
    """
    config, env = config or {}, env or {}
    redact = redactor(config, env)
    argv = ["git", *([f"--git-dir={git_dir}"] if git_dir is not None else []), *arguments]
    completed = run(
        argv,
        cwd=cwd or git_dir or Path("/"),
        env=environment(config, env, personal=personal),
        input=data,
        deadline=deadline,
        max_output=MAX_OUTPUT,
        check=False,
    )
    words = _USERINFO.sub("***@", redact(completed.error_text)).strip()
    if completed.outcome != "exited":
        message = f"git {arguments[0]} took longer than {deadline:.0f} s"
        if remote:
            raise RemoteUnavailable(
                f"{display_url(remote)} did not answer: {message}",
                remedy="Try again; if it stays so, check the network and the remote.",
                remote=display_url(remote),
            )
        raise CommandTimeout(message, argv=[redact(part) for part in argv])
    if completed.returncode not in accept:
        error = error_of(arguments[0], completed.returncode, words, remote)
        error.details["answer"] = redact(completed.text[-4000:])
        raise error
    if len(completed.stdout) >= MAX_OUTPUT:
        raise GitError(f"git {arguments[0]} answered with more than {MAX_OUTPUT} bytes", code="git.too_large")
    return completed


_UNAUTHENTICATED = re.compile(
    r"Authentication failed|could not read (Username|Password)|Permission denied \(|terminal prompts disabled"
    r"|returned error: 40[13]|Host key verification failed|HTTP Basic: Access denied|Permission to .* denied"
    r"|Invalid username or (password|token)"
)
_NOT_FOUND = re.compile(
    r"does not appear to be a git repository|[Rr]epository .*not found|Repository not found|not found: did you run"
    r"|returned error: 404|project you were looking for could not be found|unable to find remote helper"
)
_UNAVAILABLE = re.compile(
    r"Could not resolve|[Ff]ailed to connect|Couldn't connect|Connection (refused|reset|timed out|closed)|timed out"
    r"|early EOF|unexpected disconnect|hung up unexpectedly|RPC failed|returned error: (5\d\d|408|429)|unable to access"
    r"|SSL|TLS|Network is unreachable|No route to host|kex_exchange|transfer closed|Empty reply|Temporary failure"
    r"|expected flush after ref listing|invalid server response|the remote end hung up|protocol error|unexpected EOF"
)
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded|File too large")
_CORRUPT = re.compile(
    r"object file .* is empty|corrupt|bad object|bad tree object|inflate: data stream error|fsck error"
)
_LOCKED = re.compile(r"Unable to create '.*\.lock'|cannot lock ref|Another git process")
_UNKNOWN = re.compile(
    r"unknown revision|[Nn]ot a valid object name|bad revision|Needed a single revision|not a tree object"
)


def _point(words: str) -> str:
    """The line that says what is wrong; git puts advice behind it."""
    lines = words.splitlines()
    for start in ("fatal: ", "error: "):
        told = [line.removeprefix(start) for line in lines if line.startswith(start)]
        if told:
            return told[0]
    return lines[-1] if lines else ""


def error_of(command: str, status: int, words: str, remote: str = "") -> UpkeepError:
    """Turn git's words (English: children run under C.UTF-8) into the error that names the next step."""
    shown = display_url(remote)
    last = _point(words)
    details: dict[str, Any] = {"command": command, "status": status, "words": words[-4000:]}
    here = "\n".join(line for line in words.splitlines() if not line.startswith("remote: "))
    if _DISK_FULL.search(here):
        return GitError(f"git {command}: the disk is full", code="git.disk_full", remedy="Free space.", **details)
    if "dubious ownership" in words:
        return RepositoryNotReady(
            f"git {command}: the repository belongs to somebody else",
            code="git.ownership",
            remedy="Change its owner, or add it to safe.directory in your git configuration.",
            **details,
        )
    if remote:
        details["remote"] = shown
        if _UNAUTHENTICATED.search(words):
            return GitError(
                f"{shown} refuses us: {last}",
                code="git.authentication",
                remedy="Check the credential of this remote: `gh auth status`, the token in the environment, or the "
                "credential helper in your git configuration.",
                **details,
            )
        if _NOT_FOUND.search(words):
            return GitError(
                f"{shown} is no repository, or not one that we may see",
                code="git.remote_not_found",
                remedy="Check the address, and that the credential may read it.",
                **details,
            )
        if _UNAVAILABLE.search(words):
            return RemoteUnavailable(f"{shown} did not answer: {last}", remedy="Try again later.", **details)
    if _LOCKED.search(here):
        return RepositoryNotReady(
            f"git {command}: another git process holds a lock",
            code="git.locked",
            remedy="Let it end; if none runs, remove the .lock file that the details name.",
            **details,
        )
    if _UNKNOWN.search(words):
        return GitError(f"git {command}: {last}", code="git.unknown_revision", **details)
    if _CORRUPT.search(here):
        return GitError(
            f"git {command}: the repository is damaged: {last}",
            code="git.corrupt",
            remedy="If it is a mirror under the home folder, remove it: it is made again. Else run `git fsck`.",
            **details,
        )
    return GitError(f"git {command} ended with status {status}: {last}", **details)


@functools.cache
def gitpython() -> Any:
    """GitPython, whose `Repo` runs git through `run_git`.

    Imported on first use: the import takes 0.1 s and runs `git version` by itself, which GIT_PYTHON_REFRESH keeps from
    raising where git is missing (our own call then says so).
    """
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import git

    class Command(git.Git):
        """Every GitPython call ends here. Only calls that run to their end: a stream could not be bounded."""

        __slots__ = ()

        def execute(self, command: Any, istream: Any = None, **options: Any) -> Any:  # type: ignore[override]
            if istream is not None or options.get("as_process") or options.get("output_stream") is not None:
                raise GitError("GitPython may not hold a process open here; use upkeep.git", code="git.internal")
            accept = (0,) if options.get("with_exceptions", True) else range(256)
            folder = Path(str(self._working_dir)) if self._working_dir else None
            done = run_git(list(map(str, command))[1:], cwd=folder, env=self._environment, personal=True, accept=accept)
            out = done.stdout.removesuffix(b"\n") if options.get("strip_newline_in_stdout", True) else done.stdout
            value = out.decode(errors="surrogateescape") if options.get("stdout_as_string", True) else out
            if options.get("with_extended_output"):
                return done.returncode, value, done.error_text
            return value

    class Repo(git.Repo):
        GitCommandWrapperType = Command

    return Repo
