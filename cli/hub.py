"""The hub as commands open it.

What belongs here: settings, database and an up-to-date registry in one step. What does not: any command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upkeep.config import Settings
    from upkeep.database.server import Database


@contextmanager
def open_hub() -> Iterator[tuple[Settings, Database]]:
    """Settings, and a database that is set up and whose registry agrees with upkeep.yaml."""
    from upkeep.config import load
    from upkeep.database import schema
    from upkeep.database.server import connect
    from upkeep.sync import configured

    settings = load()
    with connect(settings.home, settings.database_url) as database:
        schema.ensure(database)
        with database.session() as session:
            configured.refresh(session, settings)
        yield settings, database


def me() -> str:
    """Who is at the keyboard, for what is kept with a name."""
    import getpass

    return getpass.getuser()
