"""`upkeep state` and `upkeep explain` around real updates."""

import json

import sqlalchemy as sa

from cli.state import as_keys
from tests.cli.test_update import upkeep
from tests.support.updates import WATCH, Pair
from upkeep.database.state import WatchState


def test_a_watch_that_never_ran_has_the_four_keys_without_values() -> None:
    assert as_keys(WatchState(watch="app")) == dict.fromkeys(
        ("lastProcessedCommit", "lastRunAt", "lastRunStatus", "lastPRUrl")
    )


def test_an_unknown_watch_is_refused_with_the_nearest_name(pair: Pair) -> None:
    for command in (["state", "show", "fery"], ["state", "rebuild", "fery"], ["explain", "fery"]):
        done = upkeep(pair, *command)
        assert done.returncode == 1
        assert "did you mean ferry?" in done.stderr


def test_state_that_cannot_be_read_says_how_to_recover(pair: Pair) -> None:
    with pair.database.session() as session:
        values = {"watch": WATCH, "last_processed_commit": "not a commit"}
        session.execute(
            sa.text(
                "INSERT INTO upkeep.watches (watch, last_processed_commit) VALUES (:watch, :last_processed_commit)"
            ),
            values,
        )

    done = upkeep(pair, "state", "show", WATCH)

    assert done.returncode == 1
    assert f"upkeep state rebuild {WATCH}" in done.stderr


def test_state_and_explanation_follow_an_update(pair: Pair) -> None:
    before = upkeep(pair, "state", "show", WATCH, "--json")
    assert json.loads(before.stdout) == dict.fromkeys(
        ("lastProcessedCommit", "lastRunAt", "lastRunStatus", "lastPRUrl")
    )
    assert "No run of this watch is recorded yet." in upkeep(pair, "explain", WATCH).stdout

    assert upkeep(pair, "update", WATCH).returncode == 0

    head = pair.upstream.head("main")
    known = json.loads(upkeep(pair, "state", "show", WATCH, "--json").stdout)
    assert (known["lastProcessedCommit"], known["lastRunStatus"]) == (head, "done")
    assert known["lastPRUrl"]
    said = upkeep(pair, "explain", WATCH, "--json")
    explained = json.loads(said.stdout)
    assert explained["code"] == "head_processed"
    assert explained["looks"] == ["The sensor has never looked: it does while `upkeep up` runs."]
    plain = upkeep(pair, "state", "show", WATCH).stdout
    assert f"lastProcessedCommit: {head}" in plain

    pair.upstream.git("update-ref", "-d", "refs/heads/main")
    assert upkeep(pair, "update", WATCH).returncode == 1
    later = json.loads(upkeep(pair, "state", "show", WATCH, "--json").stdout)
    assert (later["lastProcessedCommit"], later["lastRunStatus"]) == (head, "failed")
    assert later["lastRunAt"] > known["lastRunAt"]


def test_lost_state_is_rebuilt_from_the_forge(pair: Pair) -> None:
    assert upkeep(pair, "update", WATCH).returncode == 0
    known = json.loads(upkeep(pair, "state", "show", WATCH, "--json").stdout)
    with pair.database.session() as session:
        session.execute(sa.text("DELETE FROM upkeep.watches"))

    rebuilt = upkeep(pair, "state", "rebuild", WATCH, "--json")

    assert rebuilt.returncode == 0, rebuilt.stderr
    found = json.loads(rebuilt.stdout)
    assert found["lastProcessedCommit"] == known["lastProcessedCommit"]
    assert found["lastPRUrl"] == known["lastPRUrl"]
