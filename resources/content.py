"""The desk of a content run: database, lock, open run, forge and agent, held for as long as the run lasts.

What belongs here: what a run may be told at its start (dry run, retry, force) and the life of the desk. What does not:
what happens at the desk (`upkeep/content/service.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Final

from dagster import ConfigurableResource, Failure, InitResourceContext
from dagster import ResourceDependency as Given
from pydantic import Field

from resources.database import open_database
from resources.pools import turns
from resources.runs import PARTITION_TAG, TRIGGER_TAG, keep_connections, may_continue, trigger_of, was_cancelled
from upkeep.agents.turns import in_turn
from upkeep.config import Settings
from upkeep.content.desk import Desk, open_desk
from upkeep.database.events import Outcome, Trigger
from upkeep.errors import RunCancelled, UpkeepError
from upkeep.runs import open_run

SYSTEM: Final = "content"
CANCELLED_REMEDY = "Nothing is lost: start it again with `upkeep update`, or wait for the next poll."


def subject_of(watch: str) -> str:
    """What locks, events and run tags call a watch: a fork may have the same name."""
    return f"watch:{watch}"


OpenDesk = Callable[..., AbstractContextManager[Desk]]
"""`(settings, name, *, run_id, trigger, dry_run, retry, force, before)`; the desk is closed when the context ends."""


@contextmanager
def open_content_desk(
    settings: Settings,
    name: str,
    *,
    run_id: str,
    trigger: Trigger,
    dry_run: bool,
    retry: bool,
    force: bool,
    before: Callable[[str], None],
) -> Iterator[Desk]:
    """Take the lock, open the run, and hand out the desk. Raises LockError, DatabaseError, ConfigError."""
    settings.watch(name)
    with (
        open_database(settings) as database,
        open_run(
            database,
            system=SYSTEM,
            subject=subject_of(name),
            run_id=run_id,
            trigger=trigger,
            force=force,
            recorded=not dry_run,
        ) as run,
    ):
        yield open_desk(settings, name, database=database, run=run, dry_run=dry_run, retry=retry, before=before)


def _unheard(words: str) -> None:
    """Where nobody reads a log."""


class ContentDesk(ConfigurableResource[Desk]):
    """Database, lock, forge and agent of one run on one watch. Entered once a run and left once, also when a check
    fails: the lock is held exactly that long."""

    dry_run: bool = Field(default=False, description="Do everything except push, pull request and state.")
    retry: bool = Field(default=False, description="Try a head again that was given up.")
    force: bool = Field(default=False, description="Take a lock over whose holder cannot be proven dead.")
    settings: Given[Settings]
    open: Given[OpenDesk]

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator[Desk]:
        run = context.run
        if run is None or context.instance is None or PARTITION_TAG not in run.tags:
            raise Failure("a content run needs the name of a watch as its partition", allow_retries=False)
        if TRIGGER_TAG not in run.tags:  # a command has kept them from the start
            keep_connections(context.instance)
        before = may_continue(context.instance, run.run_id, CANCELLED_REMEDY)
        say = context.log.info if context.log is not None else _unheard
        turn = turns(context.instance, run.run_id, self.settings, before=before, say=say)
        try:
            desk = self.open(
                self.settings,
                run.tags[PARTITION_TAG],
                run_id=run.run_id,
                trigger=trigger_of(run.tags),
                dry_run=self.dry_run,
                retry=self.retry,
                force=self.force,
                before=before,
            )
            with desk as opened:
                yield replace(opened, agent=in_turn(opened.agent, turn))
                if opened.run.outcome is None and was_cancelled(context.instance, run.run_id):
                    opened.run.finish(Outcome.CANCELLED, RunCancelled.code)
        except UpkeepError as error:
            raise Failure(error.message, metadata={"code": error.reason}, allow_retries=False) from error
