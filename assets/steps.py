"""One step of a run inside an asset: announced, and its errors told to Dagster in its own words.

What belongs here: the bridge between our errors and Dagster's failures. What does not: what an error means for the run
(`upkeep/runs.py` records that), and whether a head is tried again (the sensor decides).

Nothing is retried within a run, transient errors neither: the first error ends the run in our records, and the next
look of the sensor asks for another, with back-off, attempts counted, and across restarts.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import AssetExecutionContext, Failure, MetadataValue

from upkeep.errors import UpkeepError


@contextmanager
def step(context: AssetExecutionContext, words: str) -> Iterator[None]:
    """Say what begins; an UpkeepError inside becomes a `Failure` that Dagster does not retry."""
    context.log.info(words)
    try:
        yield
    except UpkeepError as error:
        raise failure(error) from error


def failure(error: UpkeepError) -> Failure:
    """An error of ours as Dagster shows it: message, stable code and next step."""
    return Failure(
        description=error.message,
        metadata={"code": error.reason, "next": MetadataValue.md(error.remedy or "See the run's log.")},
        allow_retries=False,
    )
