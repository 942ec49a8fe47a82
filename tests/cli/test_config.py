"""`upkeep init` and `upkeep config`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer

from cli import config
from upkeep.config import load
from upkeep.errors import ConfigError


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UPKEEP_CONFIG", "UPKEEP_HOME", "UPKEEP_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_what_init_writes_is_valid_and_explains_itself(tmp_path: Path) -> None:
    config.init(Path("upkeep.yaml"), force=False)
    text = (tmp_path / "upkeep.yaml").read_text()
    assert load().watches == {}
    assert "${NAME}" in text
    uncommented = re.sub(r"^(\w+): {}$", r"\1:", text, flags=re.MULTILINE).replace("\n  # ", "\n  ")
    (tmp_path / "upkeep.yaml").write_text(uncommented)
    settings = load()
    assert settings.watch("my-app").content == "content/analytics"
    assert settings.fork("my-fork").gates[0].run == "make test"
    assert settings.repositories["my-repo"].fix
    assert settings.web.hosts == ("hub.example.com",)


def test_init_never_replaces_a_file_unasked(tmp_path: Path) -> None:
    (tmp_path / "upkeep.yaml").write_text("home: mine\n")
    with pytest.raises(ConfigError) as caught:
        config.init(Path("upkeep.yaml"), force=False)
    assert caught.value.reason == "config.exists"
    assert (tmp_path / "upkeep.yaml").read_text() == "home: mine\n"
    config.init(Path("upkeep.yaml"), force=True)
    assert (tmp_path / "upkeep.yaml").read_text() != "home: mine\n"


def test_init_into_a_folder_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(ConfigError) as caught:
        config.init(Path("no/where/upkeep.yaml"), force=False)
    assert caught.value.reason == "config.unwritable"


def test_check_lists_what_is_configured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "upkeep.yaml").write_text(
        "watches:\n  app: {upstream: {url: u}, target: {url: t, forge: here, repo: o/r}}\n"
    )
    config.check(json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["watches"] == ["app"]
    assert found["forges"] == ["here"]


def test_the_schema_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    config.schema()
    assert "watches" in json.loads(capsys.readouterr().out)["properties"]


def test_commands_are_typer_functions() -> None:
    assert isinstance(config.app, typer.Typer)
