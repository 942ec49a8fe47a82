"""The application: its parts put together.

What belongs here: routers, the frame around them, and what lives as long as the service. What does not: any endpoint,
and listening (`serving.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp

from upkeep.redaction import Redactor
from web import described, inventory, problems, repositories, state
from web.guards import BODY_SECONDS, REQUEST_SECONDS, Frame, Hosts, Tokens
from web.hub import Hub

THREADS = 12
"""Requests that are worked on at once; each has one connection of the database at most, and its pool gives out 15."""

_bearer = HTTPBearer(
    scheme_name="token",
    description="A token of `upkeep token create NAME`. To change something it needs `--scope write`.",
    auto_error=False,
)


def create_app(
    hub: Hub,
    *,
    hosts: Collection[str] = (),
    body_seconds: float = BODY_SECONDS,
    request_seconds: float = REQUEST_SECONDS,
) -> ASGIApp:
    """The service over this hub. `hosts`: names that requests may be for; empty: any. Seconds: for a body to come, and
    for a whole request."""
    app = routed()
    app.state.hub = hub
    inner = Hosts(Tokens(app, hub=hub), names=hosts)
    redact = Redactor(hub.settings.secrets())
    return Frame(inner, redact=redact, body_seconds=body_seconds, request_seconds=request_seconds)


def routed() -> FastAPI:
    """The endpoints and their description, without a hub and without the guards."""
    app = _Api(
        title="Upkeep",
        version=version("upkeep"),
        description=described.DESCRIPTION,
        docs_url=None,  # they load their scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_life,
        openapi_tags=[
            {"name": "state", "description": "Whether the hub is well."},
            {"name": "repositories", "description": "The registry, and what each repository should work on."},
            {"name": "inventory", "description": "What the forges have against what is managed."},
        ],
    )
    problems.install(app)
    app.include_router(state.router)
    # Only for the document: `Tokens` asks for them, on every path.
    for router in (repositories.router, inventory.router):
        app.include_router(router, dependencies=[Depends(_bearer)])
    return app


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = described.document(self)
        return self.openapi_schema


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield
