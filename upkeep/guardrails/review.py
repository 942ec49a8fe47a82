"""The one review of a patch.

What belongs here: running every check and putting the report together. What does not: any rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from upkeep.guardrails.limits import changed_lines, check_limits
from upkeep.guardrails.modes import check_modes
from upkeep.guardrails.patch import Patch, Policy
from upkeep.guardrails.paths import check_paths
from upkeep.guardrails.report import Check, GuardrailFinding, GuardrailReport
from upkeep.guardrails.secrets import check_secrets
from upkeep.guardrails.text import check_text

CHECKS: dict[str, Callable[[Patch, Policy], Iterator[GuardrailFinding]]] = {
    "limits": check_limits,
    "paths": check_paths,
    "modes": check_modes,
    "secrets": check_secrets,
    "text": check_text,
}


def review(patch: Patch, policy: Policy) -> GuardrailReport:
    """Run every check and report all findings; none stops another. Pure, and the same for the same input."""
    lines = changed_lines(patch)
    notes = {"limits": _measured(lines, len(patch.files), policy)}
    found: list[GuardrailFinding] = []
    checks = []
    for name, check in CHECKS.items():
        here = list(check(patch, policy))
        errors = sum(finding.severity == "error" for finding in here)
        checks.append(Check(name=name, errors=errors, warnings=len(here) - errors, note=notes.get(name, "")))
        found += here
    return GuardrailReport(
        findings=tuple(sorted(found, key=lambda f: (f.path, f.line or 0, f.rule, f.message))),
        checks=tuple(checks),
        changed_lines=lines,
        changed_files=len(patch.files),
    )


def _measured(lines: int, files: int, policy: Policy) -> str:
    allowed = f"at most {policy.max_lines:,}" if policy.max_lines is not None else f"no limit: {policy.lines_exempt}"
    return f"{lines:,} lines ({allowed}) in {files:,} files (at most {policy.max_files:,})"
