"""Bearer tokens: what is kept of them, and whom they let in."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa

from upkeep import tokens
from upkeep.database import events
from upkeep.database.server import Database
from upkeep.database.tables import tokens as rows
from upkeep.errors import AccessDenied, ConfigError, UpkeepError
from upkeep.redaction import Redactor


def make(database: Database, name: str = "ci", scope: tokens.Scope = "read", hours: float | None = None) -> str:
    until = None if hours is None else datetime.now(UTC) + timedelta(hours=hours)
    with database.session() as session:
        return tokens.create(session, name, scope, expires_at=until, by="ada")[1]


def refused(database: Database, presented: str) -> AccessDenied:
    with pytest.raises(AccessDenied) as error, database.session() as session:
        tokens.check(session, presented)
    return error.value


def test_a_token_is_known_by_its_digest_and_its_secret_is_nowhere(database: Database) -> None:
    made = make(database)
    with database.session() as session:
        token = tokens.check(session, made)
        row = session.execute(sa.select(rows)).mappings().one()
        told = events.of_subject(session, "web", "token:ci")
    assert (token.name, token.scope, token.created_by, token.last_used_at) == ("ci", "read", "ada", None)
    assert token.may("read")
    assert not token.may("write")
    secret = made.rpartition("_")[2]
    assert len(bytes.fromhex(secret)) == 32
    assert secret not in str(dict(row)) + str(told)
    assert told[0].summary["changes"]["id"] == token.id == made.split("_")[1]


@pytest.mark.parametrize("presented", ["", " ", "upkeep_", "x" * 100_000, "\0", "\udc80", "Bearer"])
def test_what_was_given_to_nobody_is_refused(database: Database, presented: str) -> None:
    made = make(database)
    changed = made[:-1] + ("0" if made[-1] != "0" else "1")
    for wrong in (presented, made + (presented or "0"), made[:-1], changed, made.upper()):
        assert refused(database, wrong).reason == "access.token_unknown"


def test_a_token_ends_when_it_expires_or_is_revoked(database: Database) -> None:
    short, long = make(database, "short", hours=1), make(database, "long", hours=1)
    with database.session() as session:
        past = {"created_at": sa.text("now() - interval '2 days'"), "expires_at": sa.text("now() - interval '1 day'")}
        session.execute(sa.update(rows).where(rows.c.name == "short").values(past))
        ended = tokens.revoke(session, "long", by="ada")
    assert "the token short expired at" in (expired := refused(database, short)).message
    assert "the token long was revoked at" in (revoked := refused(database, long)).message
    assert (expired.reason, revoked.reason) == ("access.token_expired", "access.token_revoked")
    with database.session() as session:
        assert [token.name for token in tokens.every(session)] == ["short"]
        assert ended in tokens.every(session, revoked=True)


def test_a_revoked_name_is_free_again_and_the_old_token_stays_out(database: Database) -> None:
    old = make(database)
    with pytest.raises(ConfigError) as taken:
        make(database)
    assert taken.value.reason == "token.name_taken"
    with database.session() as session:
        tokens.revoke(session, old.split("_")[1], by="ada")
    new = make(database, scope="write")
    with database.session() as session:
        assert tokens.check(session, new).may("write")
    assert refused(database, old).reason == "access.token_revoked"


def test_a_name_that_several_choose_at_once_goes_to_one(database: Database) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(4)

    def choose() -> None:
        start.wait(60)
        try:
            make(database)
            outcomes.append("made")
        except UpkeepError as error:
            outcomes.append(error.reason)

    racers = [threading.Thread(target=choose) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert sorted(outcomes) == ["made"] + ["token.name_taken"] * 3


def test_use_is_noted_once_a_minute(database: Database) -> None:
    made = make(database)

    def used() -> datetime:
        with database.session() as session:
            tokens.check(session, made)
        with database.session() as session:
            at = tokens.every(session)[0].last_used_at
        assert at is not None
        return at

    first = used()
    assert used() == first
    with database.session() as session:
        session.execute(sa.update(rows).values(last_used_at=first - timedelta(minutes=2)))
    assert used() >= first


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a" * 101])
def test_a_name_is_a_name(database: Database, name: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(database, name)
    assert error.value.reason == "config.bad_name"


def test_a_token_that_would_have_expired_is_not_made(database: Database) -> None:
    with pytest.raises(ConfigError) as error:
        make(database, hours=-1)
    assert error.value.reason == "token.expired"
    with database.session() as session:
        assert tokens.every(session, revoked=True) == []


def test_the_nearest_name_is_told(database: Database) -> None:
    make(database, "laptop")
    with pytest.raises(ConfigError, match="did you mean laptop") as error, database.session() as session:
        tokens.revoke(session, "labtop", by="ada")
    assert error.value.reason == "token.unknown"


def test_the_analyst_may_not_read_them(database: Database) -> None:
    make(database)
    with database.analyst_connection() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM upkeep.tokens")


@pytest.mark.parametrize("redact", [Redactor(), Redactor(["another secret"])])
def test_no_token_passes_our_redaction(database: Database, redact: Redactor) -> None:
    made = make(database)
    assert redact(f"GET /repos/?token={made} another") == "GET /repos/?token=*** another"
    assert redact(made.encode()) == b"***"
    assert len(made) <= redact.longest
