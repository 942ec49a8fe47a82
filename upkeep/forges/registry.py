"""From a forge's name in the configuration to the forge.

What belongs here: which settings make which forge. What does not: the forges. The modules are imported where they are
needed: one needs SQLAlchemy, another an HTTP client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from upkeep.config import Settings
from upkeep.database.server import Database
from upkeep.errors import ConfigError, UpkeepError
from upkeep.faults import nearest
from upkeep.forges.base import Forge, Lister
from upkeep.plumbing.command import run_git
from upkeep.settings.forges import GiteaForgeSettings, GitHubForgeSettings, LocalForgeSettings
from upkeep.settings.forks import Fork

if TYPE_CHECKING:
    from upkeep.forges.gitea import GiteaForge
    from upkeep.forges.github import GitHubForge
    from upkeep.forges.local import LocalForge


def open_forge(name: str, settings: Settings, database: Database) -> Forge:
    """The forge of that name. Nothing is asked of it yet. Raises ConfigError `config.unknown_forge`,
    `config.forge_url`."""
    if name not in settings.forges:
        raise ConfigError(f"there is no forge {name!r}" + nearest(name, settings.forges), code="config.unknown_forge")
    chosen = settings.forges[name]
    if isinstance(chosen, LocalForgeSettings):
        return open_local(name, settings, database)
    return open_gitea(name, chosen) if isinstance(chosen, GiteaForgeSettings) else open_github(name, chosen)


def open_github(name: str, chosen: GitHubForgeSettings) -> GitHubForge:
    from upkeep.forges.github import GitHubForge

    return GitHubForge(name, host=chosen.host, token=chosen.token)


def open_gitea(name: str, chosen: GiteaForgeSettings) -> GiteaForge:
    """Raises ConfigError `config.forge_url`."""
    from upkeep.forges.gitea import GiteaForge

    return GiteaForge(name, url=chosen.url, token=chosen.token)


def open_lister(name: str, chosen: GiteaForgeSettings | GitHubForgeSettings) -> Lister:
    """A forge that lists its repositories: every kind but the local one. Raises ConfigError `config.forge_url`."""
    return open_gitea(name, chosen) if isinstance(chosen, GiteaForgeSettings) else open_github(name, chosen)


def open_local(name: str, settings: Settings, database: Database) -> LocalForge:
    """A local forge: repositories under `<home>/forges/<name>`, and those that watches and forks name by a path."""
    from upkeep.forges.local import LocalForge, local_path

    targets = [(each.target.repo, each.target.url) for each in settings.watches.values() if each.target.forge == name]
    targets += [(each.repo, _fork_url(each)) for each in settings.forks.values() if each.forge == name]
    places = {repo: path for repo, url in targets if (path := local_path(url)) is not None}
    return LocalForge(name, database, settings.home / "forges" / name, places)


def _fork_url(fork: Fork) -> str:
    """Where the fork's own remote is; "" where its working copy does not say."""
    if fork.url is not None or fork.path is None:
        return fork.url or ""
    arguments = ["config", "--get", f"remote.{fork.remotes.fork}.url"]
    try:
        return run_git(arguments, cwd=fork.path, personal=True, accept=(0, 1)).text.strip()
    except (UpkeepError, OSError):
        return ""


def credentials_for(settings: Settings, url: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """git configuration and environment for a URL: those of the configured forge that serves its host, else none."""
    parts = urlsplit(url)
    for name, chosen in settings.forges.items():
        forge: Forge | None = None
        if isinstance(chosen, GitHubForgeSettings) and parts.hostname is not None and chosen.host == parts.hostname:
            forge = open_github(name, chosen)
        elif isinstance(chosen, GiteaForgeSettings) and _origin(chosen.url) == _origin(url):
            forge = open_gitea(name, chosen)
        if forge is not None:
            return forge.git_config(), forge.git_environment()
    return {}, {}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
