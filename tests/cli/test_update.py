"""`upkeep update`: what it prints and how it exits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.update import as_json, exit_code
from orchestration.execute import Update
from tests.support.updates import CART, WATCH, Pair, cart
from upkeep.content.mermaid import FOLDER_VARIABLE
from upkeep.database.events import Outcome
from upkeep.errors import LockError
from upkeep.runs import open_run

UPKEEP = Path(sys.executable).with_name("upkeep")


def upkeep(pair: Pair, *arguments: str) -> subprocess.CompletedProcess[str]:
    ours = ("UPKEEP_", "DAGSTER")
    environment = {
        name: value for name, value in os.environ.items() if name == FOLDER_VARIABLE or not name.startswith(ours)
    }
    return subprocess.run(
        [str(UPKEEP), "--config", str(pair.config), *arguments],
        env={**environment, "UPKEEP_DATABASE_URL": pair.database.url},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.DONE, 0),
        (Outcome.NOTHING_NEW, 0),
        (Outcome.SKIPPED, 0),
        (Outcome.VALIDATION_FAILED, 2),
        (Outcome.GUARDRAIL_REFUSED, 3),
        (Outcome.AGENT_FAILED, 4),
        (Outcome.LOCKED, 15),
        (Outcome.FAILED, 1),
        (Outcome.CANCELLED, 1),
        (Outcome.KILLED, 1),
    ],
)
def test_every_outcome_has_the_exit_code_of_the_contract(outcome: Outcome, code: int) -> None:
    assert exit_code(Update("app", "run", outcome, "", None, 1.0)) == code


def test_an_update_prints_where_it_looked_what_it_wrote_and_the_pull_request(pair: Pair) -> None:
    head = pair.push({CART: cart("cart opened")}, "Add the cart")

    done = upkeep(pair, "update", WATCH)

    assert done.returncode == 0, done.stderr
    assert f"main at {head[:12]} Add the cart" in done.stdout
    assert "the beginning.." in done.stdout
    assert "events added" in done.stdout
    assert "pull request: " in done.stdout
    assert "looking at the upstream of ferry" in done.stderr
    assert "Skipping" not in done.stderr

    again = upkeep(pair, "update", WATCH, "--json")
    assert again.returncode == 0
    found = json.loads(again.stdout)
    assert (found["outcome"], found["head"], found["error"]) == ("nothing_new", head, None)
    assert found["pull_request"]["state"] == "open"
    assert "Blocking asset check" not in again.stderr


def test_a_dry_run_prints_the_proposal_and_changes_nothing(pair: Pair) -> None:
    done = upkeep(pair, "update", WATCH, "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "nothing was pushed" in done.stdout
    assert "Update analytics docs" in done.stdout
    assert list(pair.branches()) == ["main"]


def test_a_locked_watch_exits_with_15_and_names_the_holder(pair: Pair) -> None:
    with open_run(pair.database, system="content", subject=f"watch:{WATCH}", run_id="other", trigger="cli"):
        done = upkeep(pair, "update", WATCH, "--json")

    assert done.returncode == 15
    found = json.loads(done.stdout)
    assert found["outcome"] == "locked"
    assert f"pid {os.getpid()}" in found["error"]["message"]


def test_a_refused_change_says_which_limit_it_passed_and_shows_no_trace(pair: Pair) -> None:
    text = pair.config.read_text()
    pair.config.write_text(text.replace(f"  {WATCH}:\n", f"  {WATCH}:\n    guardrails: {{max_files: 1}}\n"))

    done = upkeep(pair, "update", WATCH)

    assert done.returncode == 3
    assert "files changed, at most 1 are allowed" in done.stderr
    assert "next: " in done.stderr
    assert "dagster" not in done.stderr + done.stdout


def test_an_unknown_watch_is_a_short_error_with_the_nearest_name(pair: Pair) -> None:
    done = upkeep(pair, "update", "fery")

    assert done.returncode == 1
    assert "did you mean ferry?" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_upstream_whose_branch_is_gone_says_what_to_do(pair: Pair) -> None:
    pair.upstream.git("branch", "-M", "main", "trunk")

    done = upkeep(pair, "update", WATCH)

    assert done.returncode == 1
    assert "has no branch main" in done.stderr
    assert "next: " in done.stderr
    assert list(pair.branches()) == ["main"]


def test_the_json_of_a_run_that_did_not_get_far_has_every_key() -> None:
    error = LockError("busy", remedy="wait")
    found = as_json(Update("app", "run", Outcome.LOCKED, "locked", error, 0.5), dry_run=False)

    assert found["error"] == {"code": "locked", "message": "busy", "remedy": "wait", "transient": False}
    assert found["message"] == "busy"
    assert all(found[key] is None for key in ("head", "pull_request", "changes", "usage", "findings"))
