"""What runs by the clock.

What belongs here: schedules. What does not: jobs (`jobs.py`), and what waits for the outside world (`sensors/`).

A fork's `schedule` is read in its `time_zone`, else in that of the machine: people write "5 in the morning" and mean
their own. A time that a change of the clocks skips is made up for, and one that comes twice runs once (Dagster's rule).
"""

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256

from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
)

from orchestration.jobs import FORGE_INVENTORY, FORK_REBASE, housekeeping
from resources.forks import subject_of
from resources.runs import SUBJECT_TAG
from upkeep.config import Settings
from upkeep.cron import machine_zone
from upkeep.settings.forks import Fork
from upkeep.sync import stocktaking

UTC = "UTC"


def default_schedules(settings: Settings) -> list[ScheduleDefinition]:
    names = schedule_names(settings.forks)
    rebases = [
        _rebase(name, names[name], fork, fork.schedule)
        for name, fork in settings.forks.items()
        if fork.schedule is not None
    ]
    inventories = [daily_inventory] if stocktaking.has_listed_forges(settings) else []
    return [nightly_housekeeping, *inventories, *rebases]


nightly_housekeeping = ScheduleDefinition(
    name="nightly_housekeeping",
    job=housekeeping,
    cron_schedule="17 3 * * *",
    execution_timezone=UTC,
    default_status=DefaultScheduleStatus.RUNNING,
)


daily_inventory = ScheduleDefinition(
    name="daily_inventory",
    job_name=FORGE_INVENTORY,
    cron_schedule="23 4 * * *",
    execution_timezone=UTC,
    default_status=DefaultScheduleStatus.RUNNING,
    description="Compares the forges' repositories with the managed ones.",
)


def _rebase(name: str, schedule: str, fork: Fork, line: str) -> ScheduleDefinition:
    def ask(context: ScheduleEvaluationContext) -> RunRequest:
        return RunRequest(partition_key=name, tags={SUBJECT_TAG: subject_of(name)})

    return ScheduleDefinition(
        name=schedule,
        job_name=FORK_REBASE,
        cron_schedule=line,
        execution_timezone=fork.time_zone or machine_zone(),
        execution_fn=ask,
        default_status=DefaultScheduleStatus.RUNNING,
        description=f"Rebases the fork {name} on its upstream.",
    )


def schedule_names(forks: Iterable[str]) -> dict[str, str]:
    """Schedules by fork. Dagster takes letters, digits and `_`: where two forks would share a name for that, each gets
    a mark of its own."""
    plain = {fork: f"rebase_{re.sub(r'[^A-Za-z0-9]', '_', fork)}" for fork in forks}
    shared = Counter(plain.values())
    return {
        fork: name if shared[name] == 1 else f"{name}_{sha256(fork.encode()).hexdigest()[:6]}"
        for fork, name in plain.items()
    }
