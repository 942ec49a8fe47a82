"""Dagster's folder, and what is loaded from where."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dagster import Definitions

from orchestration.build import build_defs
from orchestration.home import ROOT, WORKSPACE, dagster_home
from orchestration.jobs import BESIDE_THE_AGENT_SECONDS, MAX_RUNTIME_TAG, longest_run_seconds
from sensors.content import JOB
from upkeep.config import Settings
from upkeep.errors import ConfigError

WATCH = {"upstream": {"url": "file:///x"}, "target": {"url": "file:///y", "forge": "here", "repo": "y"}}


def test_the_folder_holds_a_link_to_the_one_instance_file(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")

    folder = dagster_home(settings)

    assert folder == tmp_path / "home" / "dagster"
    assert (folder / "dagster.yaml").readlink() == ROOT / "dagster.yaml"
    assert dagster_home(settings) == folder


def test_a_link_to_an_older_checkout_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "home" / "dagster" / "dagster.yaml"
    link.parent.mkdir(parents=True)
    link.symlink_to("/gone/dagster.yaml")

    dagster_home(Settings(home=tmp_path / "home"))

    assert link.readlink() == ROOT / "dagster.yaml"


def test_an_instance_file_of_a_person_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "home" / "dagster" / "dagster.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("telemetry: {enabled: false}\n")

    dagster_home(Settings(home=tmp_path / "home"))

    assert file.read_text() == "telemetry: {enabled: false}\n"


def test_a_home_that_cannot_be_made_is_a_precise_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")

    with pytest.raises(ConfigError, match="cannot be made") as refused:
        dagster_home(Settings(home=tmp_path / "home"))

    assert refused.value.reason == "config.home"


def test_definitions_load_without_any_watch() -> None:
    definitions = build_defs(settings=Settings())

    Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()
    assert JOB in repository.job_names
    assert sorted(sensor.name for sensor in repository.sensor_defs) == [
        "close_runs_canceled",
        "close_runs_failure",
        "content_heads",
        "events",
        "fork_early_warning",
        "repository_drift",
    ]


def test_every_watch_is_a_partition_of_the_job() -> None:
    definitions = build_defs(settings=Settings.model_validate({"watches": {"b": WATCH, "a": WATCH}}))

    partitions = definitions.resolve_job_def(JOB).partitions_def
    assert partitions is not None
    assert list(partitions.get_partition_keys()) == ["a", "b"]


@pytest.mark.parametrize("engine", ["codex", "claude", "opencode", "command"])
def test_a_run_may_last_as_long_as_its_agent_and_two_corrections(engine: str) -> None:
    more = {"bin": "x", "model": "m"} if engine == "command" else {}
    agent = {"engine": engine, "timeout_minutes": 20, **more}
    settings = Settings.model_validate({"agents": {"it": agent}, "watches": {"a": {**WATCH, "agent": "it"}}})

    assert longest_run_seconds(settings) == 3 * 20 * 60 + BESIDE_THE_AGENT_SECONDS
    assert longest_run_seconds(Settings()) == BESIDE_THE_AGENT_SECONDS
    job = build_defs(settings=settings).resolve_job_def(JOB)
    assert job.tags[MAX_RUNTIME_TAG] == str(longest_run_seconds(settings))


def load_in(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Load what Dagster would load, in a process of its own, as it does."""
    return subprocess.run(
        [sys.executable, "-P", "-c", "from orchestration.definitions import defs; defs().get_repository_def()"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_they_load_in_a_folder_without_configuration(tmp_path: Path) -> None:
    loaded = load_in(tmp_path)

    assert loaded.returncode == 0, loaded.stderr


def test_a_broken_configuration_shows_its_line_and_no_trace_of_pydantic(tmp_path: Path) -> None:
    (tmp_path / "upkeep.yaml").write_text("watches:\n  app:\n    upstraem: {url: x}\n")

    loaded = load_in(tmp_path)

    assert loaded.returncode != 0
    assert "upkeep.yaml:3: watches.app.upstraem: unknown key; did you mean upstream?" in loaded.stderr
    assert "pydantic" not in loaded.stderr


def test_the_workspace_and_the_instance_name_what_is_there() -> None:
    workspace = yaml.safe_load(WORKSPACE.read_text())
    assert workspace["load_from"][0]["python_module"]["module_name"] == "orchestration.definitions"
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    assert instance["storage"]["custom"]["class"] == "UpkeepStorage"
    assert instance["telemetry"] == {"enabled": False}
    assert instance["run_retries"]["retry_on_asset_or_op_failure"] is False
    for kind in ("schedule", "sensor"):
        assert instance["retention"][kind]["purge_after_days"]["success"] > 0
