"""`upkeep mcp`: the Model Context Protocol on stdio or HTTP.

What belongs here: the command. What does not: the tools (`mcp_server.py`). Standard output belongs to the protocol.
"""

from __future__ import annotations

from typing import Annotated

import typer


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP on loopback instead of stdio.")] = False,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of HTTP; the path is /mcp.")] = 8765,
) -> None:
    """Serve get_repo_dispatch, list_repos and get_sync_health to agents. They only read.

    Example: `claude mcp add upkeep -- upkeep mcp`
    """
    from cli.hub import open_hub
    from cli.mcp_server import server

    with open_hub() as (_, database):
        if http:
            # Whoever reaches the port may read: loopback only, behind a proxy that asks for a login elsewhere.
            server(database).run("streamable-http", host="127.0.0.1", port=port)
        else:
            server(database).run("stdio")
