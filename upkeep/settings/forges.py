"""The `forges` section: where repositories and pull requests live."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from upkeep.settings.base import Section


class LocalForgeSettings(Section):
    """The embedded forge: bare repositories, pull requests are rows."""

    kind: Literal["local"]


class GitHubForgeSettings(Section):
    kind: Literal["github"]
    host: str = "github.com"
    token: SecretStr | None = None
    orgs: tuple[str, ...] = ()
    user_repos: bool = False


class GiteaForgeSettings(Section):
    kind: Literal["gitea"]
    url: str
    token: SecretStr | None = None
    orgs: tuple[str, ...] = ()
    user_repos: bool = False


ForgeSettings = Annotated[LocalForgeSettings | GitHubForgeSettings | GiteaForgeSettings, Field(discriminator="kind")]
