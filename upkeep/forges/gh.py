"""One call of GitHub's REST API through `gh api`: arguments, answer, errors, patience.

What belongs here: how a request is sent and what its status means for the caller. What does not: what pull requests are
(`github.py`).

gh carries the credential (its own login, or a token in its environment: never an argument), the proxy settings and the
certificates of the machine. Works with gh 2.23 (Debian 12) and later: `--include` prints status line and headers before
the body, on errors too.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import SecretStr

from upkeep.errors import AuthenticationFailed, CommandNotFound, ForgeError, ForgeUnavailable, RateLimited
from upkeep.forges.patience import Patience
from upkeep.process import MIB, Completed, base_environment, run
from upkeep.redaction import Redactor

API_VERSION = "2022-11-28"
"""Pinned on every call: from 2026-03-10 on a pull request has no `merge_commit_sha`."""

PAGE_SIZE = 100
LARGEST_ANSWER = 64 * MIB
"""One line of JSON: a page of 100 pull requests with bodies of 65,536 characters is some 10 MB."""

ATTEMPT_SECONDS = 20.0
SECONDARY_LIMIT_SECONDS = 60.0
"""What GitHub asks for when a secondary rate limit comes without Retry-After: "wait for at least one minute"."""

NEEDS_LOGIN = 4
"""gh's exit status when it has no credential for the host."""

LOGIN_VARIABLES = ("HOME", "XDG_CONFIG_HOME", "GH_CONFIG_DIR")
"""Where gh finds its own login."""

