"""Pools: how many agents of one engine work at once, over all runs, whoever started them.

What belongs here: claiming a slot of Dagster's pool of an engine for as long as one agent runs. What does not: the
pools' sizes (`concurrency.pools` in dagster.yaml, or Deployment, Concurrency in the UI), and how many runs are started
at once (`tag_concurrency_limits` there).

Why at run time: Dagster's pools belong to an asset's definition, while the agent of an update is a matter of its watch.
The slots are the same that Dagster claims itself, so they show in its UI, bind a run in a terminal as well as one that
the daemon launched, and are given back for a run that died (`run_monitoring.free_slots_after_run_end_seconds`).

Dagster's own claim is no semaphore on PostgreSQL: its connections commit each statement by themselves, so the row lock
between choosing a free slot and taking it holds nothing, and two runs that claim at once take the same slot (six
threads on a pool of two: four at work, with 1.13.27). So claims of one pool are made one at a time, under a lock of
ours.

https://docs.dagster.io/guides/operate/managing-concurrency/concurrency-pools
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dagster import DagsterInstance

from resources.database import open_database
from upkeep.agents.base import Agent
from upkeep.agents.turns import Turn
from upkeep.config import Settings

PAUSE_SECONDS = 1.0


def pool_of(engine: str) -> str:
    return f"agent_{engine}"


def turns(
    instance: DagsterInstance,
    run_id: str,
    settings: Settings,
    *,
    before: Callable[[str], None],
    say: Callable[[str], None],
) -> Turn:
    """The turns of one run. `before` is asked while an agent waits, and raises where the run may not go on; `say` hears
    once that it waits, and for whom."""

    @contextmanager
    def turn(agent: Agent) -> Iterator[None]:
        pool, holder = pool_of(agent.engine), f"agent {agent.name}"
        with slot(instance, pool, run_id, settings, holder=holder, before=before, say=say):
            yield

    return turn


@contextmanager
def slot(
    instance: DagsterInstance,
    pool: str,
    run_id: str,
    settings: Settings,
    *,
    holder: str,
    before: Callable[[str], None],
    say: Callable[[str], None],
) -> Iterator[None]:
    """Hold a slot of `pool`. Without a limit, or on an instance that knows none (a dry run's), nobody waits. `holder`
    stands for the step in Dagster's tables."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        yield
        return
    told = False
    try:
        while not (claim := _claim(storage, settings, pool, run_id, holder)).held:
            if not told:
                say(f"waiting for one of {claim.limit} slots of the pool {pool}")
                told = True
            before("let its agent work")
            time.sleep(PAUSE_SECONDS)
        yield
    finally:
        # Takes a claim back that still waits, too.
        storage.free_concurrency_slot_for_step(run_id, holder)


@dataclass(frozen=True)
class _Claim:
    """`limit` None: the pool has none."""

    held: bool
    limit: int | None


def _claim(storage: Any, settings: Settings, pool: str, run_id: str, holder: str) -> _Claim:
    """Claim a slot, or ask whether the one that was claimed before is ours by now. (`Any`: Dagster keeps the type of
    its storage private.)"""
    with _alone(settings, pool):
        limit = _limit(storage, pool)
        held = limit is None or storage.claim_concurrency_slot(pool, run_id, holder).is_claimed
        return _Claim(held, limit)


@contextmanager
def _alone(settings: Settings, pool: str) -> Iterator[None]:
    """While nobody else claims of this pool. The lock is gone with its connection, whatever becomes of us."""
    key = int.from_bytes(hashlib.sha256(f"upkeep pool {pool}".encode()).digest()[:8], signed=True)
    with open_database(settings) as database, database.connection("upkeep pool") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (key,))
        yield


def _limit(storage: Any, pool: str) -> int | None:
    """How many slots the pool has; made with the default's number where nobody has set one."""
    known, default = _known(storage, pool), storage.get_pool_config().default_pool_limit
    if default is not None and (known is None or (known.from_default and known.limit != default)):
        # Not otherwise: it writes over what a person has set.
        storage.initialize_concurrency_limit_to_default(pool)
        known = _known(storage, pool)
    return None if known is None else int(known.limit)


def _known(storage: Any, pool: str) -> Any:
    return {found.name: found for found in storage.get_pool_limits()}.get(pool)
