"""The outermost frame: what ends, and what is answered whatever happens inside."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from upkeep.redaction import Redactor
from web.guards import Frame

SCOPE: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {}}
FOREVER = 600.0


def ask(app: Any, receive: Any, **seconds: float) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of what the frame answers around `app`."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    limits = {"body_seconds": FOREVER, "request_seconds": FOREVER, **seconds}
    asyncio.run(Frame(app, redact=Redactor(["hunter22"]), **limits)(dict(SCOPE), receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


async def nothing() -> Message:
    await asyncio.sleep(FOREVER)
    raise AssertionError


def test_an_answer_that_is_not_ready_in_time_is_a_problem() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(FOREVER)

    status, headers, problem = ask(app, nothing, request_seconds=0.05)
    assert (status, problem["code"], headers["content-type"]) == (503, "web.too_slow", "application/problem+json")
    assert headers["retry-after"] == "5"


@pytest.mark.parametrize(
    "error", [TimeoutError("of the application"), ValueError("hunter22"), ExceptionGroup("g", [OSError()])]
)
def test_what_nobody_foresaw_is_logged_without_secrets_and_told_without_words(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with caplog.at_level(logging.ERROR):
        status, _, problem = ask(app, nothing)
    assert (status, problem["code"]) == (500, "web.unexpected")
    assert type(error).__name__ in caplog.text
    assert "hunter22" not in caplog.text + json.dumps(problem)


def test_an_answer_that_had_begun_is_not_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'"part"', "more_body": True})
        raise ValueError("in the middle")

    status, _, body = ask(app, nothing)
    assert (status, body) == (200, "part")
    assert "in the middle" in caplog.text


def test_a_header_of_the_answer_itself_stays() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        sent = [(b"cache-control", b"private"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": sent})
        await send({"type": "http.response.body", "body": b"{}"})

    _, headers, _ = ask(app, nothing)
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("private", "nosniff")
