"""`upkeep rebase`: one rebase of one fork, now.

What belongs here: the command's arguments, the frame of the run (database, lock, events), what it prints, its exit
code. What does not: the rebase (`upkeep/forks/service.py`), its gates (`upkeep/forks/gating.py`).
"""

from __future__ import annotations

import logging
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from upkeep.config import Gate, Settings
    from upkeep.database.server import Database
    from upkeep.forks.gating import SandboxedGates
    from upkeep.forks.report import Report

_log = logging.getLogger(__name__)


def rebase(
    fork: Annotated[str, typer.Argument(help="A fork of upkeep.yaml.")],
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Verify and stop: nothing moves.")] = False,
    skip_gates: Annotated[bool, typer.Option("--skip-gates", help="Push untested. Stands in the report.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Run the gates without asking.")] = False,
    restore: Annotated[
        str | None, typer.Option("--restore", metavar="RUN", help="Put trunk back to what it was before a run.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take over a lock whose holder cannot be proven dead. Nothing else.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Rebase a fork's trunk on its upstream: verified, tested and pushed, or untouched with a report that says why.

    Exit codes: 0 done or nothing to do, 10 conflicts, 11 the repository here forbids it, 12 the remote refused, 13
    restacking failed, 14 a gate failed, 15 locked, 1 other.

    Examples: `upkeep rebase tool --verify-only` · `upkeep rebase tool --yes` · `upkeep rebase tool --restore RUN`
    """
    from cli.output import emit_json, say
    from upkeep.config import load
    from upkeep.forks import report as reporting
    from upkeep.forks import summary

    if restore is not None and verify_only:
        raise typer.BadParameter("--restore moves trunk; --verify-only moves nothing")
    settings = load()
    report = execute(
        settings,
        fork,
        verify_only=verify_only,
        skip_gates=skip_gates,
        ask=sys.stdin.isatty() and not yes,
        restore=restore,
        force=force or os.environ.get("FORCE_STALE_LOCK") == "1",
        say=_progress(),
    )
    if json:
        emit_json(report)
    else:
        print(summary.render(report), end="")
    say(f"report: {reporting.folder_of(settings.home, report)}")
    raise typer.Exit(report.exit_code)


def execute(
    settings: Settings,
    name: str,
    *,
    verify_only: bool = False,
    skip_gates: bool = False,
    ask: bool = False,
    restore: str | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Rebase one fork and return its report, which is written whatever happens.

    Raises ConfigError for a fork that is not configured, and what is no Exception (Ctrl-C) after its report was
    written. All else ends in the report.
    """
    from upkeep.forks import service
    from upkeep.forks.desk import Desk
    from upkeep.forks.report import Report

    fork = settings.fork(name)
    run_id = str(uuid.uuid4())
    gates = None if skip_gates else _gates(ask, say)
    desk = Desk(name, settings, run_id, _draft(name, run_id, verify_only, say), gates=gates, verify_only=verify_only)
    if fork.stack_branches:
        desk.draft.put(notes=("The branches on trunk were left alone: restack them by hand.",))
    locks = service.opened(desk, _database(settings), trigger="cli", force=force)
    *_, report = service.rebase(desk, locks, restore=restore)
    assert isinstance(report, Report)
    return report


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    from upkeep.database import schema
    from upkeep.database.server import connect

    with connect(settings.home, settings.database_url) as database:
        schema.ensure(database)
        yield database


def _gates(ask: bool, say: Callable[[str], None]) -> SandboxedGates:
    from upkeep.forks.gating import SandboxedGates

    return SandboxedGates(asked=_ask if ask else lambda _: None, say=say)


def _ask(gates: Sequence[Gate]) -> None:
    """Ask the person at the terminal. Raises RunCancelled where the answer is no."""
    from upkeep.errors import RunCancelled

    print("The rebase is verified. Before it is pushed, these run:", file=sys.stderr)
    for gate in gates:
        print(f"  {gate.run.splitlines()[0]} (at most {gate.timeout_minutes:g} min)", file=sys.stderr)
    if not typer.confirm("Run them now?", default=True, err=True):
        raise RunCancelled(
            "the gates were not wanted, so nothing was pushed",
            remedy="`--verify-only` ends before the gates, `--skip-gates` pushes without them.",
        )


def _draft(name: str, run_id: str, verify_only: bool, say: Callable[[str], None]) -> Any:
    from upkeep.forks.report import Draft

    class Told(Draft):
        """A draft whose steps the person hears of."""

        @contextmanager
        def step(self, name: str, command: str = "") -> Iterator[None]:
            say(name)
            with super().step(name, command):
                yield

    return Told(name, run_id, trigger="cli", verify_only=verify_only)


def _progress() -> Callable[[str], None]:
    from cli.output import say

    started = time.monotonic()
    return lambda line: say(f"[{time.monotonic() - started:5.1f} s] {line}")
