"""`upkeep sandbox`: what an agent would see and may use, printed before it is let loose.

What belongs here: printing a profile. What does not: profiles (`upkeep/agents/profile.py`), and what an engine asks for
(its own module).
"""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from upkeep.agents.base import Agent, AgentTask
    from upkeep.agents.profile import Profile
    from upkeep.agents.sandbox import Probe
    from upkeep.config import Settings

app = typer.Typer(help="Look at what holds an agent in.", no_args_is_help=True)

GATE = "gate"
_PLACE = "<run>"


@app.callback()
def group() -> None:
    """Look at what holds an agent in."""


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A key under `agents:` of upkeep.yaml, an engine, or `gate`.")],
    fork: Annotated[str | None, typer.Option(help="With `gate`: the fork whose `gate_mounts` are shown.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Print a sandbox: mounts, environment, limits, network. Folders of one run stand below `<run>`.

    An engine that is not configured is shown as it is by default. `gate` shows both phases of a repository's own test
    commands.

    Exit codes: 0 it would hold, 1 the sandbox does not work on this machine.

    Examples: `upkeep sandbox show codex`, `upkeep sandbox show gate --fork mine --json`
    """
    from cli.output import emit_json
    from upkeep.agents.folders import private_folder
    from upkeep.agents.sandbox import probe
    from upkeep.config import load

    settings = load()
    if fork is not None and name != GATE:
        raise typer.BadParameter("only a gate is of a fork", param_hint="--fork")
    with private_folder("show") as folder:
        if name == GATE:
            title, record, profiles = "gate", {"gate": fork}, _gate(settings, fork, folder)
        else:
            agent = _agent(settings, name)
            title, record = f"{name} ({agent.engine})", {"agent": name, "engine": agent.engine}
            profiles = _profiles(agent, folder)
        texts = [f"{phase}\n{each.describe()}".lstrip() for phase, each in profiles.items()]
        records = jsons.dumps({phase: each.as_record() for phase, each in profiles.items()})
        text, records = ("\n".join(texts).replace(str(folder), _PLACE), records.replace(str(folder), _PLACE))
    found = probe()
    works = not profiles or found.contained
    if json:
        shown = jsons.loads(records)
        held = {"phases": shown} if name == GATE else {"profile": shown.get("")}
        emit_json({**record, "works": works, "reason": found.reason, **held})
    else:
        _say(title, text, found)
    raise typer.Exit(0 if works else 1)


def _say(title: str, text: str, found: Probe) -> None:
    from cli.output import stdout

    words = f"works, bubblewrap {found.version}" if found.contained else f"DOES NOT WORK: {found.reason}"
    said = f"{title}: {words}\n{text}" if text else f"{title} starts no program: there is nothing to hold in"
    stdout().print(said, markup=False, soft_wrap=True)


def _agent(settings: Settings, name: str) -> Agent:
    """A configured agent, else an engine by its defaults. Raises ConfigError for a name that is neither."""
    from pydantic import TypeAdapter, ValidationError

    from upkeep.agents.registry import AVAILABLE, open_agent
    from upkeep.errors import ConfigError
    from upkeep.faults import nearest
    from upkeep.settings.agents import AgentSettings

    if name in settings.agents:
        return open_agent(name, settings.agents[name])
    if name not in AVAILABLE:
        raise ConfigError(
            f"the configuration has no agent {name!r}, and no engine is called so"
            + nearest(name, {*settings.agents, *AVAILABLE, GATE}, otherwise="valid names"),
            code="config.unknown_agent",
            remedy="`upkeep config check` lists what is configured.",
        )
    try:
        return open_agent(name, TypeAdapter[AgentSettings](AgentSettings).validate_python({"engine": name}))
    except ValidationError as error:
        raise ConfigError(
            f"the engine {name!r} is any program of yours, so there is nothing to show before you name it",
            code="config.unknown_agent",
            remedy=f"Write an agent with `engine: {name}` into upkeep.yaml (docs/agents.md), and show that.",
        ) from error


def _profiles(agent: Agent, folder: Path) -> dict[str, Profile]:
    """The profile of a run in `folder`; none for an engine that starts no program. Raises AgentError where the engine's
    program is not there."""
    from upkeep.agents.headless import Call, CliAgent
    from upkeep.agents.profile import GATEWAY_URL

    if not isinstance(agent, CliAgent):
        return {}
    task, home = _task(folder), folder / "private"
    home.mkdir()
    launch = agent.launch(Call(task, home, GATEWAY_URL, "<token of the run>"))
    socket = folder / "gateway.sock"
    return {"": agent.profile(task, home, agent.program(), environment=launch.environment, socket=socket)}


def _gate(settings: Settings, fork: str | None, folder: Path) -> dict[str, Profile]:
    """The profiles of a gate's two phases. Raises ConfigError for a fork that is not configured."""
    from upkeep.gates import Gates
    from upkeep.settings.forks import Gate

    (folder / "tree" / ".git").mkdir(parents=True)
    mounts = () if fork is None else settings.fork(fork).gate_mounts
    gates = Gates(folder / "tree", folder / "cache", folder / "logs", mounts)
    gate = Gate(run="true")
    return {"prepare": gates.profile(gate, network=True), "run": gates.profile(gate)}


def _task(folder: Path) -> AgentTask:
    from upkeep.agents.base import AgentTask

    for name in ("work", "upstream"):
        (folder / name).mkdir()
    return AgentTask(
        subject="sandbox show",
        work=folder / "work",
        reads={"upstream": folder / "upstream"},
        prompt="",
        answer_schema={},
        log_dir=folder / "logs",
    )
