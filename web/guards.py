"""What every request passes before it reaches an endpoint, and every answer before it leaves.

What belongs here: plain ASGI over the whole application: the outermost frame, hosts, tokens. What does not: anything
that knows an endpoint.

What is not open needs a token: a path that somebody adds, or that does not exist, is closed until it is named here.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
import uuid
from collections.abc import Collection
from http import HTTPStatus

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from upkeep import tokens
from upkeep.errors import AccessDenied, UpkeepError
from upkeep.redaction import Redactor
from upkeep.tokens import Token
from web import problems
from web.hub import Hub
from web.problems import Refused

OPEN = frozenset({"/state/health", "/openapi.json"})
"""Paths that need no token: whether it is well, in numbers without names, and how to speak to it."""

_READING = frozenset({"GET", "HEAD", "OPTIONS"})

LARGEST_BODY = 64 * 1024
BODY_SECONDS = 10.0
REQUEST_SECONDS = 60.0
"""The database gives up long before that (`hub.py`)."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Where the answer does not say otherwise. Nothing here is a page, whatever a browser makes of it."""

log = logging.getLogger("upkeep.web")


class Frame:
    """The outermost: names the request, answers HEAD, sets headers, ends what takes too long, and answers what nobody
    foresaw."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        redact: Redactor,
        body_seconds: float = BODY_SECONDS,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._app = app
        self._redact = redact
        self._body_seconds = body_seconds
        self._request_seconds = request_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid.uuid4())
        scope = {**scope, "state": {**scope.get("state", {}), "request_id": request_id}}
        if scope["method"] == "HEAD":
            scope["method"] = "GET"  # the server sends no body to who asked by HEAD
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer: Response | None = None
        try:
            async with asyncio.timeout(self._request_seconds) as limit:
                await self._app(scope, _Bounded(receive, scope, self._body_seconds), sending)
        except UpkeepError as error:
            answer = problems.of_error(error, request_id)
        except Exception as error:  # noqa: BLE001 - the last one that can answer; the log has all of it
            if isinstance(error, TimeoutError) and limit.expired():
                answer = problems.of_error(_too_long(self._request_seconds), request_id)
            else:
                trace = "".join(traceback.format_exception(error))
                log.error("%s %s %s failed\n%s", request_id, scope["method"], scope["path"], self._redact(trace))
                answer = problems.unexpected(request_id)
        if answer is not None and not begun:
            await answer(scope, receive, sending)


class _Bounded:
    """Receives a body of bounded size, and ends one that does not come: a client may not hold us by sending a byte a
    minute. What it raises is of Starlette's kind: FastAPI takes any other error for a body that cannot be parsed."""

    def __init__(self, receive: Receive, scope: Scope, seconds: float) -> None:
        self._receive = receive
        announced = Headers(scope=scope).get("content-length", "")
        self._announced = int(announced) if announced.isdecimal() and len(announced) <= 20 else 0
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._size = 0
        self._whole = False

    async def __call__(self) -> Message:
        if self._whole:  # what comes now is that the client hangs up
            return await self._receive()
        self._refuse(self._announced)
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, headers={"Connection": "close"}) from None
        self._size += len(message.get("body", b""))
        self._refuse(self._size)
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    def _refuse(self, size: int) -> None:
        if size > LARGEST_BODY:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, headers={"Connection": "close"})


def _too_long(seconds: float) -> Refused:
    return Refused(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"the answer was not ready within {seconds:g} s",
        code="web.too_slow",
        remedy="Ask again; if it lasts, look into the hub's log (web.log).",
    )


class Hosts:
    """Lets in requests for names that are ours. A page that lets its own name point here (DNS rebinding) would have a
    browser ask us under that name.

    `names` without ports; empty: any.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower().strip("[]") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._names:
            host = Headers(scope=scope).get("host", "")
            if _name(host) not in self._names:
                raise Refused(
                    HTTPStatus.MISDIRECTED_REQUEST,
                    "the request is for another host",
                    code="web.host",
                    remedy="Ask by the address that `upkeep web` printed, or add the host to `web: hosts:`.",
                )
        await self._app(scope, receive, send)


def _name(host: str) -> str:
    """A `Host` without its port."""
    name, bracket, _ = host.lower().partition("]")
    return name.removeprefix("[") if bracket else name.partition(":")[0]


class Tokens:
    """Lets in who has a token that permits the request: reading, or writing too. Puts the token's row into the scope's
    state.

    `open`: paths that need none. `only_reads`: nothing in there changes anything, whatever the method is.
    """

    def __init__(self, app: ASGIApp, *, hub: Hub, open: Collection[str] = OPEN, only_reads: bool = False) -> None:
        self._app = app
        self._hub = hub
        self._open = open
        self._only_reads = only_reads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open:
            token = await run_in_threadpool(self._check, Headers(scope=scope).getlist("authorization"))
            if not token.may("read" if self._only_reads or scope["method"] in _READING else "write"):
                raise AccessDenied(
                    f"the token {token.name} may only read",
                    code="access.scope",
                    remedy="Use one of `upkeep token create NAME --scope write`.",
                )
            scope["state"]["token"] = token
        await self._app(scope, receive, send)

    def _check(self, headers: list[str]) -> Token:
        scheme, _, presented = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not presented.strip():
            raise AccessDenied(
                "this needs a token",
                code="access.no_token",
                remedy="Send `Authorization: Bearer TOKEN`; `upkeep token create NAME` on the hub's machine makes one.",
            )
        with self._hub.session() as session:
            return tokens.check(session, presented.strip())


def who(request: Request) -> str:
    """Who asks, for what is kept with a name."""
    token: Token = request.state.token
    return f"token:{token.name}"
