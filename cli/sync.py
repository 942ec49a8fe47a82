"""`upkeep sync` and `upkeep hooks`: workplans and hub agree, and commits say so by themselves.

What belongs here: arguments, printing, exit codes, and what the process does that a hook starts. What does not: the
sync (`upkeep/sync/service.py`), the hook's text (`upkeep/sync/hooks.py`).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from upkeep.config import Settings
    from upkeep.database.server import Database
    from upkeep.sync.hooks import Hook, HookStatus
    from upkeep.sync.registry import Managed
    from upkeep.sync.service import Synced

hooks_app = typer.Typer(help="The post-commit hook of managed repositories.", no_args_is_help=True)

INCONSISTENT = 2
LOG_BYTES = 1_000_000

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Slugs = Annotated[list[str] | None, typer.Argument(metavar="REPO...", help="Managed repositories, by their slugs.")]
Every = Annotated[bool, typer.Option("--all", help="All managed repositories.")]


def sync(
    repositories: Slugs = None,
    every: Annotated[
        bool, typer.Option("--all", help="All managed repositories; those that did not change take one cheap look.")
    ] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Write ids and safe corrections into the files, too.")] = False,
    as_configured: Annotated[
        bool, typer.Option("--as-configured", help="--fix for those with `fix: true`: for timers and crontabs.")
    ] = False,
    hook: Annotated[bool, typer.Option("--hook", hidden=True, help="Started by a hook, in the background.")] = False,
    json: Json = False,
) -> None:
    """Reconcile workplan files with the hub, then move the timestamp. Nothing is ever committed.

    Exit codes: 0 consistent, 2 findings that are errors, 1 other.

    Examples: `upkeep sync the-custodian --fix` · `upkeep sync --all --as-configured`
    """
    if hook:
        _in_background(_only(repositories))
        return
    from cli.hub import open_hub
    from upkeep.errors import UpkeepError
    from upkeep.sync import service

    if every == bool(repositories):
        raise typer.BadParameter("give repositories, or --all")
    results: list[dict[str, Any]] = []
    with open_hub() as (settings, database):
        chosen, agree = _chosen(settings, database, repositories or [], every=every, fix=fix)
        for repository in _shown(chosen, json=json):
            try:
                done = service.sync_waiting(
                    database,
                    settings.home,
                    repository,
                    fix=fix or (as_configured and repository.fix),
                    trigger="schedule" if as_configured else "cli",
                )
            except UpkeepError as error:
                results.append({"repository": repository.slug, "error": error.as_record()})
                _complain(repository.slug, error)
                continue
            results.append(as_record(done))
            if not json:
                _print(done)
    results += [{"repository": slug, "consistent": True, "unchanged": True, "findings": []} for slug in agree]
    if json:
        from cli.output import emit_json

        emit_json({"repositories": results})
    elif agree:
        print(f"{len(agree)} unchanged since their last sync")
    raise typer.Exit(_exit_code(results))


def _shown(chosen: list[Managed], *, json: bool) -> Iterator[Managed]:
    """Each repository in its turn, with a bar where somebody waits and sees no results come."""
    if len(chosen) < 2 or not sys.stderr.isatty() or (sys.stdout.isatty() and not json):
        yield from chosen
        return
    from rich.progress import Progress

    from cli.output import stderr

    # What is printed meanwhile is the result, which goes where it was sent.
    with Progress(console=stderr(), transient=True, redirect_stdout=False) as bars:
        bar = bars.add_task("sync", total=len(chosen))
        for repository in chosen:
            bars.update(bar, description=repository.slug)
            yield repository
            bars.advance(bar)


def _exit_code(results: list[dict[str, Any]]) -> int:
    if any("error" in one for one in results):
        return 1
    return 0 if all(one["consistent"] for one in results) else INCONSISTENT


def _chosen(
    settings: Settings, database: Database, slugs: list[str], *, every: bool, fix: bool
) -> tuple[list[Managed], tuple[str, ...]]:
    """What is to be synced, and what is known to agree already."""
    from upkeep.sync import markers, registry, survey

    with database.session() as session:
        if not every:
            return [registry.find(session, slug) for slug in dict.fromkeys(slugs)], ()
        all_of_them = registry.every(session)
    if fix:
        return all_of_them, ()
    agree = set(survey.check(database).agree) - set(markers.waiting(settings.home))
    return [one for one in all_of_them if one.slug not in agree], tuple(sorted(agree))


def as_record(done: Synced) -> dict[str, Any]:
    """One sync as `--json` prints it."""
    return {
        "repository": done.repository,
        "consistent": done.reason is None,
        "reason": done.reason,
        "workstreams": done.workstreams,
        "tasks": done.tasks,
        "changed_rows": done.changed_rows,
        "edited_files": list(done.edited_files),
        "findings": [finding.model_dump(mode="json") for finding in done.findings],
        "last_attempt_at": done.last_attempt_at.isoformat(),
        "last_state_synced_at": done.last_state_synced_at.isoformat() if done.last_state_synced_at else None,
    }


def _print(done: Synced) -> None:
    from upkeep.forges.text import visible
    from upkeep.wording import counted

    has = f"{counted(done.workstreams, 'workplan')}, {counted(done.tasks, 'task')}"
    counts = f"{has}, {done.changed_rows} changed in the hub"
    edited = f", written: {', '.join(done.edited_files)}" if done.edited_files else ""
    print(visible(f"{done.repository}: {'inconsistent' if done.reason else 'consistent'}; {counts}{edited}"))
    for finding in done.findings:
        place = f"{finding.file}:{finding.line}: " if finding.line else f"{finding.file}: " if finding.file else ""
        print(f"  {place}{finding.severity} {finding.code}: {visible(finding.message)}")
        if finding.severity != "note":
            print(f"      {visible(finding.fix)}")


def _complain(slug: str, error: Any) -> None:
    from cli.output import complain, say

    say(f"{slug}:")
    complain(error)


# In the background


def _only(repositories: list[str] | None) -> str:
    if not repositories or len(repositories) != 1:
        raise typer.BadParameter("--hook takes one repository")
    return repositories[0]


def _in_background(slug: str) -> None:
    """What a hook starts: leave the terminal, work the markers off, log, and never ask anybody anything."""
    with suppress(PermissionError):  # we lead a session already
        os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from upkeep.config import load
    from upkeep.errors import ConfigError
    from upkeep.sync import markers

    home = os.environ.get("UPKEEP_HOME")  # a hook says it, so that even a broken configuration is told of
    if home:
        _log_to(Path(home).expanduser())
    try:
        settings = load()
    except ConfigError as error:
        _log(f"{slug}: {error.reason}: {error.message}; the commit waits for the next sync")
        raise typer.Exit(1) from None
    if not home:
        _log_to(settings.home)
    started = time.monotonic()
    try:
        rounds = markers.work_off(settings.home, slug, lambda: _background_sync(slug))
    except Exception as error:  # noqa: BLE001 - nobody is there to see it: the log is, and the markers stay
        _log(f"{slug}: {type(error).__name__}: {error}")
        raise typer.Exit(1) from None
    _log(f"{slug}: {rounds} sync(s) in {time.monotonic() - started:.2f} s" if rounds else f"{slug}: another is at it")


def _background_sync(slug: str) -> None:
    from cli.hub import open_hub
    from upkeep.sync import registry, service

    with open_hub() as (settings, database):
        with database.session() as session:
            repository = registry.find(session, slug)
        done = service.sync_waiting(database, settings.home, repository, fix=repository.fix, trigger="hook")
    _log(f"{slug}: {done.reason or 'consistent'}, {done.changed_rows} rows, {len(done.edited_files)} files")


def _log_to(home: Path) -> None:
    """Everything that this process prints goes to a log of bounded size from now on."""
    file = home / "logs" / "sync-hook.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".log.1"))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)


def _log(line: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}", file=sys.stderr, flush=True)


# Hooks


@hooks_app.command()
def install(repositories: Slugs = None, every: Every = False, json: Json = False) -> None:
    """Put our block into the post-commit hook; what is there stays. Again changes nothing.

    Exit codes: 0 installed, 1 a hook was left alone (the output says what to do).

    Examples: `upkeep hooks install the-custodian` · `upkeep hooks install --all`
    """
    if os.environ.get("UPKEEP_DATABASE_URL"):
        from cli.output import say

        say("UPKEEP_DATABASE_URL is set here and goes into no hook: put it into the .env beside upkeep.yaml")
    _each_hook(repositories, every, json, lambda hook: hook.install())


@hooks_app.command()
def uninstall(repositories: Slugs = None, every: Every = False, json: Json = False) -> None:
    """Take our block out of the post-commit hook; the rest stays.

    Example: `upkeep hooks uninstall the-custodian`
    """
    _each_hook(repositories, every, json, lambda hook: hook.uninstall())


@hooks_app.command()
def status(repositories: Slugs = None, every: Every = False, json: Json = False) -> None:
    """Say for each repository whether the hook is installed, outdated, absent, or nothing that we may change.

    Example: `upkeep hooks status --all`
    """
    _each_hook(repositories, every, json, lambda hook: hook.status())


def _each_hook(slugs: list[str] | None, every: bool, json: bool, act: Callable[[Hook], HookStatus]) -> None:
    from cli.hub import open_hub
    from cli.output import emit_json
    from upkeep.errors import UpkeepError
    from upkeep.sync import registry

    if every == bool(slugs):
        raise typer.BadParameter("give repositories, or --all")
    results: list[dict[str, Any]] = []
    with open_hub() as (settings, database), database.session() as session:
        chosen = registry.every(session) if every else [registry.find(session, slug) for slug in slugs or []]
    for repository in chosen:
        try:
            done = act(hook_of(settings, repository))
        except UpkeepError as error:
            results.append({"repository": repository.slug, "state": "unknown", "error": error.as_record()})
            _complain(repository.slug, error)
            continue
        results.append(_hook_record(done))
        if not json:
            _print_hook(done)
    if json:
        emit_json({"hooks": results})
    raise typer.Exit(1 if any("error" in one or one["state"] == "foreign" for one in results) else 0)


def hook_of(settings: Settings, repository: Managed) -> Hook:
    """The hook of a repository, which starts this very program. Raises RepositoryNotReady `sync.unreachable`,
    CommandNotFound."""
    from upkeep.sync.hooks import Hook
    from upkeep.sync.workingtree import WorkingTree

    tree = WorkingTree.open(repository.path)
    return Hook(repository.slug, tree, settings.home, _command(repository.slug), _environment(settings))


def _hook_record(done: HookStatus) -> dict[str, Any]:
    return {
        "repository": done.repository,
        "path": str(done.path),
        "state": done.state,
        "changed": done.changed,
        "remedy": done.remedy,
        "note": done.note,
    }


def _print_hook(done: HookStatus) -> None:
    print(f"{done.repository}: {done.state}{' now' if done.changed else ''} ({done.path})")
    for line in (done.remedy, done.note):
        if line:
            print(f"  {line}")


def _command(slug: str) -> list[str]:
    """This very program, by a path that holds in any environment."""
    from upkeep.errors import CommandNotFound

    beside = Path(sys.executable).with_name("upkeep")
    program = str(beside) if beside.is_file() else shutil.which("upkeep")
    if program is None:
        raise CommandNotFound(
            "the program `upkeep` is not installed, so a hook could not start it",
            remedy="Install Upkeep (`make install`), and run its `upkeep hooks install`.",
        )
    return [program, "sync", "--hook", slug]


def _environment(settings: Settings) -> dict[str, str]:
    """What a hook sets for the sync, so that it finds the same hub from anywhere. No secret stands here."""
    source = {"UPKEEP_CONFIG": str(settings.source)} if settings.source else {}
    return {"UPKEEP_HOME": str(settings.home), **source}
