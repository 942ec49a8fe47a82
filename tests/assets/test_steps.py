"""How errors of a step reach Dagster."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dagster import AssetExecutionContext, DagsterInstance, Failure, asset, build_asset_context, materialize

from assets.steps import RETRIES, failure, step
from upkeep.agents.base import Usage
from upkeep.database.events import Outcome
from upkeep.database.locks import hold
from upkeep.database.server import Database
from upkeep.errors import AgentTimedOut, PushRefused, RateLimited, RemoteUnavailable
from upkeep.runs import Run


@contextmanager
def a_run(database: Database) -> Iterator[Run]:
    with hold(database, "watch:app", run_id="one") as lock:
        yield Run(database, lock, system="content", subject="watch:app", run_id="one", recorded=False)


@pytest.mark.parametrize("failures", [1, RETRIES, RETRIES + 1])
def test_a_network_error_is_tried_again_in_the_same_run_and_not_for_ever(database: Database, failures: int) -> None:
    tries = iter(range(failures))

    with a_run(database) as run:

        @asset
        def head(context: AssetExecutionContext) -> None:
            with step(context, run, "observe", "looking"):
                for number in tries:
                    raise RemoteUnavailable(f"no route {number}")

        with DagsterInstance.ephemeral() as instance:
            result = materialize([head], instance=instance, raise_on_error=False)

        assert result.success == (failures <= RETRIES)
        assert run.outcome == (None if result.success else Outcome.FAILED)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PushRefused("lease"), Outcome.FAILED),
        (AgentTimedOut("too long"), Outcome.AGENT_FAILED),
        (RateLimited("wait an hour"), Outcome.FAILED),
    ],
)
def test_any_other_error_ends_the_run_and_is_not_retried(
    database: Database, error: PushRefused | AgentTimedOut | RateLimited, outcome: Outcome
) -> None:
    with a_run(database) as run:
        with pytest.raises(Failure) as failed, step(build_asset_context(), run, "publish", "publishing"):
            raise error

        assert failed.value.allow_retries is False
        assert failed.value.metadata["code"].value == error.reason
        assert (run.outcome, run.error) == (outcome, error)


def test_a_failure_says_what_to_do_next() -> None:
    shown = failure(PushRefused("the lease was refused", remedy="Run it again."))

    assert shown.description == "the lease was refused"
    assert shown.metadata["next"].value == "Run it again."


def test_a_failed_agent_shows_what_it_cost_and_where_its_transcript_lies() -> None:
    usage = Usage(engine="codex", requests=2, output=7, cost_priced_usd=0.25, basis="gateway").model_dump(mode="json")
    shown = failure(AgentTimedOut("too long", usage=usage, seconds=1.0, transcript="/logs/1-transcript.jsonl"))

    assert (shown.metadata["cost_usd"].value, shown.metadata["tokens"].value) == (0.25, 7)
    assert shown.metadata["transcript"].value == "/logs/1-transcript.jsonl"
