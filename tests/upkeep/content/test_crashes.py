"""Killed at every boundary, raced, refused by the forge: afterwards one more update, and every promise holds.

The process really dies (SIGKILL to itself), on the fakes of GitHub and Gitea and on the local forge; the next run is a
new process's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import updates
from tests.support.updates import CART, REPO, Pair, cart, make_pair
from upkeep.content.ranges import BRANCH_PREFIX
from upkeep.database.events import open_runs
from upkeep.database.locks import holder_of
from upkeep.database.server import Database
from upkeep.database.state import read_watch
from upkeep.errors import (
    DatabaseUnavailable,
    ForgeError,
    LockError,
    LockLost,
    RateLimited,
    RemoteUnavailable,
    UpkeepError,
)
from upkeep.forges.base import PullRequest
from upkeep.forges.registry import open_forge

STEPS = (
    "plan",
    "write",
    "agent",
    "publish",
    "search",
    "commit",
    "push",
    "create",
    "read_back",
    "close",
    "state",
    "end",
)


def at_length(step: str) -> Any:
    """One of a row of which the others are tried quickly."""
    return pytest.param(step, marks=pytest.mark.long)


def pulls(pair: Pair) -> list[PullRequest]:
    return open_forge(pair.settings.watch("ferry").target.forge, pair.settings, pair.database).pull_requests(REPO)


def promises_hold(pair: Pair) -> None:
    """At most one pull request a head, state not ahead of the forge, no run without an end, lock free, main untouched
    by us."""
    heads = [each.head_branch for each in pulls(pair)]
    assert len(heads) == len(set(heads))
    with pair.database.session() as session:
        known = read_watch(session, "ferry").last_processed_commit
        assert open_runs(session) == []
    if known is not None:
        assert BRANCH_PREFIX + known in heads
    assert holder_of(pair.database, "watch:ferry") is None
    assert len(pair.dashboard.git("log", "--format=%H", "main").splitlines()) == 1


def finished(pair: Pair) -> None:
    """The newest head has its one pull request, open, and everything older of ours is closed."""
    promises_hold(pair)
    by_branch = {each.head_branch: each for each in pulls(pair)}
    newest = by_branch.pop(BRANCH_PREFIX + pair.app.head())
    assert newest.state == "open"
    assert newest.head_sha == pair.branches()[newest.head_branch]
    assert all(each.state == "closed" for each in by_branch.values())
    with pair.database.session() as session:
        assert read_watch(session, "ferry").last_processed_commit == pair.app.head()


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_the_next_run_finishes_on_a_forge_over_the_network(remote_pair: Pair, step: str) -> None:
    remote_pair.update()
    remote_pair.push({CART: cart("cart opened")})
    done = remote_pair.killed_at(step)
    assert done.returncode == -9, done.stderr
    remote_pair.update()
    finished(remote_pair)


@pytest.mark.parametrize("step", ["push", at_length("create"), at_length("read_back"), "close", at_length("state")])
def test_killed_between_push_and_state_the_next_run_finishes(pair: Pair, step: str) -> None:
    pair.update()
    pair.push({CART: cart("cart opened")})
    done = pair.killed_at(step)
    assert done.returncode == -9, done.stderr
    pair.update()
    finished(pair)


@pytest.mark.parametrize("step", ["create", at_length("close")])
def test_killed_and_then_overtaken_by_a_new_head(pair: Pair, step: str) -> None:
    pair.update()
    pair.push({CART: cart("cart opened")})
    assert pair.killed_at(step).returncode == -9
    pair.push({CART: cart("cart opened", "cart closed")})
    pair.update()
    finished(pair)


def test_two_racers_make_one_pull_request_and_one_of_them_is_told_who_works(pair: Pair) -> None:
    environment = {**os.environ, "PYTHONPATH": str(updates.ROOT), "UPKEEP_DATABASE_URL": pair.database.url}
    command = [sys.executable, "-P", str(Path(updates.__file__)), str(pair.config), "never"]
    racers = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [racer.communicate(timeout=120)[1] for racer in racers]
    codes = [racer.returncode for racer in racers]
    assert 0 in codes
    for code, error in zip(codes, errors, strict=True):
        assert code == 0 or "LockError" in error
    finished(pair)


def test_a_live_holder_is_never_overridden_not_even_by_force(pair: Pair) -> None:
    with ThreadPoolExecutor(1) as pool:

        def meet(step: str) -> None:
            if step == "write":
                with pytest.raises(LockError, match="pid"):
                    pool.submit(pair.update).result()

        pair.update(before=meet)
    finished(pair)


@pytest.mark.parametrize(
    ("route", "what"),
    [
        ("POST /repos/.*/pulls$", {"drop": True, "after": True}),
        ("PATCH /repos/.*/pulls/", {"status": 409}),
        *(
            pytest.param(route, what, marks=pytest.mark.long)
            for route, what in [
                ("POST /repos/.*/pulls$", {"status": 409}),
                ("POST /repos/.*/pulls$", {"status": 422}),
                ("POST /repos/.*/pulls$", {"status": 500}),
                ("POST /repos/.*/pulls$", {"status": 502, "after": True}),
                ("GET /repos/.*/pulls", {"status": 503}),
                ("PATCH /repos/.*/pulls/", {"status": 422}),
                ("PATCH /repos/.*/pulls/", {"status": 502, "after": True}),
                ("PATCH /repos/.*/pulls/", {"drop": True, "after": True}),
            ]
        ),
    ],
)
def test_a_forge_in_trouble_ends_in_one_pull_request(remote_pair: Pair, route: str, what: dict[str, object]) -> None:
    forge = remote_pair.network
    remote_pair.update()
    remote_pair.push({CART: cart("cart opened")})
    fault = forge.fault(route.replace(" /", " .*/"), **what)
    with suppress(ForgeError):
        remote_pair.update()
    assert fault.times == 0
    promises_hold(remote_pair)
    remote_pair.update()
    finished(remote_pair)


@pytest.mark.parametrize("what", [{"drop": True, "after": True}, {"drop": True, "times": 9}])
def test_a_network_that_drops_during_the_push_ends_in_one_pull_request(gitea_pair: Pair, what: dict[str, Any]) -> None:
    gitea_pair.update()
    gitea_pair.push({CART: cart("cart opened")})
    fault = gitea_pair.network.fault("POST .*/git-receive-pack", **what)
    if what.get("after"):
        gitea_pair.update()
    else:  # curl repeats a request that got no answer
        with pytest.raises(RemoteUnavailable):
            gitea_pair.update()
        assert set(gitea_pair.branches()) == {"main", pulls(gitea_pair)[0].head_branch}
    assert fault.times < what.get("times", 1)
    fault.times = 0
    promises_hold(gitea_pair)
    gitea_pair.update()
    finished(gitea_pair)


def test_a_rate_limit_is_told_with_its_wait_and_cured_by_the_next_run(remote_pair: Pair) -> None:
    fault = remote_pair.network.fault("POST .*/pulls$", status=429, headers={"Retry-After": "3600"}, times=9)
    with pytest.raises(RateLimited) as caught:
        remote_pair.update()
    assert caught.value.details["seconds"] == pytest.approx(3600, abs=60)
    promises_hold(remote_pair)
    fault.times = 0
    remote_pair.update()
    finished(remote_pair)


def test_an_update_takes_at_most_four_forge_calls(remote_pair: Pair) -> None:
    requests = remote_pair.network.requests
    remote_pair.update()
    assert len(requests) <= 4
    seen = len(requests)
    remote_pair.push({CART: cart("cart opened")})
    remote_pair.update()
    assert [f"{each.method}" for each in requests[seen:]].count("POST") == 1
    assert len(requests) - seen <= 4


@pytest.mark.parametrize("at", [at_length("write"), "push", at_length("create"), at_length("close"), "state"])
def test_a_database_that_goes_away_in_the_middle_loses_nothing(gitea_pair: Pair, database_url: str, at: str) -> None:
    gitea_pair.update()
    before = set(gitea_pair.branches())
    gitea_pair.push({CART: cart("cart opened")})

    def cut(step: str) -> None:
        if step == at:
            with psycopg.connect(database_url, autocommit=True) as own:
                # Clients only: an autovacuum worker belongs to the superuser, and terminating it is refused.
                own.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )

    with pytest.raises((LockLost, DatabaseUnavailable)):
        gitea_pair.update(before=cut)
    if at in ("write", "push"):
        assert set(gitea_pair.branches()) == before
    gitea_pair.update()
    finished(gitea_pair)


def test_a_full_disk_is_an_error_that_says_so_and_the_next_run_works(
    tmp_path: Path, database: Database, without_mermaid: None
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no mount on this machine: {mounted.stderr.decode().strip()}")
    try:
        with make_pair(tmp_path, database) as pair:
            config = pair.config.read_text().replace(f"home: {tmp_path / 'home'}", f"home: {small / 'home'}")
            pair.config.write_text(config)
            filler = small / "filler"
            filler.write_bytes(b"\0" * (2 * 1024 * 1024 + 900 * 1024))
            with pytest.raises((UpkeepError, OSError)) as caught:
                pair.update()
            assert "disk is full" in str(caught.value)
            promises_hold(pair)
            filler.unlink()
            pair.update()
            finished(pair)
    finally:
        subprocess.run(["umount", str(small)], check=True)
