"""The sync system as assets: registry, workplans, consistency report, sync timestamps, sync health.

What belongs here: which asset stands for which part of the hub, and what a reader of the lineage sees of it. What does
not: any rule of a sync. Every managed repository is a partition.

Most syncs are no runs: a hook, a command or a timer syncs in a fraction of the time that a run takes to start, and
`sensors/events.py` turns what they left into materializations of the same assets, with the same metadata.

https://docs.dagster.io/guides/build/assets
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    DataVersion,
    FreshnessPolicy,
    MaterializeResult,
    ResourceParam,
    asset,
    asset_check,
    multi_asset,
)

from assets import sync_metadata as metadata
from assets.partitions import repository_partitions
from assets.steps import failure
from resources.database import open_database
from resources.hub import open_hub
from resources.runs import trigger_of
from upkeep.config import Settings
from upkeep.database import events
from upkeep.errors import UpkeepError
from upkeep.sync import attempts, health, registry, service
from upkeep.sync.attempts import Attempt

GROUP = "sync"
OWNERS = ["team:upkeep"]

WORKING_TREES = AssetKey([GROUP, "working_trees"])
REPOSITORIES = AssetKey([GROUP, "repositories"])
WORKPLANS = AssetKey([GROUP, "workplans"])
CONSISTENCY_REPORT = AssetKey([GROUP, "consistency_report"])
SYNC_TIMESTAMPS = AssetKey([GROUP, "sync_timestamps"])
SYNC_HEALTH = AssetKey([GROUP, "sync_health"])

CHECK_CONSISTENT = "every_repository_is_consistent"
CHECK_STALE = "no_repository_is_stale"

CHECKS_STOPPED = timedelta(hours=1)
"""Without a check of all repositories for so long nobody knows how old what we know is."""

NAMES_SHOWN = 10

COMMON: dict[str, Any] = {"group_name": GROUP, "owners": OWNERS}


def repositories(settings: ResourceParam[Settings]) -> MaterializeResult[None]:
    """The registry: which repositories are managed, where they lie, and what for. Out of `upkeep.yaml` and of `upkeep
    repos register`."""
    with open_hub(settings) as database, database.session() as session:
        found = registry.every(session)
    return MaterializeResult(metadata=metadata.of_registry(found))


def reconcile(
    context: AssetExecutionContext, settings: ResourceParam[Settings]
) -> Iterator[MaterializeResult[None] | AssetCheckResult]:
    """Reconcile one repository's workplan files with the hub: the same as `upkeep sync REPO`, with `--fix` where the
    repository says `fix: true`."""
    slug = context.partition_key
    try:
        with open_hub(settings) as database:
            with database.session() as session:
                managed = registry.find(session, slug)
            trigger = trigger_of(context.run.tags)
            done = service.sync_waiting(
                database, settings.home, managed, fix=managed.fix, trigger=trigger, run_id=context.run.run_id
            )
            with database.session() as session:
                told = [attempts.read(event) for event in events.of_run(session, context.run.run_id)]
                found = health.list_repositories(session)
    except UpkeepError as error:
        raise failure(error) from error
    (attempt,) = [each for each in told if isinstance(each, Attempt)]
    version = DataVersion(attempt.head) if attempt.head else None
    yield MaterializeResult(asset_key=WORKPLANS, metadata=metadata.of_workplans(attempt), data_version=version)
    yield MaterializeResult(
        asset_key=CONSISTENCY_REPORT, metadata=metadata.of_report(attempt, done.findings), data_version=version
    )
    yield consistent(found)
    yield MaterializeResult(asset_key=SYNC_TIMESTAMPS, metadata=metadata.of_timestamps(attempt))


def consistent(found: health.Repositories) -> AssetCheckResult:
    """Whether the last sync of every repository ended without error findings. Of all of them: Dagster 1.13 stores one
    result a partition that comes without a run, and refuses the second."""
    failing = [one.repo_slug for one in found.repositories if one.reason is not None]
    good = f"none of {len(found.repositories)} has errors"
    return AssetCheckResult(
        asset_key=CONSISTENCY_REPORT,
        check_name=CHECK_CONSISTENT,
        severity=AssetCheckSeverity.ERROR,
        **_verdict(found, "failing", failing, f"with errors: {names_in_words(failing)}", good),
    )


def sync_health(settings: ResourceParam[Settings]) -> MaterializeResult[None]:
    """How old what the hub knows is: every repository with its age band (fresh under 1 h, ageing to 24 h, stale after
    that or never) and why the last sync did not succeed. Made anew by each check of all repositories."""
    now = datetime.now(UTC)
    with open_database(settings) as database, database.session() as session:
        found = health.list_repositories(session, now)
    return MaterializeResult(metadata=metadata.of_health(found, now))


def no_repository_is_stale(settings: ResourceParam[Settings]) -> AssetCheckResult:
    """Whether every repository was synced within 24 hours."""
    with open_database(settings) as database, database.session() as session:
        found = health.list_repositories(session)
    return stale(found)


def stale(found: health.Repositories) -> AssetCheckResult:
    """A warning and no error: a laptop that was closed for a weekend makes repositories stale, and nothing is wrong."""
    names = [one.repo_slug for one in found.repositories if one.age == "stale"]
    good = f"all {len(found.repositories)} are fresh or ageing"
    return AssetCheckResult(
        asset_key=SYNC_HEALTH,
        check_name=CHECK_STALE,
        severity=AssetCheckSeverity.WARN,
        **_verdict(found, "stale", names, f"stale: {names_in_words(names)}", good),
    )


def _verdict(found: health.Repositories, what: str, names: Sequence[str], bad: str, good: str) -> dict[str, Any]:
    """What every check of all repositories says: whether it passed, in words and in numbers."""
    return {
        "passed": not names,
        "description": bad if names else good,
        "metadata": {what: len(names), "repositories": len(found.repositories)},
    }


def names_in_words(slugs: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    names = list(slugs)
    return ", ".join(names[:NAMES_SHOWN]) + (
        f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    )


def sync_assets() -> list[AssetsDefinition | AssetSpec | AssetChecksDefinition]:
    """The graph of the sync system."""
    return [
        AssetSpec(
            WORKING_TREES,
            description="The workplan files in the working trees of managed repositories, as people and agents write "
            "them. Upkeep writes ids and a changed status into them, and commits nothing.",
            kinds={"git", "markdown"},
            **COMMON,
        ),
        asset(key=REPOSITORIES, kinds={"git"}, **COMMON)(repositories),
        _reconcile(),
        asset(
            key=SYNC_HEALTH,
            deps=[SYNC_TIMESTAMPS],
            kinds={"table"},
            freshness_policy=FreshnessPolicy.time_window(fail_window=CHECKS_STOPPED, warn_window=CHECKS_STOPPED / 2),
            **COMMON,
        )(sync_health),
        asset_check(asset=SYNC_HEALTH, name=CHECK_STALE)(no_repository_is_stale),
    ]


def _reconcile() -> AssetsDefinition:
    specs = [
        AssetSpec(
            WORKPLANS,
            deps=[WORKING_TREES, REPOSITORIES],
            description="Workplans and tasks of a repository as the hub has them, reconciled with its files: the file "
            "wins unless the hub was changed by hand.",
            kinds={"markdown"},
            **COMMON,
        ),
        AssetSpec(
            CONSISTENCY_REPORT,
            deps=[WORKPLANS],
            description="What a sync has to say about a repository's workplan files, each finding with a stable code, "
            "file, line and fix (docs/sync.md lists them).",
            kinds={"table"},
            **COMMON,
        ),
        AssetSpec(
            SYNC_TIMESTAMPS,
            deps=[CONSISTENCY_REPORT],
            description="When a repository was last synced without error findings, when that was last tried, and why "
            "it did not succeed. Syncs by hook, command, timer and sensor, and checks that found nothing to do.",
            kinds={"postgres"},
            **COMMON,
        ),
    ]
    check = AssetCheckSpec(
        CHECK_CONSISTENT,
        asset=CONSISTENCY_REPORT,
        description="Whether the last sync of every repository ended without error findings.",
    )
    return multi_asset(name="reconcile", specs=specs, check_specs=[check], partitions_def=repository_partitions)(
        reconcile
    )
