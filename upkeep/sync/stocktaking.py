"""Taking the inventory: reading forges' lists, keeping them, and comparing them with the registry.

What belongs here: the order of things and what is stored. What does not: the rules (`inventory.py`) and reading a list
(`upkeep/forges/`).

Lists are kept as they were read, and compared anew whenever somebody asks, so that an answer costs no call to a forge
and always agrees with the registry as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from upkeep.config import Settings
from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.server import Database
from upkeep.database.tables import forge_listings, forge_names
from upkeep.errors import ConfigError
from upkeep.faults import nearest
from upkeep.forges.base import ForgeRepository, Lister, Listing
from upkeep.forges.registry import open_lister
from upkeep.settings.forges import GiteaForgeSettings, GitHubForgeSettings
from upkeep.sync import registry
from upkeep.sync.inventory import Inventory, Listed, Name, compare, ids_to_keep, questions
from upkeep.sync.registry import Managed

SUBJECT_PREFIX = "forge:"
"""Of events that say that a forge was listed."""

WORKERS = 8
"""Repositories that are asked for singly at the same time."""

Progress = Callable[[str, int, int], None]
"""Told the forge, how many of its repositories are read, and how many it counts."""

ListedForgeSettings = GiteaForgeSettings | GitHubForgeSettings


def listed_forges(settings: Settings, only: str | None = None) -> dict[str, ListedForgeSettings]:
    """The forges whose repositories an inventory covers: those with `orgs` or `user_repos`, or `only` one of them.

    Raises ConfigError `config.unknown_forge`, `config.forge_kind`, `config.nothing_to_list`."""
    if only is not None and only not in settings.forges:
        hint = nearest(only, settings.forges, otherwise="there are")
        raise ConfigError(
            f"there is no forge {only!r}{hint}",
            code="config.unknown_forge",
            remedy="Name one of those under `forges:` in upkeep.yaml.",
        )
    chosen = {name: forge for name, forge in settings.forges.items() if only in (None, name)}
    listable = {name: forge for name, forge in chosen.items() if isinstance(forge, ListedForgeSettings)}
    if only is not None and not listable:
        raise ConfigError(
            f"{only} is of the kind {settings.forges[only].kind}, which has no list of repositories",
            code="config.forge_kind",
            remedy="Name a forge of the kind gitea or github.",
        )
    found = {name: forge for name, forge in listable.items() if _is_listed(forge)}
    if not found:
        raise ConfigError(
            f"{only or 'no forge'} names {'neither' if only else 'either'} organisations or an account to list",
            code="config.nothing_to_list",
            remedy="Set `orgs: [NAME]` or `user_repos: true` for a forge of the kind gitea or github in upkeep.yaml.",
        )
    return found


def has_listed_forges(settings: Settings) -> bool:
    """Whether there is anything to take inventory of."""
    return any(isinstance(forge, ListedForgeSettings) and _is_listed(forge) for forge in settings.forges.values())


def _is_listed(forge: ListedForgeSettings) -> bool:
    return bool(forge.orgs or forge.user_repos)


def take(
    settings: Settings,
    database: Database,
    *,
    forge: str | None = None,
    run_id: str | None = None,
    progress: Progress = lambda name, read, total: None,
) -> Inventory:
    """Read the lists of all forges, or of one, and compare. Raises what `listed_forges` and `Lister` raise; lists that
    were read before an error are kept. Those of forges that are listed no longer are forgotten."""
    chosen_forges = listed_forges(settings, forge)
    lists = []
    for name, chosen in chosen_forges.items():
        lister = open_lister(name, chosen)
        listing = lister.list_repositories(chosen.orgs, own=chosen.user_repos, progress=partial(progress, name))
        with database.session() as session:
            entries, ids = _entries(session), _ids(session)
        listed = Listed(listing, datetime.now(UTC), host_of(chosen), {})
        listed = replace(listed, singly=_ask(lister, questions(entries, listed, ids)))
        with database.session() as session:
            _keep(session, listed, ids_to_keep(entries, [listed], ids), run_id)
        lists.append(listed)
    with database.session() as session:
        if forge is None:
            session.execute(sa.delete(forge_listings).where(forge_listings.c.forge.not_in(chosen_forges)))
        return compare(_entries(session), lists, _ids(session), datetime.now(UTC))


def report(
    database: Database, settings: Settings, *, forge: str | None = None, now: datetime | None = None
) -> Inventory | None:
    """The inventory by the lists as they were read last, of all forges or of one; None where none was read. Asks no
    forge. Raises what `listed_forges` raises."""
    names = listed_forges(settings, forge)
    with database.session() as session:
        return kept(session, names, now)


def kept(session: Session, names: Collection[str] | None = None, now: datetime | None = None) -> Inventory | None:
    """The same of the forges of these names, or of all that have a list."""
    columns = [column for column in forge_listings.c if column.name != "body"]
    query = sa.select(*columns, sa.cast(forge_listings.c.body, sa.Text).label("body"))
    if names is not None:
        query = query.where(forge_listings.c.forge.in_(names))
    lists = [_listed(row) for row in session.execute(query.order_by(forge_listings.c.forge))]
    return compare(_entries(session), lists, _ids(session), now or datetime.now(UTC)) if lists else None


def host_of(chosen: ListedForgeSettings) -> str:
    host = chosen.host if isinstance(chosen, GitHubForgeSettings) else urlsplit(chosen.url).hostname
    return (host or "").lower()


def _ask(lister: Lister, names: Mapping[Name, int | None]) -> dict[Name, ForgeRepository | None]:
    def ask(name: Name) -> ForgeRepository | None:
        known = names[name]
        found = lister.find_repository(id=known) if known is not None else None
        return found or lister.find_repository(name=name[1])

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="inventory") as pool:
        return dict(zip(names, pool.map(ask, names), strict=True))


def _entries(session: Session) -> list[Managed]:
    return registry.every(session, states=("managed", "ignored"))


def _ids(session: Session) -> dict[Name, int]:
    return {(row.forge, row.name): row.id for row in session.execute(sa.select(forge_names))}


def _keep(session: Session, listed: Listed, new_ids: Mapping[Name, int], run_id: str | None) -> None:
    listing = listed.listing
    values = {
        "forge": listing.forge,
        "host": listed.host,
        "listed_at": listed.at,
        "complete": listing.complete,
        "body": sa.cast(sa.literal(_written(listed), sa.Text), JSONB),
    }
    row = insert(forge_listings).values(values)
    session.execute(row.on_conflict_do_update(index_elements=["forge"], set_=values))
    for (forge, name), number in new_ids.items():
        known = insert(forge_names).values(forge=forge, name=name, id=number)
        session.execute(
            known.on_conflict_do_update(
                index_elements=["forge", "name"], set_={"id": number, "seen_at": sa.func.clock_timestamp()}
            )
        )
    events.record(
        session,
        system="sync",
        subject=SUBJECT_PREFIX + listing.forge,
        type=EventType.STATE_WRITTEN,
        run_id=run_id,
        repositories=len(listing.repositories),
        complete=listing.complete,
        gaps=list(listing.gaps),
    )


def _written(listed: Listed) -> str:
    """The JSON of a list. It has megabytes, so it is walked only if it holds what JSONB does not take."""
    body = _Body(
        repositories=listed.listing.repositories,
        gaps=listed.listing.gaps,
        singly=tuple((name[1], one) for name, one in listed.singly.items()),
    )
    content = body.model_dump_json()
    if "\\u0000" in content or text.ESCAPE in content:
        return json.dumps(text.escape(json.loads(content)))
    return content


def _listed(row: Any) -> Listed:
    content = row.body if text.ESCAPE not in row.body else json.dumps(text.unescape(json.loads(row.body)))
    body = _Body.model_validate_json(content)
    listing = Listing(forge=row.forge, repositories=body.repositories, gaps=body.gaps)
    singly = {(row.forge, name): one for name, one in body.singly}
    return Listed(listing, row.listed_at.astimezone(UTC), row.host, singly)


class _Body(BaseModel):
    """What is stored of a list."""

    repositories: tuple[ForgeRepository, ...]
    gaps: tuple[str, ...]
    singly: tuple[tuple[str, ForgeRepository | None], ...]
