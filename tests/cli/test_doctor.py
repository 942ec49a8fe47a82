"""Each probe answers, and a bad answer comes with its fix."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.probes import Probe, _budget, _clock, _disk, _guarded, _sandbox, _version, probe_all
from tests.cli.test_update import upkeep
from tests.support.gitea import TOKEN as GITEA_TOKEN
from tests.support.gitea import Gitea
from tests.support.github import BOT, TOKEN, GitHub
from tests.support.updates import Pair
from upkeep.config import Settings
from upkeep.errors import ConfigError

WATCH = {"upstream": {"url": "file:///nowhere.git"}, "target": {"url": "file:///y", "forge": "here", "repo": "y"}}


def probes(settings: Settings) -> dict[str, Probe]:
    return {probe.name: probe for probe in probe_all(lambda: settings)}


def script(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_a_machine_that_is_ready_says_so(pair: Pair) -> None:
    done = upkeep(pair, "doctor")

    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("ready")
    assert "upstream of ferry" in done.stdout


def test_json_holds_every_probe_and_the_exit_code_says_whether_one_failed(pair: Pair) -> None:
    pair.upstream.path.rename(pair.folder / "moved")

    done = upkeep(pair, "doctor", "--json")

    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["ready"] is False
    (failed,) = [probe for probe in found["probes"] if probe["status"] == "failed"]
    assert failed["name"] == "upstream of ferry"
    assert failed["fix"]


def test_a_broken_configuration_is_the_one_thing_said() -> None:
    def broken() -> Settings:
        raise ConfigError("upkeep.yaml:3: watches: unknown key", remedy="Mend it.")

    found = list(probe_all(broken))

    assert [(probe.name, probe.status) for probe in found] == [("python", "ok"), ("configuration", "failed")]
    assert found[1].fix == "Mend it."


def test_nothing_is_asked_of_tools_that_the_configuration_does_not_use(tmp_path: Path, database_url: str) -> None:
    found = probes(Settings(home=tmp_path / "home", database_url=database_url))

    assert "gh" not in found
    assert not any(name.startswith(("agent", "sandbox", "forge")) for name in found)
    assert found["configuration"].status == "warning"
    assert found["database"].status == "ok"


def test_a_database_that_does_not_answer_is_named_with_its_fix(tmp_path: Path) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    found = probes(Settings(home=tmp_path / "home", database_url=url))

    assert found["database"].status == "failed"
    assert found["database"].fix


@pytest.mark.parametrize(("token", "status"), [(TOKEN, "ok"), ("ghp_wrongTokenOfTheTests012345678", "failed")])
def test_the_login_is_proven_against_the_forge(
    tmp_path: Path, github: GitHub, database_url: str, monkeypatch: pytest.MonkeyPatch, token: str, status: str
) -> None:
    for name, value in github.configuration.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(github.gh).parent}{os.pathsep}{os.environ['PATH']}")
    target = {**WATCH["target"], "forge": "hub"}
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "database_url": database_url,
            "forges": {"hub": {"kind": "github", "token": token}},
            "watches": {"app": {**WATCH, "target": target}},
        }
    )

    found = probes(settings)

    assert found["gh"].status == "ok"
    assert found["forge hub"].status == status
    assert (found["forge hub"].found == f"github.com as {BOT}, by a token") == (status == "ok")
    assert bool(found["forge hub"].fix) == (status == "failed")
    assert token not in str(found)


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        (GITEA_TOKEN, "ok", f"Gitea 1.23.0 at HOST as {BOT}, by a token"),
        (None, "warning", "without a token"),
        ("gitea_wrongTokenOfTheTests012345", "failed", "invalid username, password or token"),
    ],
)
def test_the_token_of_a_gitea_is_proven_against_it(
    tmp_path: Path, gitea: Gitea, database_url: str, token: str | None, status: str, words: str
) -> None:
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "database_url": database_url,
            "forges": {"coulomb": {"kind": "gitea", "url": gitea.url, "token": token, "orgs": ["coulomb"]}},
        }
    )

    found = probes(settings)

    assert found["forge coulomb"].status == status
    assert words.replace("HOST", gitea.url.removeprefix("http://")) in found["forge coulomb"].found
    assert bool(found["forge coulomb"].fix) == (status != "ok")
    assert ("clock" in found) == (status != "failed")
    assert str(token) not in str(found)


def test_a_gitea_that_does_not_answer_is_a_failed_probe(tmp_path: Path, database_url: str) -> None:
    forges = {"coulomb": {"kind": "gitea", "url": "http://127.0.0.1:1", "user_repos": True}}
    settings = Settings.model_validate({"home": tmp_path / "home", "database_url": database_url, "forges": forges})
    assert probes(settings)["forge coulomb"].status == "failed"


def test_an_agent_without_its_program_fails_with_the_way_to_install_it(tmp_path: Path, database_url: str) -> None:
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "database_url": database_url,
            "agents": {"codex": {"engine": "codex", "bin": str(tmp_path / "no-codex")}},
            "watches": {"app": {**WATCH, "agent": "codex"}},
        }
    )

    assert probes(settings)["agent codex"].status == "failed"
    assert probes(settings)["agent codex"].fix


@pytest.mark.parametrize(
    ("says", "status"), [("tool version 2.40.1", "ok"), ("tool 2.9", "failed"), ("nothing of use", "failed")]
)
def test_versions_are_compared_as_numbers(tmp_path: Path, says: str, status: str) -> None:
    program = script(tmp_path, "tool", f"echo {says}")

    assert _version("tool", [str(program)], (2, 31), "Install it.").status == status


def test_a_program_that_is_missing_is_not_installed(tmp_path: Path) -> None:
    found = _version("tool", [str(tmp_path / "none")], (1, 0), "Install it.")

    assert (found.status, found.found, found.fix) == ("failed", "not installed", "Install it.")


@pytest.mark.parametrize(("skew", "status"), [(5, "ok"), (-5, "ok"), (600, "failed"), (-600, "failed")])
def test_a_clock_that_is_off_is_noticed_in_both_directions(skew: int, status: str) -> None:
    assert _clock(datetime.now(UTC) + timedelta(seconds=skew), "github.com").status == status


def test_the_disk_is_that_of_the_home_even_before_it_exists(tmp_path: Path) -> None:
    assert _disk(tmp_path / "not" / "yet").status in ("ok", "warning")


@pytest.mark.parametrize(
    ("contained", "unsafe", "status"), [(True, False, "ok"), (False, True, "warning"), (False, False, "failed")]
)
def test_an_agent_that_is_not_contained_fails_unless_somebody_wants_it_so(
    contained: bool, unsafe: bool, status: str
) -> None:
    assert _sandbox("codex", contained=contained, why="no user namespaces", unsafe=unsafe).status == status


@pytest.mark.parametrize(
    ("priced", "unsafe", "status"), [(True, False, "ok"), (False, True, "warning"), (False, False, "failed")]
)
def test_a_model_that_no_budget_can_hold_fails_unless_somebody_wants_it_so(
    priced: bool, unsafe: bool, status: str
) -> None:
    found = _budget("codex", priced=priced, model="m", unsafe=unsafe)
    assert (found.status, bool(found.fix)) == (status, not priced)


def test_the_agent_that_settles_a_forks_conflicts_is_probed_too(tmp_path: Path, database_url: str) -> None:
    place = {"url": "file:///nowhere.git", "remotes": {"upstream": "file:///up.git"}, "trunk": "mine"}
    fork = {**place, "forge": "here", "repo": "o/x"}
    settings = Settings.model_validate(
        {
            "home": tmp_path / "home",
            "database_url": database_url,
            "agents": {name: {"engine": "codex", "bin": str(tmp_path / "none")} for name in ("settler", "idle")},
            "forks": {
                "one": {**fork, "agent": "settler", "on_conflict": "agent"},
                "two": {**fork, "agent": "idle", "on_conflict": "stop"},
            },
        }
    )
    found = probes(settings)
    assert found["agent settler"].status == "failed"
    assert "agent idle" not in found


def test_a_probe_that_cannot_look_says_so_instead_of_raising() -> None:
    def refuse() -> Probe:
        raise PermissionError(13, "Permission denied", "/secret")

    found = _guarded("disk", refuse)

    assert found.status == "failed"
    assert "/secret" in found.found
