from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.agents.codex_command import (
    KEY_VARIABLE,
    Access,
    PrivateHome,
    environment,
    exec_arguments,
    probe_arguments,
    program_files,
)

HOME = PrivateHome(Path("/run/private"))
WORK = Path("/srv/work")
ACCESS = Access(write=(WORK,), read=(Path("/srv/up stream"),), program=(Path("/opt/codex"),))


def overrides(arguments: list[str]) -> dict[str, Any]:
    """What `-c key=value` say, each value read as TOML as codex reads it."""
    own = itertools.takewhile(lambda argument: argument != "--", arguments)
    given = [after for before, after in itertools.pairwise(own) if before == "-c"]
    return {key: tomllib.loads(f"value = {value}")["value"] for key, value in (each.split("=", 1) for each in given)}


def arguments(access: Access | None = ACCESS, *, effort: str | None = "low") -> list[str]:
    return exec_arguments(HOME, work=WORK, access=access, model="m", effort=effort, base_url="http://127.0.0.1/v1")


def test_only_what_the_task_names_may_be_touched() -> None:
    said = overrides(arguments())
    assert said["default_permissions"] == "upkeep"
    assert said["permissions.upkeep.filesystem"] == {
        ":minimal": "read",
        "/srv/up stream": "read",
        "/opt/codex": "read",
        "/run/private/codex/tmp": "read",
        "/srv/work": "write",
        "/run/private/tmp": "write",
    }
    assert "-s" not in arguments()


def test_the_probe_asks_for_the_same_permissions() -> None:
    said = overrides(probe_arguments(HOME, work=WORK, access=ACCESS))
    assert said["permissions.upkeep.filesystem"] == overrides(arguments())["permissions.upkeep.filesystem"]


def test_without_a_sandbox_no_permissions_are_pretended() -> None:
    said = arguments(access=None)
    assert said[said.index("-s") + 1] == "danger-full-access"
    assert not {"default_permissions", "permissions.upkeep.filesystem"} & overrides(said).keys()


def test_the_provider_is_ours_and_names_the_variable_of_the_key() -> None:
    said = overrides(arguments())
    assert said["model_provider"] == "upkeep"
    provider = said["model_providers.upkeep"]
    assert (provider["wire_api"], provider["base_url"]) == ("responses", "http://127.0.0.1/v1")
    assert provider["env_key"] == KEY_VARIABLE


def test_an_effort_is_named_where_there_is_one() -> None:
    assert overrides(arguments())["model_reasoning_effort"] == "low"
    assert "model_reasoning_effort" not in overrides(arguments(effort=None))


def test_the_models_shell_inherits_nothing() -> None:
    said = overrides(arguments())
    assert said["shell_environment_policy.inherit"] == "none"
    assert said["shell_environment_policy.set"].keys() == {"PATH", "HOME", "TMPDIR", "LANG"}


def test_codex_gets_a_private_home_and_few_variables() -> None:
    assert environment(HOME, "the-token") == {
        "HOME": "/run/private/home",
        "CODEX_HOME": "/run/private/codex",
        "TMPDIR": "/run/private/tmp",
        KEY_VARIABLE: "the-token",
    }
    assert KEY_VARIABLE not in environment(HOME, None)


def test_the_sandbox_helper_can_be_made() -> None:
    """codex makes none in a home below the temporary folder, and then every tool call fails."""
    assert not HOME.codex_home.is_relative_to(HOME.temp)


@pytest.mark.parametrize("packaged", [True, False])
def test_a_packaged_program_needs_its_whole_package(tmp_path: Path, packaged: bool) -> None:
    native = tmp_path / "bin" / "codex"
    native.parent.mkdir()
    if packaged:
        (tmp_path / "codex-package.json").touch()
    assert program_files(native) == ((tmp_path,) if packaged else (native,))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=30),
    model=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
def test_any_path_and_any_name_arrive_as_they_are(name: str, model: str) -> None:
    work = Path("/srv") / name
    access = Access(write=(work,), read=())
    said = overrides(exec_arguments(HOME, work=work, access=access, model=model, effort="low", base_url=""))
    assert said["model"] == model
    assert said["permissions.upkeep.filesystem"][str(work)] == "write"
