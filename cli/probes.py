"""What `upkeep doctor` looks at: each probe is one question with an answer and, where it is a bad one, its fix.

What belongs here: the probes, and which of them a configuration needs. What does not: printing (`doctor.py`). A probe
changes nothing, ends within seconds, and never raises.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from upkeep.config import Settings, load
from upkeep.errors import CommandNotFound, UpkeepError
from upkeep.process import run
from upkeep.settings.agents import AgentSettings, ScanAgentSettings
from upkeep.settings.forges import GiteaForgeSettings, GitHubForgeSettings

Status = Literal["ok", "warning", "failed"]

OLDEST_PYTHON = (3, 11)
OLDEST_GIT = (2, 31)
"""GIT_CONFIG_COUNT, by which git gets its configuration from us, is of 2.31."""
OLDEST_GH = (2, 23)
PROBE_SECONDS = 20.0
FULL_BYTES, SCARCE_BYTES = 500 << 20, 2 << 30
SKEW_SECONDS = 60.0


@dataclass(frozen=True)
class Probe:
    """One answer. `fix` says what to do; empty where nothing has to be done."""

    name: str
    status: Status
    found: str
    fix: str = ""

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def probe_all(settings: Callable[[], Settings] = load) -> Iterator[Probe]:
    """Every probe that the configuration calls for, in an order in which the first failure explains the later ones."""
    yield _python()
    try:
        known = settings()
    except UpkeepError as error:
        yield _failed("configuration", error)
        return
    yield _configuration(known)
    yield _guarded("disk", lambda: _disk(known.home))
    yield _guarded("git", _git)
    yield _guarded("database", lambda: _database(known))
    yield from _mermaid(known)
    for name, forge in sorted(known.forges.items()):
        if isinstance(forge, GitHubForgeSettings) and _uses_forge(known, name):
            yield _guarded("gh", _gh)
            yield from _credentials(name, forge)
        if isinstance(forge, GiteaForgeSettings) and (_uses_forge(known, name) or forge.orgs or forge.user_repos):
            yield from _gitea(name, forge)
    for name, agent in sorted(known.agents.items()):
        if not isinstance(agent, ScanAgentSettings) and _uses_agent(known, name):
            yield from _agent(name, agent)
    yield from _upstreams(known)


def _uses_forge(settings: Settings, name: str) -> bool:
    users = [watch.target.forge for watch in settings.watches.values()]
    users += [fork.forge for fork in settings.forks.values()]
    return name in users or any(each.forge == name for each in settings.repositories.values())


def _uses_agent(settings: Settings, name: str) -> bool:
    settles = any(fork.agent == name and fork.on_conflict == "agent" for fork in settings.forks.values())
    return settles or any(watch.agent == name for watch in settings.watches.values())


def _failed(name: str, error: UpkeepError) -> Probe:
    return Probe(name, "failed", error.message, error.remedy)


def _guarded(name: str, probe: Callable[[], Probe]) -> Probe:
    try:
        return probe()
    except UpkeepError as error:
        return _failed(name, error)
    except OSError as error:
        return Probe(name, "failed", str(error), "Check that this account may use it.")


def _python() -> Probe:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Probe("python", "failed", version, "Install Python 3.11 or newer and make the environment anew.")
    return Probe("python", "ok", f"{version} at {sys.executable}")


def _configuration(settings: Settings) -> Probe:
    if settings.source is None:
        return Probe("configuration", "warning", "no upkeep.yaml found", "Run `upkeep init`, then edit the file.")
    watches = len(settings.watches)
    found = f"{settings.source}: {watches} {'watch' if watches == 1 else 'watches'}"
    return Probe("configuration", "ok", found)


def _disk(home: Path) -> Probe:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(place, os.W_OK):
        return Probe(
            "disk", "failed", f"{place} cannot be written", "Give this account the folder, or set UPKEEP_HOME."
        )
    free = shutil.disk_usage(place).free
    found = f"{home}: {free / (1 << 30):.1f} GB free"
    if free < SCARCE_BYTES:
        return Probe("disk", "failed" if free < FULL_BYTES else "warning", found, "Free some space, or move `home`.")
    return Probe("disk", "ok", found)


def _git() -> Probe:
    return _version("git", ["git", "version"], OLDEST_GIT, "Install git 2.31 or newer.")


def _gh() -> Probe:
    return _version("gh", ["gh", "--version"], OLDEST_GH, "Install GitHub's command line: https://cli.github.com")


def _version(name: str, argv: list[str], oldest: tuple[int, ...], fix: str) -> Probe:
    try:
        said = run(argv, deadline=PROBE_SECONDS).text
    except CommandNotFound:
        return Probe(name, "failed", "not installed", fix)
    numbers = re.search(r"\d+(?:\.\d+)+", said)
    if numbers is None:
        return Probe(name, "failed", f"said {said.strip()[:80]!r}", fix)
    new_enough = tuple(map(int, numbers[0].split("."))) >= oldest
    return Probe(name, "ok" if new_enough else "failed", numbers[0], "" if new_enough else fix)


def _database(settings: Settings) -> Probe:
    import sqlalchemy as sa

    from upkeep.database import schema
    from upkeep.database.server import connect

    with connect(settings.home, settings.database_url) as database:
        at = schema.current(database)
        with database.session() as session:
            version = session.execute(sa.text("SHOW server_version")).scalar()
            theirs = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        if at is not None:
            schema.require_current(database)
        skew = abs((datetime.now(UTC) - theirs).total_seconds())
        where = "embedded" if database.is_embedded else "server"
    found = f"{where} PostgreSQL {version}, {'not set up yet' if at is None else f'migration {at}'}"
    if skew > SKEW_SECONDS:
        return Probe("database", "failed", f"its clock is {skew:.0f} s off ours", "Synchronise both clocks (NTP).")
    return Probe("database", "ok", found)


def _mermaid(settings: Settings) -> Iterator[Probe]:
    from upkeep.content.mermaid import MermaidUnavailable, NodeMermaid

    try:
        (verdict,) = NodeMermaid(deadline=PROBE_SECONDS).check(["flowchart TD\n  a --> b"])
        missing = "" if verdict.ok else f"it refuses a plain diagram: {verdict.message}"
        fix = "Remove the folder node_modules of upkeep/content/mermaid_check, then run `make tools`."
    except MermaidUnavailable as error:
        missing, fix = error.message, error.remedy
    if not missing:
        yield Probe("mermaid", "ok", "Mermaid's own parser answers")
        return
    needed = any(not isinstance(settings.agents[each.agent], ScanAgentSettings) for each in settings.watches.values())
    effect = "what a model writes is not published without it" if needed else "diagrams are checked by ours alone"
    yield Probe("mermaid", "failed" if needed else "warning", f"{missing}: {effect}", fix)


def _credentials(name: str, forge: GitHubForgeSettings) -> Iterator[Probe]:
    """The login as the forge sees it, and by the way its clock: tokens and TLS fail where ours is far off."""
    from upkeep.forges.gh import GhApi

    label = f"forge {name}"
    try:
        answer = GhApi(forge.host, forge.token, deadline=PROBE_SECONDS).get("user")
    except UpkeepError as error:
        yield _failed(label, error)
        return
    how = "a token" if forge.token else "gh's login"
    yield Probe(label, "ok", f"{forge.host} as {answer.body.get('login', 'unknown')}, by {how}")
    if "date" in answer.headers:
        yield _clock(parsedate_to_datetime(answer.headers["date"]), forge.host)


def _gitea(name: str, forge: GiteaForgeSettings) -> Iterator[Probe]:
    """The token as the forge sees it. Without one there is nothing to prove but that a Gitea answers."""
    from upkeep.forges.gitea_api import GiteaApi

    label = f"forge {name}"
    try:
        api = GiteaApi(forge.url, forge.token, deadline=PROBE_SECONDS)
        answer = api.get("version")
        version = answer.body.get("version", "of an unknown version")
        who = api.get("user").body.get("login", "unknown") if forge.token else None
    except UpkeepError as error:
        yield _failed(label, error)
        return
    found = f"Gitea {version} at {api.host}"
    plain = urlsplit(forge.url).scheme == "http" and urlsplit(forge.url).hostname not in (
        "127.0.0.1",
        "::1",
        "localhost",
    )
    if who is None:
        fix = f'Set forges.{name}.token: "${{GITEA_TOKEN}}" and the variable; docs/gitea.md says which scopes it needs.'
        yield Probe(label, "warning", f"{found}, without a token: only what is public, and nothing can be written", fix)
    elif plain:
        yield Probe(label, "warning", f"{found} as {who}; the token travels in plain text", "Let `url` be https://….")
    else:
        yield Probe(label, "ok", f"{found} as {who}, by a token")
    if "date" in answer.headers:
        yield _clock(parsedate_to_datetime(answer.headers["date"]), api.host)


def _clock(theirs: datetime, host: str) -> Probe:
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    if skew > SKEW_SECONDS:
        return Probe("clock", "failed", f"{skew:.0f} s off the clock of {host}", "Synchronise this machine's clock.")
    return Probe("clock", "ok", f"agrees with {host}")


def _agent(name: str, agent: AgentSettings) -> Iterator[Probe]:
    from upkeep.agents.headless import CliAgent
    from upkeep.agents.registry import open_agent

    label, opened = f"agent {name}", open_agent(name, agent)
    assert isinstance(opened, CliAgent)
    try:
        found = opened.probe()
    except UpkeepError as error:
        yield _failed(label, error)
        return
    what = f"{opened.engine} {found.version}".strip()
    key = opened.api_key is not None and opened.api_key.get_secret_value()
    if not key and opened.base_url is None:
        fix = f'Set agents.{name}.api_key: "${{…_API_KEY}}" and the variable.'
        yield Probe(label, "failed", f"{what} has no API key", fix)
    else:
        yield Probe(label, "ok", f"{what}, model {opened.model}")
    yield _budget(name, priced=opened.priced, model=opened.model, unsafe=opened.unsafe_no_budget)
    yield _sandbox(name, contained=found.contained, why=found.reason, unsafe=opened.unsafe_no_sandbox)


def _budget(name: str, *, priced: bool, model: str, unsafe: bool) -> Probe:
    label = f"budget of {name}"
    if priced:
        return Probe(label, "ok", f"it holds: the price of {model} is known")
    found, fix = f"the price list knows no price for {model}", f"Name a listed model in agents.{name}.model"
    if unsafe:
        return Probe(label, "warning", f"{found}; unsafe_no_budget is set", f"It runs whatever it costs. {fix}.")
    return Probe(label, "failed", found, f"{fix}, or set agents.{name}.unsafe_no_budget: true.")


def _sandbox(name: str, *, contained: bool, why: str, unsafe: bool) -> Probe:
    from upkeep.agents.sandbox import REMEDY

    label = f"sandbox of {name}"
    if contained:
        return Probe(label, "ok", f"it holds; `upkeep sandbox show {name}` prints it")
    if unsafe:
        return Probe(label, "warning", f"{why}; unsafe_no_sandbox is set", f"Agents run unprotected: {REMEDY}.")
    return Probe(label, "failed", why, f"{REMEDY[0].upper()}{REMEDY[1:]}.")


def _upstreams(settings: Settings) -> Iterator[Probe]:
    from upkeep.content.watching import poll_heads

    heads = poll_heads(settings, deadline=PROBE_SECONDS)
    for name, watch in sorted(settings.watches.items()):
        head, label = heads.get(name), f"upstream of {name}"
        if head is None:
            yield Probe(label, "failed", f"no answer within {PROBE_SECONDS:.0f} s", "Check the network and the URL.")
        elif head.sha is None:
            fix = head.error.remedy if isinstance(head.error, UpkeepError) else "Check the URL and the branch."
            yield Probe(label, "failed", str(head.error), fix)
        else:
            yield Probe(label, "ok", f"{watch.upstream.branch} at {head.sha[:12]}")
