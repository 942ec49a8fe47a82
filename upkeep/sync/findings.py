"""Findings: what a sync has to say about one place, with a stable code and what to do.

What belongs here: the record and the closed list of codes (docs/sync.md explains each). What does not: the rules
(`document.py`, `workplan.py`, `identity.py`, `plan.py`) and printing (`cli/`).

An *error* keeps the repository from counting as synced; the rest of it is synced all the same. A *warning* wants a
look. A *note* says what the sync did by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning", "note"]


class Code(StrEnum):
    NO_FRONT_MATTER = "C-01"
    FRONT_MATTER = "C-02"
    TASK_BLOCK = "C-03"
    UNREADABLE = "C-04"
    DUPLICATE = "C-05"
    HUB_ID = "C-06"
    FOREIGN = "C-07"
    STATUS = "C-08"
    REOPENED = "C-09"
    NOT_IN_FILE = "C-10"
    NEW = "C-11"
    CHANGED_IN_HUB = "C-12"
    CONFLICT = "C-13"
    DONE_TOO_SOON = "C-14"
    NOT_YET_DONE = "C-15"
    MOVED = "C-16"
    NO_HUB_ID = "C-17"
    DATES = "C-18"
    FILE_GONE = "C-19"
    UNSAFE_YAML = "C-20"
    FENCE = "C-21"
    DEPENDENCY = "C-22"
    DETAIL = "C-23"
    REPOSITORY = "C-24"


class Finding(BaseModel):
    """One fact about one place. `file` is relative to the repository ("" for the repository itself), `line` counts from
    1 (None: the whole file). `fix` says what a person does, or what `--fix` does; `fixable`: `--fix` does it. `subject`
    is the id of the workplan or task, where there is one."""

    model_config = ConfigDict(frozen=True)

    code: Code
    severity: Severity
    file: str
    line: int | None = None
    message: str
    fix: str
    fixable: bool = False
    subject: str = ""

    @property
    def order(self) -> tuple[str, int, str, str]:
        return self.file, self.line or 0, self.code, self.message


def ordered(findings: list[Finding]) -> tuple[Finding, ...]:
    """By file, line and code; each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: finding.order))


def has_errors(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def summary(findings: Sequence[Finding]) -> str:
    """Why a repository does not count as synced, in one line. One of the findings is an error."""
    errors = [finding for finding in findings if finding.severity == "error"]
    first = errors[0]
    place = f"{first.file}:{first.line} " if first.line else f"{first.file} " if first.file else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{first.code} {place}{first.message}{more}"


def blocked(why: str, remedy: str) -> Finding:
    """What is said of a repository of which nothing can be synced."""
    return Finding(code=Code.REPOSITORY, severity="error", file="", message=why, fix=remedy)
