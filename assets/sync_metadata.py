"""Records of the sync system as metadata of its assets: times, numbers that plot, tables.

What belongs here: pure functions from a record to Dagster metadata. What does not: running anything. What files say is
shown as plain text, never as Markdown.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from dagster import MetadataValue

from assets.metadata import table
from upkeep.forges.text import visible
from upkeep.sync import ages
from upkeep.sync.attempts import Attempt, Check
from upkeep.sync.findings import Finding
from upkeep.sync.health import Repositories, RepositoryHealth
from upkeep.sync.registry import Managed

Metadata = Mapping[str, Any]

_BANDS = ("stale", "ageing", "fresh")


def of_workplans(attempt: Attempt) -> Metadata:
    numbers = {
        "workplans": attempt.workstreams,
        "tasks": attempt.tasks,
        "changed_rows": attempt.changed_rows,
        "edited_files": attempt.edited_files,
    }
    return {**{name: number for name, number in numbers.items() if number is not None}, **_head(attempt)}


def of_report(attempt: Attempt, findings: Sequence[Finding]) -> Metadata:
    return {
        "errors": attempt.errors,
        "warnings": attempt.warnings,
        "notes": attempt.notes,
        "reason": _shown(attempt.reason or "none"),
        "findings": table(
            ("severity", "code", "place", "message", "what to do"),
            (
                (each.severity, str(each.code), _place(each), _shown(each.message), _shown(each.fix))
                for each in by_severity(findings)
            ),
        ),
    }


def of_timestamps(attempt: Attempt) -> Metadata:
    return {
        **_times(attempt.last_state_synced_at, attempt.last_attempt_at),
        "reason": _shown(attempt.reason or "none"),
        "trigger": attempt.trigger,
        **_head(attempt),
    }


def of_confirmation(check: Check) -> Metadata:
    """Of a repository that a check found in agreement with the hub."""
    return {**_times(check.confirmed_at, check.confirmed_at), "reason": "none", "trigger": "check"}


def of_registry(repositories: Sequence[Managed]) -> Metadata:
    return {
        "repositories": len(repositories),
        "registry": table(
            ("repository", "path", "remote", "domain", "goal", "fix", "from"),
            (
                tuple(
                    _shown(str(value))
                    for value in (
                        *(one.slug, one.path, one.remote or "", one.domain, one.goal or ""),
                        *("yes" if one.fix else "no", one.source),
                    )
                )
                for one in repositories
            ),
        ),
    }


def of_health(found: Repositories, now: datetime) -> Metadata:
    """Numbers by age band, and a table, those first that a person should look at."""
    repositories = sorted(found.repositories, key=_urgency)
    return {
        "repositories": len(repositories),
        **{band: sum(one.age == band for one in repositories) for band in reversed(_BANDS)},
        "failing": sum(one.reason is not None for one in repositories),
        "health": table(
            ("repository", "age", "synced", "tried", "why not", "domain", "goal"),
            (
                (
                    *(one.repo_slug, one.age, ages.words(one.last_state_synced_at, now)),
                    *(ages.words(one.last_attempt_at, now), _shown(one.reason or "")),
                    *(_shown(one.domain), _shown(one.goal or "")),
                )
                for one in repositories
            ),
        ),
    }


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda each: (("error", "warning", "note").index(each.severity), each.order))


def _urgency(one: RepositoryHealth) -> tuple[int, bool, str]:
    return _BANDS.index(one.age), one.reason is None, one.repo_slug


def _times(synced: datetime | None, tried: datetime) -> Metadata:
    known = {"last_state_synced_at": MetadataValue.timestamp(synced)} if synced else {"last_state_synced_at": "never"}
    return {**known, "last_attempt_at": MetadataValue.timestamp(tried)}


def _head(attempt: Attempt) -> Metadata:
    return {"head": attempt.head} if attempt.head else {}


def _place(finding: Finding) -> str:
    return _shown(f"{finding.file}:{finding.line}" if finding.line else finding.file)


def _shown(text: str) -> str:
    """On one line, without what cannot be seen or stored."""
    return visible(text).replace("\n", " ")
