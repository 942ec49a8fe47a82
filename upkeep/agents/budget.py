"""Money: what a run, a subject's day and an agent's month may still spend.

What belongs here: the budget tree, what a ledger promises, and the ledger in memory. What does not: the ledger of all
processes (`ledger.py`), what a request can cost at most (`gateway/admission.py`), prices (`pricing.py`).

A request is booked twice: the most that it can cost is *reserved* before it is sent, and *settled* at what it did cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, SecretStr, field_serializer

from upkeep.agents.base import Usage
from upkeep.errors import BudgetExhausted

if TYPE_CHECKING:
    # The gateway starts with every agent run and has no use for the whole configuration.
    from upkeep.settings.agents import Budgets

_UNIT = Decimal("0.000000001")
_WORDS = {
    "try": "one run of the agent",
    "run": "the run",
    "subject_day": "{name} today",
    "agent_month": "{name} this month",
}


def usd(value: float | Decimal) -> Decimal:
    """US dollars to the billionth, rounded up: a token of the cheapest model costs some ten of them."""
    return Decimal(repr(value) if isinstance(value, float) else value).quantize(_UNIT, ROUND_CEILING)


def money(value: Decimal) -> str:
    return f"{value:.4f} USD"


class Limits(BaseModel):
    """US dollars, as `budgets:` in the configuration."""

    model_config = ConfigDict(frozen=True)

    per_run_usd: float
    per_subject_day_usd: float
    per_agent_month_usd: float


class Account(BaseModel):
    """What an agent run is booked to. `run_id` is Upkeep's run: its agent runs (tries) share one budget.

    `database_url` may hold a password: this record goes to the gateway through a pipe and nowhere else.
    """

    model_config = ConfigDict(frozen=True)

    database_url: SecretStr
    agent: str
    subject: str
    run_id: str
    limits: Limits

    @field_serializer("database_url", when_used="json")
    def _revealed(self, value: SecretStr) -> str:
        return value.get_secret_value()

    def scopes(self, at: datetime) -> tuple[Scope, ...]:
        """The limits that hold at a moment, in the order of locking."""
        day = at.astimezone(UTC)
        return (
            Scope("run", self.run_id, "", usd(self.limits.per_run_usd)),
            Scope("subject_day", self.subject, f"{day:%Y-%m-%d}", usd(self.limits.per_subject_day_usd)),
            Scope("agent_month", self.agent, f"{day:%Y-%m}", usd(self.limits.per_agent_month_usd)),
        )


@dataclass(frozen=True)
class Purse:
    """The money of one Upkeep run, for all agents that it starts."""

    database_url: SecretStr
    run_id: str
    budgets: Budgets

    def account(self, agent: str, subject: str) -> Account:
        limits = Limits(**self.budgets.model_dump())
        return Account(database_url=self.database_url, agent=agent, subject=subject, run_id=self.run_id, limits=limits)


@dataclass(frozen=True)
class Scope:
    """One limit: `kind` of what, its name, the period that it counts in, and US dollars."""

    kind: str
    name: str
    period: str
    limit: Decimal

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.name, self.period

    def exhausted(self, taken: Decimal, wanted: Decimal) -> BudgetExhausted:
        whose = _WORDS[self.kind].format(name=self.name)
        return BudgetExhausted(
            f"the budget of {whose} is {money(self.limit)}, of which {money(taken)} are spent or reserved; "
            f"the next request may cost {money(wanted)}",
            scope=self.kind,
            limit_usd=float(self.limit),
            taken_usd=float(taken),
        )


@dataclass(frozen=True)
class Reservation:
    """`amount` is between the least and the most that were asked for. `number`: 0 in a ledger without a database."""

    amount: Decimal
    number: int = 0


class Ledger(Protocol):
    """Where requests are booked. Amounts are US dollars; safe to call from one thread at a time."""

    def reserve(self, least: Decimal, most: Decimal, *, model: str) -> Reservation:
        """Hold as much as is left between `least` and `most`. Raises BudgetExhausted, DatabaseUnavailable."""
        ...

    def settle(self, reservation: Reservation, cost: Decimal, usage: Usage | None) -> None:
        """Book what it really cost. `usage` None: it is not known and `cost` is presumed."""
        ...

    def release(self, reservation: Reservation) -> None:
        """It cost nothing: it was not sent, or refused."""
        ...

    def close(self) -> None: ...


def granted(room: Sequence[tuple[Scope, Decimal]], least: Decimal, most: Decimal) -> Decimal:
    """How much of `least` to `most` fits, given what is taken of each scope. Raises BudgetExhausted that names the
    narrowest scope where not even `least` fits."""
    scope, taken = min(room, key=lambda entry: entry[0].limit - entry[1])
    left = scope.limit - taken
    if left < least or left <= 0:
        raise scope.exhausted(taken, least)
    return min(most, left)


class MemoryLedger:
    """One limit in this process alone; None: no limit. What is settled above its reservation counts in full."""

    def __init__(self, limit: float | None) -> None:
        self._scope = None if limit is None else Scope("try", "", "", usd(limit))
        self.spent = Decimal(0)
        self.reserved = Decimal(0)

    def reserve(self, least: Decimal, most: Decimal, *, model: str) -> Reservation:
        amount = most
        if self._scope is not None:
            amount = granted([(self._scope, self.spent + self.reserved)], least, most)
        self.reserved += amount
        return Reservation(amount)

    def settle(self, reservation: Reservation, cost: Decimal, usage: Usage | None) -> None:
        self.reserved -= reservation.amount
        self.spent += cost

    def release(self, reservation: Reservation) -> None:
        self.reserved -= reservation.amount

    def close(self) -> None:
        """Nothing to give back."""
