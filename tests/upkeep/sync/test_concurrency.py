"""Two who change the same repository at the same moment: both succeed one after the other, and nothing is lost.

A third transaction holds a row until both wait, so that they meet each time, however slow the machine is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.repositories import MakeRepository
from tests.support.workplans import plan, task
from tests.upkeep.sync.conftest import FILE, Managing
from upkeep.config import Settings
from upkeep.database.server import Database
from upkeep.database.tables import goals, repositories, tasks
from upkeep.errors import ConfigError, UpkeepError
from upkeep.sync import configured, drift, registry, service, store, survey
from upkeep.sync import goals as purposes
from upkeep.sync.recorded import Known

WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
SECONDS = 60


class Racer(threading.Thread):
    """Does one thing in a thread of its own and keeps what came of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: Any = None
        self.error: UpkeepError | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except UpkeepError as error:
            self.error = error

    def end(self) -> Any:
        self.join(SECONDS)
        assert not self.is_alive()
        return self.error or self.result


@contextmanager
def held(database: Database, table: sa.Table, chosen: Any) -> Iterator[Callable[[int], None]]:
    """Hold rows; gives a function that waits until so many others wait."""

    def wait(count: int) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            with database.session() as looking:
                if looking.execute(WAITING).scalar_one() >= count:
                    return
            assert time.monotonic() < deadline, "they never met"
            time.sleep(0.02)

    with database.session() as session:
        session.execute(sa.select(table).where(chosen).with_for_update())
        yield wait


def in_session(database: Database, work: Callable[..., Any], *arguments: Any, **named: Any) -> Callable[[], Any]:
    def run() -> Any:
        with database.session() as session:
            return work(session, *arguments, **named)

    return run


@pytest.fixture
def asking(managing: Managing) -> Managing:
    """A repository with a conflict that waits for an answer."""
    managing.sync(fix=True)
    with managing.database.session() as session:
        store.set_status(session, "A-1", "done", by="ada")
    text = (managing.path / FILE).read_text()
    managing.write(text.replace("id: A-1\nstatus: todo", "id: A-1\nstatus: blocked"))
    managing.sync(fix=True)
    return managing


def test_an_answer_and_a_sync_that_meet_both_succeed(asking: Managing) -> None:
    database = asking.database
    with database.session() as session:
        (asked,) = store.asked(session)
    with held(database, repositories, repositories.c.slug == "sample") as wait:
        sync = Racer(lambda: asking.sync(fix=True))
        wait(1)
        answer = Racer(in_session(database, store.answer, str(asked.id), "file", by="ada"))
        wait(2)
    assert answer.end().answer == "file"
    assert sync.end().repository == "sample"
    assert asking.sync(fix=True).reason is None
    with database.session() as session:
        assert session.execute(sa.select(tasks.c.status).where(tasks.c.local_id == "A-1")).scalar() == "blocked"


def test_a_status_by_hand_and_a_sync_that_meet_both_succeed(managing: Managing) -> None:
    managing.sync(fix=True)
    database = managing.database
    text = (managing.path / FILE).read_text()
    managing.write(text.replace("id: A-2\nstatus: todo", "id: A-2\nstatus: in_progress"))
    with held(database, repositories, repositories.c.slug == "sample") as wait:
        sync = Racer(lambda: managing.sync(fix=True))
        wait(1)
        by_hand = Racer(in_session(database, store.set_status, "A-1", "done", by="ada"))
        wait(2)
    assert sync.end().reason is None
    assert by_hand.end() == ("sample", "todo")
    assert "id: A-1\nstatus: todo" in (managing.path / FILE).read_text()
    managing.sync(fix=True)
    assert "id: A-1\nstatus: done" in (managing.path / FILE).read_text()


def test_commands_that_start_together_bring_a_new_configuration_in_once(
    database: Database, make_repository: MakeRepository, tmp_path: Path
) -> None:
    def settings(slugs: str) -> Settings:
        entries = {slug: {"path": make_path(slug), "goal": {"title": f"Goal of {slug}"}} for slug in slugs}
        return Settings.model_validate({"home": tmp_path / "home", "repositories": entries})

    def make_path(slug: str) -> Path:
        return tmp_path / slug

    start = threading.Barrier(6)

    def refresh(slugs: str) -> Callable[[], None]:
        def run() -> None:
            start.wait(SECONDS)
            with database.session() as session:
                configured.refresh(session, settings(slugs))

        return run

    racers = [Racer(refresh(slugs)) for slugs in ("abcdef", "fedcba") * 3]
    assert [racer.end() for racer in racers] == [None] * 6
    with database.session() as session:
        assert [one.goal for one in registry.every(session)] == [f"Goal of {slug}" for slug in "abcdef"]
        assert session.execute(sa.select(sa.func.count()).select_from(goals)).scalar() == 6


def test_goals_that_are_set_together_leave_one_active(managing: Managing) -> None:
    database = managing.database
    with held(database, repositories, repositories.c.slug == "sample") as wait:
        racers = [Racer(in_session(database, purposes.put, "sample", title)) for title in ("One", "Two")]
        wait(2)
    titles = {racer.end().title for racer in racers}
    assert titles == {"One", "Two"}
    with database.session() as session:
        active = session.execute(sa.select(goals.c.title).where(goals.c.active)).scalars().all()
        kept = session.execute(sa.select(goals.c.title).where(~goals.c.active)).scalars().all()
    assert {*active, *kept} == titles
    assert len(active) == 1


