"""Settings: `upkeep.yaml` and the environment, as typed values.

What belongs here: the keys, their types and defaults (a contract: files of people depend on them, none is ever
renamed) and finding the file. What does not: anything that acts on a setting.

The environment wins over the file for `home` (UPKEEP_HOME) and `database_url` (UPKEEP_DATABASE_URL). Relative paths in
the file are relative to the file.
"""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from upkeep.cron import fault_in
from upkeep.errors import ConfigError
from upkeep.faults import Fault, explain, nearest
from upkeep.scansettings import ScanSettings
from upkeep.yamlfile import YamlFile, read

FILE_NAME = "upkeep.yaml"

_Entry = TypeVar("_Entry")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Names of watches, forks, repositories, forges, agents: they become partition keys, git refs and folder names."""

Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$", to_lower=True)]


def _absolute(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("folder") or Path.cwd()
    return Path(os.path.normpath(base / path.expanduser()))


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or {"..", ".git"} & {part.casefold() for part in parts}:
        raise ValueError("must be a folder inside the repository, such as content/analytics")
    return str(PurePosixPath(*parts))


LocalPath = Annotated[Path, AfterValidator(_absolute)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class ScanAgentSettings(Section):
    """Offline, deterministic, no model."""

    engine: Literal["scan"]


class ModelAgentSettings(Section):
    """What every engine with a model takes."""

    api_key: SecretStr | None = None
    base_url: str | None = None
    timeout_minutes: float = Field(default=30, gt=0)
    idle_minutes: float = Field(default=5, gt=0)
    budget_usd: float | None = Field(default=1.00, ge=0)
    unsafe_no_sandbox: bool = False


class CodexAgentSettings(ModelAgentSettings):
    engine: Literal["codex"]
    bin: str = "codex"
    model: str = "gpt-5.2"
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] = "high"


class ClaudeAgentSettings(ModelAgentSettings):
    engine: Literal["claude"]
    bin: str = "claude"
    model: str = "claude-sonnet-4-5"
    effort: Literal["low", "medium", "high", "xhigh", "max"] = "high"


class OpencodeAgentSettings(ModelAgentSettings):
    """`base_url`: any server that speaks the chat-completions API. `provider`: the price list's name for it."""

    engine: Literal["opencode"]
    bin: str = "opencode"
    model: str = "gpt-5.2"
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    provider: str = "openai"


class CommandAgentSettings(ModelAgentSettings):
    """Any program. `files`: what it needs beside itself, read-only. `api`: the one that it speaks to its model."""

    engine: Literal["command"]
    bin: str
    arguments: tuple[str, ...] = ()
    files: tuple[LocalPath, ...] = ()
    api: Literal["responses", "messages", "chat"] = "chat"
    model: str
    effort: str | None = None
    provider: str = "openai"


AgentSettings = Annotated[
    ScanAgentSettings | CodexAgentSettings | ClaudeAgentSettings | OpencodeAgentSettings | CommandAgentSettings,
    Field(discriminator="engine"),
]


class Budgets(Section):
    """US dollars."""

    per_run_usd: float = Field(default=1.00, ge=0)
    per_subject_day_usd: float = Field(default=5.00, ge=0)
    per_agent_month_usd: float = Field(default=100.00, ge=0)


class Guardrails(Section):
    """Limits of one patch. None: the pipeline's own default (architecture.md)."""

    max_lines: int | None = Field(default=None, gt=0)
    max_files: int | None = Field(default=None, gt=0)
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    protected: Literal["default"] | tuple[str, ...] = "default"


class Upstream(Section):
    """`path`: a working copy that we may pull; or `url`: we keep our own mirror."""

    path: LocalPath | None = None
    url: str | None = None
    branch: str = "main"
    web: str | None = Field(default=None, description="Where a person sees it; commit links are WEB/commit/SHA.")

    @model_validator(mode="after")
    def one_place(self) -> Upstream:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path (a working copy) or url (our own mirror), not both and not neither")
        return self


class Target(Section):
    url: str
    base: str = "main"
    forge: Name
    repo: str


class Watch(Section):
    """One upstream whose commits become pull requests on one dashboard."""

    upstream: Upstream
    target: Target
    content: Annotated[str, AfterValidator(_inside)] = "content/analytics"
    agent: Name = "scan"
    instructions: str | None = None
    relevance: Literal["any", "calls"] | None = None
    begin_after: Sha | None = None
    poll_minutes: float = Field(default=10, gt=0)
    attempts: int = Field(default=3, gt=0)
    scan: ScanSettings = ScanSettings()
    guardrails: Guardrails = Guardrails()


