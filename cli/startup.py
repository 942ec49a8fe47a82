"""Starting quickly: what commands do that load Dagster.

What belongs here: tricks of the interpreter. What does not: any command.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Iterator[None]:
    """Importing Dagster makes a million objects that stay: looking for garbage among them takes a sixth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
