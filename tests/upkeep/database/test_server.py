"""URLs for each kind of user, sessions, and what each may do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from upkeep.database.server import Database, connect, parse_url
from upkeep.errors import ConfigError, DatabaseUnavailable


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss+w0rd@db.example:5433/name?sslmode=require",
        "postgres://u:p%40ss+w0rd@db.example:5433/name?sslmode=require",
        "postgresql+psycopg2://u:p%40ss+w0rd@db.example:5433/name?sslmode=require",
    ],
)
def test_every_url_names_its_driver(tmp_path: Path, url: str) -> None:
    with connect(tmp_path, url) as database:
        assert not database.is_embedded
        urls = (database.url, database.sqlalchemy_url, database.dagster_url, database.analyst_url)
        schemes = [urlsplit(each).scheme for each in urls]
        assert schemes == ["postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+psycopg"]
        for each in urls:
            assert parse_qs(urlsplit(each).query)["sslmode"] == ["require"]
            assert urlsplit(each).hostname == "db.example"
        assert "options=-csearch_path%3Ddagster" in database.dagster_url


def test_options_of_the_given_url_are_kept(tmp_path: Path) -> None:
    with connect(tmp_path, "postgresql://u@h/d?options=-cwork_mem%3D9MB") as database:
        assert "options=-cwork_mem%3D9MB%20-csearch_path%3Ddagster" in database.dagster_url


@pytest.mark.parametrize("url", ["sqlite:///x.db", "mysql://u:hunter22@h/d", "not a url hunter22", "", "postgresql"])
def test_a_url_that_is_not_postgresql_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_url(url)
    assert refused.value.reason == "config.database_url"
    assert "hunter22" not in str(refused.value) + refused.value.remedy


def test_a_password_does_not_show(tmp_path: Path) -> None:
    with connect(tmp_path, "postgresql://u:hunter22@localhost:1/d") as database:
        assert "hunter22" not in repr(database)
        with pytest.raises(DatabaseUnavailable) as gone, database.session() as session:
            session.connection()
        assert "hunter22" not in str(gone.value)
        assert gone.value.transient
        with pytest.raises(DatabaseUnavailable):
            database.connection("test")


def test_a_session_commits_at_its_end_and_rolls_back_at_an_error(database: Database) -> None:
    with database.session() as session:
        session.execute(sa.text("CREATE TABLE t (x int)"))
    with pytest.raises(DBAPIError), database.session() as session:
        session.execute(sa.text("INSERT INTO t VALUES (1); SELECT 1/0"))
    with database.session() as session:
        assert session.execute(sa.text("SELECT count(*) FROM t")).scalar() == 0


def test_times_are_in_utc_whatever_the_zone_of_the_server_is(database: Database) -> None:
    name = sa.make_url(database.url).database
    with database.session() as session:
        session.execute(sa.text(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'"))
    with connect(Path("/nonexistent"), database.url) as again, again.session() as session:
        assert session.execute(sa.text("SELECT now()")).scalar_one().utcoffset() == timedelta(0)


def test_dagsters_tables_land_in_its_own_schema(database: Database) -> None:
    url = sa.make_url(database.dagster_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE theirs ()")
    finally:
        connection.close()
    with database.session() as session:
        assert session.execute(sa.text("SELECT to_regclass('dagster.theirs')")).scalar() == "dagster.theirs"


@pytest.fixture
def analyst(database: Database) -> sa.URL:
    return sa.make_url(database.analyst_url)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM upkeep.watches",
        "INSERT INTO upkeep.watches (watch) VALUES ('x')",
        "CREATE TABLE upkeep.mine ()",
        "CREATE TABLE metrics.mine ()",
        "SELECT nextval('upkeep.lock_epochs')",
        "SET SESSION AUTHORIZATION postgres",
    ],
)
def test_an_analyst_changes_nothing_even_where_the_transaction_may_write(analyst: sa.URL, statement: str) -> None:
    engine = sa.create_engine(analyst, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.exec_driver_sql(statement)


def test_an_analyst_reads_everything_with_a_time_limit(analyst: sa.URL, database: Database) -> None:
    with database.session() as session:
        session.execute(sa.text("CREATE TABLE metrics.later AS SELECT 1 AS x"))
    engine = sa.create_engine(analyst, poolclass=sa.NullPool)
    with engine.connect() as connection:
        for table in ("runs", "events", "watches", "locks", "records", "pull_requests", "later"):
            connection.exec_driver_sql(f"SELECT * FROM {table}")
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "30s"
        assert connection.exec_driver_sql("SELECT current_user").scalar() == "analyst"


def test_the_analyst_of_the_embedded_server_is_a_login_of_its_own(postgres: Database) -> None:
    assert sa.make_url(postgres.analyst_url).username == "analyst"
    engine = sa.create_engine(postgres.analyst_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT session_user").scalar() == "analyst"
