"""`upkeep demo sync`: two sample repositories, managed, hooked, and a commit by which a timestamp moves.

What belongs here: the play, and making its two working trees. What does not: anything that a sync does: it is the same
as a person's `upkeep repos register`, `upkeep sync --fix`, `upkeep hooks install` and `git commit`.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from upkeep.config import Settings
    from upkeep.database.server import Database
    from upkeep.sync.registry import Managed

SAMPLES = {"ferry-timetable": "timetable", "ferry-tickets": "tickets"}
"""Repository to its folder in `samples/`."""
GOALS = {
    "ferry-timetable": "Every crossing of the winter can be looked up",
    "ferry-tickets": "Nobody pays for a bicycle",
}
COMMITTED = "ferry-timetable"
"""The repository in which the play commits."""

WAIT_SECONDS = 60.0
_WHO = {"user.name": "Ferry Developers", "user.email": "ferry@example.org"}
_OWN = {"commit.gpgSign": "false", "core.hooksPath": ".git/hooks"}
"""So that nothing of the person's own set-up is changed or needed."""

_HOOKS_ON = {"GIT_CONFIG_COUNT": "0"}
"""Our own calls of git turn hooks off by configuration."""

Say = Callable[[str], None]


def sync(json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False) -> None:
    """Manage two generated repositories, install their hooks, commit, and see the timestamp move.

    Everything lies under the home folder (UPKEEP_HOME). Run once more, it commits once more.

    Example: `upkeep demo sync`, then `upkeep repos list`, then `upkeep up`.
    """
    from cli.hub import open_hub
    from cli.output import emit_json, say

    with open_hub() as (settings, database):
        folder = settings.home / "demo" / "sync"
        made = [name for name in SAMPLES if _make(folder / name, _samples() / SAMPLES[name])]
        say(f"two sample repositories {'made' if made else 'found'} in {folder}")
        managed = [_manage(settings, database, folder / name, say) for name in SAMPLES]
        moved = _commit(settings, database, next(one for one in managed if one.slug == COMMITTED), say)
    if json:
        emit_json({"repositories": [one.slug for one in managed], **moved})
    else:
        _show(folder, moved)


def _samples() -> Path:
    return Path(__file__).parent / "samples"


def _make(path: Path, files: Path) -> bool:
    """A working tree with the sample's files in one commit; whether it was made. A half-made one is never used."""
    if path.is_dir():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".sample-", dir=path.parent))
    try:
        _git(draft, "init", "--quiet", "--initial-branch=main")
        for key, value in {**_WHO, **_OWN}.items():
            _git(draft, "config", key, value)
        shutil.copytree(files, draft, dirs_exist_ok=True)
        _git(draft, "add", "--all")
        _git(draft, "commit", "--quiet", "--message", "Plan the work")
        draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True


def _manage(settings: Settings, database: Database, path: Path, say: Say) -> Managed:
    """What `repos register`, `goals set`, `sync --fix`, the commit of a person who likes what that wrote, and `hooks
    install` do."""
    from cli.sync import hook_of
    from upkeep.sync import goals, registry, service
    from upkeep.wording import counted

    with database.session() as session:
        known = {one.slug: one for one in registry.every(session)}
        managed = known.get(path.name) or registry.register(session, path, domain="ferries", fix=True)
        goals.put(session, managed.slug, GOALS[managed.slug], by="demo")
    if managed.path.resolve() != path.resolve():
        raise typer.BadParameter(f"{managed.slug} is managed already, at {managed.path}")
    done = service.sync_waiting(database, settings.home, managed, fix=True, trigger="demo")
    written = f", ids written into {', '.join(done.edited_files)}" if done.edited_files else ""
    say(f"{managed.slug}: {counted(done.workstreams, 'workplan')}, {counted(done.tasks, 'task')}{written}")
    if done.edited_files:
        _git(managed.path, "commit", "--quiet", "--all", "--message", "Take over the hub's ids")
    hook_of(settings, managed).install()
    return managed


def _commit(settings: Settings, database: Database, managed: Managed, say: Say) -> dict[str, Any]:
    """Change a status as a person does, commit, and wait until the hub knows."""
    from upkeep import process
    from upkeep.errors import CommandTimeout
    from upkeep.plumbing.command import environment

    _wait_until_quiet(settings, managed.slug)
    before = _synced_at(database, managed.slug)
    file = managed.path / "workplans" / "winter.md"
    text = file.read_text()
    now = "in_progress" if re.search(r"-T01\nstatus: todo", text) else "todo"
    file.write_text(re.sub(r"(-T01\nstatus: )\w+", rf"\g<1>{now}", text, count=1))
    started = time.monotonic()
    command = ["git", "commit", "--quiet", "--all", "--message", f"TIME-WP-0001-T01 is {now}"]
    # Not `run_git`: it ends the group of its git, and with it what the hook has just started.
    with process.start(command, cwd=managed.path, env=environment({}, _HOOKS_ON, personal=True)):
        say(f"{managed.slug}: committed that TIME-WP-0001-T01 is {now}; waiting for the hook")
        while (after := _synced_at(database, managed.slug)) == before:
            if time.monotonic() - started > WAIT_SECONDS:
                raise CommandTimeout(
                    f"the hook's sync did not end within {WAIT_SECONDS:.0f} s",
                    remedy=f"Read {settings.home / 'logs' / 'sync-hook.log'}.",
                )
            time.sleep(0.02)
        seconds = round(time.monotonic() - started, 2)
    return {"task": "TIME-WP-0001-T01", "status": now, "seconds": seconds, "before": _iso(before), "after": _iso(after)}


def _wait_until_quiet(settings: Settings, slug: str) -> None:
    """Until the hook of an earlier commit has done its work."""
    from upkeep.sync import markers

    until = time.monotonic() + WAIT_SECONDS
    while slug in markers.waiting(settings.home) and time.monotonic() < until:
        time.sleep(0.02)


def _synced_at(database: Database, slug: str) -> datetime | None:
    from upkeep.sync import registry

    with database.session() as session:
        return registry.find(session, slug).last_state_synced_at


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None


def _git(path: Path, *arguments: str) -> None:
    """git as a person runs it."""
    from upkeep.plumbing.command import run_git

    run_git(arguments, cwd=path, personal=True, env=_HOOKS_ON)


def _show(folder: Path, moved: dict[str, Any]) -> None:
    from cli.output import stdout

    console = stdout()
    console.print(f"\n[bold]{COMMITTED}[/] was synced {moved['seconds']} s after the commit began", soft_wrap=True)
    console.print(f"  before  {moved['before']}", soft_wrap=True, markup=False)
    console.print(f"  after   {moved['after']}", soft_wrap=True, markup=False)
    console.print("\n[bold]Where to look next[/]")
    for command, what in (
        ("upkeep repos list", "both repositories, and how old what the hub knows is"),
        (f"upkeep dispatch {COMMITTED}", "what an agent should work on there now"),
        ("upkeep interventions list", "the question that waits for a person"),
        (f"git -C {folder / 'ferry-tickets'} commit --allow-empty -m x", "commit yourself; list again"),
        ("upkeep up", "Dagster's UI: group `sync`, asset `sync_timestamps`, partition by repository"),
        (f"upkeep hooks uninstall {' '.join(SAMPLES)}", "and `upkeep repos ignore NAME` ends the play"),
    ):
        console.print(f"  {command:<48} {what}", soft_wrap=True, markup=False)
