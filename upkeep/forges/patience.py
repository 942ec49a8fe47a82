"""Patience with a forge over HTTP: what is tried again, after which pause, and what is looked up first.

What belongs here: the rules that every HTTP forge keeps. What does not: how a request is sent, and which answer means
which error (`gh.py`, `gitea_api.py`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from upkeep.errors import ForgeError, ForgeUnavailable, RateLimited

ATTEMPTS = 5

_Found = TypeVar("_Found")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Patience:
    """`deadline` is the wall-clock time in seconds that one operation may take with all its repetitions. `sleep` and
    `jitter` (a number in [0, 1)) are seams for tests."""

    deadline: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def repeat(
        self,
        attempt: Callable[[], _Answer],
        passing: tuple[type[ForgeError], ...] = (ForgeUnavailable, RateLimited),
    ) -> _Answer:
        """Repeat while the error is one that passes and the deadline leaves time: back-off doubles from half a second,
        half of it jitter; a rate limit says itself how long to wait."""
        ends = time.monotonic() + self.deadline
        for number in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except passing as error:
                pause = error.details.get("seconds", 2.0 ** (number - 2) * (0.5 + self.jitter() / 2))
                if number == ATTEMPTS or time.monotonic() + pause >= ends:
                    raise
                self.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def write(
        self,
        send: Callable[[], _Answer],
        look_up: Callable[[], _Found | None],
        passing: tuple[type[ForgeError], ...] = (ForgeUnavailable, RateLimited),
    ) -> _Answer | _Found:
        """Send a change. When its outcome is unknown (ForgeUnavailable), `look_up` is asked whether it took effect, and
        only if it did not (None) the change is sent again.

        Returns the answer, or what `look_up` found."""
        unknown = False

        def attempt() -> _Answer | _Found:
            nonlocal unknown
            if unknown and (found := look_up()) is not None:
                return found
            try:
                return send()
            except ForgeUnavailable:
                unknown = True
                raise

        return self.repeat(attempt, passing)
