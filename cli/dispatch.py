"""`upkeep dispatch`: what a repository should work on now.

What belongs here: arguments and printing. What does not: the answer (`upkeep/sync/dispatch.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from upkeep.sync.dispatch import Dispatch


def dispatch(
    repository: Annotated[str | None, typer.Argument(metavar="REPO", help="A managed repository, by its slug.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the answer instead.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Say what a repository should work on now: its goal, pending tasks by urgency, what waits for a person.

    Examples: `upkeep dispatch the-custodian` · `upkeep dispatch the-custodian --json | my-agent`
    """
    from cli.hub import open_hub
    from cli.output import emit_json
    from upkeep.sync import dispatch as engine

    if schema:
        emit_json(engine.Dispatch.model_json_schema())
        return
    if repository is None:
        raise typer.BadParameter("name a repository")
    with open_hub() as (_, database), database.session() as session:
        answer = engine.dispatch(session, repository)
    if json:
        emit_json(answer)
    else:
        _print(answer)


def _print(answer: Dispatch) -> None:
    from datetime import UTC, datetime

    from upkeep.forges.text import visible
    from upkeep.sync import ages

    age = ages.words(answer.last_state_synced_at, datetime.now(UTC))
    lines = [f"{answer.repo_slug}, synced {age if age == 'never' else f'{age} ago'}"]
    if answer.active_goal is not None:
        lines.append(f"goal: {answer.active_goal.title}")
    for stream in answer.active_workstreams:
        lines.append(f"{stream.id} {stream.title} ({stream.workplan_file})")
        lines += [
            f"  {task.priority or '-':8} {task.id} {task.title}{' [waits for a person]' if task.needs_human else ''}"
            for task in stream.pending_tasks
        ]
    if not answer.active_workstreams:
        lines.append("no active workplan")
    if answer.omitted.tasks or answer.omitted.workstreams:
        lines.append(
            f"… and {answer.omitted.tasks} less urgent tasks; {answer.omitted.workstreams} workplans not shown"
        )
    lines += [f"? {str(asked.id)[:8]} {asked.task_id}: {asked.question}" for asked in answer.human_interventions]
    if answer.omitted.interventions:
        lines.append(f"… and {answer.omitted.interventions} more; `upkeep interventions list` shows all")
    for line in lines:
        print(visible(line))
