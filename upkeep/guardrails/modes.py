"""What kinds of file a patch may hold.

What belongs here: git's file modes. What does not: where files lie and what they say.
"""

from __future__ import annotations

from collections.abc import Iterator

from upkeep.guardrails.patch import PLAIN_MODE, Patch, Policy
from upkeep.guardrails.report import GuardrailFinding

_KINDS = {
    "100755": "an executable file",
    "120000": "a symbolic link",
    "160000": "a git submodule",
    "040000": "a folder",
}


def check_modes(patch: Patch, policy: Policy) -> Iterator[GuardrailFinding]:
    """Only plain files (100644), and an existing file keeps the mode that it has."""
    for change in patch.files:
        if change.new is None:
            continue
        kind = _KINDS.get(change.mode, "a file of another kind")
        if change.old is None and change.mode != PLAIN_MODE:
            yield GuardrailFinding(
                rule="modes.kind",
                path=change.path,
                message=f"{kind} ({change.mode}) is new: only {PLAIN_MODE} is allowed",
            )
        elif change.old is not None and change.mode != change.old_mode:
            yield GuardrailFinding(
                rule="modes.changed",
                path=change.path,
                message=f"its mode changes from {change.old_mode} to {change.mode}",
            )
        elif change.old is not None and change.mode in ("120000", "160000"):
            yield GuardrailFinding(rule="modes.kind", path=change.path, message=f"{kind} is redirected")
