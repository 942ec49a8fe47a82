"""The ledger of all processes: every request of every agent, in PostgreSQL.

What belongs here: reserving, settling and releasing atomically, and what becomes of reservations whose process died.
What does not: the limits and their meaning (`budget.py`).

A reservation whose process died cannot be known: the request may have been answered and billed. It is *presumed*,
booked at all that was reserved, and corrected should its holder turn out to be alive. So no sum is ever lower than what
was really spent. Whether a holder lives is told by an advisory lock on the connection that made the reservation.

Rows are locked in one order everywhere, requests before spending, spending by `_ORDER`, so that no two wait for each
other.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from upkeep.agents import pricing
from upkeep.agents.base import Usage
from upkeep.agents.budget import Account, Purse, Reservation, Scope, granted
from upkeep.database.server import Database, connect
from upkeep.errors import BudgetExhausted, DatabaseUnavailable

_KINDS = ["run", "subject_day", "agent_month"]
_ORDER = "array_position(%(kinds)s::text[], scope), name, period"
_AMONG = "(scope, name, period) IN (SELECT * FROM unnest(%(kinds)s::text[], %(names)s::text[], %(periods)s::text[]))"


@dataclass(frozen=True)
class Spending:
    """What is taken of one scope."""

    scope: Scope
    spent: Decimal
    reserved: Decimal

    @property
    def taken(self) -> Decimal:
        return self.spent + self.reserved


class DatabaseLedger:
    """Books of one account. For one thread at a time; connects with the first call.

    Every method raises DatabaseUnavailable where the database does not answer: nothing is booked then, and a
    reservation that was made stays one until it is settled or presumed.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        # A server of its own is kept up by whoever started us; here it is only a URL.
        self._database = connect(Path("/nonexistent"), account.database_url.get_secret_value())
        self._connection: psycopg.Connection[Any] | None = None
        self._holder = ""

    def reserve(self, least: Decimal, most: Decimal, *, model: str) -> Reservation:
        at = datetime.now(UTC)
        scopes = self._account.scopes(at)
        with self._transaction() as connection:
            amount = granted([(row.scope, row.taken) for row in _lock(connection, scopes)], least, most)
            _add(connection, scopes, reserved=amount)
            number = connection.execute(
                "INSERT INTO upkeep.model_requests "
                "(holder, agent, subject, run_id, model, day, month, state, reserved_usd) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, 'reserved', %s) RETURNING id",
                (
                    *(self._holder, self._account.agent, self._account.subject, self._account.run_id, model),
                    *(scopes[1].period, scopes[2].period, amount),
                ),
            ).fetchone()
        assert number is not None
        return Reservation(amount, number[0])

    def settle(self, reservation: Reservation, cost: Decimal, usage: Usage | None) -> None:
        counts = None if usage is None else usage.model_dump(include=_COUNTS)
        self._decide(reservation, "presumed" if usage is None else "settled", cost, counts)

    def release(self, reservation: Reservation) -> None:
        self._decide(reservation, "released", Decimal(0), None)

    def check(self) -> None:
        """Raise BudgetExhausted unless something is left of every limit. Presumes what dead processes reserved."""
        self.presume()
        granted([(row.scope, row.taken) for row in self.spending()], Decimal(0), Decimal(0))

    def spending(self) -> list[Spending]:
        """What is taken of each limit now."""
        with self._transaction() as connection:
            return _read(connection, self._account.scopes(datetime.now(UTC)), lock=False)

    def presume(self) -> int:
        """Book what dead processes had reserved, of every agent; return how many requests there were."""
        with self._transaction() as connection:
            return _presume(connection, self._holder)

    def close(self) -> None:
        self._drop()
        self._database.close()

    def _decide(self, reservation: Reservation, state: str, cost: Decimal, counts: dict[str, Any] | None) -> None:
        for last in (False, True):
            try:
                with self._transaction() as connection:
                    # A decision that a crash of the server loses leaves the reservation, which counts for more.
                    connection.execute("SET LOCAL synchronous_commit = off")
                    _decide(connection, reservation.number, state, cost, counts)
                return
            except DatabaseUnavailable:
                # What was decided already is not decided twice, so this may be tried again on a new connection.
                if last:
                    raise

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._open()
        try:
            with connection.transaction():
                yield connection
        except psycopg.OperationalError as error:
            self._drop()
            raise self._database.unavailable(error) from error

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            # A new connection is a new holder: what an earlier one reserved belongs to nobody who is sure to live.
            self._holder = secrets.token_hex(16)
            self._connection = self._database.connection(f"upkeep ledger {self._account.agent}")
            self._connection.execute("SELECT pg_advisory_lock(%s)", (_key(self._holder),))
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


_COUNTS = {"input_uncached", "cache_read", "cache_write", "output", "reasoning"}


