"""What the forges have against what is managed, over HTTP.

What belongs here: the request. What does not: the rules (`upkeep/sync/inventory.py`) and reading a forge's list, which
the schedule and `upkeep inventory` do (`stocktaking.py`): a request compares what was read last, and asks no forge.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from upkeep.errors import ConfigError
from upkeep.settings.base import Name
from upkeep.sync import stocktaking
from upkeep.sync.inventory import Inventory
from web import etags
from web.described import ETAG, UNCHANGED, reading
from web.etags import IfNoneMatch
from web.hub import hub_of

router = APIRouter(tags=["inventory"])


@router.get("/inventory", response_model=Inventory, responses={200: ETAG, 304: UNCHANGED, **reading(404)})
def show_inventory(
    request: Request,
    forge: Annotated[Name | None, Query(description="Only this forge of upkeep.yaml.")] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Registered, unregistered, hub-only and ignored repositories, by the forges' lists as they were read last
    (`forges` says when). `complete` false: a list is not proven to be whole, and nothing is called hub-only."""
    hub = hub_of(request)
    hub.follow()
    found = stocktaking.report(hub.database, hub.settings, forge=forge)
    if found is None:
        raise ConfigError(
            "no inventory was taken yet",
            code="inventory.none",
            remedy="Run `upkeep inventory` on the hub's machine, or wait for the schedule.",
        )
    return etags.tagged(found.model_dump_json().encode(), if_none_match)