class Version(Section):
    file: str
    pattern: str
    source: Literal["file", "tag"] = "file"
    tag: str | None = None
    template: str = "{upstream}"


class Gate(Section):
    run: str
    prepare: str | None = None
    fix: bool = False
    timeout_minutes: float = Field(default=30, gt=0)
    directory: str = "."


def _gate(value: Any) -> Any:
    return {"run": value} if isinstance(value, str) else value


def _cron(value: str | None) -> str | None:
    if value is not None and (fault := fault_in(value)) is not None:
        raise ValueError(fault)
    return value


def _zone(value: str | None) -> str | None:
    if value is not None and value not in zoneinfo.available_timezones():
        raise ValueError(f"there is no time zone {value!r}; an example is Europe/Berlin")
    return value


class Remotes(Section):
    fork: str = "origin"
    upstream: str = "upstream"


class Fork(Section):
    """A fork whose trunk is rebased on its upstream."""

    path: LocalPath | None = None
    url: str | None = None
    remotes: Remotes = Remotes()
    trunk: str
    upstream_branch: str = "main"
    next_branches: tuple[str, ...] = ()
    mirror_branch: str = "main"
    version: Version | None = None
    gates: tuple[Annotated[Gate, BeforeValidator(_gate)], ...] = ()
    gate_mounts: tuple[LocalPath, ...] = ()
    baseline: bool = False
    stack: Literal["auto", "graphite", "plain", "none"] = "auto"
    stack_branches: tuple[str, ...] = ()
    push_stack: bool = False
    on_conflict: Literal["stop", "agent"] = "stop"
    agent: Name = "scan"
    escalate: tuple[str, ...] = ()
    forge: Name
    repo: str
    delta_pull_request: bool = True
    max_days_behind: int = Field(default=3, gt=0)
    schedule: Annotated[str | None, AfterValidator(_cron)] = Field(
        default="0 5 * * *", description="Cron line of the daily run. null: only by hand."
    )
    time_zone: Annotated[str | None, AfterValidator(_zone)] = Field(
        default=None, description="In which `schedule` is read. Unset: the machine's own."
    )

    @model_validator(mode="after")
    def _has_a_checkout(self) -> Self:
        if self.stack == "graphite" and self.path is None:
            raise ValueError("stack: graphite needs a checkout, which a fork by url has not; give `path`")
        return self


class Goal(Section):
    title: str
    description: str = ""


class ManagedRepository(Section):
    """A repository whose workplans agree with the hub. Read here, acted on by the sync system."""

    path: LocalPath
    forge: Name | None = None
    repo: str | None = None
    domain: str = ""
    workplans: tuple[str, ...] = ("workplans/*.md",)
    fix: bool = False
    goal: Goal | None = None


class WebSettings(Section):
    """The REST API. `hosts`: names by which requests may come through a proxy. `public`: `host` is meant to be reached
    from other machines."""

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=1, le=65535)
    hosts: tuple[str, ...] = ()
    public: bool = False


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
        held = [getattr(forge, "token", None) for forge in self.forges.values()]
        held += [getattr(agent, "api_key", None) for agent in self.agents.values()]
        secrets = [secret.get_secret_value() for secret in held if secret is not None]
        if self.database_url and (password := urlsplit(self.database_url).password):
            secrets.append(password)
        return secrets


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
        if watch.target.forge not in settings.forges:
            hint = nearest(watch.target.forge, settings.forges)
            yield ("watches", name, "target", "forge"), f"no forge {watch.target.forge!r}{hint}"
    for name, fork in settings.forks.items():
        if fork.forge not in settings.forges:
            yield ("forks", name, "forge"), f"no forge {fork.forge!r}" + nearest(fork.forge, settings.forges)
        if fork.agent not in settings.agents:
            yield ("forks", name, "agent"), f"no agent {fork.agent!r}" + nearest(fork.agent, settings.agents)
        elif fork.on_conflict == "agent" and isinstance(settings.agents[fork.agent], ScanAgentSettings):
            yield ("forks", name, "agent"), f"agent {fork.agent!r} has no model: it cannot settle a conflict"


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
            f"{where} has no {kind} {name!r}" + nearest(name, section).replace("keys here", "names"),
            code=f"config.unknown_{kind}",
            remedy="`upkeep config check` lists what is configured; --config FILE or UPKEEP_CONFIG names another file.",
        )
    return section[name]
