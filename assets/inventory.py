"""The inventory as an asset: what is on the forges against what is managed.

What belongs here: the asset, its checks, and what a reader of the lineage sees. What does not: any rule of the
inventory (`upkeep/sync/inventory.py`).

`upkeep inventory` takes the same inventory without a run; `sensors/sync_events.py` turns it into a materialization of
this asset.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    MaterializeResult,
    ResourceParam,
    asset,
)

from assets import inventory_metadata as metadata
from assets.steps import failure
from assets.sync import COMMON, GROUP, REPOSITORIES, names_in_words
from resources.hub import open_hub
from upkeep.config import Settings
from upkeep.errors import UpkeepError
from upkeep.sync import stocktaking
from upkeep.sync.inventory import UNREGISTERED_FOR, Inventory, overdue

FORGE_REPOSITORIES = AssetKey([GROUP, "forge_repositories"])
INVENTORY = AssetKey([GROUP, "inventory"])

CHECK_OVERDUE = "no_unregistered_repository_is_overdue"
CHECK_COMPLETE = "every_list_is_complete"


def inventory(
    context: AssetExecutionContext, settings: ResourceParam[Settings]
) -> Iterator[MaterializeResult[None] | AssetCheckResult]:
    """What is on the forges: registered here, unregistered, ignored; and what is managed and on no forge. The same as
    `upkeep inventory`."""
    try:
        with open_hub(settings) as database:
            found = stocktaking.take(settings, database, run_id=context.run.run_id)
    except UpkeepError as error:
        raise failure(error) from error
    now = datetime.now(UTC)
    yield MaterializeResult(metadata=metadata.of_inventory(found, now))
    yield from checks(found, now)


def checks(found: Inventory, now: datetime) -> Iterator[AssetCheckResult]:
    """Both checks. Warnings: somebody has to decide or to grant a right, and nothing is broken."""
    waiting = [one.full_name for one in overdue(found, now)]
    yield AssetCheckResult(
        asset_key=INVENTORY,
        check_name=CHECK_OVERDUE,
        passed=not waiting,
        severity=AssetCheckSeverity.WARN,
        description=f"register or ignore: {names_in_words(waiting)}" if waiting else "none",
        metadata={"overdue": len(waiting), "unregistered": len(found.unregistered)},
    )
    gaps = [f"{each.forge}: {gap}" for each in found.forges for gap in each.gaps]
    yield AssetCheckResult(
        asset_key=INVENTORY,
        check_name=CHECK_COMPLETE,
        passed=not gaps,
        severity=AssetCheckSeverity.WARN,
        description="; ".join(gaps) or "every repository that the forges count was seen",
        metadata={"gaps": len(gaps)},
    )


def inventory_assets() -> list[AssetsDefinition | AssetSpec]:
    """The inventory, and what it looks at."""
    specs = [
        AssetCheckSpec(
            CHECK_OVERDUE,
            asset=INVENTORY,
            description=f"No unregistered repository is older than {UNREGISTERED_FOR.days} days, archived ones aside.",
        ),
        AssetCheckSpec(CHECK_COMPLETE, asset=INVENTORY, description="The lists of the forges are proven to be whole."),
    ]
    return [
        AssetSpec(
            FORGE_REPOSITORIES,
            description="The repositories of the organisations and accounts that `orgs:` and `user_repos:` name.",
            kinds={"git"},
            **COMMON,
        ),
        asset(key=INVENTORY, deps=[FORGE_REPOSITORIES, REPOSITORIES], check_specs=specs, kinds={"table"}, **COMMON)(
            inventory
        ),
    ]
