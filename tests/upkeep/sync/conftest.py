"""A repository with workplans, managed in a database of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.repositories import MakeRepository, RepoBuilder
from tests.support.workplans import plan, task
from upkeep.database.server import Database
from upkeep.sync import registry, service
from upkeep.sync.registry import Managed
from upkeep.sync.service import Synced

FILE = "workplans/a.md"


@dataclass
class Managing:
    """One managed repository and its hub."""

    database: Database
    builder: RepoBuilder
    slug: str

    @property
    def path(self) -> Path:
        return self.builder.path

    @property
    def row(self) -> Managed:
        with self.database.session() as session:
            return registry.find(session, self.slug)

    def sync(self, *, fix: bool = False) -> Synced:
        return service.sync(self.database, self.row, fix=fix, trigger="cli")

    def codes(self, *, fix: bool = False) -> list[str]:
        return [str(finding.code) for finding in self.sync(fix=fix).findings]

    def write(self, text: str, path: str = FILE) -> Path:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file


@pytest.fixture
def managing(database: Database, make_repository: MakeRepository) -> Managing:
    """The repository `sample`, registered and never synced, with one workplan of two tasks."""
    builder = make_repository("sample")
    builder.commit({FILE: plan("A", "active", task("A-1"), task("A-2"))})
    with database.session() as session:
        registry.register(session, builder.path)
    return Managing(database, builder, "sample")
