"""What agents may ask the hub, by the Model Context Protocol.

What belongs here: the tools' names and words for models. What does not: the answers (`upkeep/sync/dispatch.py`,
`health.py`), and serving (`mcp.py`). Nothing here changes anything.

The SDK reads the types of tools at run time, so what they return is imported at the top: `mcp.py` imports this module
when it serves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field
from sqlalchemy.orm import Session

from upkeep.database.server import Database
from upkeep.errors import UpkeepError
from upkeep.sync import dispatch, health
from upkeep.sync.dispatch import Dispatch
from upkeep.sync.health import Repositories, SyncHealth

INSTRUCTIONS = """Upkeep knows what each managed repository should work on. Ask get_repo_dispatch for the repository
that you are in before you begin; work on the first pending task that needs no human, in its workplan_file."""


MOST_LISTED = 100
"""Repositories in one answer: it goes to an agent."""


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
    def list_repos(
        after: Annotated[str, Field(description="Only those after this slug: next_after of the last answer.")] = "",
        limit: Annotated[int, Field(ge=1, le=MOST_LISTED, description="At most so many.")] = MOST_LISTED,
    ) -> Repositories:
        """Managed repositories by slug, each with its goal and how old what is known of it is."""
        with reading() as session:
            return health.list_repositories(session, after=after, limit=limit)

    @made.tool()
    def get_sync_health() -> SyncHealth:
        """How many repositories are fresh, ageing and stale, and those that a person should look at."""
        with reading() as session:
            return health.sync_health(session)

    return made
