"""A fork that is rebased without Dagster and without a database.

What belongs here: the desk of one fork, and one rebase of it. What does not: what a rebase must do (the
tests).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upkeep.config import Settings
from upkeep.forks import service
from upkeep.forks.desk import Desk
from upkeep.forks.report import Draft, Report


def make_desk(home: Path, run_id: str, fork: dict[str, Any], **options: Any) -> Desk:
    """The desk of the fork `fork`, whose settings are `fork`."""
    values = {"trunk": "trunk", "forge": "here", "repo": "o/fork", **fork}
    settings = Settings.model_validate({"home": home, "forks": {"fork": values}})
    return Desk("fork", settings, run_id, Draft("fork", run_id, trigger="cli"), **options)


def rebase(desk: Desk, *, restore: str | None = None, force: bool = False) -> Report:
    """One whole run under the folder lock alone."""
    *_, report = service.rebase(desk, service.held(desk, force=force), restore=restore)
    assert isinstance(report, Report)
    return report
