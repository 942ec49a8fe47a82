"""Findings and the validation report.

What belongs here: the records that the validator returns, and that the PR body, the asset check and `--json` print.
What does not: rules (`validate.py`) and printing (`cli/`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning"]


_RECORD = ConfigDict(frozen=True, defer_build=True)
"""Validators are built where one is needed, and not for `upkeep validate`: pydantic would look for its plugins in every
installed package then, which takes 7 ms."""


class Finding(BaseModel):
    """One fact about one place. `file` is relative to the content folder, `line` counts from 1 (None: the whole file),
    `pointer` is an RFC 6901 JSON pointer ("" outside JSON). `existing`: it was there before the change already, in an
    entry that did not change, and has been lowered to a warning."""

    model_config = _RECORD

    code: str
    severity: Severity
    file: str
    line: int | None = None
    column: int | None = None
    pointer: str = ""
    message: str
    existing: bool = False


class ValidationReport(BaseModel):
    """All findings of one content folder, sorted by file, line and code."""

    model_config = _RECORD

    findings: tuple[Finding, ...] = ()
    checks_run: tuple[str, ...] = ()
    checks_unavailable: dict[str, str] = {}
    """Checks that could not run, by name, with the reason and what to do."""
    flows: int = 0
    events: int = 0
    names: int = 0
    diagrams: int = 0

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    @property
    def valid(self) -> bool:
        return not self.errors
