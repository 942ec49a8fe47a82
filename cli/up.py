"""`upkeep up`: database, Dagster and what else there is, as one process tree.

What belongs here: the order of start and end, and what is printed. What does not: supervising (`cli/supervise.py`).
"""

from __future__ import annotations

from typing import Annotated

import typer


def up(
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port of the UI; default: 3000, or the next that is free."),
    ] = None,
    web_port: Annotated[
        int | None,
        typer.Option("--web-port", min=1, max=65535, help="Port of the REST API; default: 8700, or the next free."),
    ] = None,
) -> None:
    """Start everything and keep it running until Ctrl-C: database, Dagster's UI, the daemon that polls, the REST API.

    The UI listens on this machine only: it has no login, and can start anything.

    Example: `upkeep up --port 3000`
    """
    from cli.services import serve
    from upkeep.config import load

    serve(load(), port=port, web_port=web_port, say=lambda line: print(line, flush=True))
