"""From a forge's name in the configuration to the forge.

What belongs here: which settings make which forge. What does not: the forges. The modules are imported where they are
needed: the one needs SQLAlchemy, the other does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from upkeep.config import GitHubForgeSettings, LocalForgeSettings, Settings
from upkeep.database.server import Database
from upkeep.errors import ConfigError
from upkeep.faults import nearest
from upkeep.forges.base import Forge

if TYPE_CHECKING:
    from upkeep.forges.local import LocalForge


def open_forge(name: str, settings: Settings, database: Database) -> Forge:
    """The forge of that name. Nothing is asked of it yet. Raises ConfigError for a name that is not configured, or a
    kind that this version does not have."""
    if name not in settings.forges:
        raise ConfigError(f"there is no forge {name!r}" + nearest(name, settings.forges), code="config.unknown_forge")
    chosen = settings.forges[name]
    if isinstance(chosen, LocalForgeSettings):
        return open_local(name, settings, database)
    if isinstance(chosen, GitHubForgeSettings):
        from upkeep.forges.github import GitHubForge

        return GitHubForge(name, host=chosen.host, token=chosen.token)
    raise ConfigError(
        f"forge {name!r} is of the kind {chosen.kind}, for which this version opens no pull requests yet",
        code="config.forge_kind",
        remedy="Use a forge of the kind github or local.",
    )


def open_local(name: str, settings: Settings, database: Database) -> LocalForge:
    """A local forge: repositories under `<home>/forges/<name>`, and those that watches and forks name by a path."""
    from upkeep.forges.local import LocalForge, local_path

    targets = [(each.target.repo, each.target.url) for each in settings.watches.values() if each.target.forge == name]
    targets += [(each.repo, each.url) for each in settings.forks.values() if each.forge == name and each.url]
    places = {repo: path for repo, url in targets if (path := local_path(url)) is not None}
    return LocalForge(name, database, settings.home / "forges" / name, places)


def credentials_for(settings: Settings, url: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """git configuration and environment for a URL: those of the configured forge that serves its host, else none."""
    host = urlsplit(url).hostname
    for name, forge in settings.forges.items():
        if isinstance(forge, GitHubForgeSettings) and host is not None and forge.host == host:
            from upkeep.forges.github import GitHubForge

            opened = GitHubForge(name, host=forge.host, token=forge.token)
            return opened.git_config(), opened.git_environment()
    return {}, {}
