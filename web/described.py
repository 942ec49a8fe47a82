"""How the API describes itself: the responses that are no success, and the document around everything.

What belongs here: what FastAPI cannot see by itself, for /openapi.json. What does not: behaviour.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from web.problems import MEDIA_TYPE, Problem

DESCRIPTION = """\
Which repositories Upkeep manages, how fresh what it knows of them is, and what each should work on next.

Every path but `/state/health` and this document needs `Authorization: Bearer TOKEN`. `upkeep token create NAME` on the
hub's machine makes a token that reads, with `--scope write` one that writes too. Whatever is no success is a problem
(RFC 9457, `application/problem+json`) with a stable `code` and what to do next.
"""

_PROBLEMS: dict[int, tuple[str, str, str, str]] = {
    400: ("The body is no JSON that can be read.", "web.unreadable", "POST /repos/: bad request", ""),
    401: (
        "No token, or one that is unknown, expired or revoked.",
        "access.no_token",
        "this needs a token",
        "Send `Authorization: Bearer TOKEN`; `upkeep token create NAME` on the hub's machine makes one.",
    ),
    403: (
        "The token may only read.",
        "access.scope",
        "the token ci may only read",
        "Use one of `upkeep token create NAME --scope write`.",
    ),
    404: (
        "No such repository; of the inventory, no such forge, or no list of one yet.",
        "config.unknown_repository",
        "no managed repository is called 'sampel'; did you mean sample?",
        "`upkeep repos list` shows them; `upkeep repos register PATH` adds one.",
    ),
    405: (
        "The path does not take this method.",
        "web.method",
        "PUT /repos/: method not allowed",
        "The header `Allow` names what this path takes.",
    ),
    408: ("The body did not come in time.", "web.slow_request", "POST /repos/: request timeout", "Send it at once."),
    409: (
        "It stands in upkeep.yaml, which is the truth for it; or it is there already; or `path` is no git repository.",
        "config.configured",
        "sample stands in upkeep.yaml",
        "Change it there (repositories: sample:), or remove it there first.",
    ),
    412: (
        "It is no longer what `If-Match` names.",
        "web.changed",
        "sample was changed meanwhile",
        "GET it again, and send the change with its new ETag.",
    ),
    413: ("The body is larger than 64 KiB.", "web.too_large", "POST /repos/: content too large", "Send less."),
    415: (
        "The body is no JSON.",
        "web.media_type",
        "the body has to be JSON",
        "Send `Content-Type: application/json`.",
    ),
    421: (
        "The request is for another host.",
        "web.host",
        "the request is for another host",
        "Ask by the address that `upkeep web` printed, or add the host to `web: hosts:`.",
    ),
    422: (
        "The request is not what this describes; `errors` lists each fault.",
        "web.invalid",
        "body /domain: Input should be a valid string",
        "Send what /openapi.json describes; `errors` lists each fault.",
    ),
    500: (
        "The hub failed in a way that it did not foresee.",
        "web.unexpected",
        "the hub failed in a way that it did not foresee",
        "Look for the request's id in the hub's log (web.log), and report what stands there.",
    ),
    503: (
        "The database cannot be used now. The hub goes on by itself once it can.",
        "database.unavailable",
        "the hub's database cannot be used now",
        "Ask again in a few seconds.",
    ),
}

_READS = (401, 405, 421, 422, 500, 503)
_WRITES = (*_READS, 400, 403, 408, 409, 413, 415)
_HEADERS = {
    401: {"WWW-Authenticate": "The challenge of RFC 6750."},
    403: {"WWW-Authenticate": "The challenge of RFC 6750."},
    405: {"Allow": "The methods of this path."},
    503: {"Retry-After": "Seconds."},
}

Responses = dict[int | str, dict[str, Any]]


def reading(*more: int) -> Responses:
    """The problems of an endpoint that reads."""
    return problems(*_READS, *more)


def writing(*more: int) -> Responses:
    """The problems of an endpoint that changes something."""
    return problems(*_WRITES, *more)


def problems(*statuses: int) -> Responses:
    return {status: _problem(status) for status in sorted(statuses)}


def _problem(status: int) -> dict[str, Any]:
    description, code, detail, remedy = _PROBLEMS[status]
    example = {
        "type": f"urn:upkeep:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": "urn:uuid:4a0c38be-4f5a-4a71-9d9c-6f0d2a1c4a55",
        "code": code,
        "remedy": remedy,
        "transient": status in (408, 503),
    }
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        example["errors"] = [{"location": "body", "name": "/domain", "detail": "Input should be a valid string"}]
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    return {"description": description, "content": content, **headers(_HEADERS.get(status, {}))}


def headers(named: dict[str, str]) -> dict[str, Any]:
    """Headers of a response, each with what it says; all are text."""
    if not named:
        return {}
    return {"headers": {name: {"description": words, "schema": {"type": "string"}} for name, words in named.items()}}


ETAG = headers({"ETag": "The tag of this representation (RFC 9110, 8.8.3)."})
UNCHANGED = {"description": "It still is what `If-None-Match` names.", **ETAG}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: FastAPI's, with the shape of a problem."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=[{"url": "/"}],
    )
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(schema.pop("$defs", {}))
    schemas["Problem"] = schema
    return made
