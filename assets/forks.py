"""The fork system as assets: from upstream's head to a rebased trunk, and the report that says what came of it.

What belongs here: which asset shows which record of a rebase, and the checks. What does not: any rule of the rebase, or
its order (`upkeep/forks/service.py`). Every fork is a partition.

All assets of a rebase are made by one step. They are one unit: held under one lock, pushed with the lease that the
snapshot read, and told by one report, which is made whatever happened, and nobody can ask for a push without the
verification that it rests on. What was not reached is not made, and the step then fails with the report's own words. A
run that is asked for without `rebased_trunk` only verifies.

https://docs.dagster.io/guides/build/assets/defining-assets#multi-asset
"""

from collections.abc import Iterator, Mapping, Set
from datetime import UTC, datetime
from typing import Any, Final

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetOut,
    AssetsDefinition,
    AssetSpec,
    DataVersion,
    Failure,
    MaterializeResult,
    StaticPartitionsDefinition,
    multi_asset,
)

from assets import fork_metadata as metadata
from assets.partitions import partitioned_checks
from resources.forks import ForkDesks
from upkeep.forks import service
from upkeep.forks.apply import Applied
from upkeep.forks.delta import Shown
from upkeep.forks.desk import Desk
from upkeep.forks.records import Behind, Judgement, Record, Verification
from upkeep.forks.report import Gated, Report, Restacked
from upkeep.forks.snapshot import Snapshot
from upkeep.forks.summary import headline

GROUP: Final = "forks"
OWNERS = ["team:upkeep"]

UPSTREAM_REPOSITORY = AssetKey([GROUP, "upstream_repository"])
FORK_REPOSITORY = AssetKey([GROUP, "fork_repository"])
SNAPSHOT = AssetKey([GROUP, "snapshot"])
VERIFICATION = AssetKey([GROUP, "verification"])
GATE_RESULTS = AssetKey([GROUP, "gate_results"])
REBASED_TRUNK = AssetKey([GROUP, "rebased_trunk"])
PROPOSED_RESOLUTION = AssetKey([GROUP, "proposed_resolution"])
FORK_DELTA = AssetKey([GROUP, "fork_delta"])
STACK = AssetKey([GROUP, "stack"])
REPORT = AssetKey([GROUP, "report"])

CHECK_PATCHES_GO = "patches_go"
CHECK_NOBODY_NEEDED = "no_person_is_needed"
CHECK_GATES_PASS = "gates_pass"
CHECK_RESTACKED = "branches_are_restacked"
CHECK_CURRENT = "trunk_is_current"

Event = MaterializeResult[Any] | AssetMaterialization | AssetCheckResult


def events_of(desk: Desk, found: Record) -> Iterator[Event]:
    """What a step found, as its asset and the checks on it."""
    match found:
        case Snapshot():
            version = f"{found.trunk}..{found.upstream}"
            yield _made(SNAPSHOT, found, version, metadata.of_snapshot(found))
        case Verification():
            version = found.tip or f"{found.head}..{found.onto}"
            yield _made(VERIFICATION, found, version, metadata.of_verification(found))
            yield _patches_go(found)
            yield _nobody_needed(found)
        case Gated():
            yield _made(GATE_RESULTS, found, found.tip or found.verified, metadata.of_gates(found))
            said = found.failure or ("all passed" if found.gates else "there was nothing to gate")
            yield _check(GATE_RESULTS, CHECK_GATES_PASS, passed=found.tip is not None, says=said)
        case Applied():
            trunk = metadata.trunk_after(desk.fork.trunk, found)
            yield _made(REBASED_TRUNK, found, trunk or "unchanged", metadata.of_applied(found))
        case Restacked():
            yield _made(STACK, found, metadata.stack_version(found), metadata.of_stack(found))
            yield _restacked(found)
        case Judgement():
            version = found.tip or found.state
            yield _beside(PROPOSED_RESOLUTION, desk, version, metadata.of_judgement(found))
        case Shown():
            yield _beside(FORK_DELTA, desk, found.digest or "none", metadata.of_delta(found))
        case Report():
            # The range-diff may have a megabyte. It lies in the file.
            kept = found.model_copy(update={"range_diff": ""})
            yield _made(REPORT, kept, found.run_id, metadata.of_report(found, desk.home))
            yield from _is_current(desk, found)


def _made(key: AssetKey, record: Record, version: str, values: Mapping[str, Any]) -> MaterializeResult[Any]:
    return MaterializeResult(asset_key=key, value=record, metadata=values, data_version=DataVersion(version))


def _beside(key: AssetKey, desk: Desk, version: str, values: Mapping[str, Any]) -> AssetMaterialization:
    tags = {"dagster/data_version": version}
    return AssetMaterialization(key, partition=desk.name, metadata=values, tags=tags)


