"""`upkeep token` as a person uses it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner, Result

from cli.tokens import app
from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from upkeep import tokens
from upkeep.database.server import Database
from upkeep.errors import UpkeepError
from upkeep.redaction import OWN_TOKEN


def run(*arguments: str, exit_code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == exit_code, (done.output, done.exception)
    return done


def test_a_token_is_printed_once_and_alone(hub: HubTerminal, database: Database) -> None:
    done = run("create", "ci", "--expires", "90d")
    made = done.stdout.strip()
    assert re.fullmatch(OWN_TOKEN, made)
    assert "ci may read until" in done.stderr
    assert made not in done.stderr
    with database.session() as session:
        assert tokens.check(session, made).name == "ci"
    listed = run("list").stdout
    assert made.split("_")[1] in listed
    assert made.split("_")[2] not in listed


def test_all_of_it_is_there_as_json(hub: HubTerminal) -> None:
    made = json.loads(run("create", "laptop", "--scope", "write", "--expires", "2999-01-01", "--json").stdout)
    assert (made["name"], made["scope"], made["expires_at"]) == ("laptop", "write", "2999-01-01T00:00:00+00:00")
    (listed,) = json.loads(run("list", "--json").stdout)
    assert listed == {key: value for key, value in made.items() if key != "token"}
    assert json.loads(run("revoke", "laptop", "--json").stdout)["revoked_at"] is not None
    assert json.loads(run("list", "--json").stdout) == []
    assert run("list").stdout == "no tokens; `upkeep token create NAME` makes one\n"
    assert "revoked" in run("list", "--all").stdout


@pytest.mark.parametrize(
    ("written", "span"), [("12h", timedelta(hours=12)), ("90d", timedelta(days=90)), ("4w", timedelta(weeks=4))]
)
def test_a_span_counts_from_now(hub: HubTerminal, written: str, span: timedelta) -> None:
    before = datetime.now(UTC)
    made = json.loads(run("create", "a", "--expires", written, "--json").stdout)
    assert before + span <= datetime.fromisoformat(made["expires_at"]) <= datetime.now(UTC) + span


@pytest.mark.parametrize("written", ["soon", "0d", "90", "2027-13-01", "999999w"])
def test_what_is_no_time_is_refused(written: str) -> None:
    assert "is no span" in run("create", "a", "--expires", written, exit_code=2).stderr


def test_errors_say_what_to_do(hub: HubTerminal) -> None:
    run("create", "ci")
    for arguments, reason, remedy in (
        (("create", "ci"), "token.name_taken", "upkeep token revoke ci"),
        (("create", "a b"), "config.bad_name", "Use letters"),
        (("create", "old", "--expires", "2001-01-01"), "token.expired", "90d"),
        (("revoke", "none"), "token.unknown", "upkeep token list"),
    ):
        error = run(*arguments, exit_code=1).exception
        assert isinstance(error, UpkeepError)
        assert error.reason == reason
        assert remedy in error.remedy
