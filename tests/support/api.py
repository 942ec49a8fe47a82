"""The REST API over a real database and a real repository, in this process.

What belongs here: an application, its tokens, and asking it. What does not: what it must say (the tests), and serving
it on a port (tests of `web/serving.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.repositories import MakeRepository, RepoBuilder
from tests.support.workplans import plan, task
from upkeep import tokens
from upkeep.config import Settings, load
from upkeep.database.server import Database
from upkeep.sync import configured, registry, service
from upkeep.sync.registry import Managed
from web.app import create_app
from web.hub import Hub

FILE = "workplans/a.md"
HOST = "http://127.0.0.1:8700"


@dataclass
class Api:
    """An application and who may ask it. `sample` stands in upkeep.yaml, `other` was registered by command."""

    client: TestClient
    hub: Hub
    config: Path
    read: str
    write: str
    sample: RepoBuilder
    other: RepoBuilder

    @property
    def database(self) -> Database:
        return self.hub.database

    def ask(self, method: str, path: str, *, token: str | None = "read", **more: Any) -> Any:
        """`token`: read, write, another as it is, or None."""
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {getattr(self, token) if token in ('read', 'write') else token}"
        return self.client.request(method, path, headers=headers, **more)

    def get(self, path: str, **more: Any) -> Any:
        answer = self.ask("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def problem(self, method: str, path: str, status: int, **more: Any) -> Any:
        """The problem that a request has; everything that is no success has to be one."""
        answer = self.ask(method, path, **more)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        found = answer.json()
        assert found["status"] == status
        assert found["type"] == f"urn:upkeep:problem:{found['code']}"
        assert found["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
        assert found["remedy"]
        assert "Traceback" not in answer.text
        return found

    def row(self, slug: str) -> Managed:
        with self.database.session() as session:
            return registry.find(session, slug, states=registry.EVERY_STATE)

    def sync(self, slug: str = "sample") -> None:
        service.sync(self.database, self.row(slug), fix=True, trigger="cli")


@pytest.fixture
def api(database: Database, make_repository: MakeRepository, tmp_path: Path) -> Iterator[Api]:
    sample, other = make_repository("sample"), make_repository("other")
    sample.commit({FILE: plan("A", "active", task("A-1"), task("A-2", "todo", "priority: high"))})
    other.commit({FILE: plan("B", "active", task("B-1"))})
    config = tmp_path / "upkeep.yaml"
    config.write_text(configuration(tmp_path, sample))
    settings = load(config)
    hub = Hub(settings, database)
    with database.session() as session:
        configured.refresh(session, settings)
        registry.register(session, other.path, domain="d")
        made = {
            scope: tokens.create(session, scope, scope, expires_at=None, by="ada")[1] for scope in ("read", "write")
        }
    app = create_app(hub, hosts=("127.0.0.1",))
    with TestClient(app, base_url=HOST) as client:
        yield Api(client, hub, config, made["read"], made["write"], sample, other)


def configuration(folder: Path, sample: RepoBuilder) -> str:
    return (
        f"home: {folder / 'home'}\nrepositories:\n"
        f"  sample: {{path: {sample.path}, domain: docs, goal: {{title: Write it down}}}}\n"
    )


def settings_of(folder: Path) -> Settings:
    return Settings.model_validate({"home": folder / "home"})
