"""`upkeep repos` and `upkeep goals`: which repositories are managed, how old what we know of them is, what for.

What belongs here: arguments and printing. What does not: the registry (`upkeep/sync/registry.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from upkeep.sync.registry import Managed

app = typer.Typer(help="Managed repositories: list, register, ignore.", no_args_is_help=True)
goals_app = typer.Typer(help="What a managed repository is for.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Slug = Annotated[str, typer.Argument(metavar="REPO", help="A managed repository, by its slug.")]


@app.command("list")
def show_list(
    every: Annotated[bool, typer.Option("--all", help="Ignored and removed ones too.")] = False, json: Json = False
) -> None:
    """List managed repositories with the age of what is known: fresh under 1 h, ageing to 24 h, stale after or never.

    Example: `upkeep repos list --json`
    """
    from cli.hub import open_hub
    from cli.output import emit_json
    from upkeep.sync import registry

    with open_hub() as (_, database), database.session() as session:
        found = registry.every(session, states=("managed", "ignored", "removed") if every else ("managed",))
    now = datetime.now(UTC)
    if json:
        emit_json([as_record(one, now) for one in found])
    elif not found:
        print("no repositories; `upkeep repos register PATH` adds one, or `repositories:` in upkeep.yaml")
    else:
        _print_table(found, now)


@app.command()
def register(
    path: Annotated[Path, typer.Argument(help="The repository's working tree.")],
    slug: Annotated[str | None, typer.Option("--slug", help="Its name here; by default the folder's.")] = None,
    domain: Annotated[str, typer.Option("--domain", help="The domain that it belongs to.")] = "",
    forge: Annotated[str | None, typer.Option("--forge", help="A forge of upkeep.yaml.")] = None,
    repo: Annotated[str | None, typer.Option("--repo", help="Its name on the forge (owner/name).")] = None,
    workplans: Annotated[
        list[str] | None, typer.Option("--workplans", help="Pattern of workplan files; may be repeated.")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Hook and schedule may write ids into its files.")] = False,
    json: Json = False,
) -> None:
    """Manage a repository; again with other options changes them.

    Example: `upkeep repos register ~/src/the-custodian --domain custodian --fix`
    """
    from cli.hub import open_hub
    from cli.output import emit_json
    from upkeep.sync import registry

    with open_hub() as (settings, database), database.session() as session:
        if forge is not None:
            settings.forge(forge)
        one = registry.register(
            session,
            path.expanduser(),
            slug=slug,
            forge=forge,
            repo=repo,
            domain=domain,
            workplans=tuple(workplans or ("workplans/*.md",)),
            fix=fix,
        )
    if json:
        emit_json(as_record(one, datetime.now(UTC)))
    else:
        print(f"{one.slug} is managed ({one.path}); next: `upkeep sync {one.slug}`, `upkeep hooks install {one.slug}`")


@app.command()
def ignore(
    slug: Annotated[str, typer.Argument(metavar="REPO", help="A managed repository, or OWNER/NAME on a forge.")],
    why: Annotated[str, typer.Option("--why", help="Kept with it.")] = "",
    json: Json = False,
) -> None:
    """Manage a repository no longer and list it apart. Nothing that is known of it is lost.

    Examples: `upkeep repos ignore old-experiments --why "archived in 2024"`, `upkeep repos ignore coulomb/dotfiles`
    """
    from cli.hub import open_hub
    from cli.output import emit_json, say
    from upkeep.faults import nearest
    from upkeep.sync import registry

    with open_hub() as (_, database), database.session() as session:
        known = {one.slug for one in registry.every(session, states=registry.EVERY_STATE)}
        registry.ignore(session, slug, why)
    if slug not in known and "/" not in slug:
        meant = nearest(slug, known, otherwise="")
        say(f"{slug} was never registered: what a forge has under that name is ignored from now on{meant}")
    if json:
        emit_json({"slug": slug, "state": "ignored", "note": why or None})
    else:
        print(f"{slug} is ignored; `upkeep repos register PATH` manages it again")


@goals_app.command("set")
def set_goal(
    slug: Slug,
    title: Annotated[str, typer.Argument(help="The goal in one sentence.")],
    description: Annotated[str, typer.Option("--description", help="What it means, and when it is reached.")] = "",
    json: Json = False,
) -> None:
    """Set the goal of a repository; it comes before the one of upkeep.yaml.

    Example: `upkeep goals set the-custodian "Every repository is synced within two seconds"`
    """
    from cli.hub import me, open_hub
    from cli.output import emit_json
    from upkeep.sync import goals, registry

    with open_hub() as (_, database), database.session() as session:
        registry.find(session, slug)
        goal = goals.put(session, slug, title, description, by=me())
    if json:
        emit_json({"id": str(goal.id), "title": goal.title, "description": goal.description})
    else:
        print(f"the goal of {slug}: {goal.title}")


def as_record(one: Managed, now: datetime) -> dict[str, Any]:
    """A repository as `--json` prints it. Times are ISO 8601 in UTC."""
    from upkeep.sync import ages

    def moment(at: datetime | None) -> str | None:
        return at.astimezone(UTC).isoformat() if at else None

    return {
        "slug": one.slug,
        "path": str(one.path),
        "forge": one.forge,
        "repo": one.repo,
        "remote": one.remote,
        "domain": one.domain,
        "goal": one.goal,
        "workplans": list(one.workplans),
        "fix": one.fix,
        "source": one.source,
        "state": one.state,
        "note": one.note,
        "age": ages.band(one.last_state_synced_at, now),
        "last_state_synced_at": moment(one.last_state_synced_at),
        "last_attempt_at": moment(one.last_attempt_at),
        "last_attempt_reason": one.last_attempt_reason,
    }


_COLOURS = {"fresh": "green", "ageing": "yellow", "stale": "red"}


def _print_table(found: list[Managed], now: datetime) -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.output import stdout
    from upkeep.forges.text import visible
    from upkeep.sync import ages

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("repository", "age", "synced", "tried", "state", "domain", "goal", "why not"):
        table.add_column(heading, overflow="fold" if heading in ("goal", "why not") else "ellipsis")
    for one in found:
        band = ages.band(one.last_state_synced_at, now)
        cells = (
            ages.words(one.last_state_synced_at, now),
            ages.words(one.last_attempt_at, now),
            one.state,
            one.domain,
            one.goal or "",
            one.last_attempt_reason or one.note or "",
        )
        plain = [Text(visible(cell).replace("\n", " ")) for cell in cells]
        table.add_row(Text(one.slug), Text(band, style=_COLOURS[band]), *plain)
    stdout().print(table)
