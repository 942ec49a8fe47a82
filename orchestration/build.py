"""Everything that Dagster loads, put together from settings.

What belongs here: `build_defs` alone. Tests, the command line and deployments call it with other resources; nothing is
patched. What does not: any definition (assets/, sensors/, `jobs.py`, `schedules.py`).
"""

from collections.abc import Mapping
from typing import Any

from dagster import Definitions, LoggerDefinition, in_process_executor

from assets.content import content_assets
from assets.early_warning import early_warning_assets
from assets.forks import fork_assets
from assets.inventory import inventory_assets
from assets.partitions import fork_partitions, watch_partitions
from assets.sync import sync_assets
from orchestration.io import RecordIOManager
from orchestration.jobs import default_jobs
from orchestration.schedules import default_schedules
from resources.content import ContentDesk, open_content_desk
from resources.forks import ForkDesks, ask_nobody, tell_nobody
from sensors.content import content_sensor
from sensors.events import events_sensor
from sensors.failures import failure_sensors
from sensors.forks import early_warning_sensor
from sensors.sync import sync_sensor
from sensors.sync_events import translate
from upkeep.config import Settings


def build_defs(
    *,
    settings: Settings,
    resources: Mapping[str, Any] | None = None,
    loggers: Mapping[str, LoggerDefinition] | None = None,
) -> Definitions:
    """The definitions of one configuration. `resources` replace those of the same name: `content_desk` (the desk of an
    update), `fork_desks` (makes that of a rebase), `io_manager` (where records go), `settings`. `loggers` None:
    Dagster's own. Works without any watch or fork."""
    return Definitions(
        assets=[
            *content_assets(watch_partitions(settings)),
            *fork_assets(fork_partitions(settings)),
            *early_warning_assets(fork_partitions(settings)),
            *sync_assets(),
            *inventory_assets(),
        ],
        jobs=default_jobs(settings),
        schedules=default_schedules(settings),
        sensors=[
            content_sensor(settings),
            early_warning_sensor(settings),
            sync_sensor(settings),
            events_sensor(settings, {"sync": translate}),
            *failure_sensors(settings),
        ],
        resources={**default_resources(settings), **(resources or {})},
        loggers=loggers,
        # A run is one worker that takes its steps one after another; the multiprocess executor starts an interpreter
        # for each and takes ten times as long.
        executor=in_process_executor,
    )


def default_resources(settings: Settings) -> dict[str, Any]:
    return {
        "settings": settings,
        "content_desk": ContentDesk(settings=settings, open=open_content_desk),
        "fork_desks": ForkDesks(settings=settings, ask=ask_nobody, hear=tell_nobody),
        "io_manager": RecordIOManager(settings=settings),
    }
