"""Records of a rebase as metadata of its assets: numbers that plot, links, tables.

What belongs here: pure functions from a record to Dagster metadata. What does not: running anything. Keys are stable: a
plot over time is drawn by key.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from dagster import MetadataValue, TableMetadataValue

from assets.metadata import Metadata, markdown, short, table
from upkeep.forks import report as reporting
from upkeep.forks import summary
from upkeep.forks.apply import Applied
from upkeep.forks.delta import Shown
from upkeep.forks.records import ConflictingPatch, Forecast, Judgement, Verification
from upkeep.forks.report import Gated, Report, Restacked
from upkeep.forks.snapshot import Snapshot

_RESULTS = ("restacked", "unchanged", "left", "conflict", "failed")


def of_snapshot(snapshot: Snapshot) -> Metadata:
    return {
        "trunk": snapshot.trunk,
        "upstream": snapshot.upstream,
        "mirror": snapshot.mirror or "none",
        "local_trunk": snapshot.local_trunk or "none",
        "fork_url": snapshot.fork_url,
        "upstream_url": snapshot.upstream_url,
        "branches_on_trunk": len(snapshot.stack),
        "backups": len(snapshot.backups),
        "taken_at": MetadataValue.timestamp(snapshot.taken_at),
    }


def of_verification(found: Verification) -> Metadata:
    sizes = (
        {}
        if found.size is None
        else {
            "delta_files": found.size.files,
            "delta_lines": found.size.lines_added + found.size.lines_deleted,
        }
    )
    return {
        "patches": len(found.kept) + len(found.conflicts),
        "conflicts": len(found.conflicts),
        "dropped": len(found.dropped),
        "commits_behind": found.behind,
        "seconds": found.seconds,
        **sizes,
        "tip": found.tip or "none: patches conflict",
        "moves": not found.unchanged,
        "method": found.method if not found.reasons else f"{found.method}: {'; '.join(found.reasons)}",
        **({"version": found.version.version} if found.version else {}),
        **({"conflicting_patches": conflicts(found.conflicts)} if found.conflicts else {}),
        "carried_patches": table(
            ("patch", "commit", "author", "subject"),
            ((each.number, short(each.new_sha), each.author, each.subject) for each in found.kept),
        ),
        **(
            {
                "dropped_patches": table(
                    ("patch", "subject", "why", "proof"),
                    ((each.number, each.subject, each.why, each.proof) for each in found.dropped),
                )
            }
            if found.dropped
            else {}
        ),
    }


def conflicts(found: Sequence[ConflictingPatch]) -> TableMetadataValue:
    return table(
        ("patch", "subject", "files", "kinds", "broken_by"),
        (
            (
                each.number,
                each.subject,
                ", ".join(each.conflicts),
                ", ".join(each.types),
                f"{short(each.broken_by.sha)} {each.broken_by.subject}" if each.broken_by else "unknown",
            )
            for each in found
        ),
    )


def of_gates(found: Gated) -> Metadata:
    judged = [each for each in found.gates if not each.baseline]
    return {
        "gates": len(judged),
        "gates_failed": sum(each.result not in ("passed", "skipped") for each in judged),
        "gates_skipped": sum(each.result == "skipped" for each in judged),
        "seconds": round(sum(each.seconds for each in found.gates if not each.cached), 3),
        "tip": found.tip or "none: a gate failed",
        "results": table(
            ("gate", "result", "seconds", "tree", "log"),
            (
                (
                    each.command.splitlines()[0],
                    " ".join(
                        [each.result, *(["old trunk"] if each.baseline else []), *(["cached"] if each.cached else [])]
                    ),
                    each.seconds,
                    short(each.tree),
                    each.log or "",
                )
                for each in found.gates
            ),
        ),
    }


def of_applied(done: Applied) -> Metadata:
    moves = [*(("remote", each) for each in done.pushed), *(("here", each) for each in done.local)]
    return {
        "refs_pushed": len(done.pushed),
        "refs_moved_here": len(done.local),
        "local_trunk": done.local_trunk,
        "backup": done.backup or "none: trunk did not move",
        "moves": table(
            ("where", "ref", "before", "after"),
            ((where, each.ref, short(each.before or "nothing"), short(each.after)) for where, each in moves),
        ),
        **({"notes": "\n".join(done.notes)} if done.notes else {}),
    }


def trunk_after(trunk: str, done: Applied) -> str | None:
    """Where trunk was pushed to; None: it stayed."""
    return next((each.after for each in done.pushed if each.ref == f"refs/heads/{trunk}"), None)


def of_stack(found: Restacked) -> Metadata:
    counts = {result: sum(each.result == result for each in found.branches) for result in _RESULTS}
    return {
        "kind": found.kind,
        "branches": len(found.branches),
        **{f"branches_{result}": count for result, count in counts.items()},
        "results": table(
            ("branch", "result", "before", "after", "pushed", "note"),
            (
                (
                    each.branch,
                    each.result,
                    short(each.before),
                    short(each.after or each.before),
                    "yes" if each.pushed else "no",
                    each.note or ", ".join(f"patch {one.number}: {one.subject}" for one in each.conflicts),
                )
                for each in found.branches
            ),
        ),
        **({"note": found.note} if found.note else {}),
        **({"problem": found.problem} if found.problem else {}),
    }


def of_forecast(found: Forecast) -> Metadata:
    tonight = found.tonight
    return {
        "will_break": sum(len(each.conflicts) for each in found.outlooks),
        "will_break_tonight": len(tonight.conflicts),
        "patches": tonight.patches,
        "escalated": len(tonight.escalated),
        "commits_behind": found.behind.commits,
        "days_behind": round(found.behind.days(found.looked_at), 2),
        "seconds": found.seconds,
        "outlooks": table(
            ("branch", "head", "outlook"),
            ((each.branch, short(each.head), each.words) for each in found.outlooks),
        ),
        **({"rebased_by_git_because": "; ".join(tonight.unsure)} if tonight.unsure else {}),
        "patches_that_will_break": breaking(found),
        "looked_at": MetadataValue.timestamp(found.looked_at),
    }


def breaking(found: Forecast) -> TableMetadataValue:
    return table(
        ("branch", "patch", "subject", "files", "broken_by"),
        (
            (
                each.branch,
                one.number,
                one.subject,
                ", ".join(one.conflicts),
                f"{short(one.broken_by.sha)} {one.broken_by.subject}" if one.broken_by else "unknown",
            )
            for each in found.breaks
            for one in each.conflicts
        ),
    )


def forecast_version(found: Forecast) -> str:
    """The same for the same heads."""
    heads = "\n".join((found.trunk, *(f"{each.branch} {each.head}" for each in found.outlooks)))
    return sha256(heads.encode()).hexdigest()[:12]


def stack_version(found: Restacked) -> str:
    """The same for the same commits of the same branches."""
    heads = "\n".join(f"{each.branch} {each.after or each.before}" for each in found.branches)
    return sha256(heads.encode()).hexdigest()[:12]


def of_judgement(found: Judgement) -> Metadata:
    return {
        "state": found.state,
        "message": found.message,
        "patches_settled": len(found.settled),
        "agent": found.agent,
        "requests": found.requests,
        "cost_usd": found.cost_usd,
        "seconds": found.seconds,
        **({"pull_request": MetadataValue.url(found.url)} if found.url else {}),
        **({"said": found.said} if found.said else {}),
        **({"transcript": MetadataValue.path(found.transcript)} if found.transcript else {}),
    }


def of_delta(found: Shown) -> Metadata:
    return {
        "patches": found.patches,
        "files": found.files,
        "lines_added": found.added,
        "lines_deleted": found.deleted,
        "action": found.action,
        **({"pull_request": MetadataValue.url(found.url)} if found.url else {}),
    }


def of_report(report: Report, home: Path) -> Metadata:
    behind = report.behind
    lag = (
        {}
        if behind is None
        else {
            "commits_behind": behind.commits,
            "days_behind": round(behind.days(datetime.now(UTC)), 2),
        }
    )
    return {
        "outcome": str(report.outcome),
        "exit_code": report.exit_code,
        "seconds": report.seconds,
        **lag,
        **({"stopped_at": report.stopped_at} if report.stopped_at else {}),
        **({"overrides": ", ".join(report.overrides)} if report.overrides else {}),
        "next_actions": next_actions(report),
        "steps": table(("step", "seconds"), ((each.step, each.seconds) for each in report.commands)),
        "summary": markdown(summary.render(report)),
        "folder": MetadataValue.path(str(reporting.folder_of(home, report))),
    }


def next_actions(report: Report) -> MetadataValue[Any]:
    lines = [f"{number}. {text}" for number, text in enumerate(report.next_actions, 1)]
    return markdown("\n".join(lines) or "Nothing.")
