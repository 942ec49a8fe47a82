"""Questions of analysts, as SQL: one statement, read-only, with a time limit.

What belongs here: asking as the role `analyst` and putting what the server refuses into words. What does not: printing
and files (`cli/database.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from upkeep.database.server import ANALYST_TIMEOUT_SECONDS, Database
from upkeep.errors import DatabaseError

_CHANGING = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction, errors.ObjectNotInPrerequisiteState)
"""Of statements that change something; the last one is what a view answers to DELETE."""


@dataclass(frozen=True)
class Answer:
    """Names of the columns, and the rows. Read them before the context ends."""

    columns: tuple[str, ...]
    rows: Iterator[Sequence[Any]]


@contextmanager
def asked(database: Database, question: str) -> Iterator[Answer]:
    """Ask one statement. Raises DatabaseError `query.refused` (a mistake in the statement, or more than reading),
    `query.timeout`, DatabaseUnavailable."""
    try:
        with database.analyst_connection() as connection, connection.cursor() as cursor:
            # As a prepared statement: the server refuses several in one text, of which a COMMIT could end the
            # read-only transaction.
            cursor.execute(question.encode(), prepare=True)
            described = cursor.description
            columns = tuple(column.name for column in described or ())
            yield Answer(columns, iter(cursor if described else ()))
    except errors.QueryCanceled as error:
        raise DatabaseError(
            f"the query took longer than {ANALYST_TIMEOUT_SECONDS} s and was stopped",
            code="query.timeout",
            remedy="Ask for less: a WHERE on system, subject or started_at, or a LIMIT.",
        ) from error
    except psycopg.OperationalError as error:
        # The class holds lost connections, and also what the server refuses of a sound one: only those have no SQLSTATE
        # or one of the classes 08, 53, 57 and 58 (PostgreSQL manual, appendix A).
        if error.sqlstate is None or error.sqlstate[:2] in {"08", "53", "57", "58"}:
            raise database.unavailable(error) from error
        raise _refused(question, error) from error
    except psycopg.Error as error:
        raise _refused(question, error) from error


def _refused(question: str, error: psycopg.Error) -> DatabaseError:
    said = error.diag.message_primary or str(error).strip() or type(error).__name__
    position = int(error.diag.statement_position or 0)
    where = ""
    if position:
        before = question[: position - 1]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        text = question.split("\n")[line - 1]
        where = f" (line {line}, column {column})\n  {text}\n  {' ' * (column - 1)}^"
    if isinstance(error, _CHANGING):
        remedy = "`upkeep query` reads only; change things with the commands that are for it."
    else:
        remedy = error.diag.message_hint or "Correct the statement; `select * from metrics.runs limit 1` shows columns."
    return DatabaseError(f"the query was refused: {said}{where}", code="query.refused", remedy=remedy)
