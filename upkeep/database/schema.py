"""Changes of the schema: applied, and checked for.

What belongs here: running the migrations so that any number of processes may ask for it at once, and saying whether
code and database fit together. What does not: the changes themselves (`migrations/`).

Alembic is imported only where a migration runs: it costs a tenth of a second, and nearly every start needs none.
"""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

import psycopg.errors
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from upkeep.database.server import ANALYST, Database
from upkeep.database.tables import DAGSTER, METRICS, SCHEMA
from upkeep.errors import DatabaseError

HEAD = "0010"
"""The newest migration that this code knows (a test compares it with the folder)."""

ATTEMPTS = 8
"""At an upgrade that met another one on the same server."""

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = int.from_bytes(hashlib.sha256(b"upkeep schema").digest()[:8], signed=True)


def current(database: Database) -> str | None:
    """The migration that the database is at; None: it has never been set up."""
    with database.session() as session:
        return _version(session.connection())


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring the database to `HEAD` in one transaction; return what it was at and what it is at.

    Processes that upgrade at once wait for each other, and the later ones find nothing to do. Raises DatabaseError
    `database.outdated` where the database is newer than this code, `database.not_permitted` where our role may not.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _upgrade(database), HEAD
        except DBAPIError as error:
            if attempt < ATTEMPTS and _elsewhere(error):
                time.sleep(random.uniform(0, 0.1 * attempt))
                continue
            if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                raise _not_permitted(error) from error
            raise
    raise AssertionError("the last attempt returns or raises")


def _upgrade(database: Database) -> str | None:
    import alembic.command
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with database.session() as session:
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        for schema in (SCHEMA, METRICS, DAGSTER):
            session.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        _make_analyst(session.connection())
        before = _version(session.connection())
        _refuse_newer(before)
        config.attributes["connection"] = session.connection()
        alembic.command.upgrade(config, "head")
    return before


def _elsewhere(error: DBAPIError) -> bool:
    """Whether another database of the same server was set up at this moment. Roles belong to the whole server, and an
    advisory lock to one database only; PostgreSQL refuses to change a role twice at once instead of waiting."""
    return isinstance(error.orig, psycopg.errors.UniqueViolation) or "concurrently updated" in str(error.orig)


def _not_permitted(error: DBAPIError) -> DatabaseError:
    return DatabaseError(
        f"the role of the database URL may not set the schema up: {error.orig}",
        code="database.not_permitted",
        remedy=f"As an administrator: CREATE ROLE {ANALYST}; GRANT {ANALYST} TO the role of Upkeep WITH ADMIN OPTION; "
        "GRANT CREATE ON DATABASE to it; then run `upkeep db upgrade` again.",
    )


def ensure(database: Database) -> None:
    """Set an empty database up; leave any other alone, and refuse it if it does not fit (`require_current`)."""
    if current(database) is None:
        upgrade(database)
    else:
        require_current(database)


def require_current(database: Database) -> None:
    """Raise DatabaseError `database.outdated` unless database and code are at the same migration."""
    found = current(database)
    if found == HEAD:
        return
    _refuse_newer(found)
    raise DatabaseError(
        f"the database is at migration {found or 'none'}, this version of Upkeep needs {HEAD}",
        code="database.outdated",
        remedy="Run `upkeep db upgrade` (`upkeep up` does it by itself).",
        database=found,
        code_needs=HEAD,
    )


def _refuse_newer(found: str | None) -> None:
    if found is not None and found > HEAD:
        raise DatabaseError(
            f"the database is at migration {found}, which is newer than this version of Upkeep ({HEAD})",
            code="database.outdated",
            remedy="Install the newer version of Upkeep again; migrations only go forward.",
            database=found,
            code_needs=HEAD,
        )


def _version(connection: sa.Connection) -> str | None:
    if connection.execute(sa.select(sa.func.to_regclass(f"{SCHEMA}.schema_version"))).scalar() is None:
        return None
    return connection.execute(sa.text(f"SELECT version_num FROM {SCHEMA}.schema_version")).scalar()


def _make_analyst(connection: sa.Connection) -> None:
    """Roles belong to the whole server: another database on it may have made this one."""
    known = connection.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": ANALYST}).scalar()
    if known is None:
        connection.execute(sa.text(f"CREATE ROLE {ANALYST} NOLOGIN"))
