"""A real gateway between a client and a scripted provider."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import itertools
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
import sqlalchemy as sa
from multidict import CIMultiDict
from pydantic import SecretStr

from tests.support.model_server import (
    Answer,
    Cut,
    Failure,
    Hang,
    ModelServer,
    Reply,
    Request,
    Tokens,
    always,
    play,
)
from upkeep.agents.budget import Account, Limits
from upkeep.agents.gateway.client import Route, open_gateway
from upkeep.agents.gateway.server import Server
from upkeep.agents.gateway.settings import GatewayReport, GatewaySettings
from upkeep.agents.gateway.transcript import Transcript
from upkeep.agents.ledger import DatabaseLedger, presume_dead
from upkeep.database.server import Database
from upkeep.errors import AgentError, BudgetExhausted
from upkeep.redaction import Redactor

KEY = "sk-canary-0123456789abcdef"
MODELS = {
    "responses": ("gpt-5.2", "openai"),
    "messages": ("claude-sonnet-4-5", "anthropic"),
    "chat": ("gpt-5.2", "openai"),
}
PATHS = {"responses": "/v1/responses", "messages": "/v1/messages", "chat": "/v1/chat/completions"}
APIS = sorted(PATHS)
T = TypeVar("T")
_NUMBERS = itertools.count()

LIMITS = Limits(per_run_usd=1, per_subject_day_usd=5, per_agent_month_usd=100)


class Threaded:
    """The gateway's server in a thread of this process: all of it but its process."""

    def __init__(self, settings: GatewaySettings, socket_path: Path) -> None:
        self.socket, self.token = socket_path, settings.token.get_secret_value()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path))
        self._listener.listen()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._report: GatewayReport | None = None
        self._server = self._run(self._serve(settings))

    async def _serve(self, settings: GatewaySettings) -> Server:
        server = Server(settings, None if settings.account is None else DatabaseLedger(settings.account))
        await server.serve([self._listener])
        return server

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def finish(self) -> GatewayReport:
        if self._report is None:
            self._report = self._run(self._server.finish(at_once=False))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        return self._report


class Client:
    """What a CLI inside the sandbox would do, through the socket."""

    def __init__(self, gateway: Any, api: str) -> None:
        self.gateway, self.api = gateway, api

    def body(self, **more: Any) -> dict[str, Any]:
        turn = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
        turns = {"input": [{"type": "message", **turn}]} if self.api == "responses" else {"messages": [turn]}
        return {"model": "whatever", "stream": True, **turns, **more}

    def ask(self, body: dict[str, Any] | None = None, **more: Any) -> tuple[int, bytes, CIMultiDict[str]]:
        return asyncio.run(self._ask(self.body(**more) if body is None else body))

    def ask_at(
        self, path: str, *, method: str = "POST", token: str | None = None
    ) -> tuple[int, bytes, CIMultiDict[str]]:
        return asyncio.run(self._ask(self.body(), path=path, method=method, token=token))

    async def _ask(
        self, body: Any, path: str | None = None, method: str = "POST", token: str | None = None
    ) -> tuple[int, bytes, CIMultiDict[str]]:
        async with self.session(token) as session:
            url = f"http://gateway{path or PATHS[self.api]}"
            async with session.request(method, url, json=None if method == "GET" else body) as answer:
                return answer.status, await answer.read(), answer.headers.copy()

    def session(self, token: str | None = None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self.gateway.socket)),
            headers={"authorization": f"Bearer {self.gateway.token if token is None else token}"},
        )


