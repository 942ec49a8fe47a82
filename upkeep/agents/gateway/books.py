"""The bookings of one gateway: each request admitted, then settled, presumed or released, once and in order.

What belongs here: the ledger's thread, and what was booked so far. What does not: what a request may cost
(`admission.py`), and sending it (`server.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from upkeep.agents.base import Usage
from upkeep.agents.gateway.admission import Admission, Admitted
from upkeep.agents.gateway.apis import Prepared
from upkeep.agents.gateway.meter import Meter
from upkeep.errors import DatabaseUnavailable

How = Literal["settled", "presumed", "released", "unbooked"]


@dataclass
class Sent:
    """A request on its way. `answer`: the beginning of what came back, for the transcript. `closing`: it is being
    booked, or is so already."""

    number: int
    prepared: Prepared
    admitted: Admitted
    meter: Meter
    answer: bytearray = field(default_factory=bytearray)
    closing: asyncio.Task[None] | None = None


class Books:
    """For one event loop. Sums are final after `close`. `closed` is called with every request that was booked, its cost
    in US dollars and how; "unbooked" where the database was gone: its reservation stands then."""

    def __init__(self, admission: Admission, closed: Callable[[Sent, Decimal, How], None]) -> None:
        self._admission = admission
        self._closed = closed
        # The ledger is for one thread at a time, and the event loop must not wait for a database.
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._closings: set[asyncio.Task[None]] = set()
        self.total = Usage(engine="")
        self.cost = Decimal(0)
        self.presumed = 0
        self.presumed_usd = Decimal(0)
        self.released = 0

    async def admit(self, prepared: Prepared) -> Admitted:
        """As `Admission.admit`. A client that goes meanwhile leaves no reservation."""
        booking = self._thread.submit(self._admission.admit, prepared)
        try:
            return await asyncio.wrap_future(booking)
        except asyncio.CancelledError:
            self._thread.submit(self._give_back, booking)
            raise

    def book(self, sent: Sent, how: How) -> None:
        """Close a request; a second word about it is ignored. It queues for the thread before this returns, so what is
        admitted later is booked later; nobody waits for it but `close`."""
        if sent.closing is not None:
            return
        booked = asyncio.get_running_loop().run_in_executor(self._thread, self._book, sent, how)
        sent.closing = asyncio.ensure_future(self._note(booked, sent))
        self._closings.add(sent.closing)
        sent.closing.add_done_callback(self._closings.discard)

    async def close(self) -> None:
        """Finish every booking and give the ledger back."""
        if self._closings:
            await asyncio.wait(self._closings)
        self._thread.shutdown()
        if self._admission.shared is not None:
            self._admission.shared.close()

    async def _note(self, booked: asyncio.Future[tuple[Decimal, How]], sent: Sent) -> None:
        try:
            cost, how = await booked
        except DatabaseUnavailable:
            # Whoever finds the reservation presumes it: never too little.
            cost, how = Decimal(0), "unbooked"
        self._closed(sent, cost, how)

    def _book(self, sent: Sent, how: How) -> tuple[Decimal, How]:
        """In the thread."""
        usage = sent.meter.usage
        if how == "released":
            self._admission.release(sent.admitted)
            self.released += 1
            return Decimal(0), how
        if how == "settled" and usage is not None and sent.meter.ended:
            cost = self._admission.settle(sent.admitted, sent.prepared, usage)
            self.total += usage
            self.cost += cost
            return cost, how
        cost = self._admission.presume(sent.admitted, usage)
        self.presumed += 1
        self.presumed_usd += cost
        return cost, "presumed"

    def _give_back(self, booking: Future[Admitted]) -> None:
        """In the thread, so the booking is over."""
        if not booking.cancelled() and booking.exception() is None:
            self._admission.release(booking.result())
