"""`upkeep mcp`: what agents may ask the hub, by the Model Context Protocol.

What belongs here: the tools' names and words for models, and serving them on stdio or HTTP. What does not: the answers
(`upkeep/sync/dispatch.py`, `health.py`). Nothing here changes anything. Standard output belongs to the protocol.

The SDK reads the types of tools at run time, so what they return is imported at the top; `cli/main.py` imports this
module only for this command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field
from sqlalchemy.orm import Session

from cli.hub import open_hub
from upkeep.database.server import Database
from upkeep.errors import UpkeepError
from upkeep.sync import dispatch, health
from upkeep.sync.dispatch import Dispatch
from upkeep.sync.health import Repositories, SyncHealth

INSTRUCTIONS = """Upkeep knows what each managed repository should work on. Ask get_repo_dispatch for the repository
that you are in before you begin; work on the first pending task that needs no human, in its workplan_file."""


def server(database: Database) -> MCPServer:
    """The server with its tools, reading from this database."""
    made = MCPServer("upkeep", instructions=INSTRUCTIONS, log_level="WARNING")

    @contextmanager
    def reading() -> Iterator[Session]:
        try:
            with database.session() as session:
                yield session
        except UpkeepError as error:
            raise ToolError(f"{error.message} {error.remedy}".strip()) from error

    @made.tool()
    def get_repo_dispatch(
        repo_slug: Annotated[str, Field(description="The repository's slug; list_repos has them all.")],
    ) -> Dispatch:
        """What a repository should work on now: its goal, pending tasks of active workplans (most urgent first), and
        what waits for a person."""
        with reading() as session:
            return dispatch.dispatch(session, repo_slug)

    @made.tool()
    def list_repos() -> Repositories:
        """Every managed repository with its goal and how old what is known of it is."""
        with reading() as session:
            return health.list_repositories(session)

    @made.tool()
    def get_sync_health() -> SyncHealth:
        """How many repositories are fresh, ageing and stale, and those that a person should look at."""
        with reading() as session:
            return health.sync_health(session)

    return made


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP on loopback instead of stdio.")] = False,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of HTTP; the path is /mcp.")] = 8765,
) -> None:
    """Serve get_repo_dispatch, list_repos and get_sync_health to agents. They only read.

    Example: `claude mcp add upkeep -- upkeep mcp`
    """
    with open_hub() as (_, database):
        if http:
            # Whoever reaches the port may read: loopback only, behind a proxy that asks for a login elsewhere.
            server(database).run("streamable-http", host="127.0.0.1", port=port)
        else:
            server(database).run("stdio")
