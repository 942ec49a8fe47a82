"""The ledger of all processes: every request of every agent, in PostgreSQL.

What belongs here: reserving, settling and releasing atomically, and what becomes of reservations whose process died.
What does not: the limits and their meaning (`budget.py`).

A reservation whose process died cannot be known: the request may have been answered and billed. It is *presumed*,
booked at all that was reserved, and corrected should its holder turn out to be alive. So no sum is ever lower than what
was really spent. Whether a holder lives is told by an advisory lock on the connection that made the reservation.

Every booking is one statement, so one round trip: a request waits for it. Rows are locked in one order everywhere,
requests before spending, spending by `_ORDER`, so that no two wait for each other. A statement that waited for a lock
sees the row as it is then, not as it was when the statement began (PostgreSQL, 13.2.1, Read Committed).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from upkeep.agents.base import Usage
from upkeep.agents.budget import Account, Purse, Reservation, Scope, granted
from upkeep.database.plain import open_connection, unavailable
from upkeep.errors import BudgetExhausted, DatabaseUnavailable

if TYPE_CHECKING:
    # SQLAlchemy takes longer to load than everything else in the gateway together.
    from upkeep.database.server import Database

_ORDER = "array_position(ARRAY['run', 'subject_day', 'agent_month'], row.scope), row.name, row.period"
_SCOPES = "unnest(%(kinds)s::text[], %(names)s::text[], %(periods)s::text[])"

_RESERVE = f"""
WITH locked AS (
    SELECT row.scope, row.name, row.period, wanted.most - row.spent_usd - row.reserved_usd AS room
    FROM unnest(%(kinds)s::text[], %(names)s::text[], %(periods)s::text[], %(limits)s::numeric[])
        AS wanted (scope, name, period, most)
    JOIN upkeep.spending AS row USING (scope, name, period)
    ORDER BY {_ORDER} FOR UPDATE OF row
), granted AS (
    SELECT least(min(room), %(most)s) AS amount FROM locked
    HAVING count(*) = cardinality(%(kinds)s::text[]) AND min(room) >= %(least)s AND min(room) > 0
), held AS (
    UPDATE upkeep.spending AS row SET reserved_usd = row.reserved_usd + granted.amount FROM locked, granted
    WHERE (row.scope, row.name, row.period) = (locked.scope, locked.name, locked.period)
)
INSERT INTO upkeep.model_requests (holder, agent, subject, run_id, model, day, month, state, reserved_usd)
SELECT %(holder)s, %(agent)s, %(subject)s, %(run_id)s, %(model)s, %(day)s, %(month)s, 'reserved', amount FROM granted
RETURNING id, reserved_usd
"""
"""Holds between `least` and `most` of every limit, or nothing: no row comes back where not even `least` fits, or where
a limit has no row yet."""

# From reserved, or from presumed by a holder that lives after all; what is decided otherwise stays. A decision that a
# crash of the server loses leaves the reservation, which counts for more, so nobody waits for the disk.
_DECIDE = f"""
WITH request AS (
    SELECT id, run_id, subject, day, agent, month, set_config('synchronous_commit', 'off', true),
        CASE state WHEN 'reserved' THEN reserved_usd ELSE 0 END AS held,
        CASE state WHEN 'presumed' THEN cost_usd ELSE 0 END AS presumed
    FROM upkeep.model_requests
    WHERE id = %(id)s AND (state = 'reserved' OR state = 'presumed' AND %(state)s <> 'presumed') FOR UPDATE
), locked AS (
    SELECT row.scope, row.name, row.period FROM request
    CROSS JOIN LATERAL (VALUES ('run', run_id, ''), ('subject_day', subject, day), ('agent_month', agent, month))
        AS booked (scope, name, period)
    JOIN upkeep.spending AS row USING (scope, name, period)
    ORDER BY {_ORDER} FOR UPDATE OF row
), booked AS (
    UPDATE upkeep.spending AS row
    SET reserved_usd = row.reserved_usd - request.held,
        spent_usd = row.spent_usd + coalesce(%(cost)s, request.held) - request.presumed
    FROM locked, request
    WHERE (row.scope, row.name, row.period) = (locked.scope, locked.name, locked.period)
)
UPDATE upkeep.model_requests AS row
SET state = %(state)s, cost_usd = coalesce(%(cost)s, request.held), tokens = %(tokens)s, settled_at = clock_timestamp()
FROM request WHERE row.id = request.id
"""
"""Closes a request. `cost` NULL: all that it had reserved."""


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
        self._connection: psycopg.Connection[Any] | None = None
        self._holder = ""

    def reserve(self, least: Decimal, most: Decimal, *, model: str) -> Reservation:
        scopes = self._account.scopes(datetime.now(UTC))
        limits = [scope.limit for scope in scopes]
        with self._connected() as connection:
            asked = {
                **_keys(scopes),
                **{"limits": limits, "least": least, "most": most, "holder": self._holder, "model": model},
                **{"agent": self._account.agent, "subject": self._account.subject, "run_id": self._account.run_id},
                **{"day": scopes[1].period, "month": scopes[2].period},
            }
            # Where nothing came back and there is room all the same, it was made a moment ago.
            while (row := connection.execute(_RESERVE, asked, prepare=True).fetchone()) is None:
                _make_rows(connection, scopes)
                granted([(row.scope, row.taken) for row in _read(connection, scopes)], least, most)
        return Reservation(row[1], row[0])

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
        with self._connected() as connection:
            return _read(connection, self._account.scopes(datetime.now(UTC)))

    def presume(self) -> int:
        """Book what dead processes had reserved, of every agent; return how many requests there were."""
        with self._connected() as connection:
            return _presume(connection, self._holder)

    def close(self) -> None:
        self._drop()

    def _decide(self, reservation: Reservation, state: str, cost: Decimal, counts: dict[str, Any] | None) -> None:
        for last in (False, True):
            try:
                with self._connected() as connection:
                    _decide(connection, reservation.number, state, cost, counts)
                return
            except DatabaseUnavailable:
                # What was decided already is not decided twice, so this may be tried again on a new connection.
                if last:
                    raise

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._open()
        try:
            yield connection
        except psycopg.OperationalError as error:
            self._drop()
            raise unavailable(error, "the database") from error

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            # A new connection is a new holder: what an earlier one reserved belongs to nobody who is sure to live.
            self._holder = secrets.token_hex(16)
            url = self._account.database_url.get_secret_value()
            self._connection = open_connection(url, f"upkeep ledger {self._account.agent}")
            self._connection.execute("SELECT pg_advisory_lock(%s)", (_key(self._holder),))
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()


_COUNTS = {"input_uncached", "cache_read", "cache_write", "output", "reasoning"}


def require_budget(purse: Purse | None, budget_usd: float | None, *, agent: str, subject: str) -> None:
    """Refuse before an agent starts what its first request would be refused for.

    Raises BudgetExhausted where one of the limits is used up, DatabaseUnavailable.
    """
    if budget_usd is not None and budget_usd <= 0:
        raise BudgetExhausted(
            f"the budget of agent {agent} is {budget_usd:.2f} USD a run", remedy=f"raise agents.{agent}.budget_usd"
        )
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
        return _presume(connection, "")
    finally:
        connection.close()


def _presume(connection: psycopg.Connection[Any], own: str) -> int:
    query = "SELECT DISTINCT holder FROM upkeep.model_requests WHERE state = 'reserved' AND holder <> %s"
    return sum(_presume_of(connection, holder) for (holder,) in connection.execute(query, (own,)).fetchall())


def _presume_of(connection: psycopg.Connection[Any], holder: str) -> int:
    """Of one holder, if it is gone."""
    with connection.transaction():
        # Released with this transaction: until then nobody else presumes the same, and its holder is gone for good.
        taken = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_key(holder),)).fetchone()
        if taken is None or not taken[0]:
            return 0
        left = connection.execute(
            "SELECT id FROM upkeep.model_requests WHERE holder = %s AND state = 'reserved' ORDER BY id FOR UPDATE",
            (holder,),
        ).fetchall()
        for (number,) in left:
            _decide(connection, number, "presumed", None, None)
    return len(left)


def _decide(
    connection: psycopg.Connection[Any],
    number: int,
    state: str,
    cost: Decimal | None,
    counts: dict[str, Any] | None,
) -> None:
    tokens = None if counts is None else Jsonb(counts)
    values = {"id": number, "state": state, "cost": cost, "tokens": tokens}
    connection.execute(_DECIDE, values, prepare=True)


def _make_rows(connection: psycopg.Connection[Any], scopes: tuple[Scope, ...]) -> None:
    connection.execute(
        f"INSERT INTO upkeep.spending (scope, name, period) SELECT * FROM {_SCOPES} ON CONFLICT DO NOTHING",
        _keys(scopes),
    )


def _read(connection: psycopg.Connection[Any], scopes: tuple[Scope, ...]) -> list[Spending]:
    rows = connection.execute(
        "SELECT scope, name, period, spent_usd, reserved_usd FROM upkeep.spending "
        f"WHERE (scope, name, period) IN (SELECT * FROM {_SCOPES})",
        _keys(scopes),
    ).fetchall()
    found = {(scope, name, period): (spent, reserved) for scope, name, period, spent, reserved in rows}
    nothing = (Decimal(0), Decimal(0))
    return [Spending(scope, *found.get(scope.key, nothing)) for scope in scopes]


def _keys(scopes: tuple[Scope, ...]) -> dict[str, Any]:
    kinds, names, periods = zip(*(scope.key for scope in scopes), strict=True)
    return {"kinds": list(kinds), "names": list(names), "periods": list(periods)}


def _key(holder: str) -> int:
    return int.from_bytes(hashlib.sha256(f"upkeep ledger {holder}".encode()).digest()[:8], signed=True)
