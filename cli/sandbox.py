"""`upkeep sandbox`: what an agent would see and may use, printed before it is let loose.

What belongs here: printing a profile. What does not: profiles (`upkeep/agents/profile.py`), and what an engine asks for
(its own module).
"""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from upkeep.agents.base import Agent, AgentTask
    from upkeep.agents.profile import Profile

app = typer.Typer(help="Look at what holds an agent in.", no_args_is_help=True)

_PLACE = "<run>"


@app.callback()
def group() -> None:
    """Look at what holds an agent in."""


@app.command()
def show(
    agent: Annotated[str, typer.Argument(help="A key under `agents:` of upkeep.yaml, such as codex.")],
    json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Print an agent's sandbox: mounts, environment, limits, network. Folders of one run stand below `<run>`.

    Exit codes: 0 it would be held, 1 the sandbox does not work on this machine.

    Example: `upkeep sandbox show codex`
    """
    from cli.output import emit_json, stdout
    from upkeep.agents.folders import private_folder
    from upkeep.agents.registry import open_agent
    from upkeep.agents.sandbox import probe
    from upkeep.config import load

    settings = load()
    opened = open_agent(agent, _named(settings.agents, agent))
    found = probe(getattr(opened, "bwrap", "bwrap"))
    with private_folder("upkeep-show-") as folder:
        profile = _profile(opened, folder)
        text = "" if profile is None else profile.describe().replace(str(folder), _PLACE)
        record = None if profile is None else jsons.loads(jsons.dumps(profile.as_record()).replace(str(folder), _PLACE))
    works = profile is None or found.contained
    if json:
        emit_json({"agent": agent, "engine": opened.engine, "works": works, "reason": found.reason, "profile": record})
    elif profile is None:
        stdout().print(f"{agent} ({opened.engine}) starts no program: there is nothing to hold in", markup=False)
    else:
        words = f"works, bubblewrap {found.version}" if found.contained else f"DOES NOT WORK: {found.reason}"
        stdout().print(f"{agent} ({opened.engine}): {words}\n{text}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if works else 1)


def _named(agents: dict[str, Any], name: str) -> Any:
    """Raises ConfigError for a name that is not configured."""
    from upkeep.errors import ConfigError
    from upkeep.faults import nearest

    if name not in agents:
        raise ConfigError(
            f"the configuration has no agent {name!r}" + nearest(name, agents).replace("keys here", "names"),
            code="config.unknown_agent",
            remedy="`upkeep config check` lists what is configured.",
        )
    return agents[name]


def _profile(agent: Agent, folder: Path) -> Profile | None:
    """The profile of a run in `folder`; None for an engine that starts no program. Raises AgentError where the
    engine's program is not there."""
    from upkeep.agents.headless import Call, CliAgent
    from upkeep.agents.profile import GATEWAY_URL

    if not isinstance(agent, CliAgent):
        return None
    task, home = _task(folder), folder / "private"
    home.mkdir()
    launch = agent.launch(Call(task, home, GATEWAY_URL, "<token of the run>"))
    socket = folder / "gateway.sock"
    return agent.profile(task, home, agent.program(), environment=launch.environment, socket=socket)


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
