"""A connection to PostgreSQL without SQLAlchemy: for a process that starts often and makes one (the gateway).

What belongs here: opening it, and what a driver says about a lost one as an error of ours. What does not: where the
database is, sessions, and the embedded server (`server.py`, which builds on this).
"""

from __future__ import annotations

from typing import Any

import psycopg

from upkeep.errors import DatabaseError, DatabaseUnavailable

CONNECT_TIMEOUT_SECONDS = 10
KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
"""Of a TCP connection: a peer that vanished is noticed within a minute, not after the kernel's two hours."""

OPTIONS: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, **KEEPALIVE}


def open_connection(url: str, application: str) -> psycopg.Connection[Any]:
    """A connection in autocommit that never reconnects by itself. `url`: as libpq reads it (`Database.url`). Raises
    DatabaseUnavailable, never with the password."""
    try:
        return psycopg.connect(url, autocommit=True, application_name=application[:63], **OPTIONS)
    except psycopg.OperationalError as error:
        raise unavailable(error, "the database") from error


def unavailable(error: BaseException, where: str) -> DatabaseError:
    """What a driver says about a lost or refused connection. `where`: the database, in words for people."""
    said = str(error).strip() or type(error).__name__
    if "No space left on device" in said:
        return DatabaseUnavailable(
            f"the disk of {where} is full: {said}",
            code="database.disk_full",
            remedy="Free some space and run the same command again; nothing is lost.",
        )
    if "too many clients" in said or "remaining connection slots" in said:
        return DatabaseUnavailable(
            f"{where} has no free connection: {said}",
            code="database.too_many_connections",
            remedy="Raise max_connections of the server to 200 at least.",
        )
    return DatabaseUnavailable(
        f"{where} does not answer: {said}",
        remedy="Run the same command again; `upkeep doctor` says whether the database can be reached.",
    )
