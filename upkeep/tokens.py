"""Bearer tokens of the REST API: made, checked, listed, revoked.

What belongs here: the token and its row. What does not: HTTP (`web/`), and what a scope permits there.

A token is `upkeep_ID_SECRET`: an id of 48 bits, by which a token that turns up somewhere can be named and revoked, and
a secret of 256 bits from the system's generator. Only the SHA-256 of the whole is kept. A slow hash (bcrypt, Argon2) is
for what people think up: it makes each guess of a password dear. Nobody guesses 256 random bits, whatever a guess
costs, and a slow one would only make every request slow (NIST SP 800-63B, 5.1.2.2, on look-up secrets of 112 bits or
more).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from upkeep.database import events
from upkeep.database.events import EventType
from upkeep.database.tables import tokens
from upkeep.errors import AccessDenied, ConfigError
from upkeep.faults import nearest
from upkeep.redaction import OWN_TOKEN
from upkeep.settings.base import Name

Scope = Literal["read", "write"]
"""`write` permits reading too."""

USED_EVERY = timedelta(minutes=1)
"""`last_used_at` moves at most so often: reading must not cost a write each time."""

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_FORMAT = re.compile(OWN_TOKEN)
_NOBODY = hashlib.sha256(b"no token has this digest").digest()


@dataclass(frozen=True)
class Token:
    """What is kept of a token. Times are UTC; `expires_at` None: never, `last_used_at` None: not yet."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def may(self, scope: Scope) -> bool:
        return scope == "read" or self.scope == "write"


_KEPT = [column for column in tokens.c if column.name != "digest"]


def create(session: Session, name: str, scope: Scope, *, expires_at: datetime | None, by: str) -> tuple[Token, str]:
    """Make a token; return what is kept of it and the token itself, which nobody can ever show again. Raises
    ConfigError `config.bad_name`, `token.name_taken`, `token.expired`."""
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise ConfigError(
            f"{name!r} cannot be a name",
            code="config.bad_name",
            remedy="Use letters, digits, `.`, `_`, `-`; at most 100 of them.",
        ) from error
    number = secrets.token_hex(6)
    made = f"upkeep_{number}_{secrets.token_hex(32)}"
    values = {
        **{"id": number, "name": name, "digest": _digest(made), "scope": scope},
        **{"created_by": by, "expires_at": expires_at},
    }
    # Two who choose one name at the same moment: the second waits for the first, and is told.
    new = (
        insert(tokens)
        .values(values)
        .on_conflict_do_nothing(index_elements=["name"], index_where=tokens.c.revoked_at.is_(None))
    )
    row = session.execute(new.returning(*_KEPT)).mappings().one_or_none()
    if row is None:
        raise ConfigError(
            f"there is a token {name!r} already",
            code="token.name_taken",
            remedy=f"Choose another name, or revoke that one first (`upkeep token revoke {name}`).",
        )
    token = Token(**row)
    if token.expires_at is not None and token.expires_at <= token.created_at:
        raise ConfigError(
            f"the token would have expired at {token.expires_at:%Y-%m-%d %H:%M} already",
            code="token.expired",
            remedy="Give a time to come, or a span such as 90d.",
        )
    _record(session, token, scope=scope, by=by, expires_at=token.expires_at and token.expires_at.isoformat())
    return token, made


def check(session: Session, presented: str) -> Token:
    """Whose token it is; its use is noted. Raises AccessDenied `access.token_unknown`, `.token_expired`,
    `.token_revoked`: the last two only to whoever has the whole token."""
    known = _FORMAT.fullmatch(presented)
    number = presented.split("_")[1] if known else ""
    query = sa.select(tokens, sa.func.now().label("now")).where(tokens.c.id == number)
    row: Any = session.execute(query).mappings().one_or_none()
    # In constant time, and where there is no such id too: how long it takes tells nothing about what is kept.
    same = hmac.compare_digest(_digest(presented), row["digest"] if row else _NOBODY)
    if row is None or not same:
        raise AccessDenied(
            "nobody was given this token",
            code="access.token_unknown",
            remedy="Check that it is whole; `upkeep token create NAME` on the hub's machine makes a new one.",
        )
    token = Token(**{column.name: row[column.name] for column in _KEPT})
    if token.revoked_at is not None:
        raise _over(token, "revoked", token.revoked_at)
    if token.expires_at is not None and token.expires_at <= row["now"]:
        raise _over(token, "expired", token.expires_at)
    if token.last_used_at is None or row["now"] - token.last_used_at >= USED_EVERY:
        # SKIP LOCKED: of requests that come together one notes it, and none waits for another.
        free = sa.select(tokens.c.id).where(tokens.c.id == token.id).with_for_update(skip_locked=True)
        session.execute(sa.update(tokens).where(tokens.c.id.in_(free)).values(last_used_at=sa.func.now()))
    return token


def every(session: Session, *, revoked: bool = False) -> list[Token]:
    """Tokens by name; with `revoked` those too that were."""
    query = sa.select(*_KEPT).order_by(tokens.c.name, tokens.c.created_at)
    if not revoked:
        query = query.where(tokens.c.revoked_at.is_(None))
    return [Token(**row) for row in session.execute(query).mappings()]


def revoke(session: Session, name: str, *, by: str) -> Token:
    """End a token at once, by its name or its id. Raises ConfigError `token.unknown`."""
    chosen = ((tokens.c.name == name) | (tokens.c.id == name)) & tokens.c.revoked_at.is_(None)
    done = sa.update(tokens).where(chosen).values(revoked_at=sa.func.now()).returning(*_KEPT)
    rows = session.execute(done).mappings().all()
    if len(rows) != 1:  # a name may look like another token's id
        known = [token.name for token in every(session)]
        unknown = f"no token is called {name!r}" + nearest(name, known, otherwise="there are")
        raise ConfigError(
            unknown if not rows else f"{name!r} is the name of one token and the id of another",
            code="token.unknown",
            remedy="`upkeep token list` shows names and ids.",
        )
    token = Token(**rows[0])
    _record(session, token, revoked_by=by)
    return token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _over(token: Token, how: str, at: datetime) -> AccessDenied:
    return AccessDenied(
        f"the token {token.name} {'was ' if how == 'revoked' else ''}{how} at {at:%Y-%m-%d %H:%M} UTC",
        code=f"access.token_{how}",
        remedy="`upkeep token create NAME` on the hub's machine makes a new one.",
    )


def _record(session: Session, token: Token, **changes: Any) -> None:
    events.record(
        session,
        system="web",
        subject=f"token:{token.name}",
        type=EventType.STATE_WRITTEN,
        changes={"id": token.id, **changes},
    )
