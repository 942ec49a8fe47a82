"""What the next rebase will meet, as an asset that most of the time no run makes.

What belongs here: how a forecast is shown, by a run that a person starts and by the sensor that looks every hour. What
does not: looking (`upkeep/forks/forecast.py`), and when (`sensors/forks.py`).

https://docs.dagster.io/guides/build/assets/external-assets
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetMaterialization,
    AssetsDefinition,
    DataVersion,
    MaterializeResult,
    ResourceParam,
    StaticPartitionsDefinition,
    asset,
)

from assets import fork_metadata as metadata
from assets.forks import (
    CHECK_CURRENT,
    FORK_REPOSITORY,
    GROUP,
    OWNERS,
    REBASED_TRUNK,
    UPSTREAM_REPOSITORY,
    currency,
)
from assets.partitions import partitioned_checks
from assets.steps import failure
from resources.database import open_database
from upkeep.config import Settings
from upkeep.errors import UpkeepError
from upkeep.forks import forecast
from upkeep.forks.records import Forecast

EARLY_WARNING = AssetKey([GROUP, "early_warning"])
CHECK_GOES: Final = "nothing_will_break"

RUN_DEADLINE_SECONDS = 600.0
"""A person who asks waits for the first fetch of a large upstream; a tick of the sensor cannot."""


def early_warning(
    context: AssetExecutionContext, settings: ResourceParam[Settings]
) -> Iterator[MaterializeResult[Forecast] | AssetCheckResult]:
    """What rebasing trunk would meet now, on upstream's branch and on the branches that will be merged there next: the
    patches that will break, before the night does. Looked at every hour; nothing moves and nothing is locked."""
    name = context.partition_key
    settings.fork(name)
    try:
        with open_database(settings) as database:
            found = forecast.look(settings, name, database, deadline=RUN_DEADLINE_SECONDS)
            forecast.note(database, found)
    except UpkeepError as error:
        raise failure(error) from error
    yield MaterializeResult(
        value=found, metadata=metadata.of_forecast(found), data_version=DataVersion(metadata.forecast_version(found))
    )
    yield AssetCheckResult(check_name=CHECK_GOES, **_goes(found))


def told(settings: Settings, found: Forecast) -> list[AssetMaterialization | AssetCheckEvaluation]:
    """The same without a run, and whether trunk is current, which the days that pass decide as well."""
    passed, words, values = currency(found.behind, settings.fork(found.fork).max_days_behind, datetime.now(UTC))
    return [
        AssetMaterialization(
            EARLY_WARNING,
            partition=found.fork,
            metadata=metadata.of_forecast(found),
            tags={"dagster/data_version": metadata.forecast_version(found)},
        ),
        AssetCheckEvaluation(asset_key=EARLY_WARNING, check_name=CHECK_GOES, partition=found.fork, **_goes(found)),
        AssetCheckEvaluation(
            asset_key=REBASED_TRUNK,
            check_name=CHECK_CURRENT,
            partition=found.fork,
            passed=passed,
            description=words,
            metadata=values,
        ),
    ]


def _goes(found: Forecast) -> Mapping[str, Any]:
    return {
        "passed": not found.breaks,
        # It is not broken yet.
        "severity": AssetCheckSeverity.WARN,
        "description": "; ".join(f"{each.branch}: {each.words}" for each in found.breaks or found.outlooks),
        "metadata": {"patches": metadata.breaking(found)},
    }


def early_warning_assets(forks: StaticPartitionsDefinition) -> list[AssetsDefinition]:
    with partitioned_checks():
        check = AssetCheckSpec(
            CHECK_GOES,
            asset=EARLY_WARNING,
            description="Whether every patch would go onto upstream's branch and onto those that come next.",
            partitions_def=forks,
        )
    decorated = asset(
        key=EARLY_WARNING,
        deps=[UPSTREAM_REPOSITORY, FORK_REPOSITORY],
        check_specs=[check],
        partitions_def=forks,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"git"},
    )
    return [decorated(early_warning)]
