"""Migrations: applied once by however many ask, and checked against code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import alembic.config
import alembic.script
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import DBAPIError

from upkeep.database import schema, state, tables
from upkeep.database.server import Database, connect
from upkeep.errors import DatabaseError

UPGRADE = """
import sys
from pathlib import Path
from upkeep.database import schema
from upkeep.database.server import connect
with connect(Path("/nonexistent"), sys.argv[1]) as database:
    print(*schema.upgrade(database))
"""


@pytest.fixture
def empty(postgres: Database, tmp_path: Path, worker_id: str) -> Iterator[Database]:
    name = f"empty_{worker_id}"
    autocommit = postgres.engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = sa.make_url(postgres.url).set(database=name).render_as_string(hide_password=False)
    with connect(tmp_path, url) as database:
        yield database
    with autocommit.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_an_empty_database_is_set_up_once(empty: Database) -> None:
    assert schema.current(empty) is None
    with pytest.raises(DatabaseError, match="migration none") as outdated:
        schema.require_current(empty)
    assert outdated.value.reason == "database.outdated"
    assert "upkeep db upgrade" in outdated.value.remedy
    assert schema.upgrade(empty) == (None, schema.HEAD)
    assert schema.upgrade(empty) == (schema.HEAD, schema.HEAD)
    assert schema.current(empty) == schema.HEAD
    schema.require_current(empty)


def test_an_empty_database_is_set_up_by_whoever_needs_it_and_an_older_one_is_not_touched(empty: Database) -> None:
    schema.ensure(empty)
    schema.ensure(empty)
    with empty.session() as session:
        session.execute(sa.text("UPDATE upkeep.schema_version SET version_num = '0000'"))
    with pytest.raises(DatabaseError, match="at migration 0000, this version of Upkeep needs"):
        schema.ensure(empty)


def test_work_on_a_database_without_the_tables_says_what_to_run(empty: Database) -> None:
    with (
        pytest.raises(DatabaseError, match=r'relation "upkeep\.watches" does not exist') as outdated,
        empty.session() as session,
    ):
        state.read_watch(session, "a")
    assert outdated.value.reason == "database.outdated"
    assert "upkeep db upgrade" in outdated.value.remedy


def test_processes_that_upgrade_at_once_wait_for_each_other(empty: Database) -> None:
    command = [sys.executable, "-c", UPGRADE, empty.url]
    upgrades = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [upgrade.communicate() for upgrade in upgrades]
    assert sorted(text for text, _ in said) == [f"{schema.HEAD} {schema.HEAD}\n"] * 2 + [f"None {schema.HEAD}\n"], said


def test_databases_of_one_server_can_be_set_up_at_once(postgres: Database, tmp_path: Path, worker_id: str) -> None:
    names = [f"at_once_{worker_id}_{number}" for number in range(3)]
    autocommit = postgres.engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        for name in names:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    urls = [sa.make_url(postgres.url).set(database=name).render_as_string(hide_password=False) for name in names]
    racers = [
        subprocess.Popen([sys.executable, "-P", "-c", UPGRADE, url], stdout=subprocess.PIPE, text=True) for url in urls
    ]
    said = [racer.communicate(timeout=120)[0].split() for racer in racers]
    with autocommit.connect() as connection:
        for name in names:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    assert said == [["None", schema.HEAD]] * 3


def test_a_database_newer_than_the_code_is_refused(database: Database) -> None:
    with database.session() as session:
        session.execute(sa.text("UPDATE upkeep.schema_version SET version_num = '9999'"))
    for ask in (schema.require_current, schema.upgrade, schema.ensure):
        with pytest.raises(DatabaseError, match="newer than this version") as newer:
            ask(database)
        assert newer.value.reason == "database.outdated"


def test_a_failed_migration_leaves_nothing_behind(empty: Database) -> None:
    with empty.session() as session:
        session.execute(sa.text("CREATE SCHEMA metrics"))
        session.execute(sa.text("CREATE TABLE metrics.runs (in_the_way int)"))
    with pytest.raises(DBAPIError):
        schema.upgrade(empty)
    assert schema.current(empty) is None
    with empty.session() as session:
        assert session.execute(sa.text("SELECT to_regclass('upkeep.events')")).scalar() is None


def test_code_and_migrations_describe_the_same_tables(database: Database) -> None:
    # Alembic compares the default schema under no name, and ours is the default, for it is named like the role.
    elsewhere = sa.make_url(database.sqlalchemy_url).update_query_dict({"options": "-csearch_path=public"})
    engine = sa.create_engine(elsewhere, poolclass=sa.NullPool)
    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == tables.SCHEMA,
        "version_table": "schema_version",
        "version_table_schema": tables.SCHEMA,
        "compare_server_default": True,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata) == []


def test_the_head_that_code_knows_is_the_newest_migration() -> None:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert alembic.script.ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_a_role_without_rights_is_told_what_an_administrator_does(postgres: Database, empty: Database) -> None:
    with postgres.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        role = f"weak_{sa.make_url(empty.url).database}"
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        connection.exec_driver_sql(f"GRANT {role} TO upkeep")
    url = sa.make_url(empty.url).update_query_dict({"options": f"-crole={role}"})
    weak = connect(Path("/nonexistent"), url.render_as_string(hide_password=False))
    with weak, pytest.raises(DatabaseError, match="permission denied") as refused:
        schema.upgrade(weak)
    assert refused.value.reason == "database.not_permitted"
    assert "CREATE ROLE analyst" in refused.value.remedy
    with postgres.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"DROP ROLE {role}")
