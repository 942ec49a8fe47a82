"""The sync commands as a person uses them, on a real database and a real repository.

What belongs here: a configuration, a repository with a workplan, and running the commands in this process. What does
not: what a command must say (the tests).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from cli import dispatch, inventory, repositories, sync, tasks
from tests.support.gitea import TOKEN_VARIABLE, Gitea
from tests.support.repositories import MakeRepository, RepoBuilder
from tests.support.workplans import plan, task
from upkeep.errors import UpkeepError

FILE = "workplans/a.md"


def hub_commands() -> typer.Typer:
    """The commands of the sync system under the names that they have in `upkeep`."""
    app = typer.Typer()
    app.command("sync")(sync.sync)
    app.command("dispatch")(dispatch.dispatch)
    app.command("inventory")(inventory.inventory)
    app.add_typer(repositories.app, name="repos")
    app.add_typer(repositories.goals_app, name="goals")
    app.add_typer(sync.hooks_app, name="hooks")
    app.add_typer(tasks.app, name="tasks")
    app.add_typer(tasks.interventions_app, name="interventions")
    return app


@dataclass
class HubTerminal:
    """Runs `upkeep …`. `home` is UPKEEP_HOME; `sample` is in upkeep.yaml."""

    home: Path
    sample: RepoBuilder

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(hub_commands(), list(arguments))

    def out(self, *arguments: str, exit_code: int = 0) -> str:
        done = self.run(*arguments)
        assert done.exit_code == exit_code, (done.output, done.exception)
        return done.stdout

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        return json.loads(self.out(*arguments, "--json", exit_code=exit_code))

    def error(self, *arguments: str) -> UpkeepError:
        error = self.run(*arguments).exception
        assert isinstance(error, UpkeepError), error
        return error

    def read(self, path: str = FILE) -> str:
        return (self.sample.path / path).read_text()

    def write(self, text: str, path: str = FILE) -> None:
        (self.sample.path / path).write_text(text)


@pytest.fixture
def hub(
    database_url: str, make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> HubTerminal:
    """One repository, `sample`, in upkeep.yaml, with one workplan of two tasks; never synced."""
    sample = make_repository("sample")
    sample.commit({FILE: plan("A", "active", task("A-1"), task("A-2"))})
    configuration = tmp_path / "upkeep.yaml"
    configuration.write_text(
        f"home: {tmp_path / 'home'}\nrepositories:\n"
        f"  sample: {{path: {sample.path}, domain: docs, fix: true, goal: {{title: Write it down}}}}\n"
    )
    monkeypatch.setenv("UPKEEP_CONFIG", str(configuration))
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    return HubTerminal(tmp_path / "home", sample)


@pytest.fixture
def hub_on_gitea(hub: HubTerminal, gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> HubTerminal:
    """The same hub, whose configuration lists the organisation `coulomb` of a Gitea, with `sample` on it."""
    for name, value in gitea.env.items():
        monkeypatch.setenv(name, value)
    configuration = hub.home.parent / "upkeep.yaml"
    text = configuration.read_text().replace("path:", "forge: coulomb, repo: coulomb/sample, path:")
    forge = f'{{kind: gitea, url: "{gitea.url}", token: "${{{TOKEN_VARIABLE}}}", orgs: [coulomb]}}'
    configuration.write_text(f"{text}forges:\n  coulomb: {forge}\n")
    gitea.lists("coulomb/sample")
    return hub
