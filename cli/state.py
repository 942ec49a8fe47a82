"""`upkeep state` and `upkeep explain`: what is recorded of a watch, recovering it, why nothing happened, what will.

What belongs here: arguments and printing. What does not: the answers (`upkeep/content/watching.py`, `service.py`,
`upkeep/forks/explaining.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import loads
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from upkeep.config import Settings
    from upkeep.database.server import Database
    from upkeep.database.state import WatchState

app = typer.Typer(help="Show or recover what is recorded of a watch.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A watch of upkeep.yaml.")]
SENSOR = "content_heads"
NEVER = "The sensor has never looked: it does while `upkeep up` runs."

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Print what was last done: lastProcessedCommit, lastRunAt, lastRunStatus, lastPRUrl.

    Example: `upkeep state show my-app --json`
    """
    from upkeep.content.watching import last_run
    from upkeep.database.state import read_watch

    with _watch(name) as (_, database), database.session() as session:
        known = last_run(session, read_watch(session, name))
    _tell(known, json=json)


@app.command()
def rebuild(name: Name, json: Json = False) -> None:
    """Recover the state of a watch from the forge: pull requests, trailers, and what the content says of itself.

    Example: `upkeep state rebuild my-app`
    """
    from upkeep.content.service import rebuild_state

    with _watch(name) as (settings, database):
        known = rebuild_state(settings, name, database)
    _tell(known, json=json)


def explain(name: Annotated[str, typer.Argument(help="A watch or a fork of upkeep.yaml.")], json: Json = False) -> None:
    """Say in plain words why nothing happened, or what will happen next. Of a fork: which patches will break.

    Examples: `upkeep explain my-app` · `upkeep explain my-fork`
    """
    from upkeep.config import load

    settings = load()
    # A name of neither is an unknown fork where there are forks only, else an unknown watch.
    fork = name in settings.forks or (bool(settings.forks) and not settings.watches)
    if fork:
        _explain_fork(settings, name, json=json)
    if name in settings.watches or not fork:
        _explain_watch(settings, name, json=json)


def _explain_fork(settings: Settings, name: str, *, json: bool) -> None:
    from cli.output import emit_json
    from upkeep.forks.explaining import explain as answer

    with _database(settings) as database:
        explanation = answer(settings, name, database)
    if json:
        emit_json(explanation)
        return
    print(f"{explanation.fork}: {explanation.code}")
    for line in explanation.lines:
        print(f"  {line}")


def _explain_watch(settings: Settings, watch: str, *, json: bool) -> None:
    from cli.output import emit_json
    from upkeep.content.watching import explain as answer

    settings.watch(watch)
    with _database(settings) as database:
        explanation = answer(settings, watch, database)
        looked = _last_looks(database)
    if json:
        emit_json({**explanation.model_dump(mode="json"), "looks": looked})
        return
    print(f"{explanation.watch}: {explanation.code}")
    for line in (*explanation.lines, *looked):
        print(f"  {line}")


def as_keys(known: WatchState) -> dict[str, Any]:
    """The four keys that operators know."""
    return {
        "lastProcessedCommit": known.last_processed_commit,
        "lastRunAt": known.last_run_at.isoformat() if known.last_run_at else None,
        "lastRunStatus": str(known.last_run_status) if known.last_run_status else None,
        "lastPRUrl": known.last_pr_url,
    }


def _tell(known: WatchState, *, json: bool) -> None:
    from cli.output import emit_json

    if json:
        emit_json(as_keys(known))
        return
    for key, value in as_keys(known).items():
        print(f"{key + ':':21}{value or 'none'}")


@contextmanager
def _watch(name: str) -> Iterator[tuple[Settings, Database]]:
    """Settings that have this watch, and a database that is set up."""
    from upkeep.config import load

    settings = load()
    settings.watch(name)
    with _database(settings) as database:
        yield settings, database


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    from upkeep.database import schema
    from upkeep.database.server import connect

    with connect(settings.home, settings.database_url) as database:
        schema.ensure(database)
        yield database


def _last_looks(database: Database) -> list[str]:
    """When the sensor last ticked and what its last look at an upstream found. Read from Dagster's own table: starting
    Dagster would take longer than the answer is worth."""
    import sqlalchemy as sa

    with database.session() as session:
        if session.execute(sa.select(sa.func.to_regclass("dagster.job_ticks"))).scalar() is None:
            return [NEVER]
        query = sa.text("SELECT timestamp, status, tick_body FROM dagster.job_ticks ORDER BY id DESC LIMIT 200")
        rows = session.execute(query).all()
    ticks = [(at, status, body) for at, status, text in rows if SENSOR in text and (body := loads(text))]
    if not ticks:
        return [NEVER]
    newest, told = ticks[0], next((tick for tick in ticks if _said(tick[2]).startswith("looked")), None)
    lines = [f"The sensor ticked last at {newest[0]:%Y-%m-%d %H:%M:%S} UTC: {newest[1].lower()}."]
    if (error := newest[2].get("error")) is not None:
        lines.append(f"It failed: {str(error.get('message', error)).strip()}")
    if told is not None:
        lines.append(f"Its last look, at {told[0]:%H:%M:%S} UTC: {_said(told[2])}.")
    return lines


def _said(tick: dict[str, Any]) -> str:
    return tick.get("skip_reason") or ""
