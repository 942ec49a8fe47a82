"""The jobs: which assets run together, and for how long they may.

What belongs here: jobs, their tags, and the ops of housekeeping. What does not: assets, and when a job starts
(`schedules.py`, `sensors/`).
"""

from typing import Any

from dagster import (
    AssetSelection,
    JobDefinition,
    OpExecutionContext,
    PartitionedConfig,
    ResourceParam,
    define_asset_job,
    job,
    op,
)

from assets import content, forks, inventory, sync
from assets.partitions import watch_partitions
from orchestration.retention import prune
from resources.content import subject_of
from resources.runs import ENGINE_TAG, SUBJECT_TAG
from sensors.content import JOB as CONTENT_UPDATE
from sensors.sync import JOB as REPOSITORY_SYNC
from upkeep.config import Settings
from upkeep.settings.agents import ModelAgentSettings
from upkeep.settings.forks import Fork

SYSTEM_TAG = "upkeep/system"
MAX_RUNTIME_TAG = "dagster/max_runtime"
"""Seconds. If a code server and its worker die together nobody reports it: this ends the run in the end."""

AGENT_TRIES = 3
"""The first answer and two repairs of it, each of which may take the agent's whole time."""
BESIDE_THE_AGENT_SECONDS = 30 * 60

BESIDE_THE_GATES_SECONDS = 3 * 60 * 60
"""Fetching, a rebase by git itself where the engine must not decide, restacking, the forge."""

LONGEST_SYNC_SECONDS = 10 * 60
"""A sync takes a second; one that is still alive after this hangs on a disk."""

LONGEST_INVENTORY_SECONDS = 30 * 60
"""Thousands of repositories take seconds; a forge that limits its callers may take its time."""

FORGE_INVENTORY = "forge_inventory"
FORK_REBASE = "fork_rebase"
HOUSEKEEPING = "housekeeping"


def content_update(settings: Settings) -> Any:
    """One update of one watch. (`Any`: Dagster keeps the type of an asset job private.)"""
    return define_asset_job(
        CONTENT_UPDATE,
        selection=AssetSelection.assets(
            content.UPSTREAM_HEAD,
            content.CHANGE_SET,
            content.ANALYTICS_CONTENT,
            content.VALIDATION_REPORT,
            content.PULL_REQUEST,
        ),
        description="One update: the upstream's head becomes one pull request, or a reason why not.",
        tags={SYSTEM_TAG: content.GROUP, MAX_RUNTIME_TAG: str(longest_run_seconds(settings))},
        config=_tagged(settings),
    )


def _tagged(settings: Settings) -> PartitionedConfig[Any]:
    """Tags by watch, on every run of it, whoever asks for it: the queue lets one run of a watch go at once, and a few
    of one agent engine (`tag_concurrency_limits` in dagster.yaml)."""

    def tags(name: str) -> dict[str, str]:
        watch = settings.watches.get(name)
        engine = None if watch is None else settings.agents[watch.agent].engine
        return {SUBJECT_TAG: subject_of(name), **({} if engine in (None, "scan") else {ENGINE_TAG: str(engine)})}

    return PartitionedConfig(
        partitions_def=watch_partitions(settings),
        run_config_for_partition_key_fn=lambda name: {},
        tags_for_partition_key_fn=tags,
    )


def fork_rebase(settings: Settings) -> Any:
    """One rebase of one fork."""
    return define_asset_job(
        FORK_REBASE,
        selection=AssetSelection.assets(*forks.ASSETS),
        description="One rebase: upstream's head becomes a rebased, tested and pushed trunk, or a report why not.",
        tags={SYSTEM_TAG: forks.GROUP, MAX_RUNTIME_TAG: str(longest_rebase_seconds(settings))},
    )


def longest_rebase_seconds(settings: Settings) -> int:
    """More than any rebase of these settings needs that is still alive."""
    return int(max(map(_gate_seconds, settings.forks.values()), default=0.0)) + BESIDE_THE_GATES_SECONDS


def _gate_seconds(fork: Fork) -> float:
    """All gates of a fork until each deadline: `prepare` and `run` have one each, a gate that fixes runs again on what
    it fixed, and one that failed runs on the old trunk, too."""
    return sum(
        gate.timeout_minutes * 60 * (2 if gate.prepare else 1) * (1 + gate.fix + fork.baseline) for gate in fork.gates
    )


def longest_run_seconds(settings: Settings) -> int:
    """More than any run of these settings needs that is still alive."""
    agents = [settings.agents[watch.agent] for watch in settings.watches.values()]
    longest = max((agent.timeout_minutes for agent in agents if isinstance(agent, ModelAgentSettings)), default=0.0)
    return int(AGENT_TRIES * longest * 60) + BESIDE_THE_AGENT_SECONDS


def repository_sync() -> Any:
    """One sync of one repository."""
    return define_asset_job(
        REPOSITORY_SYNC,
        selection=AssetSelection.assets(sync.WORKPLANS, sync.CONSISTENCY_REPORT, sync.SYNC_TIMESTAMPS),
        description="One sync: workplan files and hub agree, and the timestamp moves; or a report says why not.",
        tags={SYSTEM_TAG: sync.GROUP, MAX_RUNTIME_TAG: str(LONGEST_SYNC_SECONDS)},
    )


def forge_inventory() -> Any:
    """One inventory of all forges."""
    return define_asset_job(
        FORGE_INVENTORY,
        selection=AssetSelection.assets(inventory.INVENTORY),
        description="One inventory: what is on the forges, what of it is managed, and what is not.",
        tags={SYSTEM_TAG: sync.GROUP, MAX_RUNTIME_TAG: str(LONGEST_INVENTORY_SECONDS)},
    )


@op(name="prune", description="Deletes log lines that nobody reads any more; see orchestration/retention.py.")
def _prune(context: OpExecutionContext, settings: ResourceParam[Settings]) -> None:
    pruned = prune(settings, context.instance)
    context.log.info(f"deleted {pruned.events} log lines and {pruned.runs} runs")
    context.add_output_metadata({"events": pruned.events, "runs": pruned.runs})


@job(
    name=HOUSEKEEPING,
    description="Keeps the database small.",
    tags={SYSTEM_TAG: HOUSEKEEPING, MAX_RUNTIME_TAG: str(BESIDE_THE_AGENT_SECONDS)},
)
def housekeeping() -> None:
    _prune()


def default_jobs(settings: Settings) -> list[JobDefinition | Any]:
    return [content_update(settings), fork_rebase(settings), repository_sync(), forge_inventory(), housekeeping]
