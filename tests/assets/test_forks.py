"""The graph of the fork system, executed in process on real repositories and a real database."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    DagsterInstance,
    ExecuteInProcessResult,
)

from assets import forks
from orchestration.build import build_defs
from orchestration.jobs import FORK_REBASE
from resources.forks import ForkDesks, ask_nobody
from tests.support.rebases import World, theirs
from tests.support.tools import tool
from upkeep.config import Settings
from upkeep.database.locks import hold, holder_of
from upkeep.database.server import Database, connect
from upkeep.forks.desk import Desk
from upkeep.forks.records import Verification
from upkeep.metrics import runs

CONFLICT = {"a.txt": theirs(3)}
CLEAN = {"a.txt": theirs(15)}


@dataclass(frozen=True)
class Executed:
    result: ExecuteInProcessResult
    desk: Desk | None

    def metadata(self, key: AssetKey) -> Mapping[str, Any]:
        for event in self.result.get_asset_materialization_events():
            if event.asset_key == key:
                return {name: value.value for name, value in event.materialization.metadata.items()}
        raise AssertionError(f"{key} was not materialized")

    def version(self, key: AssetKey) -> str | None:
        for event in self.result.get_asset_materialization_events():
            if event.asset_key == key:
                return (event.materialization.tags or {}).get("dagster/data_version")
        return None

    @property
    def made(self) -> list[str]:
        keys = [event.asset_key for event in self.result.get_asset_materialization_events()]
        return [key.path[-1] for key in keys if key is not None]

    @property
    def checks(self) -> dict[str, AssetCheckEvaluation]:
        return {check.check_name: check for check in self.result.get_asset_check_evaluations()}

    @property
    def failure(self) -> Any:
        (failed,) = self.result.filter_events(lambda event: event.is_step_failure)
        return failed.step_failure_data.user_failure_data


@dataclass
class Fleet:
    """A world whose fork is run by Dagster."""

    world: World
    database: Database
    settings: dict[str, Any]
    agents: dict[str, Any] = field(default_factory=dict)

    def execute(self, selection: Sequence[AssetKey] | None = None, **config: Any) -> Executed:
        fork = {"path": str(self.world.work.path), "trunk": "trunk", "forge": "here", "repo": "o/fork"}
        values = {**fork, "delta_pull_request": False, **self.settings}
        settings = Settings.model_validate(
            {
                "home": self.world.home,
                "database_url": self.database.url,
                "forks": {"fork": values},
                "agents": self.agents,
            }
        )
        desks: list[Desk] = []
        resource = ForkDesks(settings=settings, hear=desks.append, **{"ask": ask_nobody, "restore": None, **config})
        definitions = build_defs(settings=settings, resources={"fork_desks": resource})
        with DagsterInstance.ephemeral() as instance:
            result = definitions.resolve_job_def(FORK_REBASE).execute_in_process(
                instance=instance,
                partition_key="fork",
                asset_selection=selection,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        return Executed(result, desks[0] if desks else None)

    def row(self, run_id: str) -> runs.Run:
        with self.database.session() as session:
            found = runs.one(session, run_id)
        assert found is not None
        return found


@pytest.fixture
def fleet(world: World, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    with connect(world.home, database_url) as database:
        yield Fleet(world, database, {})


def test_the_delta_and_what_an_agent_made_of_a_conflict_are_assets(fleet: Fleet, tmp_path: Path) -> None:
    tool("bwrap")
    script = tmp_path / "agent.sh"
    script.write_text("echo no")
    program = {"engine": "command", "bin": "/bin/sh", "arguments": [str(script)], "files": [str(script)]}
    fleet.agents["writer"] = {**program, "model": "gpt-5.2", "base_url": "http://127.0.0.1:9/v1"}
    fleet.settings |= {"delta_pull_request": True, "on_conflict": "agent", "agent": "writer"}
    fleet.world.commit_upstream({"a.txt": theirs(3)})

    done = fleet.execute()

    assert done.made == ["snapshot", "verification", "proposed_resolution", "fork_delta", "report"]
    assert done.metadata(forks.PROPOSED_RESOLUTION)["state"] == "failed"
    shown = done.metadata(forks.FORK_DELTA)
    assert {name: shown[name] for name in ("patches", "lines_added", "lines_deleted", "action")} == {
        "patches": 2,
        "lines_added": 2,
        "lines_deleted": 2,
        "action": "created",
    }
    assert shown["pull_request"].endswith("#1")


def test_a_clean_day_makes_every_asset_and_each_shows_what_can_be_plotted(fleet: Fleet) -> None:
    tool("bwrap")
    fleet.settings["gates"] = ["grep -q ours a.txt"]
    head = fleet.world.commit_upstream(CLEAN)

    done = fleet.execute()

    assert done.result.success
    assert done.made == ["snapshot", "verification", "gate_results", "rebased_trunk", "stack", "report"]
    assert {name: check.passed for name, check in done.checks.items()} == dict.fromkeys(
        ["patches_go", "no_person_is_needed", "gates_pass", "branches_are_restacked", "trunk_is_current"], True
    )
    tip = fleet.world.fork.head("trunk")
    assert done.version(forks.REBASED_TRUNK) == done.version(forks.VERIFICATION) == tip
    assert done.metadata(forks.SNAPSHOT)["upstream"] == head
    verified = done.metadata(forks.VERIFICATION)
    assert {name: verified[name] for name in ("patches", "conflicts", "commits_behind", "delta_files")} == {
        "patches": 2,
        "conflicts": 0,
        "commits_behind": 1,
        "delta_files": 2,
    }
    assert verified["delta_lines"] == 4
    assert verified["seconds"] >= 0
    assert done.metadata(forks.GATE_RESULTS)["gates"] == 1
    assert done.metadata(forks.REBASED_TRUNK)["local_trunk"] == "moved"
    report = done.metadata(forks.REPORT)
    assert (report["outcome"], report["exit_code"], report["commits_behind"]) == ("rebased", 0, 0)
    assert report["summary"].startswith("# fork: Rebased and pushed")
    row = fleet.row(done.result.run_id)
    assert (row.system, row.subject, row.outcome, row.trigger) == ("forks", "fork:fork", "done", "ui")
    assert set(row.seconds) == {"lock", "snapshot", "verify", "gates", "apply", "stack"}
    assert row.head == head
    assert row.counts == {"patches": 2, "dropped": 0, "conflicts": 0, "behind": 1}


def test_a_day_without_news_is_a_success_that_moves_nothing(fleet: Fleet) -> None:
    done = fleet.execute()

    assert done.result.success
    assert done.metadata(forks.REPORT)["outcome"] == "no_change"
    assert done.metadata(forks.REBASED_TRUNK)["refs_pushed"] == 0
    assert fleet.row(done.result.run_id).outcome == "nothing_new"


def test_a_conflict_fails_its_check_and_the_report_is_made_all_the_same(fleet: Fleet) -> None:
    fleet.world.commit_upstream(CONFLICT, "Break it (#5)")
    before = fleet.world.everything()

    done = fleet.execute()

    assert not done.result.success
    assert done.made == ["snapshot", "verification", "report"]
    assert not done.checks["patches_go"].passed
    assert done.checks["patches_go"].description == "1 of 2 patches conflict, the first is 1: First patch"
    (row,) = done.metadata(forks.VERIFICATION)["conflicting_patches"].records
    assert (row.data["patch"], row.data["files"]) == (1, "a.txt")
    assert "Break it" in row.data["broken_by"]
    assert done.metadata(forks.REPORT)["exit_code"] == 10
    assert done.failure.metadata["exit_code"].value == 10
    assert "Mend patch 1" in done.failure.metadata["next"].value
    assert fleet.world.everything() == before
    assert fleet.row(done.result.run_id).reason == "needs_human"
    assert holder_of(fleet.database, "fork:fork") is None


def test_an_escalated_path_fails_a_check_of_its_own(fleet: Fleet) -> None:
    fleet.settings["escalate"] = ["a.*"]
    fleet.world.commit_upstream(CLEAN)

    done = fleet.execute()

    assert done.made == ["snapshot", "verification", "report"]
    assert (done.checks["patches_go"].passed, done.checks["no_person_is_needed"].passed) == (True, False)
    assert done.metadata(forks.REPORT)["outcome"] == "needs_human"


def test_a_gate_that_fails_is_shown_and_nothing_is_pushed(fleet: Fleet) -> None:
    tool("bwrap")
    fleet.settings["gates"] = ["true", "exit 3"]
    fleet.world.commit_upstream(CLEAN)
    before = fleet.world.everything()

    done = fleet.execute()

    assert done.made == ["snapshot", "verification", "gate_results", "report"]
    assert not done.checks["gates_pass"].passed
    assert "`exit 3`: it ended with status 3" in (done.checks["gates_pass"].description or "")
    assert [row.data["result"] for row in done.metadata(forks.GATE_RESULTS)["results"].records] == ["passed", "failed"]
    assert done.failure.metadata["code"].value == "forks.gate_failed"
    assert done.metadata(forks.REPORT)["exit_code"] == 14
    assert fleet.world.everything() == before


def test_a_branch_that_conflicts_fails_its_check_when_trunk_is_done(fleet: Fleet) -> None:
    world = fleet.world
    fleet.settings |= {"stack": "plain", "stack_branches": ["feat/*"]}
    world.work.switch("feat/a", "trunk")
    world.work.commit({"a.txt": theirs(15, "mine")}, "Mine")
    world.work.git("switch", "-q", "trunk")
    world.commit_upstream(CLEAN)

    done = fleet.execute()

    assert done.made == ["snapshot", "verification", "gate_results", "rebased_trunk", "stack", "report"]
    assert done.checks["branches_are_restacked"].description == "not restacked: feat/a"
    stack = done.metadata(forks.STACK)
    assert (stack["kind"], stack["branches"], stack["branches_conflict"]) == ("plain", 1, 1)
    assert stack["results"].records[0].data["note"] == "patch 1: Mine"
    assert done.metadata(forks.REPORT)["exit_code"] == 13
    assert done.failure.description == "Trunk is done; restacking its branches failed"
    assert world.fork.head("trunk") == world.work.head("trunk")


def test_a_check_that_a_failed_run_did_not_come_to_says_so(fleet: Fleet) -> None:
    fleet.world.commit_upstream(CONFLICT)

    checks = fleet.execute().checks

    for name in ("gates_pass", "branches_are_restacked"):
        assert (checks[name].passed, checks[name].severity) == (False, AssetCheckSeverity.WARN)
        assert (checks[name].description or "").startswith("not reached: Patches conflict")


def test_what_is_made_only_on_some_days_is_planned_by_no_run(fleet: Fleet) -> None:
    graph = build_defs(settings=Settings.model_validate({"home": fleet.world.home})).resolve_asset_graph()

    assert all(graph.get(key).is_executable for key in forks.ASSETS)
    assert not any(graph.get(key).is_executable for key in forks.BESIDE)
    assert graph.get(forks.REPORT).parent_keys >= set(forks.BESIDE)


def test_a_step_that_fails_ends_in_a_report_too(fleet: Fleet) -> None:
    fleet.settings["upstream_branch"] = "gone"

    done = fleet.execute()

    assert done.made == ["report"]
    assert done.metadata(forks.REPORT)["stopped_at"] == "snapshot"
    assert done.failure.metadata["code"].value == "git.branch_gone"


def test_only_verifying_is_a_success_that_stops_there(fleet: Fleet) -> None:
    fleet.world.commit_upstream(CLEAN)
    before = fleet.world.everything()

    done = fleet.execute(verify_only=True)

    assert done.result.success
    assert done.made == ["snapshot", "verification", "report"]
    assert fleet.world.everything() == before


def test_a_run_that_is_not_asked_for_trunk_only_verifies(fleet: Fleet) -> None:
    fleet.world.commit_upstream(CLEAN)
    before = fleet.world.everything()

    done = fleet.execute([forks.SNAPSHOT, forks.VERIFICATION, forks.GATE_RESULTS])

    assert done.result.success
    assert done.made == ["snapshot", "verification"]
    assert fleet.world.everything() == before


def test_a_run_that_is_asked_for_trunk_alone_verifies_and_gates_it_all_the_same(fleet: Fleet) -> None:
    tool("bwrap")
    fleet.settings["gates"] = ["exit 3"]
    fleet.world.commit_upstream(CLEAN)
    before = fleet.world.everything()

    done = fleet.execute([forks.REBASED_TRUNK])

    assert not done.result.success
    assert done.made == []
    assert fleet.world.everything() == before


def test_gates_that_are_left_out_are_shown_as_skipped(fleet: Fleet) -> None:
    fleet.settings["gates"] = ["exit 3"]
    fleet.world.commit_upstream(CLEAN)

    done = fleet.execute(skip_gates=True)

    assert done.result.success
    assert done.metadata(forks.GATE_RESULTS)["gates_skipped"] == 1
    assert done.metadata(forks.REPORT)["overrides"] == "--skip-gates"


def test_a_restore_moves_trunk_and_verifies_nothing(fleet: Fleet) -> None:
    old = fleet.world.fork.head("trunk")
    fleet.world.commit_upstream(CLEAN)
    rebased = fleet.execute()

    done = fleet.execute(restore=rebased.result.run_id)

    assert done.result.success
    assert done.made == ["snapshot", "rebased_trunk", "report"]
    assert done.version(forks.REBASED_TRUNK) == fleet.world.fork.head("trunk") == old


def test_a_fork_that_is_locked_is_reported_with_its_holder(fleet: Fleet) -> None:
    before = fleet.world.everything()
    with hold(fleet.database, "fork:fork", system="forks", run_id="other"):
        done = fleet.execute()

    assert done.made == ["report"]
    assert done.metadata(forks.REPORT)["exit_code"] == 15
    assert "run other" in done.failure.description
    assert fleet.world.everything() == before
    assert fleet.row(done.result.run_id).outcome == "locked"


def test_a_trunk_that_stays_behind_for_too_long_fails_its_check(fleet: Fleet) -> None:
    # The clock of these commits stands in 2026-01; a person who reads this has a later one.
    fleet.world.commit_upstream(CONFLICT)

    done = fleet.execute()

    check = done.checks["trunk_is_current"]
    assert check.asset_key == forks.REBASED_TRUNK
    assert not check.passed
    assert check.metadata["commits_behind"].value == 1
    assert float(check.metadata["days_behind"].value or 0) > 3  # type: ignore[arg-type]
    fleet.settings["max_days_behind"] = 1_000_000
    assert fleet.execute().checks["trunk_is_current"].passed


def test_a_bug_keeps_its_trace_and_leaves_a_report(fleet: Fleet) -> None:
    fleet.settings["gates"] = ["true"]
    fleet.world.commit_upstream(CLEAN)

    def stumble(gates: object) -> None:
        raise ZeroDivisionError("a bug")

    done = fleet.execute(ask=stumble)

    assert done.made == ["snapshot", "verification", "report"]
    (failed,) = done.result.filter_events(lambda event: event.is_step_failure)
    assert "ZeroDivisionError: a bug" in failed.step_failure_data.error_display_string
    assert done.metadata(forks.REPORT)["exit_code"] == 1


def test_records_are_kept_for_whoever_asks_later(fleet: Fleet) -> None:
    fleet.world.commit_upstream(CLEAN)

    done = fleet.execute()

    verification = done.result.asset_value(forks.VERIFICATION)
    assert isinstance(verification, Verification)
    assert verification.tip == fleet.world.fork.head("trunk")


def test_a_path_that_is_no_utf8_is_kept_and_shown(fleet: Fleet) -> None:
    odd = os.fsdecode(b"caf\xe9.txt")
    fleet.world.commit_fork({odd: "ours\n"}, "Odd")
    fleet.world.commit_upstream({odd: "theirs\n"})

    done = fleet.execute()

    (row,) = done.metadata(forks.VERIFICATION)["conflicting_patches"].records
    assert row.data["files"] == "caf\\xe9.txt"
