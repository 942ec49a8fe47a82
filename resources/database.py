"""The database as runs and sensors use it: there, and set up.

What belongs here: opening it from settings. What does not: anything that is done with it (`upkeep/database/`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from upkeep.config import Settings
from upkeep.database import schema
from upkeep.database.server import Database, connect


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Open the database of `settings`, set up if it is empty: `dagster dev` may be the first who needs it. Raises
    DatabaseError, `database.outdated` among them."""
    with connect(settings.home, settings.database_url) as database:
        schema.ensure(database)
        yield database