def require_budget(
    purse: Purse | None, budget_usd: float | None, *, agent: str, subject: str, model: str, provider: str
) -> None:
    """Refuse before an agent starts what its first request would be refused for.

    Raises BudgetExhausted where one of the limits is used up, AgentError `agent.no_price` where a budget could not be
    held, DatabaseUnavailable.
    """
    if budget_usd is not None:
        if budget_usd <= 0:
            raise BudgetExhausted(
                f"the budget of agent {agent} is {budget_usd:.2f} USD a run", remedy=f"raise agents.{agent}.budget_usd"
            )
        pricing.require_price(model=model, provider=provider, agent=agent)
    if purse is not None:
        ledger = DatabaseLedger(purse.account(agent, subject))
        try:
            ledger.check()
        finally:
            ledger.close()


def presume_dead(database: Database) -> int:
    """Book what processes that are gone had reserved; return how many requests there were."""
    connection = database.connection("upkeep ledger presume")
    try:
        with connection.transaction():
            return _presume(connection, "")
    finally:
        connection.close()


def _presume(connection: psycopg.Connection[Any], own: str) -> int:
    query = "SELECT DISTINCT holder FROM upkeep.model_requests WHERE state = 'reserved' AND holder <> %s"
    count = 0
    for (holder,) in connection.execute(query, (own,)).fetchall():
        # Released with this transaction: until then nobody else presumes the same, and its holder is gone for good.
        taken = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_key(holder),)).fetchone()
        if taken is None or not taken[0]:
            continue
        left = connection.execute(
            "SELECT id, reserved_usd FROM upkeep.model_requests WHERE holder = %s AND state = 'reserved' ORDER BY id "
            "FOR UPDATE",
            (holder,),
        ).fetchall()
        for number, reserved in left:
            _decide(connection, number, "presumed", reserved, None)
        count += len(left)
    return count


def _decide(
    connection: psycopg.Connection[Any], number: int, state: str, cost: Decimal, counts: dict[str, Any] | None
) -> None:
    """Close a request: from reserved, or from presumed by a holder that lives after all."""
    row = connection.execute(
        "SELECT run_id, subject, day, agent, month, state, reserved_usd, cost_usd FROM upkeep.model_requests "
        "WHERE id = %s FOR UPDATE",
        (number,),
    ).fetchone()
    if row is None or row[5] not in ("reserved", "presumed"):
        return
    run_id, subject, day, agent, month, before, reserved, presumed = row
    if before == "presumed" and state == "presumed":
        return
    nothing = Decimal(0)
    scopes = tuple(
        Scope(kind, name, period, nothing)
        for kind, name, period in zip(_KINDS, (run_id, subject, agent), ("", day, month), strict=True)
    )
    _add(
        connection,
        scopes,
        reserved=-reserved if before == "reserved" else nothing,
        spent=cost - (presumed if before == "presumed" else nothing),
    )
    connection.execute(
        "UPDATE upkeep.model_requests SET state = %s, cost_usd = %s, tokens = %s, settled_at = clock_timestamp() "
        "WHERE id = %s",
        (state, cost, None if counts is None else Jsonb(counts), number),
    )


def _lock(connection: psycopg.Connection[Any], scopes: tuple[Scope, ...]) -> list[Spending]:
    """Lock the rows of these scopes, which are made where they are not there yet."""
    found = _read(connection, scopes, lock=True)
    if len(found) == len(scopes):
        return found
    for scope in scopes:
        connection.execute(
            "INSERT INTO upkeep.spending (scope, name, period) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", scope.key
        )
    return _read(connection, scopes, lock=True)


def _read(connection: psycopg.Connection[Any], scopes: tuple[Scope, ...], *, lock: bool) -> list[Spending]:
    rows = connection.execute(
        "SELECT scope, name, period, spent_usd, reserved_usd FROM upkeep.spending "
        f"WHERE {_AMONG} ORDER BY {_ORDER}" + (" FOR UPDATE" if lock else ""),
        _keys(scopes),
    ).fetchall()
    found = {(scope, name, period): (spent, reserved) for scope, name, period, spent, reserved in rows}
    nothing = (Decimal(0), Decimal(0))
    return [Spending(scope, *found.get(scope.key, nothing)) for scope in scopes if scope.key in found or not lock]


def _add(
    connection: psycopg.Connection[Any],
    scopes: tuple[Scope, ...],
    *,
    reserved: Decimal = Decimal(0),
    spent: Decimal = Decimal(0),
) -> None:
    connection.execute(
        f"WITH locked AS (SELECT scope, name, period FROM upkeep.spending WHERE {_AMONG} ORDER BY {_ORDER} FOR UPDATE) "
        "UPDATE upkeep.spending AS row SET reserved_usd = row.reserved_usd + %(reserved)s, "
        "spent_usd = row.spent_usd + %(spent)s FROM locked "
        "WHERE (row.scope, row.name, row.period) = (locked.scope, locked.name, locked.period)",
        {**_keys(scopes), "reserved": reserved, "spent": spent},
    )


def _keys(scopes: tuple[Scope, ...]) -> dict[str, list[str]]:
    kinds, names, periods = zip(*(scope.key for scope in scopes), strict=True)
    return {"kinds": list(kinds), "names": list(names), "periods": list(periods)}


def _key(holder: str) -> int:
    return int.from_bytes(hashlib.sha256(f"upkeep ledger {holder}".encode()).digest()[:8], signed=True)
