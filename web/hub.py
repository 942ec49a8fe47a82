"""The hub as the service holds it: database and settings for as long as it runs.

What belongs here: sessions with the limits that a request needs, and following upkeep.yaml. What does not: any answer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.requests import Request

from upkeep.config import Settings, load
from upkeep.database.server import Database
from upkeep.errors import ConfigError
from upkeep.sync import configured

STATEMENT_SECONDS = 10
LOCK_SECONDS = 5
"""How long a request waits for rows that somebody else changes: a sync holds its repository's for moments."""

_LIMITS = sa.text(
    f"SELECT set_config('statement_timeout', '{STATEMENT_SECONDS}s', true), "
    f"set_config('lock_timeout', '{LOCK_SECONDS}s', true)"
)

log = logging.getLogger("upkeep.web")


class Hub:
    """Database and settings. Safe to share between threads."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self._seen = _state(settings.source)
        self._following = threading.Lock()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction of bounded length. Raises DatabaseUnavailable."""
        self.follow()
        with self.database.session() as session:
            session.execute(_LIMITS)
            yield session

    def follow(self) -> None:
        """The file is the truth for what stands in it, also for what a person writes into it while we run. One that
        cannot be read is told once, and what we had goes on."""
        now = _state(self.settings.source)
        if now == self._seen:
            return
        with self._following:
            if now == self._seen:
                return
            try:
                settings = load(self.settings.source)
            except ConfigError as error:
                log.warning("upkeep.yaml changed and is not followed: %s", error.message)
                self._seen = now
                return
            with self.database.session() as session:
                configured.refresh(session, settings)
            self.settings, self._seen = settings, now


def hub_of(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


def _state(file: Path | None) -> tuple[int, int, int] | None:
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None
