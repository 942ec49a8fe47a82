"""The gateway's server: one path in, one provider out.

What belongs here: the way of one request, and the end of all of them. What does not: any rule about a request
(`apis.py`, `contents.py`, `admission.py`), tokens (`meter.py`), and the process around it (`__main__.py`).

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
import json
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientSession, ClientTimeout, web

from upkeep.agents import pricing
from upkeep.agents.base import Usage
from upkeep.agents.budget import Ledger, MemoryLedger
from upkeep.agents.gateway.admission import Admission, Admitted
from upkeep.agents.gateway.apis import APIS, Pins, Prepared
from upkeep.agents.gateway.breaker import Breaker, error_message
from upkeep.agents.gateway.contents import Refused
from upkeep.agents.gateway.meter import Meter
from upkeep.agents.gateway.settings import GatewayReport, GatewaySettings, Refusal, RefusalCode
from upkeep.agents.gateway.transcript import ANSWER_BYTES, Transcript
from upkeep.errors import BudgetExhausted, DatabaseUnavailable
from upkeep.process import Redactor

MAX_REQUEST = 64 << 20
MAX_ERROR = 64 << 10
CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 900.0
"""Between two bytes of the provider. The run's own deadlines are shorter by default; this ends what they forget."""

DRAIN_SECONDS = 10.0
"""An answer whose client has gone is still read for so long: its figures come with its end."""

MAX_AT_ONCE = 16

# Of these it is known that nothing was generated. 408, 502, 504 and the like may come from a proxy on the way, after
# the provider answered.
_UNBILLED = frozenset({*range(300, 500), 500, 501, 503, 529}) - {408}
_ANSWER_HEADERS = ("content-type", "request-id", "x-request-id", "retry-after", "openai-processing-ms")
_NO_RETRY = {"x-should-retry": "false"}
_STATUS: dict[str, int] = {
    **{"path": 404, "token": 401, "request": 400, "hosted_tool": 400, "reference": 400},
    **{"budget": 402, "ledger": 503},
}

_T = TypeVar("_T")


@dataclass
class _Sent:
    """A request on its way, and the beginning of its answer. `booked`: it is settled, presumed or released."""

    number: int
    prepared: Prepared
    admitted: Admitted
    meter: Meter
    answer: bytearray = field(default_factory=bytearray)
    booked: bool = False

    def take(self, chunk: bytes) -> None:
        self.meter.feed(chunk)
        if len(self.answer) < ANSWER_BYTES:
            self.answer += chunk[: ANSWER_BYTES - len(self.answer)]