@pytest.fixture
def opening(model_server: ModelServer, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a gateway to the scripted provider: in a thread, or with `process=True` as engines do."""
    folder = tempfile.TemporaryDirectory()

    @contextmanager
    def opened(api: str = "responses", *, process: bool = False, **fields: Any) -> Iterator[Client]:
        model, provider = MODELS[api]
        base = model_server.base_url.removesuffix("/v1") if api == "messages" else model_server.base_url
        values = {"upstream": base, "api_key": SecretStr(KEY), "model": model, "provider": provider, **fields}
        route = Route(agent="writer", api=api, **values)  # type: ignore[arg-type]
        transcript = tmp_path / "t.jsonl"
        if process:
            with open_gateway(route, transcript=transcript, log=tmp_path / "log.txt") as gateway:
                yield Client(gateway, api)
            return
        known = {name: getattr(route, name) for name in route.__dataclass_fields__}
        settings = GatewaySettings(**known, token=SecretStr("token-of-a-run"), transcript=str(transcript))
        threaded = Threaded(settings, Path(folder.name) / str(next(_NUMBERS)))
        try:
            yield Client(threaded, api)
        finally:
            threaded.finish()

    yield opened
    folder.cleanup()


@pytest.fixture
def account(database: Database) -> Account:
    url = SecretStr(database.url)
    return Account(database_url=url, agent="writer", subject="watch:app", run_id="run-1", limits=LIMITS)


def message(answer: bytes) -> str:
    said: str = json.loads(answer)["error"]["message"]
    return said


@pytest.mark.parametrize(("stream", "process"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("api", APIS)
def test_a_request_goes_through_with_the_real_key_and_is_counted(
    model_server: ModelServer, opening: Any, api: str, stream: bool, process: bool
) -> None:
    model_server.script = play(Answer("hi", tokens=Tokens(input=1000, cached=300, output=50, reasoning=20)))
    with opening(api, effort="low", process=process) as client:
        more = {"output_config": {"effort": "max"}} if api == "messages" else {}
        status, answer, headers = client.ask(stream=stream, **more)
        report = client.gateway.finish()
    (request,) = model_server.requests
    assert status == 200, answer
    assert ("event-stream" in headers["Content-Type"]) is stream
    assert b"hi" in answer
    key = "x-api-key" if api == "messages" else "authorization"
    assert request.headers[key].removeprefix("Bearer ") == KEY
    assert client.gateway.token not in json.dumps([request.headers, request.body])
    assert request.body["model"] == MODELS[api][0]
    effort = {
        "responses": request.body.get("reasoning", {}).get("effort"),
        "messages": request.body.get("output_config", {}).get("effort"),
        "chat": request.body.get("reasoning_effort"),
    }
    assert effort[api] == "low"
    reasoning = 0 if api == "messages" else 20
    assert (report.requests, report.presumed, report.failed) == (1, 0, 0)
    assert (report.input_uncached, report.cache_read, report.output, report.reasoning) == (
        700,
        300,
        50 - reasoning,
        reasoning,
    )
    prices = (3, 0.3, 15) if api == "messages" else (1.75, 0.175, 14)
    assert report.cost_usd == pytest.approx((700 * prices[0] + 300 * prices[1] + 50 * prices[2]) / 1e6)


@pytest.mark.parametrize("api", APIS)
def test_only_the_engines_own_path_is_served(model_server: ModelServer, opening: Any, api: str) -> None:
    others = [path for name, path in PATHS.items() if name != api]
    with opening(api) as client:
        for path in [*others, "/", "/v1/files", "/v1/models", f"{PATHS[api]}/../files", f"{PATHS[api]}/1/cancel"]:
            assert client.ask_at(path)[0] == 404, path
        status, answer, _ = client.ask_at(PATHS[api], method="GET")
        report = client.gateway.finish()
    assert (status, "is not served" in message(answer)) == (404, True)
    assert model_server.requests == []
    assert report.refused("path").count == len(others) + 6


def test_who_does_not_know_the_runs_token_is_refused(model_server: ModelServer, opening: Any) -> None:
    with opening() as client:
        assert client.ask_at("/v1/responses", token="guess")[0] == 401
        assert client.ask_at("/v1/responses", token="")[0] == 401
        assert client.ask_at("/v1/responses", token="é")[0] == 401
    assert model_server.requests == []


@pytest.mark.parametrize(
    ("api", "more", "code"),
    [
        ("responses", {"tools": [{"type": "web_search"}]}, "hosted_tool"),
        (
            "responses",
            {"tools": [{"type": "function", "name": "f"}, {"type": "mcp", "server_url": "http://x"}]},
            "hosted_tool",
        ),
        ("responses", {"tools": ["web_search"]}, "hosted_tool"),
        ("responses", {"previous_response_id": "resp_1"}, "reference"),
        ("responses", {"background": True}, "reference"),
        ("responses", {"input": [{"type": "item_reference", "id": "x"}]}, "reference"),
        ("responses", {"input": 7}, "request"),
        ("messages", {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}, "hosted_tool"),
        ("messages", {"tools": [{"type": "code_execution_20250522", "name": "x"}]}, "hosted_tool"),
        ("messages", {"mcp_servers": [{"type": "url", "url": "http://x"}]}, "hosted_tool"),
        ("chat", {"tools": [{"type": "web_search_preview"}]}, "hosted_tool"),
        ("chat", {"web_search_options": {"a": 1}}, "hosted_tool"),
        ("chat", {"n": 2}, "request"),
    ],
)
def test_hosted_tools_and_what_only_the_provider_sees_are_refused(
    model_server: ModelServer, opening: Any, api: str, more: dict[str, Any], code: str
) -> None:
    with opening(api) as client:
        status, answer, headers = client.ask(**more)
        report = client.gateway.finish()
    assert (status, headers["x-should-retry"]) == (400, "false")
    assert "Upkeep's gateway" in message(answer)
    assert [refusal.code for refusal in report.refusals] == [code]
    assert model_server.requests == []


def test_a_field_that_nobody_knows_is_left_out_and_reported(model_server: ModelServer, opening: Any) -> None:
    model_server.script = play(Answer("hi"))
    with opening() as client:
        assert client.ask(service_tier="priority", store=True, text={"verbosity": "low"})[0] == 200
        report = client.gateway.finish()
    (request,) = model_server.requests
    assert report.dropped == ("service_tier",)
    assert "service_tier" not in request.body
    assert (request.body["store"], request.body["text"]) == (False, {"verbosity": "low"})


@pytest.mark.long
def test_a_request_that_unfolds_in_memory_does_not_take_the_hosts(model_server: ModelServer, opening: Any) -> None:
    """Five at once, each 24 MB of empty lists: 2.3 GB without a bound."""
    model_server.script = always(Answer("hi"))
    data = b'{"input": [' + b"[]," * 8_000_000 + b"[]]}"

    async def flood(client: Client) -> None:
        async with client.session() as session:

            async def one() -> int:
                try:
                    async with session.post(f"http://gateway{PATHS['responses']}", data=io.BytesIO(data)) as answer:
                        return answer.status
                except aiohttp.ClientError:
                    return 0

            assert 200 not in await asyncio.gather(*(one() for _ in range(5)))

    with opening(process=True, limit_usd=1e-9) as client:
        asyncio.run(flood(client))
        status = Path(f"/proc/{client.gateway._child.pid}/status")
        peak = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
        client.gateway.finish()
    assert all(int(line.split()[1]) < 2_200_000 for line in peak)
    assert model_server.requests == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_request_is_refused_and_not_unpacked(model_server: ModelServer, opening: Any, coding: str) -> None:
    async def ask(client: Client) -> tuple[int, bytes]:
        data = gzip.compress(json.dumps(client.body()).encode())
        headers = {"content-encoding": coding}
        async with (
            client.session() as session,
            session.post(f"http://gateway{PATHS['responses']}", data=data, headers=headers) as answer,
        ):
            return answer.status, await answer.read()

    with opening() as client:
        status, answer = asyncio.run(ask(client))
    assert (status, "compressed" in message(answer)) == (400, True)
    assert model_server.requests == []


class TestProxy:
    @pytest.fixture
    def environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        (tmp_path / ".netrc").write_text("default login somebody password CANARY\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        return monkeypatch

    @pytest.mark.parametrize("api", APIS)
    def test_a_login_of_netrc_reaches_no_provider(
        self, environment: pytest.MonkeyPatch, model_server: ModelServer, opening: Any, api: str
    ) -> None:
        model_server.script = play(Answer("hi"))
        with opening(api) as client:
            assert client.ask()[0] == 200
        (request,) = model_server.requests
        assert {value for name, value in request.headers.items() if name == "authorization"} <= {f"Bearer {KEY}"}

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_the_way_leads_over_the_proxy_of_the_environment(
        self, environment: pytest.MonkeyPatch, model_server: ModelServer, opening: Any, name: str
    ) -> None:
        model_server.script = play(Answer("hi"))
        environment.setenv(name, model_server.base_url.replace("http://", "http://me:word@").removesuffix("/v1"))
        with opening(upstream="http://provider.test/v1") as client:
            client.ask()
        (request,) = model_server.requests
        assert request.path == "http://provider.test/v1/responses"
        assert request.headers["proxy-authorization"] == "Basic bWU6d29yZA=="

    def test_a_provider_behind_tls_never_sees_the_proxys_login(
        self, environment: pytest.MonkeyPatch, opening: Any
    ) -> None:
        seen: list[bytes] = []

        def proxy(listener: socket.socket) -> None:
            client, _ = listener.accept()
            with client:
                seen.append(client.recv(65536))
                client.sendall(b"HTTP/1.1 502 no\r\ncontent-length: 0\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=proxy, args=(listener,))
            thread.start()
            environment.setenv("https_proxy", f"http://me:word@127.0.0.1:{listener.getsockname()[1]}")
            with opening(upstream="https://provider.test/v1") as client:
                assert client.ask()[0] == 502
                assert client.gateway.finish().presumed == 0, "it was never sent"
            thread.join()
        (head,) = seen
        assert head.startswith(b"CONNECT provider.test:443 ")
        assert b"Basic bWU6d29yZA==" in head
        assert KEY.encode() not in head

    def test_not_where_the_environment_says_no(
        self, environment: pytest.MonkeyPatch, model_server: ModelServer, opening: Any
    ) -> None:
        model_server.script = play(Answer("hi"))
        environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        environment.setenv("NO_PROXY", "127.0.0.1")
        with opening() as client:
            assert client.ask()[0] == 200


class TestBudget:
    def test_the_request_that_could_pass_it_is_never_sent(self, model_server: ModelServer, opening: Any) -> None:
        """An answer may cost 2,048 tokens at 14 dollars a million at least: 0.0287 dollars, and its input."""
        model_server.script = always(Answer("hi", tokens=Tokens(input=1000, cached=0, output=1000, reasoning=0)))
        limit = 0.08
        with opening(limit_usd=limit) as client:
            statuses = [client.ask()[0] for _ in range(6)]
            status, answer, headers = client.ask()
            report = client.gateway.finish()
        served = statuses.count(200)
        assert statuses == [200] * served + [402] * (6 - served)
        assert 0 < served < 6
        assert (status, headers["x-should-retry"]) == (402, "false")
        assert "the budget of one run of the agent is 0.0800 USD" in message(answer)
        assert len(model_server.requests) == served
        assert report.cost_usd is not None
        assert report.cost_usd <= limit
        error = report.failure("writer")
        assert isinstance(error, BudgetExhausted)
        assert "agents.writer.budget_usd" in error.remedy

    @pytest.mark.parametrize("api", APIS)
    def test_an_answer_is_cut_to_what_the_budget_leaves(
        self, model_server: ModelServer, opening: Any, api: str
    ) -> None:
        model_server.script = always(Answer("hi"))
        with opening(api, limit_usd=0.1) as client:
            assert client.ask(**({"max_tokens": 50_000} if api == "messages" else {}))[0] == 200
        name = "max_output_tokens" if api == "responses" else "max_tokens"
        assert 2_048 <= model_server.requests[0].body[name] < 8_000

    @pytest.mark.parametrize("api", APIS)
    def test_no_request_asks_for_more_than_the_cap(self, model_server: ModelServer, opening: Any, api: str) -> None:
        model_server.script = always(Answer("hi"))
        name = "max_output_tokens" if api == "responses" else "max_tokens"
        with opening(api) as client:
            client.ask()
            client.ask(**{name: 1_000_000})
            client.ask(**{name: 5})
        assert [request.body[name] for request in model_server.requests] == [32_000, 32_000, 5]

    def test_the_books_of_all_processes_hold_it(
        self, model_server: ModelServer, opening: Any, account: Account, database: Database
    ) -> None:
        model_server.script = always(Answer("hi", tokens=Tokens(input=1000, cached=0, output=1000, reasoning=0)))
        tight = account.model_copy(update={"limits": LIMITS.model_copy(update={"per_subject_day_usd": 0.06})})
        with opening(account=tight) as first:
            assert first.ask()[0] == 200
        with opening(account=tight.model_copy(update={"run_id": "run-2"})) as second:
            statuses = [second.ask()[0] for _ in range(4)]
            report = second.gateway.finish()
        assert statuses[-1] == 402
        assert "watch:app today" in report.refused("budget").message
        with database.session() as session:
            rows = session.execute(sa.text("SELECT scope, spent_usd, reserved_usd FROM upkeep.spending"))
            spent = {scope: (float(amount), float(reserved)) for scope, amount, reserved in rows}
        assert spent["subject_day"] == pytest.approx((0.01575 * (1 + statuses.count(200)), 0))

    def test_a_ledger_that_is_gone_stops_requests(
        self, model_server: ModelServer, opening: Any, account: Account
    ) -> None:
        gone = SecretStr("postgresql://upkeep@127.0.0.1:9/none")
        with opening(account=account.model_copy(update={"database_url": gone})) as client:
            assert client.ask()[0] == 503
            report = client.gateway.finish()
        assert model_server.requests == []
        error = report.failure("writer")
        assert error is not None
        assert error.reason == "agent.gateway"

    def test_a_model_without_a_price_runs_where_nobody_asks_for_one(
        self, model_server: ModelServer, opening: Any
    ) -> None:
        model_server.script = play(Answer("hi"))
        with opening(model="house-model-7", priced=False) as client:
            assert client.ask()[0] == 200
            report = client.gateway.finish()
        assert (report.requests, report.cost_usd, report.price_source) == (1, None, "")


class TestProviderRefuses:
    @pytest.mark.parametrize(
        ("status", "code"), [(401, "agent.authentication"), (402, "agent.quota"), (403, "agent.authentication")]
    )
    def test_a_refusal_that_no_retry_changes_stops_all_requests(
        self, model_server: ModelServer, opening: Any, status: int, code: str
    ) -> None:
        model_server.script = always(Failure(status, f"Incorrect API key provided: {KEY}"))
        with opening() as client:
            first, second = client.ask(), client.ask()
            report = client.gateway.finish()
        assert (first[0], second[0], second[2]["x-should-retry"]) == (status, status, "false")
        assert KEY.encode() not in first[1] + second[1]
        assert len(model_server.requests) == 1
        assert (report.requests, report.failed, report.cost_usd) == (0, 1, 0.0)
        error = report.failure("writer")
        assert error is not None
        assert error.reason == code
        assert KEY not in error.message

    def test_repeated_429_stop_it_and_an_answer_between_them_does_not(
        self, model_server: ModelServer, opening: Any
    ) -> None:
        busy = Failure(429, "slow down", {"retry-after": "7"})
        model_server.script = play(busy, busy, Answer("hi"), busy, busy, busy)
        with opening() as client:
            answers = [client.ask() for _ in range(8)]
            report = client.gateway.finish()
        assert [status for status, _, _ in answers] == [429, 429, 200, 429, 429, 429, 429, 429]
        assert answers[0][2]["retry-after"] == "7"
        assert (len(model_server.requests), report.breaker) == (6, 429)
        assert (report.failed, report.requests, report.presumed) == (5, 1, 0)

    def test_out_of_money_is_told_from_too_fast(self, model_server: ModelServer, opening: Any) -> None:
        model_server.script = always(Failure(429, "You exceeded your current quota (insufficient_quota)"))
        with opening() as client:
            client.ask()
            report = client.gateway.finish()
        assert report.breaker == 402

    def test_nothing_is_sent_twice_and_an_unknown_outcome_counts_in_full(
        self, model_server: ModelServer, opening: Any
    ) -> None:
        model_server.script = play(Failure(500), Failure(502))
        with opening() as client:
            assert [client.ask()[0], client.ask()[0]] == [500, 502]
            report = client.gateway.finish()
        assert len(model_server.requests) == 2
        assert (report.failed, report.presumed, report.usage(engine="codex", version="", model="m").complete) == (
            1,
            1,
            False,
        )
        assert 0.448 < report.presumed_usd < 0.46, "32,000 tokens of output at 14 dollars a million, and little input"

    def test_a_provider_that_is_not_there_costs_nothing(self, opening: Any) -> None:
        with opening(upstream="http://127.0.0.1:9/v1") as client:
            status, answer, _ = client.ask()
            report = client.gateway.finish()
        assert (status, report.failed, report.presumed) == (502, 1, 0)
        assert "did not answer" in message(answer)

    def test_the_key_does_not_follow_a_redirect(self, model_server: ModelServer, opening: Any) -> None:
        model_server.script = always(Failure(307, headers={"location": model_server.base_url + "/responses"}))
        with opening() as client:
            assert client.ask()[0] == 502
        assert len(model_server.requests) == 1

    def test_a_stream_that_breaks_is_not_taken_for_a_whole_one(self, model_server: ModelServer, opening: Any) -> None:
        model_server.script = play(Cut())
        with opening("messages") as client:
            status, answer, _ = asyncio.run(client._ask(client.body()))
            report = client.gateway.finish()
        assert (status, b"message_stop" in answer) == (200, False)
        assert (report.presumed, report.requests) == (1, 1)
        assert (report.last_status, report.last_error) == (0, "its answer broke off")


class TestEnd:
    def test_a_client_that_goes_before_it_is_admitted_leaves_no_reservation(
        self, model_server: ModelServer, opening: Any, account: Account, database: Database
    ) -> None:
        """The budget's row is locked by somebody else meanwhile."""
        with opening(account=account) as client:
            client.ask()
            until(lambda: states(database) == ["released"])
            with database.session() as session:
                session.execute(sa.text("SELECT * FROM upkeep.spending FOR UPDATE"))
                asking = asyncio.run_coroutine_threadsafe(_leave(client), client.gateway._loop)
                until(lambda: waits(database))
                for handler in tuple(client.gateway._server._handlers):
                    client.gateway._loop.call_soon_threadsafe(handler.cancel)
            with contextlib.suppress(aiohttp.ClientError):
                asking.result(30)
            client.gateway.finish()
        assert states(database) == ["released", "released"]
        assert len(model_server.requests) == 1

    def test_an_answer_whose_client_has_gone_is_read_to_its_end(self, model_server: ModelServer, opening: Any) -> None:
        def script(request: Request) -> Reply:
            time.sleep(0.3)
            return Answer("hi")

        async def leave(client: Client) -> None:
            url = f"http://gateway{PATHS['responses']}"
            async with (
                asyncio.timeout(0.2),
                client.session() as session,
                session.post(url, json=client.body()) as answer,
            ):
                await answer.read()

        model_server.script = script
        with opening() as client:
            with pytest.raises(TimeoutError):
                asyncio.run(leave(client))
            report = client.gateway.finish()
        assert (report.requests, report.presumed, report.output) == (1, 0, 13)

    def test_a_killed_gateway_leaves_its_reservation_to_be_presumed(
        self, model_server: ModelServer, opening: Any, account: Account, database: Database
    ) -> None:
        model_server.script = always(Hang())
        with opening(account=account, process=True) as client:
            with pytest.raises(aiohttp.ClientError):
                asyncio.run(_ask_and_kill(client, model_server))
            assert client.gateway.finish() == GatewayReport(lost=True)
        until(lambda: presume_dead(database) == 1)
        with database.session() as session:
            spent = session.execute(sa.text("SELECT spent_usd FROM upkeep.spending WHERE scope = 'run'")).scalar()
        assert float(spent) > 0.44

    def test_a_run_that_is_cancelled_settles_within_seconds(
        self, model_server: ModelServer, opening: Any, account: Account, database: Database
    ) -> None:
        model_server.script = always(Hang(streaming=True))

        async def ask(client: Client) -> None:
            url = f"http://gateway{PATHS['responses']}"
            async with client.session() as session, session.post(url, json=client.body()) as answer:
                assert answer.status == 200
                os.kill(client.gateway._child.pid, signal.SIGTERM)
                await answer.content.read()

        started = time.monotonic()
        with opening(account=account, process=True) as client:
            with pytest.raises(aiohttp.ClientError):
                asyncio.run(ask(client))
            report = client.gateway.finish()
        assert time.monotonic() - started < 30
        assert (report.requests, report.presumed) == (1, 1)
        assert states(database) == ["presumed"]

    def test_a_gateway_that_dies_at_its_start_is_an_error_of_the_run(self, tmp_path: Path) -> None:
        """It listens before it opens its transcript, which cannot be written here."""
        route = Route("writer", "responses", "http://x", None, "m", "openai")
        with open_gateway(route, transcript=tmp_path / "no" / "t.jsonl", log=tmp_path / "log.txt") as gateway:
            report = gateway.finish()
        error = report.failure("writer")
        assert isinstance(error, AgentError)
        assert (report.lost, error.reason) == (True, "agent.gateway")
        assert "No such file" in (tmp_path / "log.txt").read_text()


async def _leave(client: Client) -> None:
    async with (
        client.session() as session,
        session.post(f"http://gateway{PATHS['responses']}", json=client.body()) as answer,
    ):
        await answer.read()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Other processes need a moment: a server to notice that a connection is gone."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def states(database: Database) -> list[str]:
    with database.session() as session:
        found = session.execute(sa.text("SELECT state FROM upkeep.model_requests ORDER BY id"))
        return list(found.scalars())


def waits(database: Database) -> bool:
    with database.session() as session:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(session.execute(sa.text(waiting)).scalar())


async def _ask_and_kill(client: Client, server: ModelServer) -> None:
    async with client.session() as session:
        asking = asyncio.ensure_future(session.post(f"http://gateway{PATHS['responses']}", json=client.body()))
        while not server.requests:
            await asyncio.sleep(0.01)
        os.kill(client.gateway._child.pid, signal.SIGKILL)
        await asking


def test_the_transcript_holds_what_was_said_and_no_key(model_server: ModelServer, opening: Any, tmp_path: Path) -> None:
    model_server.script = always(Answer(f"your key is {KEY}"))
    with opening() as client:
        client.ask(text={"a": 1})
        body = client.body()
        body["input"].append({"type": "message", "role": "user", "content": [{"type": "text", "text": "and more"}]})
        client.ask(body)
        client.ask(tools=[{"type": "web_search"}])
        client.gateway.finish()
    text = (tmp_path / "t.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    lines.remove(next(line for line in lines if line["kind"] == "refused"))
    assert [line["kind"] for line in lines] == ["request", "answer", "request", "answer"]
    assert KEY not in text
    assert client.gateway.token not in text
    assert "your key is ***" in lines[1]["body"]
    assert (lines[2]["repeated"], "and more" in json.dumps(lines[2]["input"])) == (1, True)
    assert lines[1]["booked"] == "settled"


def test_the_transcript_is_bounded(model_server: ModelServer, opening: Any, tmp_path: Path) -> None:
    transcript = Transcript(tmp_path / "small.jsonl", limit=300, redact=Redactor())
    for _ in range(20):
        transcript.write("note", text="x" * 60)
    transcript.close()
    assert transcript.cut
    assert 0 < (tmp_path / "small.jsonl").stat().st_size <= 300


def test_the_key_is_in_no_argument_and_no_environment_of_the_gateway(opening: Any) -> None:
    with opening(process=True) as client:
        process = Path("/proc") / str(client.gateway._child.pid)
        assert KEY.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert oct(client.gateway.socket.parent.stat().st_mode & 0o777) == "0o700"
