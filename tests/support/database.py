"""A real PostgreSQL for tests: one server a session and machine, one database a test.

The server is the embedded one, in a home that all xdist workers of a session share. A test's database is a copy of a
migrated template, which takes some 50 ms, so no test has to share or to clean.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from upkeep.database import schema
from upkeep.database.server import Database, connect

TEMPLATE = "upkeep_template"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """The home of the session's server. It lies in a short folder: the path of a socket has at most 107 bytes."""
    if worker_id == "master":
        home = Path(tempfile.mkdtemp(prefix="upkeep-tests-"))
        yield home
        shutil.rmtree(home)
        return
    # Workers have folders side by side; the first to come names the home, pytest removes the parent's old folders.
    shared = tmp_path_factory.getbasetemp().parent
    home = shared / "pg"
    home.mkdir(mode=0o700, exist_ok=True)
    yield home


@pytest.fixture(scope="session")
def postgres(postgres_home: Path) -> Iterator[Database]:
    """The session's server; the database in it is nobody's. Tests want `database`."""
    with connect(postgres_home) as server:
        with (postgres_home / "template.lock").open("w") as making:
            fcntl.flock(making, fcntl.LOCK_EX)
            _hurry(server)
            _make_template(server)
        yield server


@pytest.fixture
def database_url(postgres: Database) -> Iterator[str]:
    """The URL of a database of this test's own, migrated and empty: for UPKEEP_DATABASE_URL of child processes."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _administer(postgres, f'CREATE DATABASE "{name}" TEMPLATE {TEMPLATE}')
    yield sa.make_url(postgres.url).set(database=name).render_as_string(hide_password=False)
    _administer(postgres, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    """A database of this test's own, migrated and empty."""
    with connect(tmp_path / "home", database_url) as own:
        yield own


def _hurry(server: Database) -> None:
    """Nothing here has to survive a power cut, or to be vacuumed: a database lives for one test.

    An autovacuum worker that happens to be in a test's database would also be one of its sessions: it is counted, and
    refuses to be terminated by our login, DROP DATABASE … WITH (FORCE) included.
    """
    url = sa.make_url(server.sqlalchemy_url).set(username="postgres")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as administrator:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
            administrator.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
        administrator.exec_driver_sql("SELECT pg_reload_conf()")


def _make_template(server: Database) -> None:
    with server.engine.connect() as connection:
        known = connection.execute(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": TEMPLATE})
        if known.scalar() is not None:
            return
    _administer(server, f"CREATE DATABASE {TEMPLATE}_new")
    url = sa.make_url(server.url).set(database=f"{TEMPLATE}_new").render_as_string(hide_password=False)
    with connect(Path("/nonexistent"), url) as fresh:
        schema.upgrade(fresh)
    _administer(server, f"ALTER DATABASE {TEMPLATE}_new RENAME TO {TEMPLATE}")


def _administer(server: Database, statement: str) -> None:
    with server.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(statement))