class Server:
    """Serves until `finish`. `shared`: the ledger of all processes; None: none is kept."""

    def __init__(self, settings: GatewaySettings, shared: Ledger | None) -> None:
        self._settings = settings
        self._api = APIS[settings.api]
        self._pins = Pins(settings.model, settings.effort, settings.max_output_tokens)
        self._admission = Admission(
            settings.model, settings.provider, settings.priced, MemoryLedger(settings.limit_usd), shared
        )
        secrets = [] if settings.api_key is None else [settings.api_key.get_secret_value()]
        self._redact = Redactor([*secrets, settings.token.get_secret_value()])
        self._transcript = Transcript(Path(settings.transcript), limit=settings.transcript_bytes, redact=self._redact)
        self._breaker = Breaker()
        # The ledger is for one thread at a time, and the event loop must not wait for a database.
        self._books = ThreadPoolExecutor(1, "ledger")
        # Nor does a request wait for its own transcript.
        self._scribe = ThreadPoolExecutor(1, "transcript")
        self._slots = asyncio.Semaphore(MAX_AT_ONCE)
        self._handlers: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._numbers = 0
        self._total = Usage(engine="")
        self._cost = Decimal(0)
        self._last_status: int | None = None
        self._last_error = ""
        self._failed = 0
        self._presumed = 0
        self._presumed_usd = Decimal(0)
        self._refusals: dict[RefusalCode, Refusal] = {}
        self._dropped: set[str] = set()
        self._client: ClientSession | None = None
        self._runner: web.AppRunner | None = None

    async def serve(self, listeners: list[socket.socket]) -> None:
        """Take requests from sockets that listen already."""
        timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        self._client = ClientSession(timeout=timeout, trust_env=True, auto_decompress=True)
        app = web.Application(client_max_size=MAX_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
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
        if self._runner is not None:
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()
        self._books.shutdown()
        self._scribe.shutdown()
        if self._admission.shared is not None:
            self._admission.shared.close()
        self._transcript.close()
        return self._report()

    def _report(self) -> GatewayReport:
        total = self._total
        return GatewayReport(
            requests=self._total.requests + self._presumed,
            failed=self._failed,
            presumed=self._presumed,
            **total.model_dump(include={"input_uncached", "cache_read", "cache_write", "output", "reasoning"}),
            cost_usd=float(self._cost) if self._settings.priced else None,
            presumed_usd=float(self._presumed_usd),
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
            admitted = await self._book(self._admission.admit, prepared)
        except Refused as refused:
            return self._refuse(refused.kind, refused.message)
        except BudgetExhausted as exhausted:
            return self._refuse("budget", exhausted.message)
        except DatabaseUnavailable:
            return self._refuse("ledger", "the budget cannot be looked up now; the request was not sent")
        self._api.bound(prepared.body, admitted.output)
        self._numbers += 1
        meter = Meter(self._api.name, stream=prepared.stream)
        sent = _Sent(self._numbers, prepared, admitted, meter)
        self._scribe.submit(self._transcript.request, sent.number, prepared.body, self._api.turns)
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
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError, web.HTTPRequestEntityTooLarge) as error:
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

    async def _send(self, request: web.Request, sent: _Sent) -> web.StreamResponse:
        """Ask the provider. However this ends, the request is settled."""
        assert self._client is not None
        settings = self._settings
        key = None if settings.api_key is None else settings.api_key.get_secret_value()
        headers = {name: request.headers[name] for name in self._api.headers if name in request.headers}
        headers |= {**self._api.key_headers(key), "accept-encoding": "identity"}
        url = settings.upstream.rstrip("/") + self._api.upstream
        settle: Callable[[], Any] = partial(self._presume, sent)
        try:
            data = json.dumps(sent.prepared.body, ensure_ascii=True).encode()
            # Not to another place: the key would go along.
            async with self._client.post(url, data=data, headers=headers, allow_redirects=False) as answer:
                if answer.status == 200:
                    return await self._pass_on(request, answer, sent)
                if answer.status in _UNBILLED:
                    settle = partial(self._release, sent)
                return await self._pass_error(answer, sent)
        except ClientConnectorError as error:
            settle = partial(self._release, sent)
            return self._unreachable(sent, error)
        except (ClientError, TimeoutError, OSError) as error:
            return self._unreachable(sent, error)
        finally:
            await asyncio.shield(asyncio.ensure_future(self._close_book(settle, sent)))

    async def _pass_on(self, request: web.Request, answer: ClientResponse, sent: _Sent) -> web.StreamResponse:
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
                    sent.take(chunk)
                    if sent.meter.ended:
                        # Before the client learns of the end: its next request must find the books in order.
                        await self._close_book(partial(self._settle, sent), sent)
                    if there and not await _delivered(response.write(chunk)):
                        there = False
                        limit.reschedule(asyncio.get_running_loop().time() + DRAIN_SECONDS)
                whole = True
        sent.meter.finish()
        await self._close_book(partial(self._settle, sent), sent)
        if not whole:
            self._saw(0, "its answer broke off")
            # The client must not take a cut answer for a whole one.
            if request.transport is not None:
                request.transport.abort()
        elif there:
            await _delivered(response.write_eof())
        return response

    async def _pass_error(self, answer: ClientResponse, sent: _Sent) -> web.StreamResponse:
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

    def _unreachable(self, sent: _Sent, error: BaseException) -> web.Response:
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

    async def _close_book(self, settle: Callable[[], Any], sent: _Sent) -> None:
        if sent.booked:
            return
        sent.booked = True
        cost, how = Decimal(0), "unbooked"
        try:
            cost, how = await self._book(settle)
        except DatabaseUnavailable:
            # The reservation stands, and will be presumed by whoever finds it: never too little.
            self._refusals.setdefault("ledger", Refusal(code="ledger", message="a request could not be settled"))
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

    def _settle(self, sent: _Sent) -> tuple[Decimal, str]:
        """In the ledger's thread: book what the provider reported, or presume."""
        usage = sent.meter.usage
        if usage is None or not sent.meter.ended:
            return self._presume(sent)
        cost = self._admission.settle(sent.admitted, sent.prepared, usage)
        self._total += usage
        self._cost += cost
        return cost, "settled"

    def _presume(self, sent: _Sent) -> tuple[Decimal, str]:
        cost = self._admission.presume(sent.admitted, sent.meter.usage)
        self._presumed += 1
        self._presumed_usd += cost
        return cost, "presumed"

    def _release(self, sent: _Sent) -> tuple[Decimal, str]:
        self._admission.release(sent.admitted)
        self._failed += 1
        return Decimal(0), "released"

    async def _book(self, call: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._books, partial(call, *arguments))


async def _delivered(write: Awaitable[Any]) -> bool:
    """Whether the client is still there to take it."""
    try:
        await write
    except ConnectionError:
        return False
    return True
