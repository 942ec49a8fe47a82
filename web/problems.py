"""Errors as answers: problem details (RFC 9457), for everything that is not a success.

What belongs here: the shape of a problem, the status of each of our errors, and the words for what HTTP itself refuses.
What does not: deciding when something is wrong.

A problem carries a stable `code`, what happened and what to do next. It never carries a stack trace, what was sent, or
what a driver said: `request_id` finds those in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from upkeep.errors import AccessDenied, DatabaseError, DatabaseUnavailable, ForgeError, UpkeepError

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
MOST_ERRORS = 20
"""Faults of one request that are told."""

log = logging.getLogger("upkeep.web")


class Fault(BaseModel):
    """One thing that is wrong with a request: `name` says where in `location` (for a body a JSON Pointer)."""

    location: str = Field(examples=["body"])
    name: str = Field(examples=["/domain"])
    detail: str = Field(examples=["Input should be a valid string"])


class Problem(BaseModel):
    """What went wrong (RFC 9457). `code` is stable; `remedy` says what to do next."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:upkeep:problem:config.unknown_repository",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "no managed repository is called 'sampel'; did you mean sample?",
                    "instance": "urn:uuid:4a0c38be-4f5a-4a71-9d9c-6f0d2a1c4a55",
                    "code": "config.unknown_repository",
                    "remedy": "`upkeep repos list` shows them; `upkeep repos register PATH` adds one.",
                    "transient": False,
                }
            ]
        }
    )

    type: str = Field(description="A URN that ends with `code`.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str
    instance: str = Field(description="This one request: its `X-Request-Id`, as a URN.")
    code: str
    remedy: str
    transient: bool = Field(description="Whether the same request may succeed later.")
    errors: list[Fault] | None = Field(default=None, description="Each fault of the request; with status 422.")


class Refused(UpkeepError):
    """A request that HTTP's own rules or ours refuse. `status` goes with it."""

    code = "web.refused"

    def __init__(
        self, status: int, message: str, *, code: str, remedy: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.status = status
        self.headers = dict(headers or {})


_STATUS_OF = {
    "config.unknown_repository": HTTPStatus.NOT_FOUND,
    "config.unknown_forge": HTTPStatus.NOT_FOUND,
    "config.forge_kind": HTTPStatus.NOT_FOUND,
    "config.nothing_to_list": HTTPStatus.NOT_FOUND,
    "inventory.none": HTTPStatus.NOT_FOUND,
    "config.configured": HTTPStatus.CONFLICT,
    "sync.registered": HTTPStatus.CONFLICT,
    # The request is well formed; what it names is not there, or not what it has to be.
    "sync.unreachable": HTTPStatus.CONFLICT,
    "access.scope": HTTPStatus.FORBIDDEN,
}


def status_of(error: UpkeepError) -> int:
    if isinstance(error, Refused):
        return error.status
    if error.reason in _STATUS_OF:
        return _STATUS_OF[error.reason]
    if isinstance(error, AccessDenied):
        return HTTPStatus.UNAUTHORIZED
    if isinstance(error, DatabaseError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, ForgeError):
        return HTTPStatus.BAD_GATEWAY
    if error.reason.startswith("config."):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.INTERNAL_SERVER_ERROR


def of_error(error: UpkeepError, request_id: str) -> Response:
    """The answer for one of our errors."""
    status = status_of(error)
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    detail, remedy = error.message, error.remedy
    if isinstance(error, AccessDenied):
        headers["WWW-Authenticate"] = challenge(error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, DatabaseError):
        # What the driver said names hosts, roles and folders: the log has it.
        log.warning("%s %s: %s", request_id, error.reason, error.message)
        detail = "the hub's database cannot be used now"
        if error.reason == DatabaseUnavailable.code:
            remedy = "Ask again in a few seconds; if it lasts, run `upkeep doctor` on the hub's machine."
    elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("%s %s: %s", request_id, error.reason, error.message)
    return answer(status, error.reason, detail, remedy, request_id, transient=error.transient, headers=headers)


def challenge(error: AccessDenied) -> str:
    """The header of RFC 6750: without a token it names no error."""
    words = ['Bearer realm="upkeep"']
    if error.reason == "access.scope":
        words += ['error="insufficient_scope"', 'scope="write"']
    elif error.reason != "access.no_token":
        words += ['error="invalid_token"']
    return ", ".join(words)


def answer(
    status: int,
    code: str,
    detail: str,
    remedy: str,
    request_id: str,
    *,
    transient: bool = False,
    headers: Mapping[str, str] | None = None,
    errors: list[Fault] | None = None,
) -> Response:
    problem = Problem(
        type=f"urn:upkeep:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=f"urn:uuid:{request_id}",
        code=code,
        remedy=remedy,
        transient=transient,
        errors=errors,
    )
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def unexpected(request_id: str) -> Response:
    """The answer where we failed in a way that nobody foresaw: the log has the rest."""
    return answer(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "web.unexpected",
        "the hub failed in a way that it did not foresee",
        f"Look for {request_id} in the hub's log (web.log), and report what stands there.",
        request_id,
    )


def install(app: FastAPI) -> None:
    """Make every error of the application a problem."""

    @app.exception_handler(UpkeepError)
    async def ours(request: Request, error: UpkeepError) -> Response:
        return of_error(error, request_id_of(request))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        return unexpected(request_id_of(request))  # Starlette raises it again, and the outermost frame logs it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        faults = [_fault(each) for each in error.errors()]
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        first = faults[0]
        where = f"{first.location} {first.name}".strip()
        return answer(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "web.invalid",
            f"{where}: {first.detail}{more}",
            "Send what /openapi.json describes; `errors` lists each fault.",
            request_id_of(request),
            errors=faults[:MOST_ERRORS],
        )

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        status, headers = error.status_code, dict(error.headers or {})
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods(request, request.scope["path"])) or headers.get("Allow", "")
        code, remedy = _REFUSALS.get(status, ("web.refused", "See /openapi.json."))
        detail = f"{request.method} {request.url.path}: {HTTPStatus(status).phrase.lower()}"
        slash = f"{request.scope['path']}/"
        if status == HTTPStatus.NOT_FOUND and _methods(request, slash):
            remedy = f"It is {slash}, with the slash at the end."
        return answer(status, code, detail, remedy, request_id_of(request), headers=headers)


_REFUSALS: dict[int, tuple[str, str]] = {
    HTTPStatus.BAD_REQUEST: ("web.unreadable", "Send JSON that nests no deeper than it has to."),
    HTTPStatus.NOT_FOUND: ("web.not_found", "GET /openapi.json lists every path."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("web.method", "The header `Allow` names what this path takes."),
    HTTPStatus.REQUEST_TIMEOUT: ("web.slow_request", "Send the whole request at once."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("web.too_large", "Send less: no request needs as much."),
}


def request_id_of(request: Request) -> str:
    found: str = request.scope["state"]["request_id"]
    return found


def _fault(error: Mapping[str, Any]) -> Fault:
    """pydantic's error without what was sent, which may be anything."""
    location, *rest = [str(step) for step in error["loc"]]
    if error["type"] == "json_invalid":
        return Fault(location="body", name="", detail=f"this is no JSON (at character {rest[0]})")
    pointer = "".join(f"/{step.replace('~', '~0').replace('/', '~1')}" for step in rest)
    return Fault(location=location, name=pointer if location == "body" else ".".join(rest), detail=str(error["msg"]))


def _methods(request: Request, path: str) -> list[str]:
    """What the document says of a path. Starlette names only the methods of the first route that has it."""
    found: list[str] = []
    for template, operations in request.app.openapi()["paths"].items():
        if compile_path(template)[0].match(path):
            found += [name.upper() for name in operations]
    return sorted(found)
