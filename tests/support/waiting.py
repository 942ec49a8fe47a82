"""Waiting for what another process or thread does.

The one way to do it: a test says for what it waits, never how long that takes. A busy machine is five times slower than
a quiet one, so the limit is there to end a test that fails, not to measure one that passes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LIMIT_SECONDS = 240.0

T = TypeVar("T")


def until(condition: Callable[[], T | None], what: str = "what was waited for", *, pause: float = 0.02) -> T:
    """Ask until the answer is true, and return it. Fails with `what` did not happen after `LIMIT_SECONDS`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {LIMIT_SECONDS:.0f} s"
        time.sleep(pause)
    return answer
