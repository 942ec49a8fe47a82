"""How much slower this machine is now than an idle one.

What belongs here: the factor for settings that are short so that a test is, such as the silence after which an agent is
ended: on a busy machine a CLI takes longer to begin, and what was not begun proves nothing. What does not: deadlines of
tests themselves, which are generous at any load.
"""

from __future__ import annotations

import os


def slowness() -> float:
    """From 1 to 5: processes that want to run, by core."""
    return max(1.0, min(5.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
