"""Settings: `upkeep.yaml` and the environment, as typed values.

What belongs here: the file as a whole, finding and reading it, and what must fit between its sections. What does not:
the keys of a section (`settings/`); anything that acts on a setting.

The environment wins over the file for `home` (UPKEEP_HOME) and `database_url` (UPKEEP_DATABASE_URL). Relative paths in
the file are relative to the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from upkeep.errors import ConfigError
from upkeep.faults import Fault, explain, nearest
from upkeep.settings.agents import AgentSettings, Budgets, ScanAgentSettings
from upkeep.settings.base import LocalPath, Name, Section
from upkeep.settings.forges import ForgeSettings
from upkeep.settings.forks import Fork
from upkeep.settings.guardrails import Guardrails
from upkeep.settings.repositories import ManagedRepository
from upkeep.settings.secrets import secrets_in
from upkeep.settings.watches import Watch
from upkeep.settings.web import WebSettings
from upkeep.yamlfile import Location, YamlFile, read

FILE_NAME = "upkeep.yaml"

_Entry = TypeVar("_Entry")


class Settings(Section):
    home: LocalPath = Path("~/.local/state/upkeep")
    database_url: str | None = None
    forges: dict[Name, ForgeSettings] = Field(default_factory=dict)
    agents: dict[Name, AgentSettings] = Field(default_factory=dict)
    budgets: Budgets = Budgets()
    guardrails: Guardrails = Guardrails()
    watches: dict[Name, Watch] = Field(default_factory=dict)
    forks: dict[Name, Fork] = Field(default_factory=dict)
    repositories: dict[Name, ManagedRepository] = Field(default_factory=dict)
    web: WebSettings = WebSettings()
    source: Path | None = Field(default=None, exclude=True, description="The file that was read; not a key of it.")

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def built_in(cls, values: Any) -> Any:
        """The forge `here` and the agent `scan` need no configuration."""
        if isinstance(values, dict):
            values = {
                **values,
                "forges": {"here": {"kind": "local"}, **(values.get("forges") or {})},
                "agents": {"scan": {"engine": "scan"}, **(values.get("agents") or {})},
            }
        return values

    def watch(self, name: str) -> Watch:
        """Return one watch; ConfigError `config.unknown_watch` names the nearest."""
        return _named(self.watches, name, "watch", self.source)

    def fork(self, name: str) -> Fork:
        """Return one fork; ConfigError `config.unknown_fork` names the nearest."""
        return _named(self.forks, name, "fork", self.source)

    def forge(self, name: str) -> ForgeSettings:
        """Return one forge; ConfigError `config.unknown_forge` names the nearest."""
        return _named(self.forges, name, "forge", self.source)

    def secrets(self) -> list[str]:
        """Every secret that we hold, for redaction and for the secret scan of outgoing text."""
        return list(dict.fromkeys(secrets_in(self)))


class Environment(BaseSettings):
    """Variables that win over the file."""

    model_config = SettingsConfigDict(env_prefix="UPKEEP_", extra="ignore")

    config: Path | None = None
    home: str | None = None
    database_url: str | None = None


def find(explicit: Path | None = None) -> Path | None:
    """The configuration file: `explicit`, else UPKEEP_CONFIG, else the nearest `upkeep.yaml` upwards. None: there is
    none. A file that was named and does not exist is ConfigError `config.missing`."""
    named = explicit or Environment().config
    if named is not None:
        path = named.expanduser().absolute()
        if not path.is_file():
            raise ConfigError(
                f"there is no configuration file {path}",
                code="config.missing",
                remedy="Check --config and UPKEEP_CONFIG, or run `upkeep init` to write one.",
            )
        return path
    folder = Path.cwd()
    return next((at / FILE_NAME for at in (folder, *folder.parents) if (at / FILE_NAME).is_file()), None)


def load(explicit: Path | None = None) -> Settings:
    """Read the settings; without a file, the defaults. Raises ConfigError whose message lists every fault of the file,
    each with its line."""
    path = find(explicit)
    overrides = {key: value for key, value in Environment().model_dump(exclude={"config"}).items() if value}
    if path is None:
        return Settings.model_validate(overrides)
    file = read(path)
    faults = list(_literal_secrets(file))
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(
            {**file.values, **overrides, "source": path}, context={"folder": path.parent}
        )
        faults += _dangling(settings)
    except ValidationError as error:
        faults += [explain(fault, file, Settings) for fault in error.errors(include_url=False, include_input=False)]
    if faults or settings is None:
        raise _config_error(file, faults)
    return settings


def schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors."""
    document = Settings.model_json_schema()
    document["properties"].pop("source")
    document["title"] = "upkeep.yaml"
    return document


def _config_error(file: YamlFile, faults: list[Fault]) -> ConfigError:
    places = [(file.line(location) or 1, ".".join(map(str, location)), message) for location, message in faults]
    lines = [f"{file.path}:{line}: {key + ': ' if key else ''}{message}" for line, key, message in sorted(places)]
    return ConfigError(
        "\n".join(lines),
        code="config.invalid",
        remedy="Mend the lines above; `upkeep config schema` prints every key.",
        faults=[{"line": line, "key": key, "message": message} for line, key, message in sorted(places)],
    )


def _dangling(settings: Settings) -> Iterator[Fault]:
    """Names that point at nothing."""
    for name, watch in settings.watches.items():
        if watch.agent not in settings.agents:
            yield ("watches", name, "agent"), f"no agent {watch.agent!r}" + nearest(watch.agent, settings.agents)
    for name, fork in settings.forks.items():
        if fork.agent not in settings.agents:
            yield ("forks", name, "agent"), f"no agent {fork.agent!r}" + nearest(fork.agent, settings.agents)
        elif fork.on_conflict == "agent" and isinstance(settings.agents[fork.agent], ScanAgentSettings):
            yield ("forks", name, "agent"), f"agent {fork.agent!r} has no model: it cannot settle a conflict"
    for location, forge in _forges_named(settings):
        if forge is not None and forge not in settings.forges:
            yield location, f"no forge {forge!r}" + nearest(forge, settings.forges)


def _forges_named(settings: Settings) -> Iterator[tuple[Location, str | None]]:
    """Where a forge is named, and which."""
    for name, watch in settings.watches.items():
        yield ("watches", name, "target", "forge"), watch.target.forge
    for name, fork in settings.forks.items():
        yield ("forks", name, "forge"), fork.forge
    for name, repository in settings.repositories.items():
        yield ("repositories", name, "forge"), repository.forge


def _literal_secrets(file: YamlFile) -> Iterator[Fault]:
    """A secret stands in the file only as `${NAME}`: files get committed, pasted and backed up."""
    for section, key in (("forges", "token"), ("agents", "api_key")):
        entries = file.values.get(section)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            location = (section, name, key)
            if isinstance(entry, dict) and entry.get(key) is not None and location not in file.from_environment:
                yield location, "a secret may stand here only as ${NAME}; put its value into the environment or .env"


def _named(section: Mapping[str, _Entry], name: str, kind: str, source: Path | None) -> _Entry:
    if name not in section:
        where = str(source) if source else f"no {FILE_NAME} was found; the configuration"
        raise ConfigError(
            f"{where} has no {kind} {name!r}" + nearest(name, section, otherwise="valid names"),
            code=f"config.unknown_{kind}",
            remedy="`upkeep config check` lists what is configured; --config FILE or UPKEEP_CONFIG names another file.",
        )
    return section[name]
