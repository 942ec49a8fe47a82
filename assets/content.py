"""The content system as assets: from an upstream's head to the pull request on its dashboard.

What belongs here: which asset calls which one procedure of `upkeep/content/service.py`, and what a reader of the
lineage sees of its record. What does not: any rule of the update itself. Every watch is a partition.

https://docs.dagster.io/guides/build/assets
"""

from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetObservation,
    AssetsDefinition,
    AssetSpec,
    DataVersion,
    MaterializeResult,
    ResourceParam,
    StaticPartitionsDefinition,
    asset,
    asset_check,
)

from assets import metadata
from assets.partitions import partitioned_checks
from assets.steps import step
from upkeep.content import service
from upkeep.content.desk import Desk
from upkeep.content.records import ChangeSet, GeneratedContent, PublishedUpdate, UpstreamHead
from upkeep.content.report import ValidationReport
from upkeep.database.events import Outcome

GROUP = "content"
OWNERS = ["team:upkeep"]

UPSTREAM_REPOSITORY = AssetKey([GROUP, "upstream_repository"])
UPSTREAM_HEAD = AssetKey([GROUP, "upstream_head"])
CHANGE_SET = AssetKey([GROUP, "change_set"])
ANALYTICS_CONTENT = AssetKey([GROUP, "analytics_content"])
VALIDATION_REPORT = AssetKey([GROUP, "validation_report"])
PULL_REQUEST = AssetKey([GROUP, "pull_request"])
DASHBOARD = AssetKey([GROUP, "dashboard"])

CHECK_VALID = "content_is_valid"
CHECK_GUARDRAILS = "guardrails"
CHECK_USAGE = "usage"


def upstream_head(context: AssetExecutionContext, content_desk: ResourceParam[Desk]) -> MaterializeResult[UpstreamHead]:
    """The newest commit of the app that this watch follows, as this run found it. Everything below describes exactly
    this commit."""
    with step(context, content_desk.run, "observe", f"looking at the upstream of {content_desk.name}"):
        head = service.observe(content_desk)
    return MaterializeResult(
        value=head, metadata=metadata.of_head(head, content_desk.web.upstream), data_version=DataVersion(head.sha)
    )


def change_set(
    context: AssetExecutionContext, content_desk: ResourceParam[Desk], upstream_head: UpstreamHead
) -> MaterializeResult[ChangeSet]:
    """What the dashboard does not know of the app yet: the range of commits between the one that its documentation
    describes and the head, and whether that calls for an update. `decision` and `reason` say why nothing follows."""
    with step(context, content_desk.run, "plan", f"planning for {metadata.short(upstream_head.sha)}"):
        change = service.plan(content_desk, upstream_head)
    if change.decision != "update":
        with step(context, content_desk.run, "settle", f"{change.decision}: {change.reason}"):
            service.settle(content_desk, change)
    return MaterializeResult(
        value=change,
        metadata=metadata.of_change_set(change, content_desk.web.upstream),
        data_version=DataVersion(f"{change.base or ''}..{change.head}"),
    )


def analytics_content(
    context: AssetExecutionContext, content_desk: ResourceParam[Desk], change_set: ChangeSet
) -> Iterator[MaterializeResult[GeneratedContent]]:
    """The analytics documentation (flows, events, diagrams) for the head, written by the watch's agent as a minimal
    change to what the dashboard holds. Skipped, with an observation that says why, where the range calls for none."""
    if change_set.decision != "update":
        _say_why_not(context, ANALYTICS_CONTENT, change_set.decision, change_set.reason)
        return
    with step(context, content_desk.run, "write", f"{content_desk.agent.name} is writing"):
        content = service.write(content_desk, change_set)
    yield MaterializeResult(
        value=content, metadata=metadata.of_content(content), data_version=DataVersion(content.tree or content.head)
    )


def guardrails(
    context: AssetCheckExecutionContext, content_desk: ResourceParam[Desk], analytics_content: GeneratedContent
) -> AssetCheckResult:
    """Whether what was written stays inside the watch's limits: paths, sizes, secrets, and text that could deceive a
    reader. A refused change is never published."""
    report = analytics_content.guardrails
    if not report.passed:
        content_desk.run.finish(Outcome.GUARDRAIL_REFUSED, report.errors[0].rule, errors=len(report.errors))
    return AssetCheckResult(
        passed=report.passed,
        description="inside all limits" if report.passed else report.errors[0].message,
        metadata=metadata.of_review(report),
    )


def usage(analytics_content: GeneratedContent) -> AssetCheckResult:
    """Whether every request of the agent is accounted for: the gateway counted as many tokens as the agent's program
    says that it used, and no request went without figures. A warning, for the budget was held whatever this says."""
    used = analytics_content.usage
    return AssetCheckResult(
        passed=not used.alarm,
        severity=AssetCheckSeverity.WARN,
        description=used.alarm or "every request is accounted for",
        metadata=metadata.of_usage(used),
    )


def validation_report(analytics_content: GeneratedContent) -> MaterializeResult[ValidationReport]:
    """What the deterministic validator found in the written content, warnings included. Errors block the pull
    request."""
    written = analytics_content.report
    more = (each for each in analytics_content.evidence_findings if each not in written.findings)
    report = written.model_copy(update={"findings": (*written.findings, *more)})
    return MaterializeResult(
        value=report, metadata=metadata.of_report(report), data_version=DataVersion(analytics_content.head)
    )


