"""Records of an update as metadata of its assets: numbers that plot, links, tables.

What belongs here: pure functions from a record to Dagster metadata. What does not: running anything. Keys are stable: a
plot over time is drawn by key. What a model wrote is shown as plain text, never as Markdown.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dagster import MetadataValue, TableColumn, TableMetadataValue, TableRecord, TableSchema

from upkeep.agents.base import Usage
from upkeep.content.records import ChangeSet, GeneratedContent, PublishedUpdate, UpstreamHead
from upkeep.content.report import Finding, ValidationReport
from upkeep.forges.base import PullRequest
from upkeep.guardrails.report import GuardrailReport

Metadata = Mapping[str, Any]

ROWS_SHOWN = 100
MARKDOWN_SHOWN = 60_000
"""Characters. Event rows are read whole by the UI: a body near GitHub's own limit of 65,536 is the most we send."""


def of_head(head: UpstreamHead, web: str | None) -> Metadata:
    return {
        "branch": head.branch,
        "commit": link(head.sha, web),
        "subject": head.subject,
        **({"committed_at": MetadataValue.timestamp(head.committed_at)} if head.committed_at else {}),
        "previous": head.previous or "none",
        "moved": head.sha != head.previous,
    }


def of_change_set(change: ChangeSet, web: str | None) -> Metadata:
    return {
        "decision": change.decision,
        "reason": change.reason,
        "kind": change.kind,
        "range": f"{short(change.base) if change.base else 'beginning'}..{short(change.head)}",
        **_compare(change, web),
        "commits": change.commit_count,
        "behind_by": change.commit_count,
        "files_changed": change.files_changed,
        "calls_changed": change.calls_changed,
        "newest_commits": table(
            ("commit", "date", "author", "subject"),
            ((short(c.sha), c.committed_at.date().isoformat(), c.author, c.subject) for c in change.commits),
        ),
        **({"stacked_on": pull_request(change.stacked_on)} if change.stacked_on else {}),
        **({"supersedes": ", ".join(f"#{pr.number}" for pr in change.supersedes)} if change.supersedes else {}),
        **({"pull_request": pull_request(change.pull_request)} if change.pull_request else {}),
    }


def of_content(content: GeneratedContent) -> Metadata:
    delta, usage, coverage = content.delta, content.usage, content.coverage
    shares = {} if coverage is None or coverage.share is None else {"coverage": round(coverage.share, 4)}
    return {
        "outcome": content.outcome,
        **({"reason": content.reason} if content.reason else {}),
        "agent": " ".join(filter(None, (content.agent, content.model))),
        "engine": " ".join(filter(None, (usage.engine or content.engine, usage.engine_version))),
        "instructions": content.instructions or "none",
        "tries": content.tries,
        "seconds": round(content.seconds, 3),
        **of_usage(usage),
        "files_changed": len(content.files),
        "lines_added": content.lines_added,
        "lines_deleted": content.lines_deleted,
        "events_added": delta.events_added,
        "events_changed": delta.events_changed,
        "events_renamed": delta.events_renamed,
        "events_removed": delta.events_removed,
        **shares,
        "flows": table(
            ("flow", "status", "added", "changed", "renamed", "removed"),
            (
                (
                    *(flow.slug, flow.status, len(flow.events_added), len(flow.events_changed)),
                    *(len(flow.events_renamed), len(flow.events_removed)),
                )
                for flow in delta.flows
            ),
        ),
        "summary": content.summary.summary or content.summary.reason or "none given",
        **({"doubts": "\n".join(content.summary.doubts)} if content.summary.doubts else {}),
        "sandbox": _sandbox(content),
        **({"sandbox_profile": MetadataValue.json(content.sandbox_profile)} if content.sandbox_profile else {}),
        **({"transcript": MetadataValue.path(content.transcript)} if content.transcript else {}),
        "guardrails": guardrail_checks(content.guardrails),
        **({"guardrail_findings": guardrail_findings(content.guardrails)} if content.guardrails.findings else {}),
    }


def of_usage(usage: Usage) -> Metadata:
    """Tokens and money, each number under a key of its own so that it plots."""
    return {
        "requests": usage.requests,
        "tokens": usage.tokens,
        "tokens_input_uncached": usage.input_uncached,
        "tokens_cache_read": usage.cache_read,
        "tokens_cache_write": usage.cache_write,
        "tokens_output": usage.output,
        "tokens_reasoning": usage.reasoning,
        "cost_usd": round(usage.cost_usd, 6),
        "usage_basis": usage.basis,
        **({} if usage.gap is None else {"usage_gap": usage.gap}),
        **({"price_source": usage.price_source} if usage.price_source else {}),
    }


