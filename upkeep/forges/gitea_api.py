"""One call of Gitea's REST API (v1): request, answer, errors, pages.

What belongs here: how a request is sent and what its answer means for the caller. What does not: what pull requests and
issues are (`gitea.py`), and patience (`patience.py`).

The token goes into the Authorization header of requests to the configured origin and nowhere else: a redirect to
another origin is refused, and of a `Link` only the page's number is used, never its address (a server behind a proxy
may write any). Rules: Gitea's API description (1.23), and what its router does: `limit` is clamped without a word, a
renamed repository answers its old path with 307, an empty list may come as `null`.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr

from upkeep.errors import AuthenticationFailed, ConfigError, ForgeError, ForgeUnavailable, RateLimited
from upkeep.forges.patience import Patience
from upkeep.process import MIB

API = "api/v1"
PAGE_SIZE = 50
"""What Gitea gives a page unless MAX_RESPONSE_ITEMS says otherwise."""

LARGEST_ANSWER = 64 * MIB
ATTEMPT_SECONDS = 20.0
REDIRECTS = 5
LIMITED_SECONDS = 60.0
"""How long to wait where a 429 does not say. Gitea itself has no rate limit; proxies before it do."""
CONNECTIONS = 16

_KEEPS_METHOD = frozenset({307, 308})
_REDIRECTS = frozenset({301, 302, 303}) | _KEEPS_METHOD
_LINK = re.compile(r'<[^>]*[?&]page=(\d+)[^>]*>\s*;\s*rel="(\w+)"')

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Response:
    """An answer with a status below 300. Header names are lower case."""

    what: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @cached_property
    def body(self) -> Any:
        """The JSON value; None for an empty answer. Raises ForgeUnavailable `forge.half_answer`."""
        try:
            return json.loads(self.content) if self.content.strip() else None
        except ValueError as fault:
            raise half(self.what, len(self.content)) from fault

    @property
    def rows(self) -> list[Any]:
        """The JSON value as a list. Go's encoder writes `null` for a list that was never filled."""
        if self.body is None or isinstance(self.body, list):
            return self.body or []
        raise ForgeError(f"{self.what} answered with one value where a list was expected", code="forge.unexpected")

    @property
    def total(self) -> int | None:
        """How many there are on all pages, by `X-Total-Count`."""
        text = self.headers.get("x-total-count", "")
        return int(text) if text.isdigit() else None

    def page(self, relation: str) -> int | None:
        """The number of the page that `Link` calls `next` or `last`."""
        links = {name: int(number) for number, name in _LINK.findall(self.headers.get("link", ""))}
        return links.get(relation)