def _check(key: AssetKey, name: str, *, passed: bool, says: str, **values: Any) -> AssetCheckResult:
    return AssetCheckResult(asset_key=key, check_name=name, passed=passed, description=says, metadata=values)


def _patches_go(found: Verification) -> AssetCheckResult:
    conflicts = found.conflicts
    said = f"{len(found.kept)} patches go, {len(found.dropped)} are not needed any more"
    if conflicts:
        first = conflicts[0]
        said = f"{len(conflicts)} of {len(found.kept) + len(conflicts)} patches conflict, the first is {first.number}"
        said += f": {first.subject}"
    table = metadata.conflicts(conflicts)
    return _check(VERIFICATION, CHECK_PATCHES_GO, passed=not conflicts, says=said, conflicts=table)


def _restacked(found: Restacked) -> AssetCheckResult:
    stuck = [each.branch for each in found.branches if each.result in ("conflict", "failed")]
    said = found.problem or (
        f"not restacked: {', '.join(stuck)}" if stuck else found.note or "no branch is left behind"
    )
    return _check(STACK, CHECK_RESTACKED, passed=found.complete, says=said)


def _nobody_needed(found: Verification) -> AssetCheckResult:
    changed = () if found.unchanged else found.escalated
    said = f"upstream changed {len(changed)} paths that a person wants to see" if changed else "nothing is escalated"
    shown = {"paths": "\n".join(changed[:100])} if changed else {}
    return _check(VERIFICATION, CHECK_NOBODY_NEEDED, passed=not changed, says=said, **shown)


def _is_current(desk: Desk, report: Report) -> Iterator[AssetCheckResult]:
    if report.behind is not None:
        passed, words, values = currency(report.behind, desk.fork.max_days_behind, datetime.now(UTC))
        yield _check(REBASED_TRUNK, CHECK_CURRENT, passed=passed, says=words, **values)


def currency(behind: Behind, most: int, now: datetime) -> tuple[bool, str, Mapping[str, Any]]:
    """Whether trunk is behind for no more than `most` days, in words and in numbers."""
    days = behind.days(now)
    words = f"{behind.commits} commits behind upstream, for {days:.1f} days; {most} are allowed"
    return days <= most, words, {"commits_behind": behind.commits, "days_behind": round(days, 2)}


def failure_of(report: Report) -> Failure:
    """Why a run ended with another exit code than 0, as Dagster shows it."""
    error = report.error or {}
    return Failure(
        description=str(error.get("message") or headline(report)),
        metadata={
            "outcome": str(report.outcome),
            "exit_code": report.exit_code,
            **({"code": str(error["code"])} if error.get("code") else {}),
            "next": metadata.next_actions(report),
        },
        allow_retries=False,
    )


_DESCRIPTIONS = {
    SNAPSHOT: "Every commit that a rebase starts from: trunk, mirror and upstream with their remotes, and the branches "
    "on trunk, read before anything else. The remote trunk's SHA is the lease of every later push.",
    VERIFICATION: "What rebasing trunk on upstream comes to, made in memory: the exact commit that would be pushed, or "
    "every patch that conflicts, with the upstream merge that broke it. Nothing has moved.",
    GATE_RESULTS: "What the fork's own format and test commands say of the verified commit, in the sandbox, before "
    "anything is pushed. What a gate mends becomes a commit of ours on top.",
    REBASED_TRUNK: "The fork's trunk on its remote: rebased, pushed with a lease together with a backup of the old "
    "one, and then brought to the repository here. It is exactly the commit that was verified and gated.",
    STACK: "The branches on trunk, brought along to the new one: by Graphite where it is set up, or each on its own. A "
    "branch that conflicts stays where it is.",
    PROPOSED_RESOLUTION: "Conflicts that an agent settled, as a pull request for a person: the whole trunk as it would "
    "be, gated. Made only where a patch does not go and the fork is configured to ask; trunk is not moved.",
    FORK_DELTA: "The one long-lived pull request from trunk to mirror that shows what the fork carries: each patch "
    "with its purpose, files and last conflict. It is edited in place and never merged.",
    REPORT: "What one run did and where it stopped, written whatever happened: SHAs before and after, patches, gates, "
    "and what a person does next.",
}

BESIDE = (PROPOSED_RESOLUTION, FORK_DELTA)
"""What a rebase makes only where there is a need. No run plans it: on every other day it would count as failed."""

ASSETS = tuple(key for key in _DESCRIPTIONS if key not in BESIDE)
"""What one rebase makes, in its order."""

_KINDS = {REPORT: {"markdown"}, FORK_DELTA: {"pull_request"}, PROPOSED_RESOLUTION: {"pull_request"}}