def _sandbox(content: GeneratedContent) -> str:
    match content.sandbox:
        case "":
            return "none needed: no program of anybody else's ran"
        case "upkeep":
            return "Upkeep's: no network, no keys, this run's folders alone"
        case "none":
            return "NONE: unsafe_no_sandbox is set, and the sandbox does not work here"
        case other:
            return f"the agent's own ({other}): unsafe_no_sandbox is set, and Upkeep's does not work here"


def of_report(report: ValidationReport) -> Metadata:
    return {
        "findings": len(report.findings),
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "flows": report.flows,
        "events": report.events,
        "diagrams": report.diagrams,
        "checks_run": ", ".join(report.checks_run),
        **({"checks_unavailable": MetadataValue.json(report.checks_unavailable)} if report.checks_unavailable else {}),
        "list": findings(report.findings),
    }


def of_review(report: GuardrailReport) -> Metadata:
    return {
        "errors": len(report.errors),
        "changed_lines": report.changed_lines,
        "changed_files": report.changed_files,
        "checks": guardrail_checks(report),
        "findings": guardrail_findings(report),
    }


def guardrail_checks(report: GuardrailReport) -> TableMetadataValue:
    return table(
        ("check", "errors", "warnings", "note"),
        ((check.name, check.errors, check.warnings, check.note) for check in report.checks),
    )


def guardrail_findings(report: GuardrailReport) -> TableMetadataValue:
    return table(
        ("severity", "rule", "place", "message"),
        ((each.severity, each.rule, each.where, each.message) for each in report.findings),
    )


def of_published(published: PublishedUpdate) -> Metadata:
    opened = published.pull_request
    return {
        **(
            {"url": MetadataValue.url(opened.url), "number": f"#{opened.number}", "state": opened.state}
            if opened
            else {}
        ),
        "outcome": published.outcome,
        "title": published.title,
        "branch": published.branch,
        "commit": published.commit or "none",
        "forge_calls": published.forge_calls,
        "superseded": len(published.superseded),
        "body": markdown(published.body),
    }


def findings(found: Sequence[Finding]) -> TableMetadataValue:
    return table(
        ("severity", "code", "place", "message"),
        (
            (
                f"{finding.severity} (existing)" if finding.existing else finding.severity,
                finding.code,
                place(finding),
                finding.message,
            )
            for finding in found
        ),
    )


def place(finding: Finding) -> str:
    line = f":{finding.line}" if finding.line else ""
    return " ".join(filter(None, (f"{finding.file}{line}", finding.pointer)))


def table(columns: Sequence[str], rows: Iterable[Sequence[str | int | float]]) -> TableMetadataValue:
    """A table with at most `ROWS_SHOWN` rows; one more says how many were left out. Numbers stay numbers in columns
    that hold nothing else."""
    kept = list(rows)
    shown = [dict(zip(columns, row, strict=True)) for row in kept[:ROWS_SHOWN]]
    numeric = {name for name in columns if shown and all(isinstance(row[name], int | float) for row in shown)}
    records = [
        TableRecord({name: value if name in numeric else str(value) for name, value in row.items()}) for row in shown
    ]
    if len(kept) > ROWS_SHOWN:
        rest: dict[str, str | int | float] = {name: 0 if name in numeric else "" for name in columns}
        rest[columns[0]] = f"… and {len(kept) - ROWS_SHOWN} more"
        records.append(TableRecord(rest))
    schema = TableSchema([TableColumn(name, "int" if name in numeric else "string") for name in columns])
    return MetadataValue.table(records=records, schema=schema)


def _compare(change: ChangeSet, web: str | None) -> Metadata:
    if web is None or change.base is None:
        return {}
    return {"compare": MetadataValue.url(f"{web}/compare/{change.base}...{change.head}")}


def pull_request(opened: PullRequest) -> MetadataValue[Any]:
    return MetadataValue.url(opened.url)


def link(sha: str, web: str | None) -> MetadataValue[Any]:
    return MetadataValue.url(f"{web}/commit/{sha}") if web else MetadataValue.text(sha)


def markdown(text: str) -> MetadataValue[Any]:
    cut = text if len(text) <= MARKDOWN_SHOWN else text[:MARKDOWN_SHOWN] + "\n\n… cut here"
    return MetadataValue.md(cut)


def short(sha: str) -> str:
    return sha[:12]
