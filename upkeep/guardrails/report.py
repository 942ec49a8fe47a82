"""What a review found.

What belongs here: the records and the refusal built from them. What does not: rules, and printing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from upkeep.errors import GuardrailRefused
from upkeep.wording import counted

Severity = Literal["error", "warning"]

_NAMED = 3


class GuardrailFinding(BaseModel):
    """One reason against the patch. `path` is a file of it or "(title)", "(body)" and so on for a text, "" for the
    patch as a whole; `line` counts from 1. `rule` is stable; a message never repeats a secret."""

    model_config = ConfigDict(frozen=True)

    rule: str
    severity: Severity = "error"
    path: str = ""
    line: int | None = None
    message: str

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class Check(BaseModel):
    """One check that was run. `note` says what it measured, or why it let something pass."""

    model_config = ConfigDict(frozen=True)

    name: str
    errors: int
    warnings: int
    note: str = ""


class GuardrailReport(BaseModel):
    """All findings, sorted by path, line and rule, and every check that was run."""

    model_config = ConfigDict(frozen=True)

    findings: tuple[GuardrailFinding, ...] = ()
    checks: tuple[Check, ...] = ()
    changed_lines: int = 0
    changed_files: int = 0

    @property
    def errors(self) -> tuple[GuardrailFinding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def passed(self) -> bool:
        return not self.errors


def refuse_unless_passed(report: GuardrailReport) -> None:
    """Raises GuardrailRefused that names the first findings and carries all of them."""
    if report.passed:
        return
    raise GuardrailRefused(
        f"{counted(len(report.errors), 'finding')} against the patch: {_named(report.errors)}",
        remedy="Look at what was written; if it is right, allow it under `guardrails:` in upkeep.yaml, and run again.",
        findings=[finding.model_dump() for finding in report.findings],
    )


def _named(findings: Sequence[GuardrailFinding]) -> str:
    shown = "; ".join(
        f"{finding.where}: {finding.message}" if finding.where else finding.message for finding in findings[:_NAMED]
    )
    return f"{shown}; and {len(findings) - _NAMED} more" if len(findings) > _NAMED else shown
