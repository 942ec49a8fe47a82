"""The hub as runs and sensors use it: the database, with a registry that agrees with `upkeep.yaml`.

What belongs here: opening it from settings. What does not: what is brought in (`upkeep/sync/configured.py`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from resources.database import open_database
from upkeep.config import Settings, load
from upkeep.database.server import Database
from upkeep.errors import ConfigError
from upkeep.sync import configured

_log = logging.getLogger(__name__)


@contextmanager
def open_hub(settings: Settings) -> Iterator[Database]:
    """Open the database of `settings`. The registry follows the file as it is now: a code server may be older than a
    repository that was added to it, and would take that out again. A file that cannot be read changes nothing. Raises
    DatabaseError."""
    with open_database(settings) as database:
        try:
            current = settings if settings.source is None else load(settings.source)
        except ConfigError as error:
            _log.warning("the registry stays as it is: %s", error.message)
        else:
            with database.session() as session:
                configured.refresh(session, current)
        yield database
