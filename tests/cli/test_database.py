"""`upkeep db upgrade` and `upkeep query`, as a user runs them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner, Result

from cli import database as commands
from tests.support.waiting import until
from upkeep.database import events, schema
from upkeep.database.events import EventType, Outcome
from upkeep.database.server import Database
from upkeep.errors import DatabaseError, UpkeepError

VALUES = (
    "SELECT 1 AS n, 1.5::numeric AS d, 'NaN'::float8 AS nan, true AS b, NULL AS nothing, "
    "'2026-01-02 03:04:05Z'::timestamptz AS t, '{\"k\": [1]}'::jsonb AS j, E'a\\nb\\x1b[31m' AS s, 2 AS n"
)


@pytest.fixture
def here(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without configuration, and the test's own database."""
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    monkeypatch.setenv("UPKEEP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("UPKEEP_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upkeep(*arguments: str, stdin: str = "") -> Result:
    app = typer.Typer()
    app.command("query")(commands.query)
    app.add_typer(commands.app, name="db")
    return CliRunner().invoke(app, arguments, input=stdin)


def refused(*arguments: str) -> UpkeepError:
    result = upkeep(*arguments)
    assert isinstance(result.exception, UpkeepError), result.output
    return result.exception


def test_upgrade_says_what_it_did(here: Path) -> None:
    assert upkeep("db", "upgrade").output == f"the database is up to date (migration {schema.HEAD})\n"
    done = json.loads(upkeep("db", "upgrade", "--json").output)
    assert done == {"before": schema.HEAD, "now": schema.HEAD, "changed": False}


def test_upgrade_sets_an_empty_database_up(
    postgres: Database, here: Path, monkeypatch: pytest.MonkeyPatch, worker_id: str
) -> None:
    name = f"cli_{worker_id}"
    url = sa.make_url(postgres.url).set(database=name).render_as_string(hide_password=False)
    monkeypatch.setenv("UPKEEP_DATABASE_URL", url)
    with postgres.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        assert upkeep("db", "upgrade").output == f"the database is at migration {schema.HEAD} now, newly set up\n"
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_run_can_be_asked_for(here: Path, database: Database) -> None:
    with database.session() as session:
        for type, more in (
            (EventType.RUN_STARTED, {"trigger": "cli"}),
            (EventType.RUN_ENDED, {"outcome": Outcome.DONE}),
        ):
            events.record(session, system="content", subject="chalo", type=type, run_id="r", **more)
    result = upkeep("query", "select subject, outcome, 12 as n from runs")
    assert result.output == "subject  outcome   n\n───────  ───────  ──\nchalo    done     12\n(1 row)\n"


def test_an_answer_without_rows_still_has_its_columns(here: Path) -> None:
    assert upkeep("query", "select run_id from runs").output == "run_id\n──────\n(0 rows)\n"
    assert upkeep("query", "select run_id from runs", "--format", "csv").output == "run_id\n"
    assert json.loads(upkeep("query", "select run_id from runs", "--json").output) == []


def test_every_kind_of_value_is_exported(here: Path) -> None:
    table = upkeep("query", VALUES).output.splitlines()[2]
    assert "a⏎b\\u{1b}[31m" in table, "what a terminal would obey is shown"
    (row,) = csv.reader(upkeep("query", VALUES, "--format", "csv").output.split("\n", 1)[1].splitlines(keepends=True))
    assert row == ["1", "1.5", "nan", "true", "", "2026-01-02T03:04:05+00:00", '{"k": [1]}', "a\nb\x1b[31m", "2"]
    (values,) = json.loads(upkeep("query", VALUES, "--json").output)
    assert values == {
        "n": 1,
        "d": 1.5,
        "nan": None,
        "b": True,
        "nothing": None,
        "t": "2026-01-02T03:04:05+00:00",
        "j": {"k": [1]},
        "s": "a\nb\x1b[31m",
        "n_2": 2,
    }


def test_a_statement_may_come_on_standard_input(here: Path) -> None:
    assert json.loads(upkeep("query", "-", "--json", stdin="select 1 as x").output) == [{"x": 1}]


def test_a_file_gets_the_format_of_its_name_and_is_whole_or_not_there(here: Path) -> None:
    result = upkeep("query", "select generate_series(1, 3) as x", "-o", "x.csv")
    assert (here / "x.csv").read_text() == "x\n1\n2\n3\n"
    assert result.stderr == "3 rows in x.csv\n"
    assert result.stdout == ""
    upkeep("query", "select 1 as x", "-o", "x.json")
    assert json.loads((here / "x.json").read_text()) == [{"x": 1}]
    refused("query", "select 1 / (2 - x) as y from generate_series(1, 3) as x", "-o", "x.csv")
    assert (here / "x.csv").read_text() == "x\n1\n2\n3\n"
    assert sorted(path.name for path in here.iterdir() if path.is_file()) == ["x.csv", "x.json"]


def test_a_file_that_cannot_be_written_is_named(here: Path) -> None:
    assert (
        refused("query", "select 1", "-o", "none/x.csv").message
        == "none/x.csv cannot be written: No such file or directory"
    )


def test_a_mistake_is_shown_where_it_is(here: Path) -> None:
    error = refused("query", "select\n  outcom from runs")
    assert error.reason == "query.refused"
    assert error.message == (
        'the query was refused: column "outcom" does not exist (line 2, column 3)\n    outcom from runs\n    ^'
    )
    assert "outcome" in error.remedy, "the server's own hint"


@pytest.mark.parametrize(
    "statement",
    [
        "delete from upkeep.events",
        "delete from metrics.runs",
        "create table mine ()",
        "insert into upkeep.watches (watch) values ('x')",
        "with gone as (delete from upkeep.watches returning 1) select * from gone",
    ],
)
def test_nothing_can_be_changed(here: Path, statement: str) -> None:
    assert "reads only" in refused("query", statement).remedy


def test_several_statements_at_once_are_refused(here: Path, database: Database) -> None:
    error = refused("query", "commit; set role none; insert into upkeep.watches (watch) values ('x')")
    assert "multiple commands" in error.message
    with database.session() as session:
        assert session.execute(sa.text("SELECT count(*) FROM upkeep.watches")).scalar() == 0


@pytest.mark.parametrize("statement", ["", ";", " -- nothing", "select $1", "not sql at all", "select '\x01", "vacuum"])
def test_any_other_text_is_a_mistake_of_the_user_and_no_crash(here: Path, statement: str) -> None:
    result = upkeep("query", statement)
    assert result.exception is None or isinstance(result.exception, DatabaseError)


def test_a_query_that_takes_too_long_is_stopped(here: Path, database: Database) -> None:
    """Stopped from outside, as the server does after half a minute; that the limit is set, and cannot be lifted in the
    same text, is looked at on its own."""
    slow = "select set_config('statement_timeout', '0', false); select pg_sleep(60)"
    assert "multiple commands" in refused("query", slow).message

    def stop() -> bool:
        sleeping = "query = 'select pg_sleep(60)' AND datname = current_database() AND state = 'active'"
        with database.session() as session:
            query = f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {sleeping}"
            return bool(session.connection().exec_driver_sql(query).scalar())

    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(until, stop, "the query")
        error = refused("query", "select pg_sleep(60)")
        assert stopping.result()
    assert error.reason == "query.timeout"
    assert "LIMIT" in error.remedy


def test_the_limit_of_a_query_is_the_servers(here: Path) -> None:
    (row,) = json.loads(upkeep("query", "show statement_timeout", "--json").stdout)
    assert row == {"statement_timeout": "30s"}


def test_formats_that_contradict_each_other_are_wrong_usage(here: Path) -> None:
    assert upkeep("query", "select 1", "--json", "--format", "csv").exit_code == 2


def test_the_commands_are_light_to_import() -> None:
    probe = (
        "import sys, cli.database; print([m for m in ('sqlalchemy', 'psycopg', 'rich', 'dagster') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
