"""`upkeep token`: who may use the REST API.

What belongs here: arguments and printing. What does not: the tokens (`upkeep/tokens.py`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from upkeep.tokens import Token

app = typer.Typer(help="Bearer tokens of the REST API: create, list, revoke.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, such as the machine that uses it.")],
    scope: Annotated[
        Literal["read", "write"], typer.Option("--scope", help="`write` may register and change repositories.")
    ] = "read",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="A span (12h, 90d, 4w) or a date (2027-01-31). Default: never."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a token and print it, once: only its digest is kept.

    Examples: `upkeep token create ci --expires 90d` · `TOKEN=$(upkeep token create laptop --scope write)`
    """
    from cli.hub import me, open_hub
    from cli.output import emit_json, say
    from upkeep import tokens

    until = None if expires is None else _moment(expires, datetime.now(UTC))
    with open_hub() as (_, database), database.session() as session:
        token, made = tokens.create(session, name, scope, expires_at=until, by=me())
    if json:
        emit_json({"token": made, **as_record(token)})
        return
    print(made)
    ending = "until it is revoked"
    if token.expires_at is not None:
        ending = f"until {token.expires_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    say(f"{token.name} may {'read and write' if scope == 'write' else 'read'} {ending}; it is shown only this once")


@app.command("list")
def show_list(
    every: Annotated[bool, typer.Option("--all", help="Revoked ones too.")] = False, json: Json = False
) -> None:
    """List tokens: names, ids (the middle part of a token), and when each was last used.

    Example: `upkeep token list --json`
    """
    from cli.hub import open_hub
    from cli.output import emit_json
    from upkeep import tokens

    with open_hub() as (_, database), database.session() as session:
        found = tokens.every(session, revoked=every)
    if json:
        emit_json([as_record(token) for token in found])
    elif not found:
        print("no tokens; `upkeep token create NAME` makes one")
    else:
        _print_table(found, datetime.now(UTC))


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A token, by its name or its id.")], json: Json = False
) -> None:
    """End a token at once. A token that turned up where it should not has its id in the middle.

    Example: `upkeep token revoke ci`
    """
    from cli.hub import me, open_hub
    from cli.output import emit_json
    from upkeep import tokens

    with open_hub() as (_, database), database.session() as session:
        token = tokens.revoke(session, name, by=me())
    if json:
        emit_json(as_record(token))
    else:
        print(f"{token.name} ({token.id}) is revoked")


def as_record(token: Token) -> dict[str, Any]:
    """A token as `--json` prints it, without its secret. Times are ISO 8601 in UTC."""

    def moment(at: datetime | None) -> str | None:
        return at.astimezone(UTC).isoformat() if at else None

    return {
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "created_at": moment(token.created_at),
        "created_by": token.created_by,
        "expires_at": moment(token.expires_at),
        "last_used_at": moment(token.last_used_at),
        "revoked_at": moment(token.revoked_at),
    }


def _moment(written: str, now: datetime) -> datetime:
    """A span from now, or a date or time as ISO 8601 writes it; without a zone it is UTC."""
    try:
        if span := re.fullmatch(r"([1-9]\d{0,5})([hdw])", written):
            return now + int(span[1]) * _UNITS[span[2]]
        at = datetime.fromisoformat(written)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{written!r} is no span (12h, 90d, 4w) and no date (2027-01-31)") from None


def _print_table(found: list[Token], now: datetime) -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.output import stdout
    from upkeep.sync import ages

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("name", "scope", "id", "created", "by", "expires", "last used"):
        table.add_column(heading, overflow="fold")
    for token in found:
        over = token.revoked_at or (token.expires_at if token.expires_at and token.expires_at <= now else None)
        if token.revoked_at is not None:
            expires = f"revoked {token.revoked_at:%Y-%m-%d}"
        elif token.expires_at is not None:
            expires = f"{'expired ' if over else ''}{token.expires_at:%Y-%m-%d}"
        else:
            expires = "never"
        used = ages.words(token.last_used_at, now)
        cells = (
            *(token.name, token.scope, token.id, f"{token.created_at:%Y-%m-%d}", token.created_by),
            *(expires, used if used == "never" else f"{used} ago"),
        )
        table.add_row(*(Text(cell, style="dim" if over else "") for cell in cells))
    stdout().print(table)