def test_what_the_configuration_takes_meanwhile_is_not_registered_over(
    database: Database, make_repository: MakeRepository, tmp_path: Path
) -> None:
    """A command has seen that upkeep.yaml lacks the repository, and then the file's entry comes in."""
    path = make_repository("sample").path
    entries = {"sample": {"path": path, "domain": "from the file"}}
    settings = Settings.model_validate({"home": tmp_path / "home", "repositories": entries})
    with database.session() as session:
        configured.refresh(session, settings)
        racer = Racer(in_session(database, registry.register, path, domain="from the command"))
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and not session.execute(WAITING).scalar_one():
            time.sleep(0.02)
    assert isinstance(racer.end(), ConfigError)
    assert racer.error is not None
    assert racer.error.reason == "config.configured"
    with database.session() as session:
        one = registry.find(session, "sample")
    assert (one.source, one.domain) == ("configuration", "from the file")


def test_a_sync_does_not_speak_for_a_registration_that_changed_under_it(
    managing: Managing, make_repository: MakeRepository
) -> None:
    managing.sync(fix=True)
    before = managing.row
    elsewhere = make_repository("elsewhere/sample")
    elsewhere.commit({FILE: plan("A", "active", task("A-1"))})
    with managing.database.session() as session:
        registry.register(session, elsewhere.path)
    with pytest.raises(UpkeepError) as error:
        service.sync(managing.database, before, fix=True, trigger="cli")
    assert error.value.reason == "sync.registration_changed"
    assert managing.row.last_state_synced_at == before.last_state_synced_at
    with managing.database.session() as session:
        registry.ignore(session, "sample")
    with pytest.raises(UpkeepError, match="no longer managed"):
        service.sync(managing.database, before, fix=True, trigger="cli")


def test_an_id_that_two_repositories_bring_at_once_goes_to_one(
    managing: Managing, make_repository: MakeRepository
) -> None:
    """A workplan was copied with its ids, and both repositories are synced for the first time in one moment."""
    database = managing.database
    number = "97c831d9-d915-4b77-9dd6-929ff24dfd5e"
    text = plan("A", "active", task("A-1", "todo", f"state_hub_task_id: {number}"))
    managing.write(text)
    copy = make_repository("copy")
    copy.commit({FILE: text})
    with database.session() as session:
        other = registry.register(session, copy.path)
    rows = (repositories.c.slug == "sample") | (repositories.c.slug == "copy")
    with held(database, repositories, rows) as wait:
        racers = [
            Racer(lambda: managing.sync()),
            Racer(lambda: service.sync(database, other, fix=False, trigger="cli")),
        ]
        wait(2)
    results = [racer.end() for racer in racers]
    assert sorted(result.reason is None for result in results) == [False, True]
    owner = next(result.repository for result in results if result.reason is None)
    with database.session() as session:
        assert session.execute(sa.select(tasks.c.repository).where(tasks.c.local_id == "A-1")).scalars().all() == [
            owner
        ]


def test_a_drift_check_does_not_undo_what_a_sync_recorded_meanwhile(managing: Managing) -> None:
    """Its look at the files is older than the sync's."""
    managing.sync(fix=True)
    file = managing.path / FILE
    file.touch()

    def looking(path: Path, patterns: Sequence[str], known: Known) -> drift.Look:
        look = drift.look(path, patterns, known)
        file.write_text(file.read_text().replace("id: A-2\nstatus: todo", "id: A-2\nstatus: done"))
        managing.sync(fix=True)
        return look

    assert survey.check(managing.database, looker=drift.Looker(looking)).agree == ("sample",)
    assert survey.check(managing.database).agree == ("sample",)
    with managing.database.session() as session:
        assert session.execute(sa.select(tasks.c.status).where(tasks.c.local_id == "A-2")).scalar() == "done"


def test_a_drift_check_waits_for_nobody(managing: Managing) -> None:
    managing.sync(fix=True)
    before = managing.row
    with held(managing.database, repositories, repositories.c.slug == "sample"):
        assert Racer(lambda: survey.check(managing.database).agree).end() == ("sample",)
    assert managing.row.last_state_synced_at == before.last_state_synced_at


def test_many_who_change_and_confirm_many_never_wait_in_a_circle(
    database: Database, make_repository: MakeRepository, tmp_path: Path
) -> None:
    builder = make_repository("one")
    slugs = [f"r{number:02}" for number in range(12)]

    def settings(domain: str, order: list[str]) -> Settings:
        entries = {slug: {"path": builder.path, "domain": domain} for slug in order}
        return Settings.model_validate({"home": tmp_path / "home", "repositories": entries})

    with database.session() as session:
        configured.refresh(session, settings("", slugs))

    def turn(number: int) -> Callable[[], None]:
        def run() -> None:
            for step in range(4):
                if number % 2:
                    with database.session() as session:
                        configured.refresh(session, settings(f"{number}.{step}", slugs if number == 1 else slugs[::-1]))
                else:
                    survey.check(database)

        return run

    racers = [Racer(turn(number)) for number in range(4)]
    assert [racer.end() for racer in racers] == [None] * 4
