"""The gateway's server: one path in, one provider out.

What belongs here: the way of one request, and the end of all of them. What does not: any rule about a request
(`apis.py`, `contents.py`, `admission.py`), tokens (`meter.py`), bookings (`books.py`), and the process around it
(`__main__.py`).

No request is sent twice: an error of the network goes to the client, whose next try is a request of its own, with a
reservation of its own. Where it is not known whether the provider answered, the whole reservation counts as spent.

Why no ready-made gateway: LiteLLM's proxy (the widest-used one that passes all three APIs through) wants a TCP port,
Redis and a database of its own for budgets, translates between providers, retries, and lets requests that run at the
same time pass a budget together. What is needed here is one socket, one provider, no retry, and a reservation in the
database that holds everything else. aiohttp serves and asks on unix sockets and TCP alike, and streams both ways.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import socket
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientHttpProxyError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    web,
)

from upkeep.agents import pricing
from upkeep.agents.budget import Ledger, MemoryLedger
from upkeep.agents.gateway.admission import Admission
from upkeep.agents.gateway.apis import APIS, Pins, Prepared
from upkeep.agents.gateway.books import Books, How, Sent
from upkeep.agents.gateway.breaker import Breaker, error_message
from upkeep.agents.gateway.contents import Refused
from upkeep.agents.gateway.meter import Meter
from upkeep.agents.gateway.proxy import proxy_for
from upkeep.agents.gateway.settings import GatewayReport, GatewaySettings, Refusal, RefusalCode
from upkeep.agents.gateway.transcript import ANSWER_BYTES, Transcript
from upkeep.errors import BudgetExhausted, DatabaseUnavailable
from upkeep.redaction import Redactor

MAX_REQUEST = 32 << 20
MAX_ERROR = 64 << 10
LARGE = 1 << 20
CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 900.0
"""Between two bytes of the provider. The run's own deadlines are shorter by default; this ends what they forget."""

DRAIN_SECONDS = 10.0
"""An answer whose client has gone is still read for so long: its figures come with its end."""

MAX_AT_ONCE = 16
TELL_SECONDS = 0.05

# Of these it is known that nothing was generated. 408, 502, 504 and the like may come from a proxy on the way, after
# the provider answered.
_UNBILLED = frozenset({*range(300, 500), 500, 501, 503, 529}) - {408}
_ANSWER_HEADERS = ("content-type", "request-id", "x-request-id", "retry-after", "openai-processing-ms")
_NO_RETRY = {"x-should-retry": "false"}
_STATUS: dict[str, int] = {
    **{"path": 404, "token": 401, "request": 400, "hosted_tool": 400, "reference": 400},
    **{"budget": 402, "ledger": 503},
}