_DEPENDENCIES: Mapping[AssetKey, set[AssetKey]] = {
    SNAPSHOT: {UPSTREAM_REPOSITORY, FORK_REPOSITORY},
    VERIFICATION: {SNAPSHOT},
    GATE_RESULTS: {VERIFICATION},
    REBASED_TRUNK: {GATE_RESULTS},
    STACK: {REBASED_TRUNK},
    PROPOSED_RESOLUTION: {VERIFICATION},
    FORK_DELTA: {VERIFICATION, REBASED_TRUNK},
    REPORT: {STACK, PROPOSED_RESOLUTION, FORK_DELTA},
}

_CHECKS = (
    (VERIFICATION, CHECK_PATCHES_GO, "Whether every patch of the fork goes onto upstream's head."),
    (VERIFICATION, CHECK_NOBODY_NEEDED, "Whether upstream left the paths alone whose change a person wants to see."),
    (GATE_RESULTS, CHECK_GATES_PASS, "Whether every gate passed on the commit that is to be pushed."),
    (STACK, CHECK_RESTACKED, "Whether every branch on trunk came along, or had no need to."),
    (REBASED_TRUNK, CHECK_CURRENT, "Whether trunk is behind upstream for no more than `max_days_behind` days."),
)


def fork_assets(forks: StaticPartitionsDefinition) -> list[AssetsDefinition | AssetSpec]:
    """The graph of the fork system, partitioned by fork."""
    common: dict[str, Any] = {"group_name": GROUP, "owners": OWNERS}
    outs = {
        key.path[-1]: AssetOut(
            key=key,
            description=description,
            kinds=_KINDS.get(key, {"git"}),
            is_required=False,
            **common,
        )
        for key, description in _DESCRIPTIONS.items()
        if key in ASSETS
    }

    @multi_asset(
        name="rebase",
        outs=outs,
        deps=[UPSTREAM_REPOSITORY, FORK_REPOSITORY, *BESIDE],
        internal_asset_deps={key.path[-1]: _DEPENDENCIES[key] for key in ASSETS},
        check_specs=_check_specs(forks),
        partitions_def=forks,
        # Otherwise every check has to have a result, also where nothing was checked.
        can_subset=True,
    )
    def rebase(context: AssetExecutionContext, fork_desks: ForkDesks) -> Iterator[Event]:
        whole = REBASED_TRUNK in context.selected_asset_keys
        desk, locks = fork_desks.desk(context.run, context.instance, context.log.info, may_move=whole)
        reached: set[str] = set()
        for found in service.rebase(desk, locks, restore=fork_desks.restore):
            for event in _wanted(context, events_of(desk, found)):
                reached.add(event.check_name or "" if isinstance(event, AssetCheckResult) else "")
                yield event
        assert desk.report is not None
        if desk.report.exit_code:
            yield from _wanted(context, _not_reached(desk.report, reached))
            raise failure_of(desk.report)

    return [*_around(common), rebase, *_beside_it(forks, common)]


def _around(common: Mapping[str, Any]) -> list[AssetSpec]:
    """What a rebase starts from, and others make."""
    return [
        AssetSpec(
            UPSTREAM_REPOSITORY,
            description="The project that is forked, as its developers push to it. Upkeep reads it and never writes.",
            kinds={"git"},
            **common,
        ),
        AssetSpec(
            FORK_REPOSITORY,
            description="The fork on its forge. Its people push patches to trunk; Upkeep rebases trunk, and moves the "
            "mirror branch forward.",
            kinds={"git"},
            **common,
        ),
    ]


def _beside_it(forks: StaticPartitionsDefinition, common: Mapping[str, Any]) -> list[AssetSpec]:
    return [
        AssetSpec(
            key,
            deps=_DEPENDENCIES[key],
            description=_DESCRIPTIONS[key],
            kinds=_KINDS[key],
            partitions_def=forks,
            **common,
        )
        for key in BESIDE
    ]


def _not_reached(report: Report, reached: Set[str]) -> Iterator[AssetCheckResult]:
    """Say of every check that a failed run did not come to why it says nothing."""
    for key, name, _ in _CHECKS:
        if name not in reached:
            yield AssetCheckResult(
                asset_key=key,
                check_name=name,
                passed=False,
                severity=AssetCheckSeverity.WARN,
                description=f"not reached: {headline(report)}",
            )


def _wanted(context: AssetExecutionContext, events: Iterator[Event]) -> Iterator[Event]:
    """What the run was asked for; Dagster takes nothing else."""
    checks = {(key.asset_key, key.name) for key in context.selected_asset_check_keys}
    for event in events:
        if isinstance(event, AssetCheckResult):
            chosen = (event.asset_key, event.check_name) in checks
        else:
            chosen = event.asset_key in context.selected_asset_keys or event.asset_key in BESIDE
        if chosen:
            yield event


def _check_specs(forks: StaticPartitionsDefinition) -> list[AssetCheckSpec]:
    with partitioned_checks():
        return [
            AssetCheckSpec(name, asset=key, description=description, partitions_def=forks)
            for key, name, description in _CHECKS
        ]
