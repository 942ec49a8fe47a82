"""The graph of the content system, executed in process on real repositories and a real database."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    ExecuteInProcessResult,
)

from assets import content
from orchestration.build import build_defs
from resources.content import ContentDesk, open_content_desk
from sensors.content import JOB
from tests.support.updates import CART, WATCH, Pair, cart, make_pair
from upkeep.agents.base import AgentResult, AgentTask, Usage
from upkeep.content.desk import Desk
from upkeep.content.records import PublishedUpdate
from upkeep.content.summary import UpdateSummary
from upkeep.database import events, state
from upkeep.database.locks import holder_of
from upkeep.database.server import Database
from upkeep.errors import AgentTimedOut
from upkeep.guardrails.review import CHECKS

CONTENT = "content/analytics"


@dataclass(frozen=True)
class Scripted:
    """An agent that does what it is told, without a model."""

    work: Callable[[Path], object]
    name: str = "scripted"
    engine: str = "scripted"
    model: str = ""
    writes_with_model: bool = False
    usage: Usage = field(default_factory=lambda: Usage(engine="scripted", output=12))

    def run(self, task: AgentTask) -> AgentResult:
        self.work(task.work / CONTENT)
        answer = UpdateSummary(summary="did as told").model_dump(mode="json")
        return AgentResult(outcome="answered", answer=answer, usage=self.usage, seconds=0.5)


@dataclass(frozen=True)
class Executed:
    result: ExecuteInProcessResult
    desk: Desk

    def metadata(self, key: AssetKey) -> Mapping[str, Any]:
        for event in self.result.get_asset_materialization_events():
            if event.asset_key == key:
                return {name: value.value for name, value in event.materialization.metadata.items()}
        raise AssertionError(f"{key} was not materialized")

    @property
    def made(self) -> list[str]:
        keys = [event.asset_key for event in self.result.get_asset_materialization_events()]
        return [key.path[-1] for key in keys if key is not None]

    @property
    def checks(self) -> dict[str, AssetCheckEvaluation]:
        return {check.check_name: check for check in self.result.get_asset_check_evaluations()}


def execute(pair: Pair, agent: Scripted | None = None, **config: bool) -> Executed:
    desks: list[Desk] = []

    @contextmanager
    def opened(*arguments: Any, **options: Any) -> Iterator[Desk]:
        with open_content_desk(*arguments, **options) as desk:
            desks.append(desk if agent is None else replace(desk, agent=agent))
            yield desks[0]

    settings = pair.settings
    definitions = build_defs(
        settings=settings, resources={"content_desk": ContentDesk(settings=settings, open=opened, **config)}
    )
    with DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def(JOB).execute_in_process(
            instance=instance,
            partition_key=WATCH,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    return Executed(result, desks[0])


def merge_all(pair: Pair) -> None:
    """What a person does with the pull requests: the base branch moves on to them."""
    (branch,) = [name for name in pair.branches() if name != "main"]
    pair.dashboard.git("update-ref", "refs/heads/main", f"refs/heads/{branch}")


@pytest.fixture
def ours(pair: Pair, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    return pair


def test_a_new_head_becomes_a_pull_request_and_each_step_shows_what_it_did(ours: Pair) -> None:
    execute(ours)
    merge_all(ours)
    head = ours.push({CART: cart("cart opened", "cart closed")}, "Add the cart")

    done = execute(ours)

    assert done.result.success
    assert done.made == ["upstream_head", "change_set", "analytics_content", "validation_report", "pull_request"]
    assert {name: check.passed for name, check in done.checks.items()} == {
        "guardrails": True,
        "usage": True,
        "content_is_valid": True,
    }
    assert ours.branches()[f"autoupdate/analytics/{head}"]
    written = done.metadata(content.ANALYTICS_CONTENT)
    assert (written["events_added"], written["tokens"], written["cost_usd"]) == (2, 0, 0.0)
    assert written["seconds"] >= 0
    assert written["files_changed"] >= 1
    assert done.metadata(content.CHANGE_SET)["commits"] == 1
    assert done.metadata(content.VALIDATION_REPORT)["errors"] == 0
    proposed = done.metadata(content.PULL_REQUEST)
    assert proposed["url"]
    assert "cart opened" in proposed["body"]


def test_the_data_version_of_every_asset_follows_the_commit(ours: Pair) -> None:
    done = execute(ours)

    head = ours.upstream.head("main")
    versions = {
        event.asset_key: (event.materialization.tags or {}).get("dagster/data_version")
        for event in done.result.get_asset_materialization_events()
    }
    assert versions[content.UPSTREAM_HEAD] == head
    published = done.result.asset_value(content.PULL_REQUEST)
    assert isinstance(published, PublishedUpdate)
    assert versions[content.PULL_REQUEST] == published.commit


def test_where_nothing_is_new_the_rest_is_skipped_and_the_page_says_why(ours: Pair) -> None:
    execute(ours)

    again = execute(ours)

    assert again.result.success
    assert again.made == ["upstream_head", "change_set"]
    observed = again.result.filter_events(lambda event: event.event_type == DagsterEventType.ASSET_OBSERVATION)
    told = [event.asset_observation_data.asset_observation for event in observed]
    assert [(note.asset_key, note.partition) for note in told] == [(content.ANALYTICS_CONTENT, WATCH)]
    assert told[0].description == again.metadata(content.CHANGE_SET)["reason"]
    assert again.desk.run.outcome == events.Outcome.NOTHING_NEW
    assert len(ours.branches()) == 2


def test_invalid_content_fails_its_check_and_nothing_is_published(ours: Pair) -> None:
    done = execute(ours, Scripted(lambda folder: (folder / "flows.json").write_text("{not json")))

    assert not done.result.success
    assert "pull_request" not in done.made
    check = done.checks["content_is_valid"]
    assert not check.passed
    rows = [dict(row.data) for row in check.metadata["findings"].value.records]  # type: ignore[union-attr]
    assert "invalid_json" in [row["code"] for row in rows]
    assert done.desk.run.outcome == events.Outcome.VALIDATION_FAILED
    assert list(ours.branches()) == ["main"]


def test_content_over_a_limit_fails_the_guardrails_and_is_not_even_reported(
    tmp_path: Path, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, without_mermaid: None
) -> None:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    with make_pair(tmp_path, database, more="    guardrails: {max_lines: 1}\n") as pair:
        execute(pair)
        merge_all(pair)
        pair.push({CART: cart("cart opened", "cart closed")})

        done = execute(pair)

        assert not done.result.success
        check = done.checks["guardrails"]
        assert not check.passed
        (row,) = (dict(row.data) for row in check.metadata["findings"].value.records)  # type: ignore[union-attr]
        assert row["rule"] == "limits.lines"
        assert {row.data["check"] for row in check.metadata["checks"].value.records} == set(CHECKS)  # type: ignore[union-attr]
        assert "validation_report" not in done.made
        assert "pull_request" not in done.made
        assert done.desk.run.outcome == events.Outcome.GUARDRAIL_REFUSED
        assert len(pair.branches()) == 2


def test_requests_that_the_agent_does_not_know_of_are_a_warning_and_stop_nothing(ours: Pair) -> None:
    execute(ours)
    merge_all(ours)
    ours.push({CART: cart("cart opened", "cart closed")}, "Add the cart")

    def write(folder: Path) -> None:
        flows = folder / "search" / "events.json"
        flows.write_text(flows.read_text().replace("Search", "Finding"))

    done = execute(ours, Scripted(write, usage=Usage(engine="scripted", output=100, basis="gateway", gap=0.25)))

    check = done.checks["usage"]
    assert (check.passed, check.severity) == (False, AssetCheckSeverity.WARN)
    assert "25%" in str(check.description)
    assert check.metadata["usage_gap"].value == 0.25
    assert "pull_request" in done.made
    assert "differs by 25%" in done.metadata(content.PULL_REQUEST)["body"]


def test_an_author_who_changes_nothing_leaves_no_pull_request_but_a_reason(ours: Pair) -> None:
    done = execute(ours, Scripted(lambda folder: None))

    assert done.result.success
    assert done.made == ["upstream_head", "change_set", "analytics_content", "validation_report"]
    assert done.desk.run.outcome == events.Outcome.NOTHING_NEW
    assert list(ours.branches()) == ["main"]


def test_an_agent_that_fails_leaves_lock_and_repositories_free(ours: Pair) -> None:
    def fail(folder: Path) -> None:
        raise AgentTimedOut("it took too long", remedy="Give it more time.")

    done = execute(ours, Scripted(fail))

    assert not done.result.success
    assert done.desk.run.outcome == events.Outcome.AGENT_FAILED
    assert holder_of(ours.database, f"watch:{WATCH}") is None
    assert list(ours.branches()) == ["main"]
    failed = done.result.filter_events(lambda event: event.is_step_failure)
    assert failed[0].step_failure_data.user_failure_data is not None
    assert failed[0].step_failure_data.user_failure_data.metadata["code"].value == "agent.timed_out"


def test_a_dry_run_publishes_nothing_and_records_no_state(ours: Pair) -> None:
    done = execute(ours, dry_run=True)

    assert done.result.success
    assert done.metadata(content.PULL_REQUEST)["outcome"] == "dry_run"
    assert list(ours.branches()) == ["main"]
    with ours.database.session() as session:
        assert state.read_watch(session, WATCH).last_processed_commit is None


def test_code_versions_follow_what_decides_about_the_content(ours: Pair) -> None:
    graph = build_defs(settings=ours.settings).resolve_asset_graph()

    assert len(graph.get(content.ANALYTICS_CONTENT).code_version or "") == 12
    assert graph.get(content.ANALYTICS_CONTENT).code_version != graph.get(content.VALIDATION_REPORT).code_version


def test_a_stranger_finds_a_description_an_owner_and_a_group_on_every_asset(ours: Pair) -> None:
    specs = build_defs(settings=ours.settings).resolve_all_asset_specs()

    for spec in [spec for spec in specs if spec.key.path[0] == content.GROUP]:
        assert spec.description, spec.key
        assert len(spec.description) > 60, spec.key
        assert spec.owners == ["team:upkeep"]
        assert spec.group_name == spec.key.path[0]
        assert spec.kinds
