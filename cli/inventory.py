"""`upkeep inventory`: what the forges have, what is managed of it, and what is not.

What belongs here: arguments, progress and printing. What does not: reading and comparing (`upkeep/sync/`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from upkeep.forges.base import ForgeRepository
    from upkeep.sync.inventory import Inventory
    from upkeep.sync.stocktaking import Progress


def inventory(
    forge: Annotated[
        str | None, typer.Option("--forge", metavar="NAME", help="Only this forge of upkeep.yaml.")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="By the lists as they were read last; asks no forge.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare the forges' repositories with the managed ones: registered, unregistered, hub-only; ignored ones apart.

    Covers forges with `orgs:` or `user_repos: true`. A list that is not proven to be whole is said to be so, makes no
    repository hub-only, and ends with exit code 1.

    Examples: `upkeep inventory`, `upkeep inventory --forge coulomb --json | jq '.unregistered[].full_name'`
    """
    from cli.hub import open_hub
    from cli.output import complain, emit_json
    from upkeep.errors import ConfigError, ForgeError
    from upkeep.sync import stocktaking

    with open_hub() as (settings, database):
        if last:
            found = stocktaking.report(database, settings, forge=forge)
            if found is None:
                raise ConfigError(
                    "no inventory was taken yet", code="inventory.none", remedy="Run `upkeep inventory` without --last."
                )
        else:
            with _progress() as progress:
                found = stocktaking.take(settings, database, forge=forge, progress=progress)
    if json:
        emit_json(found)
    else:
        _print(found)
    if not found.complete:
        gaps = "; ".join(f"{each.forge}: {gap}" for each in found.forges for gap in each.gaps)
        remedy = "What is listed is there all the same; nothing was called hub-only."
        complain(ForgeError(f"the inventory has gaps: {gaps}", code="inventory.incomplete", remedy=remedy))
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar a forge on a terminal, a line a forge elsewhere."""
    from cli.output import say, stderr

    if not sys.stderr.isatty():
        told: set[str] = set()

        def line(forge: str, read: int, total: int) -> None:
            if forge not in told:
                told.add(forge)
                say(f"{forge}: reading the list of repositories")

        yield line
        return
    from rich.progress import Progress as Bars

    with Bars(console=stderr(), transient=True) as bars:
        tasks = {}

        def bar(forge: str, read: int, total: int) -> None:
            if forge not in tasks:
                tasks[forge] = bars.add_task(forge, total=total)
            bars.update(tasks[forge], completed=read, total=total)

        yield bar


def _print(found: Inventory) -> None:
    from cli.output import stdout

    now = datetime.now(UTC)
    console = stdout()
    for title, table in (
        ("registered", _registered(found, now)),
        ("unregistered", _unregistered(found, now)),
        ("hub-only", _hub_only(found, now)),
        ("ignored", _ignored(found)),
    ):
        console.print(f"[bold]{title}[/] ({table.row_count})")
        if table.row_count:
            console.print(table)
        console.print()
    if found.undecided:
        console.print(f"not found, and not decided while the list has gaps: {', '.join(found.undecided)}", markup=False)
    if found.unregistered:
        print("next: `upkeep repos register PATH --forge NAME --repo OWNER/NAME`, or `upkeep repos ignore OWNER/NAME`")


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _plain(text: str) -> str:
    """Somebody else's words for a cell: nothing in them acts on the terminal, or as markup."""
    from rich.markup import escape

    from upkeep.forges.text import cut, visible

    return escape(visible(cut(text, 80)).replace("\n", " "))


def _registered(found: Inventory, now: datetime) -> Table:
    from upkeep.sync import ages

    colours = {"fresh": "green", "ageing": "yellow", "stale": "red"}
    table = _table("repository", "on the forge", "age", "synced", "remarks")
    for one in found.registered:
        remarks = [f"renamed: the hub knows it as {one.renamed_from}"] if one.renamed_from else []
        table.add_row(
            _plain(one.repo_slug),
            _plain(one.repository.full_name),
            f"[{colours[one.age]}]{one.age}[/]",
            ages.words(one.last_state_synced_at, now),
            _plain(", ".join([*remarks, *_flags(one.repository)])),
        )
    return table


def _unregistered(found: Inventory, now: datetime) -> Table:
    from upkeep.sync import ages

    table = _table("repository", "last push", "created", "size", "language", "remarks", "description")
    for one in found.unregistered:
        table.add_row(
            _plain(one.full_name),
            ages.words(one.pushed_at, now),
            ages.words(one.created_at, now),
            _size(one.size_kib),
            _plain(one.language),
            _plain(", ".join(_flags(one))),
            _plain(one.description),
        )
    return table


def _hub_only(found: Inventory, now: datetime) -> Table:
    from upkeep.sync import ages

    table = _table("repository", "synced", "why", "path")
    for one in found.hub_only:
        synced = ages.words(one.last_state_synced_at, now)
        table.add_row(_plain(one.repo_slug), synced, _plain(one.why), _plain(one.path))
    return table


def _ignored(found: Inventory) -> Table:
    table = _table("repository", "why")
    for one in found.ignored:
        table.add_row(_plain(one.repository.full_name), _plain(one.note or ""))
    return table


def _flags(one: ForgeRepository) -> list[str]:
    return [name for name in ("archived", "fork", "mirror", "private") if getattr(one, name)]


def _size(kib: int) -> str:
    return f"{kib} KiB" if kib < 1024 else f"{kib / 1024:.1f} MiB" if kib < 1024 * 1024 else f"{kib / 1024**2:.1f} GiB"
