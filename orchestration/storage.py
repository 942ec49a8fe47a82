"""Dagster's storage: dagster-postgres on the database that everything else uses, in the schema `dagster`.

What belongs here: finding (or starting) that database in whatever process Dagster opens its instance, and nothing else.
What does not: what Dagster keeps there. The root `dagster.yaml` names this class, so that plain `dagster dev` works.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from dagster import EventLogEntry, Field, Noneable, StringSource
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage
from dagster_postgres.auth import PgTokenProvider

from upkeep import config
from upkeep.database.server import Database, connect
from upkeep.database.tables import DAGSTER

_FIRST_TABLES = ("runs", "instance_info", "event_logs", "jobs")
"""Dagster looks for these, one connection each, before it makes its tables."""


class UpkeepStorage(DagsterPostgresStorage):
    """Holds a share in the embedded server for as long as the instance lives."""

    def __init__(self, database: Database, inst_data: Any = None) -> None:
        url = database.dagster_url
        waker = _Waker(database) if database.is_embedded else None
        with database.session() as session:
            # One makes the tables at a time. Dagster's own statements commit one by one and are retried only in part.
            session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("upkeep dagster", 0))))
            make = not _made(session.connection())
            if make:
                # Committed apart, or Dagster's connections would not see it.
                with database.session() as before:
                    before.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {DAGSTER}"))
            super().__init__(url, should_autocreate_tables=make, inst_data=inst_data, token_provider=waker)
        self._events = _EventLog(database, url, waker)

    @property
    def event_log_storage(self) -> PostgresEventLogStorage:
        return self._events

    @classmethod
    def config_type(cls) -> Any:
        """Both only for those who do not want what `upkeep.yaml` and the environment say."""
        option = Field(Noneable(StringSource), is_required=False, default_value=None)
        return {"home": option, "database_url": option}

    # `inst_data` is a ConfigurableClassData, which Dagster exports nowhere: only its private modules name the type.
    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        settings = config.load()
        home = config_value.get("home")
        database = connect(
            Path(home) if home else home_of_instance() or settings.home,
            config_value.get("database_url") or settings.database_url,
        )
        try:
            return cls(database, inst_data)
        except BaseException:
            database.close()
            raise


class _EventLog(PostgresEventLogStorage):
    """Of the three storages, an instance that ends disposes of this one last: then the share goes back."""

    def __init__(self, database: Database, url: str, waker: PgTokenProvider | None) -> None:
        super().__init__(url, should_autocreate_tables=False, token_provider=waker)
        self._database = database
        self._of_thread = threading.local()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write the materializations of one asset that this thread stores in the block at its end, in three statements:
        one by one each of them opens two connections. An exception writes none."""
        self._of_thread.held = []
        try:
            yield
            held = self._of_thread.held
        finally:
            del self._of_thread.held
        if held:
            super().store_event_batch(held)

    def store_event(self, event: EventLogEntry) -> None:
        held: list[EventLogEntry] | None = getattr(self._of_thread, "held", None)
        if held is None:
            super().store_event(event)
        else:
            held.append(event)

    def dispose(self) -> None:
        super().dispose()
        self._database.close()


class _Waker(PgTokenProvider):
    """dagster-postgres asks this before each connection for a password, on every engine that it makes. The embedded
    server needs none; but it may be gone, when its supervisor was killed, and then this brings it back."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def get_token(self) -> str:
        self._database.ensure()
        return ""

    def _fetch_token(self) -> tuple[str, float]:
        raise NotImplementedError("there is nothing to fetch")


def home_of_instance() -> Path | None:
    """The home that DAGSTER_HOME belongs to (`<home>/dagster`): whoever names the instance names its database too, from
    any folder and without UPKEEP_HOME."""
    folder = Path(os.environ.get("DAGSTER_HOME", ""))
    return folder.parent if folder.is_absolute() and folder.name == "dagster" else None


def _made(connection: sa.Connection) -> bool:
    names = [f"{DAGSTER}.{table}" for table in _FIRST_TABLES]
    found = connection.execute(
        sa.text("SELECT bool_and(to_regclass(n) IS NOT NULL) FROM unnest(CAST(:names AS text[])) AS n"),
        {"names": names},
    )
    return bool(found.scalar())
