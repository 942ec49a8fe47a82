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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from upkeep.config import Fork, Gate, Settings
    from upkeep.forks.gating import SandboxedGates
    from upkeep.forks.report import Draft, Report
    from upkeep.runs import Run

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
    from upkeep.database import schema
    from upkeep.database.server import connect
    from upkeep.forks import service
    from upkeep.forks.outcomes import as_event, outcome_of
    from upkeep.runs import open_run

    fork = _configured(settings, name)
    run_id = str(uuid.uuid4())
    draft = _draft(name, run_id, verify_only, say)
    desk = service.Desk(name, fork, settings.home, run_id, draft)
    if skip_gates and fork.gates and restore is None and not verify_only:
        _leave_out_gates(draft, fork)
    if fork.stack_branches:
        draft.put(notes=("The branches on trunk were left alone: restack them by hand.",))
    done: Report | None = None
    try:
        desk.config, desk.env = _credentials(settings, fork)
        with connect(settings.home, settings.database_url) as database:
            schema.ensure(database)
            subject = f"fork:{name}"
            with open_run(database, system="forks", subject=subject, run_id=run_id, trigger="cli", force=force) as run:
                desk.may = run.lock.check
                draft.ended = lambda step, seconds: _note_step(run, step, seconds)
                gates = None if skip_gates else _gates(ask, say)
                done = service.rebase(desk, verify_only=verify_only, force=force, restore=restore, gates=gates)
                outcome, reason = as_event(done.outcome)
                run.finish(outcome, reason, **_figures(done))
    except Exception as error:  # noqa: BLE001 - every run ends in a report that says why
        # A database that goes away after the rebase was done changes nothing of it.
        return done or service.closed(desk, outcome_of(error), error)
    return done


def _configured(settings: Settings, name: str) -> Fork:
    from upkeep.errors import ConfigError
    from upkeep.faults import nearest

    if name not in settings.forks:
        raise ConfigError(
            f"{settings.source or 'the configuration'} has no fork {name!r}"
            + nearest(name, settings.forks).replace("keys here", "names"),
            code="config.unknown_fork",
            remedy="Name one below `forks:` in upkeep.yaml; --config FILE or UPKEEP_CONFIG names another file.",
        )
    return settings.forks[name]


def _credentials(settings: Settings, fork: Fork) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """What lets git reach a fork by `url`, and its upstream. In a working copy the person's own configuration does."""
    from upkeep.content.desk import upstream_credentials

    if fork.url is None:
        return {}, {}
    upstream = upstream_credentials(settings, fork.remotes.upstream)
    own = upstream_credentials(settings, fork.url)
    return {**upstream[0], **own[0]}, {**upstream[1], **own[1]}


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


def _leave_out_gates(draft: Draft, fork: Fork) -> None:
    from upkeep.forks.report import Gate

    skipped = tuple(Gate(command=gate.run, tree="", result="skipped") for gate in fork.gates)
    draft.put(overrides=("--skip-gates",), gates=skipped)


def _draft(name: str, run_id: str, verify_only: bool, say: Callable[[str], None]) -> Any:
    from upkeep.forks.report import Draft

    class Told(Draft):
        """A draft whose steps are heard of: before each by the person, after each by the events."""

        ended: Callable[[str, float], None] = staticmethod(lambda step, seconds: None)

        @contextmanager
        def step(self, name: str, command: str = "") -> Iterator[None]:
            say(name)
            started = time.monotonic()
            with super().step(name, command):
                yield
            self.ended(name, round(time.monotonic() - started, 3))

    return Told(name, run_id, trigger="cli", verify_only=verify_only)


def _note_step(run: Run, step: str, seconds: float) -> None:
    from upkeep.database.events import EventType
    from upkeep.errors import DatabaseError

    try:
        run.event(EventType.STEP_ENDED, step=step, seconds=seconds)
    except DatabaseError as error:
        # The lock's own check decides whether the run may go on.
        _log.warning("the step %s could not be recorded: %s", step, error)


def _figures(report: Report) -> dict[str, Any]:
    """What the events keep of a run."""
    verification = report.verification
    return {
        "exit_code": report.exit_code,
        "seconds": report.seconds,
        "patches": len(verification.kept) if verification else None,
        "conflicts": len(verification.conflicts) if verification else None,
        "behind": verification.behind if verification else None,
    }


def _progress() -> Callable[[str], None]:
    from cli.output import say

    started = time.monotonic()
    return lambda line: say(f"[{time.monotonic() - started:5.1f} s] {line}")
