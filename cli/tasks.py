"""`upkeep tasks` and `upkeep interventions`: what people change in the hub by hand.

What belongs here: arguments and printing. What does not: the hub (`upkeep/sync/store.py`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from upkeep.sync.store import Asked

app = typer.Typer(help="Tasks of workplans, on the hub's side.", no_args_is_help=True)
interventions_app = typer.Typer(help="What only a person can decide: list, answer.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Repo = Annotated[str | None, typer.Option("--repo", metavar="REPO", help="A managed repository.")]


@app.command("set")
def set_status(
    task: Annotated[str, typer.Argument(help="The id of a task or workplan, as its file or the hub gives it.")],
    status: Annotated[str, typer.Argument(help="todo, in_progress, blocked, done, cancelled (a task).")],
    repo: Repo = None,
    json: Json = False,
) -> None:
    """Change a status in the hub by hand. The next sync with --fix carries it into the file.

    Example: `upkeep tasks set CUST-WP-0014-T02 done`
    """
    from cli.hub import me, open_hub
    from cli.output import emit_json
    from upkeep.sync import store

    with open_hub() as (_, database), database.session() as session:
        repository, before = store.set_status(session, task, status, by=me(), repository=repo)
    if json:
        emit_json({"task": task, "repository": repository, "before": before, "status": status})
    else:
        print(f"{task} is {status} in the hub, was {before}; `upkeep sync {repository} --fix` writes it into the file")


@interventions_app.command("list")
def show_list(
    repo: Repo = None,
    every: Annotated[bool, typer.Option("--all", help="Answered and withdrawn ones too.")] = False,
    json: Json = False,
) -> None:
    """List what waits for a person, oldest first.

    Example: `upkeep interventions list --repo the-custodian`
    """
    from cli.hub import open_hub
    from cli.output import emit_json
    from upkeep.forges.text import visible
    from upkeep.sync import registry, store

    with open_hub() as (_, database), database.session() as session:
        if repo is not None:
            registry.find(session, repo, states=registry.EVERY_STATE)
        found = store.asked(session, repo, closed=every)
    if json:
        emit_json([as_record(one) for one in found])
        return
    if not found:
        print("nothing waits for a person")
    for one in found:
        print(
            f"{str(one.id)[:8]} {one.repository} {visible(one.task)} [{one.kind}, {one.state}] {visible(one.question)}"
        )
        if one.answer is not None:
            print(f"         {one.answered_by}, {one.closed_at:%Y-%m-%d %H:%M} UTC: {visible(one.answer)}")


@interventions_app.command()
def answer(
    intervention: Annotated[str, typer.Argument(help="Its id, or at least four characters of its beginning.")],
    text: Annotated[str, typer.Argument(help="The answer. A conflict takes `file`, `hub`, or a status.")],
    json: Json = False,
) -> None:
    """Answer and close it. The answer is kept with who gave it and when.

    Examples: `upkeep interventions answer 97c831d9 hub` · `upkeep interventions answer 27ea "Use the second one"`
    """
    from cli.hub import me, open_hub
    from cli.output import emit_json
    from upkeep.forges.text import visible
    from upkeep.sync import store

    with open_hub() as (_, database), database.session() as session:
        done = store.answer(session, intervention, text, by=me())
    if json:
        emit_json(as_record(done))
    else:
        then = f"`upkeep sync {done.repository}` carries it out" if done.kind == "conflict" else "it is kept with that"
        print(f"answered for {visible(done.task)}; {then}")


def as_record(one: Asked) -> dict[str, Any]:
    """An intervention as `--json` prints it."""
    moments = {name: at.isoformat() if (at := getattr(one, name)) else None for name in ("asked_at", "closed_at")}
    return {**asdict(one), "id": str(one.id), **moments}
