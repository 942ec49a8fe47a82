"""Whether the hub is well: for monitors, and for who keeps the service running.

What belongs here: numbers. What does not: names of anything, since no token is asked for.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from upkeep.sync import health
from upkeep.sync.health import Bands
from web.described import problems
from web.hub import hub_of

router = APIRouter(prefix="/state", tags=["state"])


class Health(BaseModel):
    """`repositories`: how many are fresh (synced within 1 h), ageing (24 h), stale (longer ago, or never), and failing
    (the last sync ended in errors)."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok"]
    version: str = Field(examples=["0.1.0"])
    repositories: Bands


@router.get("/health", responses=problems(405, 421, 500, 503))
def state_health(request: Request) -> Health:
    """Whether the hub and its database answer, and how fresh what they know is. Open: it tells numbers only."""
    with hub_of(request).session() as session:
        bands = health.bands(session)
    return Health(status="ok", version=version("upkeep"), repositories=bands)