def content_is_valid(
    context: AssetCheckExecutionContext, content_desk: ResourceParam[Desk], validation_report: ValidationReport
) -> AssetCheckResult:
    """Whether the content has no error that the dashboard or its readers would stumble over. Invalid content is never
    published."""
    errors = validation_report.errors
    if errors:
        content_desk.run.finish(Outcome.VALIDATION_FAILED, errors[0].code, errors=len(errors))
    return AssetCheckResult(
        passed=not errors,
        description=f"{len(errors)} errors, {len(validation_report.warnings)} warnings",
        metadata={
            "errors": len(errors),
            "warnings": len(validation_report.warnings),
            "findings": metadata.findings((*errors, *validation_report.warnings)),
        },
    )


def pull_request(
    context: AssetExecutionContext,
    content_desk: ResourceParam[Desk],
    change_set: ChangeSet,
    analytics_content: GeneratedContent,
) -> Iterator[MaterializeResult[PublishedUpdate]]:
    """The pull request that proposes the new documentation to the dashboard's owners. Its body says what changed, what
    was checked and what it cost. Nothing is ever pushed to the base branch. Skipped where the author found nothing to
    change."""
    words = "a dry run: publishing nothing" if content_desk.dry_run else "publishing"
    with step(context, content_desk.run, "publish", words):
        published = service.publish(content_desk, change_set, analytics_content)
    if published.outcome == "no_change":
        _say_why_not(context, PULL_REQUEST, published.outcome, analytics_content.reason)
        return
    yield MaterializeResult(
        value=published,
        metadata=metadata.of_published(published),
        data_version=DataVersion(published.commit or published.head),
    )


def _say_why_not(context: AssetExecutionContext, key: AssetKey, decision: str, reason: str) -> None:
    """An asset that makes nothing says so on its own page."""
    context.log_event(
        AssetObservation(
            key, description=reason, partition=context.partition_key, metadata={"decision": decision, "reason": reason}
        )
    )


def content_assets(
    watches: StaticPartitionsDefinition,
) -> list[AssetsDefinition | AssetSpec | AssetChecksDefinition]:
    """The graph of the content system, partitioned by watch."""
    return [
        AssetSpec(
            UPSTREAM_REPOSITORY,
            description="The app's repository, as its developers push to it. Upkeep reads it and never writes to it.",
            group_name=GROUP,
            kinds={"git"},
            owners=OWNERS,
        ),
        *_steps(watches),
        *_checks(watches),
        AssetSpec(
            DASHBOARD,
            deps=[PULL_REQUEST],
            description="The dashboard's repository. It changes when a person merges the pull request.",
            group_name=GROUP,
            kinds={"git"},
            owners=OWNERS,
        ),
    ]


def _steps(watches: StaticPartitionsDefinition) -> list[AssetsDefinition]:
    common: dict[str, Any] = {"partitions_def": watches, "group_name": GROUP, "owners": OWNERS}
    return [
        asset(key=UPSTREAM_HEAD, deps=[UPSTREAM_REPOSITORY], kinds={"git"}, **common)(upstream_head),
        asset(key=CHANGE_SET, ins={"upstream_head": AssetIn(UPSTREAM_HEAD)}, kinds={"git"}, **common)(change_set),
        asset(
            key=ANALYTICS_CONTENT,
            ins={"change_set": AssetIn(CHANGE_SET)},
            kinds={"ai", "json"},
            output_required=False,
            code_version=_version("instructions.md", "prompt.py", "author.py", "authoring/*.py"),
            **common,
        )(analytics_content),
        asset(
            key=VALIDATION_REPORT,
            ins={"analytics_content": AssetIn(ANALYTICS_CONTENT)},
            kinds={"python"},
            code_version=_version("validate.py", "rules/*.py", "mermaid_check/check.mjs"),
            **common,
        )(validation_report),
        asset(
            key=PULL_REQUEST,
            ins={"change_set": AssetIn(CHANGE_SET), "analytics_content": AssetIn(ANALYTICS_CONTENT)},
            deps=[VALIDATION_REPORT],
            kinds={"git"},
            output_required=False,
            **common,
        )(pull_request),
    ]


def _checks(watches: StaticPartitionsDefinition) -> list[AssetChecksDefinition]:
    with partitioned_checks():
        return [
            asset_check(
                asset=ANALYTICS_CONTENT,
                name=CHECK_GUARDRAILS,
                blocking=True,
                partitions_def=watches,
            )(guardrails),
            asset_check(asset=ANALYTICS_CONTENT, name=CHECK_USAGE, partitions_def=watches)(usage),
            asset_check(asset=VALIDATION_REPORT, name=CHECK_VALID, blocking=True, partitions_def=watches)(
                content_is_valid
            ),
        ]


def _version(*patterns: str) -> str:
    """Hash of the files of `upkeep.content` that decide what is written or found: a change of them shows in the UI as a
    new code version."""
    folder = Path(str(files("upkeep.content")))
    found = sorted(path for pattern in patterns for path in folder.glob(pattern))
    digest = sha256()
    for path in found:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
