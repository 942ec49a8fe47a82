"""The `upkeep` command: the only place that knows all floors.

What belongs here: registering the command modules, and turning errors into exit codes in one place. What does not: any
command. Command modules import what they need inside their functions, so that help and completion stay quick.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import config, database, demo, doctor, pull_requests, state, up, update, validate
from cli.output import complain, emit_json
from upkeep.errors import UpkeepError

_OBJECTS_BEFORE_GC = 50_000
"""So many new objects before Python looks for garbage, instead of 700: starting makes a hundred thousand that stay. At
the end it does not look at all (`gc.freeze`): everything goes with the process, and looking takes longer than help."""

USAGE_ERROR = 64
"""sysexits.h EX_USAGE. Never 2: that is "validation failed"."""

app = typer.Typer(
    name="upkeep",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"upkeep {version('upkeep')}")
        raise typer.Exit


@app.callback()
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


app.command("init")(config.init)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("doctor")(doctor.doctor)
app.command("update")(update.update)
app.command("validate")(validate.validate)
app.command("explain")(state.explain)
app.command("query")(database.query)
app.add_typer(state.app, name="state")
app.add_typer(pull_requests.app, name="pr")
app.add_typer(config.app, name="config")
app.add_typer(database.app, name="db")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 64 for wrong usage, an error's own code, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(_OBJECTS_BEFORE_GC)
    atexit.register(gc.freeze)
    try:
        sys.exit(app(arguments, standalone_mode=False) or 0)
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
        error.show()  # type: ignore[attr-defined]
        sys.exit(USAGE_ERROR)
    except BrokenPipeError:
        # The reader went away (`| head`): silence the interpreter's own flush, as the documentation of SIGPIPE advises.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
