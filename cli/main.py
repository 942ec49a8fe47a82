"""The `upkeep` command: the only place that knows all floors.

What belongs here: the table of commands, and turning errors into exit codes in one place. What does not: any command.
Command modules import what they need inside their functions, so that help and completion stay quick.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from cli.output import complain, emit_json
from upkeep.errors import UpkeepError

_OBJECTS_BEFORE_GC = 50_000
"""So many new objects before Python looks for garbage, instead of 700: starting makes a hundred thousand that stay. At
the end it does not look at all (`gc.freeze`): everything goes with the process, and looking takes longer than help."""

USAGE_ERROR = 64
"""sysexits.h EX_USAGE. Never 2: that is "validation failed"."""

COMMANDS: Mapping[str, str] = {
    "init": "cli.config:init",
    "demo": "cli.demo:app",
    "up": "cli.up:up",
    "doctor": "cli.doctor:doctor",
    "update": "cli.update:update",
    "validate": "cli.validate:validate",
    "explain": "cli.state:explain",
    "query": "cli.database:query",
    "state": "cli.state:app",
    "pr": "cli.pull_requests:app",
    "config": "cli.config:app",
    "db": "cli.database:app",
    "repos": "cli.repositories:app",
    "goals": "cli.repositories:goals_app",
    "sync": "cli.sync:sync",
    "hooks": "cli.sync:hooks_app",
    "tasks": "cli.tasks:app",
    "interventions": "cli.tasks:interventions_app",
    "inventory": "cli.inventory:inventory",
    "dispatch": "cli.dispatch:dispatch",
    "rebase": "cli.rebase:rebase",
    "mcp": "cli.mcp:mcp",
    "web": "cli.web:web",
    "token": "cli.tokens:app",
    "sandbox": "cli.sandbox:app",
}
"""Commands and groups by name, in the order of the help: the module and what it calls them."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"upkeep {version('upkeep')}")
        raise typer.Exit


def command_line(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the command line with some of `COMMANDS`, whose modules are imported, or with all."""
    app = typer.Typer(
        name="upkeep",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def root(
    file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="upkeep.yaml to use (also: UPKEEP_CONFIG).")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keeps git repositories up to date: upstream commits become one reviewed pull request.

    Try `upkeep demo` first, then `upkeep init`.
    """
    if file is not None:
        # Child processes (code server, runs) must read the same file.
        os.environ["UPKEEP_CONFIG"] = str(file.expanduser().absolute())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 64 for wrong usage, an error's own code, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(_OBJECTS_BEFORE_GC)
    atexit.register(gc.freeze)
    # A command that comes first is all that is needed; help, a wrong word or an option before it needs all of them.
    named = [name for name in arguments[:1] if name in COMMANDS]
    try:
        sys.exit(command_line(named or COMMANDS)(arguments, standalone_mode=False) or 0)
    except UpkeepError as error:
        if "--json" in arguments:
            emit_json({"error": error.as_record()})
        complain(error)
        sys.exit(error.exit_code)
    except typer.Abort:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except typer.TyperException as error:
        # Wrong usage; every such exception knows how to print itself with the command's usage line.
        if hasattr(error, "message"):  # what pydantic puts before a sentence of a validator's own
            error.message = str(error.message).replace("Value error, ", "")
        error.show()  # type: ignore[attr-defined]
        sys.exit(USAGE_ERROR)
    except BrokenPipeError:
        # The reader went away (`| head`): silence the interpreter's own flush, as the documentation of SIGPIPE advises.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
