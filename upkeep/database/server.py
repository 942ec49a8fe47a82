"""One database for everything: where it is, and sessions on it.

What belongs here: `connect`, the URLs for each kind of user, sessions, and the translation of connection trouble into
our errors. What does not: how the embedded server lives (`embedded.py`), what stands in the tables (`tables.py`),
changes of the schema (`schema.py`).

Three kinds of user, each by its own URL, and every URL names its driver, because SQLAlchemy and Dagster default to
different ones: ours (psycopg 3), Dagster's (psycopg2, all of its tables in the schema `dagster`), and the analyst's
(psycopg 3, read-only, with a statement timeout).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from upkeep.database import plain
from upkeep.database.embedded import DATABASE, Embedded
from upkeep.errors import ConfigError, DatabaseError

ANALYST = "analyst"
ANALYST_TIMEOUT_SECONDS = 30

_MISSING = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)


class Database:
    """A database that is there for as long as this object is: use it as a context, or call `close`.

    Safe to share between threads. Sessions and the engine raise SQLAlchemy's errors; `session` turns those of a lost
    connection into DatabaseUnavailable.
    """

    def __init__(self, url: sa.URL, *, embedded: Embedded | None = None) -> None:
        self._url = url
        self._embedded = embedded
        self._engine: sa.Engine | None = None
        self._making = threading.Lock()

    def __repr__(self) -> str:
        return f"Database({self._url.render_as_string(hide_password=True)})"

    @property
    def _words(self) -> str:
        if self.is_embedded:
            return "the embedded database"
        return f"the database {self._url.render_as_string(hide_password=True)}"

    @property
    def is_embedded(self) -> bool:
        return self._embedded is not None

    @property
    def url(self) -> str:
        """As libpq and other programs read it. Holds the password where there is one."""
        return _render(self._url.set(drivername="postgresql"))

    @property
    def sqlalchemy_url(self) -> str:
        """Ours. Times come in UTC, whatever zone a server of somebody else has."""
        return _render(_with_options(self._url.set(drivername="postgresql+psycopg"), "-ctimezone=UTC"))

    @property
    def dagster_url(self) -> str:
        url = self._url.set(drivername="postgresql+psycopg2")
        return _render(_with_options(url, "-csearch_path=dagster"))

    @property
    def analyst_url(self) -> str:
        """Read-only. On the embedded server a login of its own; on any other our login, which changes its role."""
        url = self._url.set(drivername="postgresql+psycopg")
        options = (
            f"-cstatement_timeout={ANALYST_TIMEOUT_SECONDS}s -cdefault_transaction_read_only=on "
            "-csearch_path=metrics,upkeep"
        )
        if self.is_embedded:
            return _render(_with_options(url.set(username=ANALYST), options))
        return _render(_with_options(url, f"-crole={ANALYST} {options}"))

    @property
    def engine(self) -> sa.Engine:
        with self._making:
            if self._engine is None:
                self._engine = self.new_engine(self.sqlalchemy_url)
            return self._engine

    def new_engine(self, url: str, **options: Any) -> sa.Engine:
        """An engine that brings the embedded server back when it is gone. The caller disposes of it."""
        engine = sa.create_engine(url, connect_args=plain.OPTIONS, pool_pre_ping=True, **options)
        event.listen(engine, "do_connect", self._connected)
        return engine

    def ensure(self) -> None:
        """Bring the embedded server back if it is gone; nothing for any other."""
        if self._embedded is not None and not self._embedded.runs():
            self._embedded.join()

    def _connected(self, dialect: sa.Dialect, record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **options)
        except Exception as error:
            # The supervisor was killed, and the server with it. Whoever notices first starts both again.
            if not isinstance(error, dialect.loaded_dbapi.Error):
                raise
            self.ensure()
            return dialect.connect(*arguments, **options)

    def connection(self, application: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of one's own, in autocommit, that never reconnects by itself: for what lives and dies with the
        connection (locks). Raises DatabaseUnavailable."""
        return self._connect(self.sqlalchemy_url, application, autocommit=True)

    def analyst_connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection for one question of an analyst, in a read-only transaction. Raises DatabaseUnavailable."""
        connection = self._connect(self.analyst_url, "upkeep query", autocommit=False)
        connection.read_only = True
        return connection

    def _connect(self, url: str, application: str, *, autocommit: bool) -> psycopg.Connection[tuple[Any, ...]]:
        parsed = sa.make_url(url)
        _, given = parsed.get_dialect()().create_connect_args(parsed)
        options = {**plain.OPTIONS, **given}
        self.ensure()
        try:
            return psycopg.connect(**options, autocommit=autocommit, application_name=application[:63])
        except psycopg.OperationalError as error:
            raise self.unavailable(error) from error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back by an exception. Raises DatabaseUnavailable, and
        DatabaseError `database.outdated` where a table or column of ours is not there."""
        try:
            with Session(self.engine) as session, session.begin():
                yield session
        except (OperationalError, InterfaceError) as error:
            raise self.unavailable(error.orig or error) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise self.unavailable(error.orig or error) from error
            if isinstance(error.orig, _MISSING):
                missing = error.orig.diag.message_primary
                raise DatabaseError(
                    f"the schema of {self._words} does not fit this version of Upkeep: {missing}",
                    code="database.outdated",
                    remedy="Run `upkeep db upgrade` (`upkeep up` does it by itself).",
                ) from error
            raise

    def unavailable(self, error: BaseException) -> DatabaseError:
        """What a driver says about a lost or refused connection, as an error of ours."""
        return plain.unavailable(error, self._words)

    def close(self) -> None:
        """Give everything back. The last user of an embedded server waits until it has ended."""
        with self._making:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None
        if self._embedded is not None:
            self._embedded.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(home: Path, url: str | None = None) -> Database:
    """The database of `url` (UPKEEP_DATABASE_URL), else the embedded one of `home`: started, or joined if it runs.

    Does not look at the schema (`schema.ensure`), and with a `url` does not connect yet. Raises ConfigError
    `config.database_url`, DatabaseError and its kinds.
    """
    if url is not None:
        return Database(parse_url(url))
    embedded = Embedded(home)
    try:
        embedded.join()
        return Database(
            sa.URL.create("postgresql", username="upkeep", database=DATABASE, query={"host": embedded.socket_folder}),
            embedded=embedded,
        )
    except BaseException:
        embedded.leave()
        raise


def parse_url(url: str) -> sa.URL:
    """A PostgreSQL URL as people write it (`postgres://`, with a driver or without). ConfigError for anything else."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername.partition("+")[0] not in ("postgresql", "postgres"):
        # Not repeated in the message: it may hold a password.
        raise ConfigError(
            "the database URL is not one of PostgreSQL (postgresql://user@host/name)",
            code="config.database_url",
            remedy="Correct UPKEEP_DATABASE_URL or database_url, or leave it out for the embedded server.",
        )
    return parsed.set(drivername="postgresql")


def _with_options(url: sa.URL, options: str) -> sa.URL:
    """Add to libpq's `options`, which a URL may hold already."""
    given = url.query.get("options", ())
    parts = (given,) if isinstance(given, str) else given
    return url.update_query_dict({"options": " ".join((*parts, options))})


def _render(url: sa.URL) -> str:
    """libpq knows no `+` for a blank in the query, which is what SQLAlchemy writes."""
    base, mark, query = url.render_as_string(hide_password=False).partition("?")
    return base + mark + query.replace("+", "%20")
