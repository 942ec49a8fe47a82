"""What the next request can cost at most, and whether the budget allows it.

What belongs here: the bound on a request's tokens, its price, and the two ledgers in their order. What does not: the
limits (`upkeep/agents/budget.py`), and reading requests (`apis.py`) or answers (`meter.py`).

The input of a request is bounded by its bytes: no byte-level tokenizer makes more tokens than there are bytes. That is
some four times too much, so what an earlier request of the same conversation held counts for what the provider said it
was: bound = tokens of the earlier request + bytes of what is new.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from upkeep.agents import pricing
from upkeep.agents.base import Usage
from upkeep.agents.budget import Ledger, MemoryLedger, Reservation, usd
from upkeep.agents.gateway.apis import LEAST_OUTPUT, Prepared
from upkeep.agents.gateway.contents import OVERHEAD_TOKENS, Piece
from upkeep.errors import BudgetExhausted

_REMEMBERED = 16


class Bounds:
    """The most tokens that a request's input can be, given what the provider said of earlier ones."""

    def __init__(self) -> None:
        self._known: deque[tuple[Counter[bytes], int]] = deque(maxlen=_REMEMBERED)

    def learn(self, pieces: Iterable[Piece], tokens: int) -> None:
        """The provider counted `tokens` of input for these pieces."""
        self._known.append((Counter(piece.digest for piece in pieces), tokens))

    def input_tokens(self, pieces: Sequence[Piece]) -> int:
        return OVERHEAD_TOKENS + min(
            [sum(piece.tokens for piece in pieces), *(_beyond(pieces, seen) + told for seen, told in self._known)]
        )


def _beyond(pieces: Sequence[Piece], seen: Counter[bytes]) -> int:
    left = Counter(seen)
    total = 0
    for piece in pieces:
        if left[piece.digest] > 0:
            left[piece.digest] -= 1
        else:
            total += piece.tokens
    return total


@dataclass(frozen=True)
class Admitted:
    """A request that may be sent. `output`: the tokens that its answer may have; `input`: the bound of its input."""

    output: int
    input: int
    own: Reservation
    shared: Reservation | None


@dataclass
class Admission:
    """Reserves and settles, first in this gateway's own limit, then in the ledger of all processes (None: there is
    none). Without a price (`priced` False) everything costs 0, and only limits that are used up already refuse."""

    model: str
    provider: str
    priced: bool
    own: MemoryLedger
    shared: Ledger | None
    bounds: Bounds = field(default_factory=Bounds)

    def admit(self, prepared: Prepared) -> Admitted:
        """Reserve the most that the request can cost, with an answer cut to what the budget leaves. Raises
        BudgetExhausted, DatabaseUnavailable."""
        given = self.bounds.input_tokens(prepared.pieces)
        most = self._worst(given, prepared.output)
        try:
            own, shared = self._reserve(most, most)
        except BudgetExhausted:
            # What is left may do for a shorter answer. Asked for second, for it is rare and a price takes time.
            own, shared = self._reserve(self._worst(given, min(LEAST_OUTPUT, prepared.output)), most)
        amount = own.amount if shared is None else shared.amount
        return Admitted(self._affordable(given, prepared.output, amount, most), given, own, shared)

    def _reserve(self, least: Decimal, most: Decimal) -> tuple[Reservation, Reservation | None]:
        own = self.own.reserve(least, most, model=self.model)
        try:
            return own, None if self.shared is None else self.shared.reserve(least, own.amount, model=self.model)
        except BaseException:
            self.own.release(own)
            raise

    def settle(self, admitted: Admitted, prepared: Prepared, usage: Usage) -> Decimal:
        """Book what the provider reported; return the cost. Raises DatabaseUnavailable."""
        cost = self._price(usage)
        self.own.settle(admitted.own, cost, usage)
        self.bounds.learn(prepared.pieces, usage.input_uncached + usage.cache_read + usage.cache_write)
        if self.shared is not None and admitted.shared is not None:
            self.shared.settle(admitted.shared, cost, usage)
        return cost

    def presume(self, admitted: Admitted, known: Usage | None) -> Decimal:
        """Book the most that a request can have cost whose figures never came (`known`: of its input, perhaps);
        return it. Raises DatabaseUnavailable."""
        cost = self._worst(admitted.input, admitted.output)
        if known is not None and known.input_uncached + known.cache_read + known.cache_write:
            cost = self._price(known.model_copy(update={"output": max(known.output, admitted.output), "reasoning": 0}))
        self.own.settle(admitted.own, cost, None)
        if self.shared is not None and admitted.shared is not None:
            self.shared.settle(admitted.shared, cost, None)
        return cost

    def release(self, admitted: Admitted) -> None:
        """It was not sent, or it was refused. Raises DatabaseUnavailable."""
        self.own.release(admitted.own)
        if self.shared is not None and admitted.shared is not None:
            self.shared.release(admitted.shared)

    def _price(self, usage: Usage) -> Decimal:
        if not self.priced:
            return Decimal(0)
        return usd(pricing.cost_usd([usage], model=self.model, provider=self.provider))

    def _worst(self, given: int, output: int) -> Decimal:
        """Input that is written to a cache costs more than other input at some providers."""
        plain = self._price(Usage(engine="", requests=1, input_uncached=given, output=output))
        if not self._caching_costs:
            return plain
        return max(plain, self._price(Usage(engine="", requests=1, cache_write=given, output=output)))

    @cached_property
    def _caching_costs(self) -> bool:
        """Whether it does here, for short prompts or long ones."""
        return any(
            self._price(Usage(engine="", requests=1, cache_write=tokens))
            > self._price(Usage(engine="", requests=1, input_uncached=tokens))
            for tokens in (1_000, 1_000_000)
        )

    def _affordable(self, given: int, wanted: int, amount: Decimal, most: Decimal) -> int:
        """The longest answer that `amount` pays for, up to `wanted`. The price grows with the answer's length in
        proportion, so the share is exact but for rounding, which is in our favour."""
        if amount >= most:
            return wanted
        base = self._worst(given, 0)
        return max(1, min(wanted, int((amount - base) * wanted / (most - base))))
