"""The inventory: what a forge has against what the hub manages.

What belongs here: the rules, as pure functions over the registry's rows and a forge's list, and the models of the
result (a published schema). What does not: reading the list (`upkeep/forges/`), keeping it (`stocktaking.py`).

The hub knows a repository by a name on a forge: the one that is configured, else where its remote leads. The forge's id
behind a name is kept as soon as it is known and survives renames and transfers. What a list lacks is asked for singly,
by id and name, before it counts as missing, and even then it is hub-only only where the list is proven to be whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict

from upkeep.forges.base import ForgeRepository, Listing
from upkeep.sync import ages
from upkeep.sync.ages import Band
from upkeep.sync.registry import Managed

UNREGISTERED_FOR = timedelta(days=30)
"""How long a repository may exist before somebody should have decided about it."""

_SCP = re.compile(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RegisteredRepository(_Model):
    """Managed here and there on the forge. `renamed_from`: the name by which the hub knew it, where that is another."""

    repo_slug: str
    repository: ForgeRepository
    renamed_from: str | None
    age: Band
    last_state_synced_at: datetime | None


class HubOnlyRepository(_Model):
    """Managed here, and on no forge that was looked at."""

    repo_slug: str
    path: str
    forge: str | None
    repo: str | None
    why: str
    age: Band
    last_state_synced_at: datetime | None


class IgnoredRepository(_Model):
    """On the forge, and somebody decided not to manage it."""

    repo_slug: str
    repository: ForgeRepository
    note: str | None


class ListedForge(_Model):
    """What of a forge was read, and when (UTC). `gaps`: why the list is not proven to be whole; empty where it is."""

    forge: str
    listed_at: datetime
    repositories: int
    gaps: tuple[str, ...]


class Inventory(_Model):
    """The answer. `undecided`: slugs that were not found while a list has gaps, so that nothing is said of them."""

    complete: bool
    forges: tuple[ListedForge, ...]
    registered: tuple[RegisteredRepository, ...]
    unregistered: tuple[ForgeRepository, ...]
    hub_only: tuple[HubOnlyRepository, ...]
    ignored: tuple[IgnoredRepository, ...]
    undecided: tuple[str, ...]


Name = tuple[str, str]
"""A forge and a name on it (`owner/name`), in lower case."""


@dataclass(frozen=True)
class Listed:
    """A forge's list as it was kept. `host`: the forge's own; `singly`: what was asked for beside the list, by name;
    None where there is none."""

    listing: Listing
    at: datetime
    host: str
    singly: Mapping[Name, ForgeRepository | None]

    @property
    def hosts(self) -> set[str]:
        """Names by which git reaches the forge: ssh may have one of its own."""
        addresses = (address for one in self.listing.repositories for address in one.addresses)
        # One address a host is taken apart; of thousands that takes as long as reading them.
        examples = {address.rsplit("/", 2)[0].rpartition(":")[0] or address: address for address in addresses}
        places = map(_split, examples.values())
        return {self.host, *(place[0] for place in places if place is not None)}


def questions(entries: Sequence[Managed], listed: Listed, ids: Mapping[Name, int]) -> dict[Name, int | None]:
    """Names that the hub has and the list lacks, with their ids where they are known: to be asked for singly."""
    finder = _Finder([listed], ids)
    names = {name for entry in entries if (name := finder.name(entry)) is not None and finder.find(entry) is None}
    return {name: ids.get(name) for name in sorted(names) if name[0] == listed.listing.forge}


def compare(entries: Sequence[Managed], lists: Sequence[Listed], ids: Mapping[Name, int], now: datetime) -> Inventory:
    """`entries`: the registry's managed and ignored repositories; those of a forge that is not in `lists` are left out.
    `ids`: what is known of names from before.

    A repository with a managed entry is registered, even where an ignored one matches it too."""
    finder = _Finder(lists, ids)
    complete = all(each.listing.complete for each in lists)
    registered: list[RegisteredRepository] = []
    ignored: list[IgnoredRepository] = []
    hub_only: list[HubOnlyRepository] = []
    undecided: list[str] = []
    taken: set[tuple[str, int]] = set()
    for entry in sorted(entries, key=lambda one: (one.state != "managed", one.slug)):
        if entry.forge is not None and entry.forge not in finder.forges:
            continue
        found = finder.find(entry)
        if found is not None and entry.state == "managed":
            registered.append(_registered(entry, found, finder.name(entry), now))
            taken.add((found.forge, found.id))
        elif found is not None and (found.forge, found.id) not in taken:
            ignored.append(IgnoredRepository(repo_slug=entry.slug, repository=found, note=entry.note))
            taken.add((found.forge, found.id))
        elif found is None and entry.state == "managed" and complete:
            hub_only.append(_hub_only(entry, finder.name(entry), now))
        elif found is None and entry.state == "managed":
            undecided.append(entry.slug)
    every = sorted(finder.by_id.values(), key=lambda one: (one.forge, one.full_name.lower()))
    return Inventory(
        complete=complete,
        forges=tuple(_listed(each) for each in lists),
        registered=tuple(registered),
        unregistered=tuple(one for one in every if (one.forge, one.id) not in taken),
        hub_only=tuple(hub_only),
        ignored=tuple(ignored),
        undecided=tuple(undecided),
    )


def ids_to_keep(entries: Sequence[Managed], lists: Sequence[Listed], ids: Mapping[Name, int]) -> dict[Name, int]:
    """Ids behind the names that the hub uses, as far as they are new."""
    finder = _Finder(lists, ids)
    found = {finder.name(entry): finder.find(entry) for entry in entries}
    return {
        name: repository.id
        for name, repository in found.items()
        if name is not None and repository is not None and ids.get(name) != repository.id
    }


def overdue(inventory: Inventory, now: datetime) -> list[ForgeRepository]:
    """Unregistered repositories older than `UNREGISTERED_FOR`, oldest first. Archived ones need no decision."""
    old = [
        (one.created_at, one)
        for one in inventory.unregistered
        if not one.archived and one.created_at is not None and now - one.created_at > UNREGISTERED_FOR
    ]
    return [one for _, one in sorted(old, key=lambda each: each[0])]


class _Finder:
    """From an entry of the hub to a repository of the lists."""

    def __init__(self, lists: Iterable[Listed], ids: Mapping[Name, int]) -> None:
        lists = list(lists)
        every = [one for each in lists for one in each.listing.repositories]
        self.forges = {each.listing.forge for each in lists}
        self.by_id = {(one.forge, one.id): one for one in every}
        self._by_name = {(one.forge, one.full_name.lower()): one for one in every}
        self._hosts = {host: each.listing.forge for each in lists for host in each.hosts}
        self._singly = {name: one for each in lists for name, one in each.singly.items() if one is not None}
        self._ids = ids

    def name(self, entry: Managed) -> Name | None:
        """By what name a forge should have it: as configured, else where its remote leads. One that was ignored without
        ever being registered has nothing but its name."""
        if entry.forge is not None and entry.repo:
            return entry.forge, entry.repo.lower()
        place = _split(entry.remote) if entry.remote else None
        if place is not None and self._hosts.get(place[0]) in ({entry.forge} if entry.forge else self.forges):
            return self._hosts[place[0]], place[1]
        if entry.state == "ignored" and not entry.remote:
            return self._ignored(entry)
        return None

    def find(self, entry: Managed) -> ForgeRepository | None:
        """A name counts only as long as no id is known for it: another repository may have taken it since."""
        name = self.name(entry)
        if name is None:
            return None
        listed = self.by_id.get((name[0], self._ids[name])) if name in self._ids else self._by_name.get(name)
        return listed or self._singly.get(name)

    def _ignored(self, entry: Managed) -> Name | None:
        """`owner/name`, or the name alone as long as it is that of one repository."""
        wanted = (entry.repo or entry.slug).lower()
        forges = {entry.forge} if entry.forge else self.forges
        known = {name for name in (*self._by_name, *self._ids) if name[0] in forges}
        mine = {name for name in known if wanted in (name[1], name[1].rpartition("/")[2])}
        return mine.pop() if len(mine) == 1 else None


def _split(address: str) -> tuple[str, str] | None:
    """Host and `owner/name`, both in lower case, that an address of git leads to; None for a path.

    Ports and users do not count: one server is cloned from by https and by ssh. Neither does a folder that it lies in.
    """
    if "://" in address:
        parts = urlsplit(address)
        host, path = parts.hostname, parts.path
    elif (found := _SCP.fullmatch(address)) is not None:
        host, path = found[1], found[2]
    else:
        return None
    name = "/".join(unquote(path).strip("/").removesuffix(".git").lower().split("/")[-2:])
    return (host.lower(), name) if host and "/" in name else None


def _registered(entry: Managed, found: ForgeRepository, name: Name | None, now: datetime) -> RegisteredRepository:
    renamed = name is not None and name[1] != found.full_name.lower()
    return RegisteredRepository(
        repo_slug=entry.slug,
        repository=found,
        renamed_from=(entry.repo or (name or ("", ""))[1]) if renamed else None,
        age=ages.band(entry.last_state_synced_at, now),
        last_state_synced_at=entry.last_state_synced_at,
    )


def _hub_only(entry: Managed, name: Name | None, now: datetime) -> HubOnlyRepository:
    if name is not None:
        why = f"{name[0]} has no {entry.repo or name[1]}"
    elif entry.forge is not None:
        why = f"no name on {entry.forge} is set for it (`repo:`), and its remote does not lead there"
    else:
        why = f"its remote {entry.remote} is on no forge that was looked at" if entry.remote else "it has no remote"
    return HubOnlyRepository(
        repo_slug=entry.slug,
        path=str(entry.path),
        forge=entry.forge,
        repo=entry.repo,
        why=why,
        age=ages.band(entry.last_state_synced_at, now),
        last_state_synced_at=entry.last_state_synced_at,
    )


def _listed(each: Listed) -> ListedForge:
    return ListedForge(
        forge=each.listing.forge,
        listed_at=each.at,
        repositories=len(each.listing.repositories),
        gaps=each.listing.gaps,
    )
