"""`upkeep rebase`: one rebase of one fork, now.

What belongs here: the command's arguments, what it asks and prints, its exit code. What does not: the run
(`orchestration/rebase.py`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from upkeep.settings.forks import Gate


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
    from cli.startup import quick_imports
    from upkeep.config import load
    from upkeep.forks import report as reporting
    from upkeep.forks import summary

    if restore is not None and verify_only:
        raise typer.BadParameter("--restore moves trunk; --verify-only moves nothing")
    (settings := load()).fork(fork)
    with quick_imports():
        from orchestration.rebase import rebase as execute
    from resources.forks import ask_nobody

    with _progress() as (progress, ask):
        report = execute(
            settings,
            fork,
            verify_only=verify_only,
            skip_gates=skip_gates,
            restore=restore,
            force=force or os.environ.get("FORCE_STALE_LOCK") == "1",
            ask=ask if sys.stdin.isatty() and not yes else ask_nobody,
            progress=progress,
        )
    if json:
        emit_json(report)
    else:
        print(summary.render(report), end="")
    say(f"report: {reporting.folder_of(settings.home, report)}")
    raise typer.Exit(report.exit_code)


def _ask(gates: Sequence[Gate]) -> None:
    """Ask the person at the terminal. Raises RunCancelled where the answer is no."""
    from upkeep.errors import RunCancelled

    print("The rebase is verified. Before it is pushed, these run:", file=sys.stderr)
    for gate in gates:
        print(f"  {gate.run.splitlines()[0]} (at most {gate.timeout_minutes:g} min)", file=sys.stderr)
    try:
        wanted = typer.confirm("Run them now?", default=True, err=True)
    except typer.Abort:  # Ctrl-D, or a terminal that is gone
        wanted = False
    if not wanted:
        raise RunCancelled(
            "the gates were not wanted, so nothing was pushed",
            remedy="`--verify-only` ends before the gates, `--skip-gates` pushes without them.",
        )


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None], Callable[[Sequence[Gate]], None]]]:
    """Who hears of each step, and who is asked about gates: a spinner on a terminal, plain lines with the time
    elsewhere; on stderr either way."""
    from cli.output import say, stderr

    console = stderr()
    if not console.is_terminal:
        started = time.monotonic()
        yield (lambda line: say(f"[{time.monotonic() - started:5.1f} s] {line}")), _ask
        return
    with console.status("starting") as status:

        def ask(gates: Sequence[Gate]) -> None:
            # A question is not to be drawn over.
            status.stop()
            _ask(gates)
            status.start()

        yield status.update, ask
