"""Repositories and goals of upkeep.yaml in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from upkeep.config import Settings
from upkeep.database import events
from upkeep.database.server import Database
from upkeep.database.tables import goals, repositories
from upkeep.sync import configured, registry
from upkeep.sync import goals as purposes


def settings(home: Path, entries: dict[str, dict[str, Any]]) -> Settings:
    return Settings.model_validate({"home": home, "repositories": entries})


def many(home: Path, count: int, **more: Any) -> Settings:
    entries = {f"r{number:04}": {"path": home / str(number), "goal": {"title": "Go"}} | more for number in range(count)}
    return settings(home, entries)


def refresh(database: Database, wanted: Settings) -> None:
    with database.session() as session:
        configured.refresh(session, wanted)


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        sent.append(statement)

    with database.session() as session:
        engine = session.get_bind()
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def test_many_repositories_come_in_and_change_and_leave_in_a_few_statements(database: Database, tmp_path: Path) -> None:
    steps = (many(tmp_path, 300), many(tmp_path, 300, domain="docs", goal={"title": "Stay"}), many(tmp_path, 0))
    for step in steps:
        with statements(database) as sent:
            refresh(database, step)
        assert len(sent) < 25, sent
        with statements(database) as again:
            refresh(database, step)
        assert not [one for one in again if not one.startswith("SELECT")], "nothing is left to do"
    with database.session() as session:
        rows = session.execute(sa.select(repositories.c.state, repositories.c.domain, repositories.c.revision)).all()
        assert rows == [("removed", "docs", 2)] * 300
        told = events.of_subject(session, "sync", "repository:r0123")
        assert [one.summary["changes"].get("state") for one in told] == [
            None,
            "removed",
            None,
            "managed",
            None,
            "managed",
        ]
        assert session.execute(sa.select(sa.func.count()).select_from(goals).where(goals.c.active)).scalar() == 0


def test_a_goal_leaves_with_its_repository_and_comes_back_with_it(database: Database, tmp_path: Path) -> None:
    entry = {"path": tmp_path, "goal": {"title": "From the file"}}
    for entries, title in (({"a": entry}, "From the file"), ({}, None), ({"a": entry}, "From the file")):
        refresh(database, settings(tmp_path, entries))
        with database.session() as session:
            goal = purposes.active(session, "a")
            assert (goal and goal.title) == title


def test_the_file_takes_over_what_was_registered_by_command_and_leaves_its_goal(
    database: Database, tmp_path: Path
) -> None:
    with database.session() as session:
        session.execute(sa.insert(repositories).values(slug="a", path="/elsewhere", source="command"))
        purposes.put(session, "a", "By command", by="ada")
    refresh(database, settings(tmp_path, {"a": {"path": tmp_path, "goal": {"title": "From the file"}}}))
    with database.session() as session:
        one = registry.find(session, "a")
        assert (one.source, one.path, one.goal) == ("configuration", tmp_path, "By command")
        purposes.retire(session, "a", by="ada")
        assert registry.find(session, "a").goal == "From the file"
        newest = events.of_subject(session, "sync", "repository:a")[0]
        assert newest.summary == {"changes": {"goal": None, "source": "command"}, "by": "ada"}