class Server:
    """Serves until `finish`. `shared`: the ledger of all processes; None: none is kept."""

    def __init__(self, settings: GatewaySettings, shared: Ledger | None) -> None:
        self._settings = settings
        self._api = APIS[settings.api]
        self._pins = Pins(settings.model, settings.effort, settings.max_output_tokens)
        limit = MemoryLedger(settings.limit_usd)
        admission = Admission(settings.model, settings.provider, settings.priced, limit, shared)
        self._books = Books(admission, self._booked)
        secrets = [] if settings.api_key is None else [settings.api_key.get_secret_value()]
        self._redact = Redactor([*secrets, settings.token.get_secret_value()])
        self._transcript = Transcript(Path(settings.transcript), limit=settings.transcript_bytes, redact=self._redact)
        self._breaker = Breaker()
        self._proxy = proxy_for(settings.upstream)
        # A request does not wait for its own transcript.
        self._scribe = ThreadPoolExecutor(1, "transcript")
        self._untold: dict[int, Sent] = {}
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._handlers: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._numbers = 0
        self._last_status: int | None = None
        self._last_error = ""
        self._refusals: dict[RefusalCode, Refusal] = {}
        self._dropped: set[str] = set()
        self._client: ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def serve(self, listeners: list[socket.socket]) -> None:
        """Take requests from sockets that listen already."""
        timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        # No cookie of the provider is kept: one request knows nothing of another.
        self._client = ClientSession(timeout=timeout, cookie_jar=DummyCookieJar())
        app = web.Application(client_max_size=MAX_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A small body that unpacks to a large one is refused in `_read`, not unpacked.
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=0.1, auto_decompress=False
        )
        await self._runner.setup()
        for listener in listeners:
            await web.SockSite(self._runner, listener).start()

    async def finish(self, *, at_once: bool) -> GatewayReport:
        """Take no more requests, settle every one that is on its way, and say what was done. What does not end by
        itself within DRAIN_SECONDS (not at all with `at_once`) is cut and presumed."""
        self._closing = True
        if self._handlers and not at_once:
            await asyncio.wait(self._handlers, timeout=DRAIN_SECONDS)
        for handler in tuple(self._handlers):
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=DRAIN_SECONDS)
        await self._books.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()
        self._scribe.shutdown()
        self._transcript.close()
        return self._report()

    def _report(self) -> GatewayReport:
        books = self._books
        return GatewayReport(
            requests=books.total.requests + books.presumed,
            failed=books.released,
            presumed=books.presumed,
            **books.total.model_dump(include={"input_uncached", "cache_read", "cache_write", "output", "reasoning"}),
            cost_usd=float(books.cost) if self._settings.priced else None,
            presumed_usd=float(books.presumed_usd),
            price_source=pricing.price_source() if self._settings.priced else "",
            refusals=tuple(self._refusals.values()),
            breaker=self._breaker.tripped,
            last_status=self._last_status,
            last_error=self._breaker.said or self._last_error,
            dropped=tuple(sorted(self._dropped)),
            transcript_cut=self._transcript.cut,
        )

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            async with self._slots:
                return await self._answer(request)
        finally:
            self._handlers.discard(task)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            prepared = await self._read(request)
            self._refuse_if_tripped()
            admitted = await self._books.admit(prepared)
        except Refused as refused:
            return self._refuse(refused.kind, refused.message)
        except BudgetExhausted as exhausted:
            return self._refuse("budget", exhausted.message)
        except DatabaseUnavailable:
            return self._refuse("ledger", "the budget cannot be looked up now; the request was not sent")
        self._api.bound(prepared.body, admitted.output)
        self._numbers += 1
        meter = Meter(self._api.name, stream=prepared.stream)
        sent = self._untold[self._numbers] = Sent(self._numbers, prepared, admitted, meter)
        # While the provider thinks, not while it is asked: both threads want the interpreter.
        asyncio.get_running_loop().call_later(TELL_SECONDS, self._tell, sent)
        return await self._send(request, sent)

    async def _read(self, request: web.Request) -> Prepared:
        """The request, checked and pinned. Raises Refused."""
        if self._closing:
            raise Refused("request", "the run is over")
        token = self._settings.token.get_secret_value()
        if not hmac.compare_digest(self._api.token(request.headers).encode(), token.encode()):
            raise Refused("token", "this gateway serves one run, and this request does not come from it")
        if request.method != "POST" or request.path != self._api.path:
            raise Refused("path", f"{request.method} {request.path[:200]} is not served: only POST {self._api.path} is")
        if "content-encoding" in request.headers:
            raise Refused("request", "a compressed request is not passed on")
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError, MemoryError, web.HTTPRequestEntityTooLarge) as error:
            raise Refused("request", "the request is too large or no JSON") from error
        if not isinstance(body, dict):
            raise Refused("request", "the request is no JSON object")
        prepared = self._api.prepare(body, self._pins)
        self._dropped.update(name[:100] for name in prepared.dropped[:50])
        return prepared

    def _refuse_if_tripped(self) -> None:
        if self._breaker.tripped is not None:
            raise Refused("breaker", f"the provider said no before, and is not asked again: {self._breaker.said}")

    def _refuse(self, kind: str, message: str) -> web.Response:
        code: RefusalCode = kind  # type: ignore[assignment]
        before = self._refusals.get(code)
        self._refusals[code] = (
            Refusal(code=code, message=message)
            if before is None
            else before.model_copy(update={"count": before.count + 1})
        )
        self._scribe.submit(partial(self._transcript.write, "refused", code=code, message=message))
        status = self._breaker.tripped or 400 if code == "breaker" else _STATUS[code]
        body = self._api.error(f"Upkeep's gateway: {message}", status=status, code=f"upkeep_{code}")
        return web.Response(status=status, body=body, content_type="application/json", headers=_NO_RETRY)

    async def _send(self, request: web.Request, sent: Sent) -> web.StreamResponse:
        """Ask the provider. However this ends, the request is settled."""
        assert self._client is not None
        settings = self._settings
        key = None if settings.api_key is None else settings.api_key.get_secret_value()
        headers = {name: request.headers[name] for name in self._api.headers if name in request.headers}
        headers |= {**self._api.key_headers(key), "accept-encoding": "identity", **self._proxy.headers}
        url = settings.upstream.rstrip("/") + self._api.upstream
        how: How = "presumed"
        try:
            data = json.dumps(sent.prepared.body, ensure_ascii=True).encode()
            # Not to another place: the key would go along.
            async with self._client.post(
                url,
                data=_in_chunks(data),
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy.url,
                proxy_headers=self._proxy.tunnel_headers,
            ) as answer:
                if answer.status == 200:
                    return await self._pass_on(request, answer, sent)
                if answer.status in _UNBILLED:
                    how = "released"
                return await self._pass_error(answer, sent)
        except (ClientConnectorError, ClientHttpProxyError) as error:
            how = "released"
            return self._unreachable(sent, error)
        except (ClientError, TimeoutError, OSError) as error:
            return self._unreachable(sent, error)
        finally:
            self._books.book(sent, how)

    async def _pass_on(self, request: web.Request, answer: ClientResponse, sent: Sent) -> web.StreamResponse:
        """Pass an answer on as it comes. A client that goes does not end it: its figures come with its end."""
        response = web.StreamResponse(
            status=answer.status,
            headers={name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers},
        )
        self._saw(answer.status, "")
        there = await _delivered(response.prepare(request))
        whole = False
        with suppress(ClientError, TimeoutError, OSError):
            async with asyncio.timeout(None) as limit:
                async for chunk in answer.content.iter_any():
                    sent.meter.feed(chunk)
                    sent.answer += chunk[: max(0, ANSWER_BYTES - len(sent.answer))]
                    if sent.meter.ended:
                        # Before the client learns of the end: the booking of its next request queues behind this one.
                        self._books.book(sent, "settled")
                    if there and not await _delivered(response.write(chunk)):
                        there = False
                        limit.reschedule(asyncio.get_running_loop().time() + DRAIN_SECONDS)
                whole = True
        sent.meter.finish()
        self._books.book(sent, "settled")
        if not whole or (sent.prepared.stream and not sent.meter.ended):
            self._saw(0, "its answer broke off")
        if not whole and request.transport is not None:
            # The client must not take a cut answer for a whole one.
            request.transport.abort()
        elif there:
            await _delivered(response.write_eof())
        return response

    async def _pass_error(self, answer: ClientResponse, sent: Sent) -> web.StreamResponse:
        """A provider's error, without our key, which some repeat in it."""
        body = self._redact(await answer.content.read(MAX_ERROR))
        self._saw(answer.status, error_message(body))
        sent.answer += body
        status = answer.status if answer.status >= 400 else 502
        headers = {name: answer.headers[name] for name in ("retry-after",) if name in answer.headers}
        if self._breaker.tripped is not None:
            headers |= _NO_RETRY
        if status != answer.status:
            body = self._api.error(
                "Upkeep's gateway: the provider sent us elsewhere", status=502, code="upkeep_redirect"
            )
        kind = "application/json" if body.lstrip()[:1] == b"{" else "text/plain"
        return web.Response(status=status, body=body, content_type=kind, headers=headers)

    def _unreachable(self, sent: Sent, error: BaseException) -> web.Response:
        words = self._redact(f"{type(error).__name__}: {error}")
        self._saw(0, words)
        sent.answer += words.encode()
        message = "Upkeep's gateway: the provider did not answer"
        body = self._api.error(message, status=502, code="upkeep_unavailable")
        return web.Response(status=502, body=body, content_type="application/json")

    def _saw(self, status: int, said: str) -> None:
        """The provider answered, or (0) did not."""
        self._last_status, self._last_error = status, said
        if status:
            self._breaker.see(status, said)

    def _booked(self, sent: Sent, cost: Decimal, how: How) -> None:
        if how == "unbooked":
            self._refusals.setdefault("ledger", Refusal(code="ledger", message="a request could not be settled"))
        self._tell(sent)
        usage = sent.meter.usage
        self._scribe.submit(
            partial(
                self._transcript.write,
                "answer",
                number=sent.number,
                body=bytes(sent.answer).decode(errors="replace"),
                usage=None if usage is None else usage.model_dump(exclude_defaults=True),
                cost_usd=float(cost),
                booked=how,
            )
        )

    def _tell(self, sent: Sent) -> None:
        """Write a request into the transcript, once."""
        if self._untold.pop(sent.number, None) is not None:
            self._scribe.submit(self._transcript.request, sent.number, sent.prepared.body, self._api.turns)


def _in_chunks(data: bytes) -> bytes | io.BytesIO:
    """A large body is written piece by piece: other answers stream meanwhile."""
    return data if len(data) <= LARGE else io.BytesIO(data)


async def _delivered(write: Awaitable[Any]) -> bool:
    """Whether the client is still there to take it."""
    try:
        await write
    except ConnectionError:
        return False
    return True
