"""A pair of repositories that the updater works on, and updates of it without Dagster.

What belongs here: an app, a dashboard on one of the forges, the settings for both, and one update as the assets run it,
in this process or in one that is killed at a given step. What does not: what an update must do (the tests).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.gitea import TOKEN_VARIABLE, Gitea
from tests.support.github import GitHub
from tests.support.repositories import RepoBuilder
from upkeep.agents.base import Agent
from upkeep.config import Settings, load
from upkeep.content import service
from upkeep.content.desk import Desk, nothing, open_desk
from upkeep.content.mermaid import FOLDER_VARIABLE
from upkeep.content.records import ChangeSet, GeneratedContent, PublishedUpdate
from upkeep.database.server import Database, connect
from upkeep.forges.base import Forge
from upkeep.forges.local import LocalForge
from upkeep.forges.registry import open_forge, open_local
from upkeep.runs import open_run

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "cli" / "samples"
WATCH = "ferry"
REPO = "o/dashboard"

CART = "feature/cart/src/main/kotlin/org/example/ferry/cart/Cart.kt"


def cart(*names: str) -> str:
    """A source file that sends these events."""
    calls = "".join(
        f'    fun on{index}() {{\n        analytics.track("{name}")\n    }}\n' for index, name in enumerate(names)
    )
    return f"package org.example.ferry.cart\n\nclass Cart(private val analytics: Analytics) {{\n{calls}}}\n"


@dataclass(frozen=True)
class Updated:
    """What one update left."""

    outcome: str | None
    reason: str
    change_set: ChangeSet
    content: GeneratedContent | None = None
    published: PublishedUpdate | None = None


def update_once(
    settings: Settings,
    database: Database,
    *,
    before: Callable[[str], None] = nothing,
    agent: Agent | None = None,
    **options: bool,
) -> Updated:
    """One update in the order of the assets."""
    run_id = str(uuid.uuid4())
    with open_run(database, system="content", subject=f"watch:{WATCH}", run_id=run_id, trigger="cli") as run:
        desk = open_desk(settings, WATCH, database=database, run=run, before=before, **options)
        if agent is not None:
            desk = Desk(**{name: getattr(desk, name) for name in desk.__dataclass_fields__} | {"agent": agent})
        with run.step("observe"):
            head = service.observe(desk)
        before("plan")
        with run.step("plan"):
            change_set = service.plan(desk, head)
        if change_set.decision != "update":
            with run.step("settle"):
                service.settle(desk, change_set)
            return Updated(run.outcome, run.reason, change_set)
        before("write")
        with run.step("write"):
            content = service.write(desk, change_set)
        before("publish")
        with run.step("publish"):
            published = service.publish(desk, change_set, content)
        before("end")
        return Updated(run.outcome, run.reason, change_set, content, published)


class Persons(Protocol):
    """What people do to the pull requests of the dashboard, whichever forge it is on."""

    def merges(self, number: int) -> object: ...

    def closes(self, number: int) -> None: ...

    def comments(self, number: int) -> None: ...

    def opens(self, branch: str, *, body: str) -> int: ...


@dataclass(frozen=True)
class LocalPersons:
    """People at the local forge."""

    forge: LocalForge

    def merges(self, number: int) -> object:
        return self.forge.merge(REPO, number, by="ada", strategy="squash")

    def closes(self, number: int) -> None:
        self.forge.close(REPO, number, by="ada")

    def comments(self, number: int) -> None:
        self.forge.comment(REPO, number, by="ada", body="I am looking at it.")

    def opens(self, branch: str, *, body: str) -> int:
        return self.forge.create_pull_request(REPO, head=branch, base="main", title="t", body=body).number


@dataclass
class Pair:
    """An app (`app`, a working copy; `upstream`, the bare repository that is watched) and a dashboard."""

    folder: Path
    app: RepoBuilder
    upstream: RepoBuilder
    dashboard: RepoBuilder
    database: Database
    hosted: Persons | None = None
    server: GitHub | Gitea | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "upkeep.yaml"

    @property
    def settings(self) -> Settings:
        return load(self.config)

    @property
    def network(self) -> GitHub | Gitea:
        """The fake that the dashboard is on, for its requests and for faults."""
        assert self.server is not None
        return self.server

    @property
    def forge(self) -> Forge:
        return open_forge(self.settings.watch(WATCH).target.forge, self.settings, self.database)

    @property
    def persons(self) -> Persons:
        return self.hosted or LocalPersons(open_local("here", self.settings, self.database))

    def push(self, changes: dict[str, str | None], message: str = "Change") -> str:
        """Commit to the app and push; return the new head."""
        sha = self.app.commit(changes, message)
        self.app.git("push", "-q", "--force", self.upstream.url, "HEAD:refs/heads/main")
        return sha

    def update(self, **options: Any) -> Updated:
        return update_once(self.settings, self.database, **options)

    def killed_at(self, step: str) -> subprocess.CompletedProcess[str]:
        """An update in a process of its own that kills itself (SIGKILL) as it comes to `step`."""
        return subprocess.run(
            [sys.executable, "-P", str(Path(__file__)), str(self.config), step],
            env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT), "UPKEEP_DATABASE_URL": self.database.url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def branches(self) -> dict[str, str]:
        return {name.removeprefix("refs/heads/"): sha for name, sha in self.dashboard.refs().items()}


def _settings(folder: Path, upstream: RepoBuilder, dashboard_url: str, forge: str, more: str, gitea_url: str) -> None:
    (folder / "upkeep.yaml").write_text(
        f"home: {folder / 'home'}\n"
        "forges:\n  github: {kind: github}\n"
        f'  gitea: {{kind: gitea, url: "{gitea_url}", token: "${{{TOKEN_VARIABLE}}}"}}\n'
        f"watches:\n  {WATCH}:\n"
        f'    upstream: {{url: "{upstream.url}", branch: main, web: "https://git.example/ferry"}}\n'
        f'    target: {{url: "{dashboard_url}", base: main, forge: {forge}, repo: {REPO}}}\n'
        "    scan: {kotlin: {calls: [track], event: 0, properties: 1}}\n" + more
    )


@contextmanager
def make_pair(
    folder: Path,
    database: Database,
    *,
    github: GitHub | None = None,
    gitea: Gitea | None = None,
    more: str = "",
    files: Path | None = None,
) -> Iterator[Pair]:
    """The demo's app and dashboard, on `github`, on `gitea` or on the local forge. `more` are further lines of the
    watch."""
    app = RepoBuilder(folder / "app")
    app.commit_tree_of(SAMPLES / "app", "Start the app")
    upstream = app.bare_clone(folder / "upstream.git")
    source = RepoBuilder(folder / "dashboard-source")
    source.commit_tree_of(files or SAMPLES / "dashboard", "Start the dashboard")
    hosted = github.repo(REPO, source) if github else gitea.repo(REPO, source) if gitea else None
    dashboard = hosted.bare if hosted is not None else source.bare_clone(folder / "dashboard.git")
    name = "github" if github else "gitea" if gitea else "here"
    address = gitea.url if gitea else "http://127.0.0.1:1"
    _settings(folder, upstream, hosted.url if hosted else dashboard.url, name, more, address)
    environment = dict(github.env) if github else gitea.env if gitea else {}
    yield Pair(folder, app, upstream, dashboard, database, hosted, github or gitea, environment)


@pytest.fixture
def without_mermaid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mermaid's own parser is not there, for this process and its children: loading it takes two seconds of processor
    time an update, and what it says is not what most tests of updates are about. `monkeypatch.delenv(FOLDER_VARIABLE)`
    brings it back."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "no-mermaid"))


@pytest.fixture
def pair(tmp_path: Path, database: Database, without_mermaid: None) -> Iterator[Pair]:
    """A pair on the local forge."""
    with make_pair(tmp_path, database) as made:
        yield made


@pytest.fixture
def github_pair(
    tmp_path: Path, database: Database, github: GitHub, monkeypatch: pytest.MonkeyPatch, without_mermaid: None
) -> Iterator[Pair]:
    """A pair whose dashboard is on the fake GitHub, reached by the real gh."""
    for name, value in github.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(github.gh).parent}{os.pathsep}{os.environ['PATH']}")
    with make_pair(tmp_path, database, github=github) as made:
        yield made


@pytest.fixture
def gitea_pair(
    tmp_path: Path, database: Database, gitea: Gitea, monkeypatch: pytest.MonkeyPatch, without_mermaid: None
) -> Iterator[Pair]:
    """A pair whose dashboard is on the fake Gitea, pushed to over HTTP with the token."""
    for name, value in gitea.env.items():
        monkeypatch.setenv(name, value)
    with make_pair(tmp_path, database, gitea=gitea) as made:
        yield made


@pytest.fixture(params=["local", "gitea"])
def each_pair(request: pytest.FixtureRequest) -> Pair:
    """A pair on the local forge, and one on Gitea: for what must hold on every forge."""
    made: Pair = request.getfixturevalue("pair" if request.param == "local" else f"{request.param}_pair")
    return made


@pytest.fixture(params=["github", "gitea"])
def remote_pair(request: pytest.FixtureRequest) -> Pair:
    """A pair on each forge that is reached over a network."""
    made: Pair = request.getfixturevalue(f"{request.param}_pair")
    return made


def _main(config: Path, step: str) -> None:
    def die(at: str) -> None:
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = load(config)
    with connect(settings.home, os.environ["UPKEEP_DATABASE_URL"]) as database:
        update_once(settings, database, before=die)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2])
