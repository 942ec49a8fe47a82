"""`upkeep demo`: generated sample repositories, two updates of them, and what to look at.

What belongs here: the play, and the group of plays. What does not: anything that an update does: it is the same job as
the daemon's; and the plays of other systems (`demo_rebase.py`, `demo_sync.py`).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import demo_rebase, demo_sync
from upkeep.errors import UpkeepError

if TYPE_CHECKING:
    from rich.console import Console

    from cli.sample import Sample
    from orchestration.execute import Update
    from upkeep.config import Settings

WATCH = "demo"
REPO = "demo/dashboard"

_CONFIG = """\
watches:
  {watch}:
    upstream: {{url: "{app}", branch: main}}
    target: {{url: "{dashboard}", base: main, forge: here, repo: {repo}}}
    content: content/analytics
    agent: scan
    poll_minutes: 0.1
    scan: {{kotlin: {{calls: [track], event: 0, properties: 1}}}}
"""


app = typer.Typer(invoke_without_command=True)
app.command("rebase")(demo_rebase.rebase)
app.command("sync")(demo_sync.sync)


@app.callback()
def demo(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Play two updates on generated repositories: no network, no account, no model.

    Everything lies under the home folder (UPKEEP_HOME); an upkeep.yaml for it is written to the current folder where
    there is none. Run once more, it says that there is nothing new.

    Example: `upkeep demo`, then `upkeep pr show 2`, then `upkeep up`.
    """
    if context.invoked_subcommand is not None:
        return
    from cli.demo_configuration import configure
    from cli.output import emit_json, say
    from cli.sample import open_sample
    from upkeep.config import load

    home = load().home
    sample, made = open_sample(home / "demo")
    section = _CONFIG.format(
        watch=WATCH, repo=REPO, app=sample.app.path.as_uri(), dashboard=sample.dashboard.path.as_uri()
    )
    settings, config = configure(home, "updates", section)
    say(f"sample app and dashboard {'made' if made else 'found'} in {home / 'demo'}")
    updates = [_update(settings, "first update" if made else "update", say)]
    if sample.is_first_day():
        _merge(settings, updates[0], say)
        say(f"pushed {sample.second_day()} commits to the app: one adds an event, one renames one, one removes one,")
        say("  one adds a flow, one changes a property")
        updates.append(_update(settings, "second update", say))
    if json:
        emit_json({"config": str(config), "home": str(home), "updates": [_record(each) for each in updates]})
    else:
        _show(sample, updates, config)


def _update(settings: Settings, what: str, say: Callable[[str], None]) -> Update:
    from orchestration.execute import update

    say(f"{what} …")
    done = update(settings, WATCH, trigger="demo", progress=lambda line: say(f"  {line}"))
    if isinstance(done.error, UpkeepError):
        raise done.error
    return done


def _merge(settings: Settings, update: Update, say: Callable[[str], None]) -> None:
    """What the dashboard's owner does after reading."""
    from upkeep.database.server import connect
    from upkeep.forges.registry import open_local

    number = _number(update)
    if number is None:
        return
    with connect(settings.home, settings.database_url) as database:
        forge = open_local("here", settings, database)
        if forge.pull_request(REPO, number).state == "open":
            forge.merge(REPO, number, by="the dashboard's owner")
            say(f"merged pull request #{number}, as the dashboard's owner would")


def _number(update: Update) -> int | None:
    published = update.published.pull_request if update.published else None
    if published is None and update.change_set is not None:
        published = update.change_set.pull_request
    return published.number if published else None


def _record(update: Update) -> dict[str, Any]:
    content = update.content
    return {
        "outcome": str(update.outcome),
        "reason": update.reason,
        "seconds": round(update.seconds, 2),
        "pull_request": _number(update),
        "delta": content.delta.model_dump(mode="json") if content else None,
        "errors": len(content.report.errors) if content else None,
        "warnings": len(content.report.warnings) if content else None,
    }


def _show(sample: Sample, updates: list[Update], config: Path) -> None:
    from cli.output import stdout

    console = stdout()
    for update in updates:
        console.print()
        if update.content is None or update.published is None or update.published.pull_request is None:
            reason = update.change_set.reason if update.change_set else update.reason
            console.print(f"[bold]Nothing new[/]: {reason}", soft_wrap=True)
            continue
        _show_pull_request(console, sample, update)
    console.print("\n[bold]Where to look next[/]")
    last = next((number for update in reversed(updates) if (number := _number(update))), 1)
    upkeep = _our_name()
    hints = (
        (f"{upkeep} pr show {last}", "the whole pull request as its reviewer sees it"),
        ("make up", "Dagster's UI: the lineage from upstream head to pull request; stop it with Ctrl-C"),
        (f"git clone {sample.app.path}", "push a commit to the app while `make up` runs: a pull request appears"),
        (f"{upkeep} explain demo", "why nothing happens just now"),
        (f'{upkeep} query "select * from metrics.runs"', "one row a run"),
    )
    width = max(len(command) for command, _ in hints)
    for command, what in hints:
        console.print(f"  {command:<{width}}  {what}", soft_wrap=True, markup=False)
    console.print(f"\nconfiguration: {config}", soft_wrap=True, markup=False)


def _our_name() -> str:
    """Return what to type for this command: `make demo` calls it by a path that a shell does not search."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "upkeep" and shutil.which("upkeep") is None else "upkeep"


def _show_pull_request(console: Console, sample: Sample, update: Update) -> None:
    content, published = update.content, update.published
    assert content is not None
    assert published is not None
    pull_request = published.pull_request
    assert pull_request is not None
    console.print(f"[bold]Pull request #{pull_request.number}[/] {pull_request.title}", soft_wrap=True)
    console.print(f"  branch {pull_request.head_branch}", soft_wrap=True, markup=False)
    for path in content.files:
        console.print(f"    {path}", soft_wrap=True, markup=False)
    console.print(f"    {len(content.files)} files, +{content.lines_added} -{content.lines_deleted} lines")
    for flow in content.delta.flows:
        console.print(f"  flow {flow.slug} ({flow.status})", markup=False)
        for sign, names in (("+", flow.events_added), ("-", flow.events_removed)):
            for name in names:
                console.print(f"    {sign} {name}", markup=False)
        for renamed in flow.events_renamed:
            console.print(f"    ~ {renamed.before} -> {renamed.after}", markup=False)
        for change in flow.properties:
            added = " ".join([*(f"+{name}" for name in change.added), *(f"-{name}" for name in change.removed)])
            console.print(f"    ~ {change.event}: properties {added}", markup=False)
    report = content.report
    console.print(
        f"  validator: {len(report.errors)} errors, {len(report.warnings)} warnings in {report.events} events"
    )
    for name, why in report.checks_unavailable.items():
        console.print(f"  not checked: {name}: {why}", soft_wrap=True, markup=False)