class GiteaApi:
    """One Gitea at `url`, which may have a path. `calls` counts requests, repeated and redirected ones included.

    `deadline` is the wall-clock time in seconds that one operation may take with all its repetitions,
    `attempt_seconds` that of one request. Safe to be used by several threads at once.
    """

    def __init__(
        self,
        url: str,
        token: SecretStr | None,
        *,
        deadline: float = 60.0,
        attempt_seconds: float = ATTEMPT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.web = checked(url)
        self.host = httpx.URL(self.web).netloc.decode()
        self.attempt_seconds = min(attempt_seconds, deadline)
        self.has_token = token is not None
        self._token = token
        self._patience = Patience(deadline, sleep, jitter)
        self.calls = 0
        self._counting = threading.Lock()

    def get(self, path: str, **query: str | int) -> Response:
        """Read, with repetitions. Raises ForgeUnavailable, RateLimited, AuthenticationFailed, ForgeError."""
        return self.read(path, query, _whole)

    def read(self, path: str, query: Mapping[str, str | int], parse: Callable[[Response], _Found]) -> _Found:
        """The same, of what `parse` makes of the answer: where that raises ForgeUnavailable, it is read again."""
        endpoint = f"{path}?{urlencode(query)}" if query else path
        return self._patience.repeat(lambda: parse(self._once("GET", endpoint)))

    def pages(self, path: str, **query: str | int) -> Iterator[Response]:
        """Read page by page for as long as `Link` names a next one. Raises ForgeUnavailable `forge.incomplete` for a
        page that repeats the one before, which would go on for ever."""
        before = None
        for number in itertools.count(1):
            answer = self.get(path, **query, limit=PAGE_SIZE, page=number)
            if before is not None and answer.rows and answer.content == before.content:
                raise incomplete(f"{answer.what}: page {number} is page {number - 1} again")
            yield answer
            if answer.page("next") is None:
                return
            before = answer

    def write(
        self,
        method: str,
        path: str,
        payload: Mapping[str, Any] | None,
        look_up: Callable[[], _Found | None],
    ) -> Response | _Found:
        """Send a change; as `Patience.write`. It is repeated only after `look_up` has said that it did not take effect,
        and never for a 429, which is for the caller to wait out."""
        return self._patience.write(
            lambda: _whole(self._once(method, path, payload)), look_up, passing=(ForgeUnavailable,)
        )

    def _once(self, method: str, endpoint: str, payload: Mapping[str, Any] | None = None) -> Response:
        url = httpx.URL(f"{self.web}/{API}/{endpoint}")
        what = f"{self.host}: {method} {endpoint.partition('?')[0]}"
        for _ in range(REDIRECTS + 1):
            with self._counting:
                self.calls += 1
            status, headers, content = self._exchange(method, url, payload, what)
            if status not in _REDIRECTS:
                return _read(status, headers, content, what)
            url = self._redirected(method, url, status, headers, what)
        raise ForgeError(
            f"{what} was redirected {REDIRECTS + 1} times", code="forge.redirected", remedy="Check the forge's `url`."
        )

    def _exchange(
        self, method: str, url: httpx.URL, payload: Mapping[str, Any] | None, what: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        ends = time.monotonic() + self.attempt_seconds
        headers = {"Accept": "application/json", "User-Agent": "upkeep"}
        if self._token is not None:
            headers["Authorization"] = f"token {self._token.get_secret_value()}"
        try:
            with self._client.stream(
                method, url, json=payload, headers=headers, timeout=self.attempt_seconds
            ) as answer:
                content = bytearray()
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > LARGEST_ANSWER:
                        raise ForgeError(f"{what} answered with over {LARGEST_ANSWER // MIB} MB", code="forge.too_much")
                    if time.monotonic() > ends:
                        raise _silent(what, self.attempt_seconds)
                return answer.status_code, answer.headers, bytes(content)
        except httpx.TimeoutException as fault:
            raise _silent(what, self.attempt_seconds) from fault
        except httpx.RequestError as fault:
            raise _unreachable(fault, what) from fault

    @cached_property
    def _client(self) -> httpx.Client:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        # Without TLS there is nothing to verify, and reading the authorities takes longer than a call.
        verify = _trusted() if self.web.startswith("https:") else False
        client = httpx.Client(verify=verify, follow_redirects=False, limits=limits)
        weakref.finalize(self, client.close)
        return client

    def _redirected(self, method: str, url: httpx.URL, status: int, headers: Mapping[str, str], what: str) -> httpx.URL:
        """Where a redirect leads: within the origin, and for a change only where the method is kept."""
        try:
            there = url.join(headers.get("location", ""))
        except httpx.InvalidURL as fault:
            raise ForgeError(f"{what} was redirected to no address at all", code="forge.redirected") from fault
        if (there.scheme, there.host, there.port) != (url.scheme, url.host, url.port):
            place = f"{there.scheme}://{there.netloc.decode().rpartition('@')[2]}"
            raise ForgeError(
                f"{what} was redirected to {place}, which is not the forge that is configured; nothing was sent there",
                code="forge.redirected_elsewhere",
                remedy="If the forge moved, put its new address into `url`; the token goes to no other place.",
                location=place,
            )
        if method != "GET" and status not in _KEEPS_METHOD:
            raise ForgeError(
                f"{what} was redirected with {status}, by which a change would get lost",
                code="forge.redirected",
                remedy=f"Name the place where it is now: {there.path}",
            )
        return there


def checked(url: str) -> str:
    """The forge's address without a slash at its end. Raises ConfigError `config.forge_url`."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query or parsed.fragment:
        raise ConfigError(
            "the url of a gitea forge is its plain address",
            code="config.forge_url",
            remedy='Write it as "https://git.example" or "https://example/gitea"; a token belongs into `token`.',
        )
    return str(parsed).rstrip("/").removesuffix(f"/{API}")


def incomplete(message: str) -> ForgeUnavailable:
    """A list that could not be read as one whole."""
    return ForgeUnavailable(
        message,
        code="forge.incomplete",
        remedy="Try again; if it stays so, something between here and the forge keeps old answers, or the forge counts "
        "what it does not list.",
    )


def half(what: str, size: int) -> ForgeUnavailable:
    return ForgeUnavailable(
        f"{what} answered with {size} bytes that are no whole JSON",
        code="forge.half_answer",
        remedy="Try again; if it stays so, look for a proxy between here and the forge that cuts answers short.",
    )


def _trusted() -> ssl.SSLContext:
    """The machine's own authorities, SSL_CERT_FILE and SSL_CERT_DIR included; httpx' list where it has none."""
    places = ssl.get_default_verify_paths()
    if not (places.cafile or places.capath):
        return httpx.create_ssl_context()
    return ssl.create_default_context()


def _whole(answer: Response) -> Response:
    """Refuse half a JSON where the request can still be repeated."""
    if answer.content[:1] in b"[{":
        answer.body  # noqa: B018 - reading it is what checks it
    return answer


def _silent(what: str, seconds: float) -> ForgeUnavailable:
    return ForgeUnavailable(
        f"{what} was not answered in {seconds:g} s",
        code="forge.timeout",
        remedy="Try again later; nothing is done twice.",
    )


def _tls_fault(fault: BaseException) -> ssl.SSLError | None:
    """What went wrong with TLS, where that is why a request failed."""
    link: BaseException | None = fault
    while link is not None:
        if isinstance(link, ssl.SSLError):
            return link
        link = link.__cause__ or link.__context__
    return None


def _unreachable(fault: httpx.RequestError, what: str) -> ForgeError:
    cause = _tls_fault(fault)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ForgeError(
            f"{what}: the server's certificate was refused: {cause.verify_message}",
            code="forge.certificate",
            remedy="An authority of your own: name its file in SSL_CERT_FILE (and GIT_SSL_CAINFO, for git). Expired or "
            "for another name: the server has to be mended, or `url` is not its name.",
        )
    if cause is not None:
        return ForgeError(
            f"{what}: no TLS connection came about: {getattr(cause, 'reason', None) or cause}",
            code="forge.tls",
            remedy="Check `url`: its port may speak plain HTTP, or what answers there may be no web server.",
        )
    if isinstance(fault, httpx.DecodingError):
        return ForgeUnavailable(f"{what} answered with something that cannot be decoded", code="forge.half_answer")
    return ForgeUnavailable(
        f"{what} could not be reached: {str(fault) or type(fault).__name__}",
        remedy="Check the network and the forge's `url`; the next run tries again.",
    )


def _read(status: int, headers: Mapping[str, str], content: bytes, what: str) -> Response:
    if status >= 300:
        raise _refusal(status, headers, content, what)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content.strip() and "json" not in kind:
        raise ForgeError(
            f"{what} answered with {kind or 'something'} where JSON was expected",
            code="forge.not_json",
            remedy="Check `url`: what answers there is no Gitea, or a proxy or login page before it.",
        )
    return Response(what, status, {name.lower(): value for name, value in headers.items()}, content)


def _refusal(status: int, headers: Mapping[str, str], content: bytes, what: str) -> ForgeError:
    """The error that a status of 300 or more means."""
    message = f"{what}: {status} {_said(content)}".rstrip()
    wait = _retry_after(headers.get("retry-after", ""))
    if status == 429:
        seconds = wait if wait is not None else LIMITED_SECONDS
        remedy = "Nothing to do: the next run after the limit goes on."
        return RateLimited(f"{message}; wait {seconds:.0f} s", remedy=remedy, seconds=seconds)
    if status >= 500:
        error = ForgeUnavailable(message, remedy="Try again later; nothing is done twice.", status=status)
        error.details |= {"seconds": wait} if wait is not None else {}
        return error
    if status == 401:
        return AuthenticationFailed(
            message,
            remedy="Set `token` to one that is valid: on the forge, Settings, Applications, Generate New Token.",
        )
    if status == 403:
        return AuthenticationFailed(
            message,
            code="forge.forbidden",
            remedy="The account needs write access to the repository, and the token the scopes repository and issue "
            "(read and write), organization and user (read).",
        )
    if status == 404:
        return ForgeError(
            message,
            code="forge.not_found",
            remedy="Check the name; a private repository that the account cannot see looks the same.",
        )
    code, remedy = {
        409: ("forge.conflict", "Try again: the forge was busy with the same thing."),
        423: ("forge.archived", "The repository is archived: nothing can be changed in it until it is unarchived."),
        422: ("forge.invalid", ""),
    }.get(status, ("forge", ""))
    return ForgeError(message, code=code, remedy=remedy, status=status)


def _retry_after(text: str) -> float | None:
    """Seconds that a `Retry-After` asks to wait: a number, or the time of an HTTP date (RFC 9110, 10.2.3)."""
    if text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((moment - datetime.now(UTC)).total_seconds(), 1.0)


def _said(content: bytes) -> str:
    """What an answer says of its refusal, in a few words."""
    try:
        body = json.loads(content)
    except ValueError:
        return "(no JSON)" if content.strip() else ""
    return str(body.get("message") or "")[:500] if isinstance(body, dict) else ""
