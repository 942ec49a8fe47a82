"""How every command speaks: results on stdout, progress and complaints on stderr, colour only on a terminal.

What belongs here: printing. What does not: deciding what to print. Nothing heavy is imported at the top: `upkeep
--help` and `upkeep validate` must start in a blink.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from upkeep.errors import UpkeepError

if TYPE_CHECKING:
    from rich.console import Console


def stdout() -> Console:
    """A console for results. Wide where it is no terminal, so that nothing is wrapped in a pipe."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 200)


def emit_json(value: Any) -> None:
    """Print one JSON document. Pydantic models print as their JSON form."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def complain(error: UpkeepError) -> None:
    """Print an error and what to do next."""
    console = stderr()
    console.print(f"[bold red]error[/] [dim]{error.reason}[/]: ", end="", soft_wrap=True)
    console.print(error.message, markup=False, soft_wrap=True)
    if error.remedy:
        console.print("  next: ", end="", style="bold", soft_wrap=True)
        console.print(error.remedy, markup=False, soft_wrap=True)


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)