PROXY_VARIABLES = tuple(f(name) for name in ("http_proxy", "https_proxy", "no_proxy") for f in (str.lower, str.upper))
TOKEN_VARIABLES = ("GH_TOKEN", "GITHUB_TOKEN", "GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")
QUIET = {"GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Response:
    """An answer with a status below 300. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def has_next_page(self) -> bool:
        return any(re.search(r';\s*rel="?next"?', link) for link in self.headers.get("link", "").split(","))


class GhApi:
    """`gh api` on one host.

    `deadline` is the wall-clock time in seconds that one operation may take with all its repetitions. `environment`
    is laid over the variables that gh inherits. `sleep` and `jitter` (a number in [0, 1)) are seams for tests.
    """

    def __init__(
        self,
        host: str,
        token: SecretStr | None,
        *,
        gh: str = "gh",
        environment: Mapping[str, str] | None = None,
        deadline: float = 60.0,
        attempt_seconds: float = ATTEMPT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.host = host
        self.gh = gh
        self.deadline = deadline
        self.attempt_seconds = attempt_seconds
        self.calls = 0
        self._token = token
        self._environment = dict(environment or {})
        self._redact = Redactor([token.get_secret_value()] if token else [])
        self._patience = Patience(deadline, sleep, jitter)

    def get(self, path: str, **query: str | int) -> Response:
        """Read, with repetitions. Raises ForgeUnavailable, RateLimited, AuthenticationFailed, ForgeError."""
        endpoint = f"{path}?{urlencode(query)}" if query else path
        return self._patience.repeat(lambda: self._once("GET", endpoint))

    def pages(self, path: str, **query: str | int) -> Iterator[Response]:
        """Read page by page for as long as the answer has a `Link` to a next one."""
        page = 1
        while True:
            response = self.get(path, **query, per_page=PAGE_SIZE, page=page)
            yield response
            if not response.has_next_page:
                return
            page += 1

    def write(
        self, method: str, path: str, payload: Mapping[str, Any], look_up: Callable[[], _Found | None]
    ) -> Response | _Found:
        """Send a change. When its outcome is unknown (timeout, 5xx, lost connection, 409), `look_up` is asked whether
        it took effect, and only if it did not (None) the change is sent again.

        Returns the answer, or what `look_up` found. Raises as `get`; a 422 is ForgeError `forge.invalid`."""
        return self._patience.write(lambda: self._once(method, path, payload), look_up)

    def credentials(self) -> dict[str, str]:
        """Environment in which gh is logged in: the configured token alone, else gh's own login as we inherited it.
        For a child process only: it may hold a secret."""
        inherited = {name: os.environ[name] for name in LOGIN_VARIABLES if name in os.environ}
        if self._token is not None:
            token = self._token.get_secret_value()
            names = ["GH_TOKEN"] if self.host == "github.com" or self.host.endswith(".ghe.com") else []
            names += ["GH_ENTERPRISE_TOKEN"] if self.host != "github.com" else []
            return {**inherited, **dict.fromkeys(names, token), **self._environment}
        inherited |= {name: os.environ[name] for name in TOKEN_VARIABLES if name in os.environ}
        return {**inherited, **self._environment}

    def _once(self, method: str, endpoint: str, payload: Mapping[str, Any] | None = None) -> Response:
        command = [self.gh, "api", "--include", "--hostname", self.host, "--method", method]
        command += ["--header", f"X-GitHub-Api-Version: {API_VERSION}"]
        command += ["--header", "Accept: application/vnd.github+json"]
        command += [] if payload is None else ["--input", "-"]
        self.calls += 1
        seconds = min(self.attempt_seconds, self.deadline)
        try:
            completed = run(
                [*command, endpoint],
                env=base_environment({**self.credentials(), **QUIET}, keep=PROXY_VARIABLES),
                input=None if payload is None else json.dumps(payload).encode(),
                deadline=seconds,
                max_line=LARGEST_ANSWER,
                max_output=LARGEST_ANSWER,
                check=False,
                redact=self._redact,
            )
        except CommandNotFound as fault:
            remedy = "Install the GitHub CLI (Debian: apt install gh); 2.23 or later will do."
            raise CommandNotFound(fault.message, remedy=remedy, **fault.details) from fault
        if completed.outcome != "exited":
            raise ForgeUnavailable(
                f"{self.host} did not answer {method} {endpoint} in {seconds:g} s",
                code="forge.timeout",
                remedy="Try again later; nothing is done twice.",
            )
        return self._read(completed, f"{method} {endpoint}")

    def _read(self, completed: Completed, what: str) -> Response:
        status, headers, content = split_answer(completed.stdout)
        if status == 0:
            raise self._no_answer(completed, what)
        try:
            body = json.loads(content) if content.strip() else None
        except ValueError as fault:
            if status < 300:
                raise ForgeUnavailable(f"{self.host} answered {what} with something that is no JSON") from fault
            body = None
        if status >= 300:
            raise refusal(status, headers, body, f"{self.host}: {what}")
        return Response(status, headers, body)

    def _no_answer(self, completed: Completed, what: str) -> ForgeError:
        words = self._redact(completed.stderr.decode(errors="replace")).strip().splitlines()
        if completed.returncode == NEEDS_LOGIN:
            return AuthenticationFailed(
                f"gh has no login for {self.host}",
                remedy=f"Run `gh auth login --hostname {self.host}`, or set `token: ${{GH_TOKEN}}` for the forge.",
            )
        return ForgeUnavailable(
            f"{self.host} could not be reached for {what}: {words[0] if words else 'gh said nothing'}",
            remedy="Check the network and `gh auth status`; the next run tries again.",
        )


def split_answer(output: bytes) -> tuple[int, dict[str, str], bytes]:
    """Take the output of `gh api --include` apart: status (0: there was no answer), headers, body."""
    head, *rest = re.split(rb"\r?\n\r?\n", output, maxsplit=1)
    first, *lines = head.decode("latin-1").split("\n")
    match = re.match(r"HTTP/[\d.]+ (\d{3})\b", first)
    if match is None:
        return 0, {}, b""
    pairs = (line.partition(":") for line in lines)
    return int(match[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}, b"".join(rest)


def refusal(status: int, headers: Mapping[str, str], body: Any, what: str) -> ForgeError:
    """The error that a status of 300 or more means.

    Rate limits as GitHub documents them: 403 or 429 with Retry-After, or with `x-ratelimit-remaining: 0` until
    `x-ratelimit-reset`, or with words about a secondary rate limit and no time at all.
    """
    said = describe(body)
    message = f"{what}: {status} {said}".rstrip()
    if status in (403, 429) and (seconds := seconds_to_wait(status, headers, said)) is not None:
        return RateLimited(
            f"{message}; wait {seconds:.0f} s",
            remedy="Nothing to do: the next run after the limit goes on.",
            seconds=seconds,
        )
    if status == 401:
        return AuthenticationFailed(
            message, remedy="The credential is wrong or has expired: `gh auth status` says more."
        )
    if status == 403:
        return AuthenticationFailed(
            message,
            code="forge.forbidden",
            remedy="The account needs write access to contents and pull requests of the repository.",
        )
    if status == 404:
        return ForgeError(
            message,
            code="forge.not_found",
            remedy="Check the name; a private repository that the account cannot see looks the same.",
        )
    if 300 <= status < 400:
        return ForgeError(
            message, code="forge.moved", remedy="The repository was renamed: put its new name into `repo`."
        )
    if status == 409:
        return ForgeUnavailable(
            message, code="forge.conflict", remedy="Try again: the forge was busy with the same thing."
        )
    if status >= 500:
        return ForgeUnavailable(message, remedy="Try again later; nothing is done twice.", status=status)
    code = "forge.invalid" if status == 422 else "forge"
    return ForgeError(message, code=code, status=status, errors=errors_of(body))


def seconds_to_wait(status: int, headers: Mapping[str, str], said: str) -> float | None:
    """How long a rate limit asks to wait; None: the answer is no rate limit."""
    if (after := headers.get("retry-after", "")).isdigit():
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0":
        reset = headers.get("x-ratelimit-reset", "")
        return max(float(reset) - time.time(), 1.0) if reset.isdigit() else SECONDARY_LIMIT_SECONDS
    limited = status == 429 or "rate limit" in said.lower() or "abuse detection" in said.lower()
    return SECONDARY_LIMIT_SECONDS if limited else None


def errors_of(body: Any) -> list[str]:
    """The single errors of a refusal, each in a few words."""
    errors = body.get("errors") if isinstance(body, dict) else None
    return [
        str(error.get("message") or " ".join(str(error.get(key, "")) for key in ("resource", "field", "code")).strip())
        if isinstance(error, dict)
        else str(error)
        for error in (errors if isinstance(errors, list) else [])
    ]


def describe(body: Any) -> str:
    message = str(body.get("message", "")) if isinstance(body, dict) else ""
    return "; ".join([message, *errors_of(body)])[:500]
