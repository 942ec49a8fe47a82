"""The desk of a fork's rebase: what a run may be told at its start, and what it then works with.

What belongs here: configuration (only verify, skip gates, force, restore), and one method that makes the desk. What
does not: holding locks and writing the report, which are a part of the rebase itself (`upkeep/forks/service.py`).
"""

from collections.abc import Callable, Sequence
from typing import Final

from dagster import ConfigurableResource, DagsterInstance, DagsterRun, Failure
from dagster import ResourceDependency as Given
from pydantic import Field

from resources.database import open_database
from resources.pools import turns
from resources.runs import PARTITION_TAG, TRIGGER_TAG, keep_connections, may_continue, trigger_of
from upkeep.config import Settings
from upkeep.forks import service
from upkeep.forks.desk import Desk, Locks
from upkeep.forks.report import Draft
from upkeep.settings.forks import Gate

CANCELLED_REMEDY: Final = "Nothing is lost: start it again with `upkeep rebase`, or wait for the next day."

Say = Callable[[str], None]
Ask = Callable[[Sequence[Gate]], None]
"""Asks somebody whether these gates may run. Raises RunCancelled where they may not."""


def subject_of(fork: str) -> str:
    """What locks, events and run tags call a fork: a watch may have the same name."""
    return f"fork:{fork}"


def ask_nobody(gates: Sequence[Gate]) -> None:
    """Scheduled runs never ask."""


def tell_nobody(desk: Desk) -> None:
    """What a run came to stands in its report."""


class ForkDesks(ConfigurableResource[None]):
    """Makes the desk of one rebase, and its locks. `ask` is a person at a terminal, where there is one; `hear` is told
    the desk, for whoever wants to know later what came of the run."""

    verify_only: bool = Field(default=False, description="Verify and stop: nothing moves.")
    skip_gates: bool = Field(default=False, description="Push untested. Stands in the report.")
    force: bool = Field(default=False, description="Take over a lock whose holder cannot be proven dead.")
    restore: str | None = Field(default=None, description="Put trunk back to what it was before this run.")
    settings: Given[Settings]
    ask: Given[Ask]
    hear: Given[Callable[[Desk], None]]

    def desk(self, run: DagsterRun, instance: DagsterInstance, say: Say, *, may_move: bool) -> tuple[Desk, Locks]:
        """The desk for a run, and the locks that it is to be held under. Nothing is opened yet. Without `may_move` the
        run only verifies."""
        verify_only = self.verify_only or not may_move
        if PARTITION_TAG not in run.tags:
            raise Failure("a rebase needs the name of a fork as its partition", allow_retries=False)
        if verify_only and self.restore is not None:
            raise Failure("a restore moves trunk, and this run is to verify only", allow_retries=False)
        if TRIGGER_TAG not in run.tags:  # a command has kept them from the start
            keep_connections(instance)
        from upkeep.forks.gating import SandboxedGates

        name, trigger = run.tags[PARTITION_TAG], trigger_of(run.tags)
        self.settings.fork(name)
        before = may_continue(instance, run.run_id, CANCELLED_REMEDY)
        desk = Desk(
            name,
            self.settings,
            run.run_id,
            Draft(name, run.run_id, trigger=trigger, verify_only=verify_only),
            gates=None if self.skip_gates else SandboxedGates(asked=self.ask, say=say),
            verify_only=verify_only,
            may=lambda: before("go on"),
            say=say,
            turn=turns(instance, run.run_id, self.settings, before=before, say=say),
        )
        self.hear(desk)
        return desk, service.opened(desk, open_database(self.settings), trigger=trigger, force=self.force)
