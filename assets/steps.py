"""One step of a run inside an asset: announced, timed, and its errors told to Dagster in its own words.

What belongs here: the bridge between `upkeep.runs.Run.step` and Dagster's retries and failures. What does not: what an
error means for the run (`upkeep/runs.py` records that), and whether a head is tried again (the sensor decides).
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster import AssetExecutionContext, Failure, MetadataValue, RetryRequested

from assets.metadata import of_usage
from upkeep.agents.base import Usage
from upkeep.errors import AgentError, ForgeUnavailable, RemoteUnavailable, UpkeepError
from upkeep.runs import Run

RETRIES = 2
FIRST_DELAY_SECONDS = 1.0
DELAY_FACTOR = 3.0
JITTER = 0.25

_WORTH_REPEATING = (RemoteUnavailable, ForgeUnavailable)
"""What a second call within the same run can cure: the network. A rate limit takes minutes and belongs to the next
attempt; a lost lock or database connection is lost for the whole run."""


@contextmanager
def step(context: AssetExecutionContext, run: Run, name: str, words: str) -> Iterator[None]:
    """Announce the step, and record its seconds. A network error is tried again in the same run, at most `RETRIES`
    times; any other UpkeepError ends the run and becomes a `Failure` that Dagster does not retry."""
    context.log.info(words)
    again: UpkeepError | None = None
    try:
        with run.step(name):
            try:
                yield
            except _WORTH_REPEATING as error:
                if context.retry_number >= RETRIES:
                    raise
                again = error  # raised below: an exception that leaves `run.step` ends the run
    except UpkeepError as error:
        raise failure(error) from error
    if again is not None:
        context.log.warning(f"{again.message}; trying again")
        raise RetryRequested(RETRIES, _delay(context.retry_number)) from again


def failure(error: UpkeepError) -> Failure:
    """An error of ours as Dagster shows it: message, stable code and next step; of an agent also what it cost and where
    its transcript lies."""
    metadata: dict[str, Any] = {"code": error.reason, "next": MetadataValue.md(error.remedy or "See the run's log.")}
    if isinstance(error, AgentError) and "usage" in error.details:
        metadata |= of_usage(Usage.model_validate(error.details["usage"]))
        metadata |= {"transcript": MetadataValue.path(error.details["transcript"])}
    return Failure(description=error.message, metadata=metadata, allow_retries=False)


def _delay(retry: int) -> float:
    return FIRST_DELAY_SECONDS * DELAY_FACTOR**retry * random.uniform(1 - JITTER, 1 + JITTER)
