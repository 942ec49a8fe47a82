"""What of the settings is secret.

What belongs here: finding it, whichever section it stands in. What does not: hiding it in output
(`upkeep/redaction.py`), and looking for it in what is published (`upkeep/guardrails`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

_TOKEN_LENGTH = 20


def secrets_in(value: object) -> Iterator[str]:
    """Every value below `value` that is kept as a secret, and every login that a URL carries."""
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case str() if "://" in value:
            yield from _secrets_of(value)
        case BaseModel():
            yield from (secret for _, entry in value for secret in secrets_in(entry))
        case Mapping():
            yield from (secret for entry in value.values() for secret in secrets_in(entry))
        case tuple() | list():
            yield from (secret for entry in value for secret in secrets_in(entry))


def _secrets_of(url: str) -> Iterator[str]:
    """The password of a URL, as it stands and as it is meant; of `https://TOKEN@host/…` the token, which is longer than
    people's names."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    user = parts.username or ""
    secret = parts.password or (user if len(user) >= _TOKEN_LENGTH and any(map(str.isdigit, user)) else "")
    if secret:
        yield from (secret, unquote(secret))
