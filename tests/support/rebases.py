"""A fork that is rebased without Dagster and without a database.

What belongs here: the desk of one fork, and one rebase as the assets run it. What does not: what a rebase must do (the
tests).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from upkeep.config import Settings
from upkeep.errors import UpkeepError
from upkeep.forks import service
from upkeep.forks.desk import Desk
from upkeep.forks.report import Draft, Report


def make_desk(home: Path, run_id: str, fork: dict[str, Any], **options: Any) -> Desk:
    """The desk of the fork `fork`, whose settings are `fork`."""
    values = {"trunk": "trunk", "forge": "here", "repo": "o/fork", **fork}
    settings = Settings.model_validate({"home": home, "forks": {"fork": values}})
    return Desk("fork", settings, run_id, Draft("fork", run_id, trigger="cli"), **options)


def rebase(desk: Desk, *, restore: str | None = None, force: bool = False) -> Report:
    """One run in the order of the assets. Errors of ours end in the report; what is none goes on after it."""
    if force:
        desk.draft.override("--force")
    try:
        with contextlib.ExitStack() as lock:
            with desk.step("lock"):
                lock.enter_context(service.held(desk, force=force))
            steps(desk, restore=restore)
    except UpkeepError:
        return service.closed(desk)
    except BaseException:
        service.closed(desk)
        raise
    return service.closed(desk)


def steps(desk: Desk, *, restore: str | None = None) -> None:
    snapshot = service.take_snapshot(desk)
    if restore is not None:
        service.restored(desk, snapshot, restore)
        return
    verification = service.verified(desk, snapshot)
    if service.judged(verification, verify_only=desk.verify_only) is None:
        service.applied(desk, snapshot, service.gated(desk, snapshot, verification))
