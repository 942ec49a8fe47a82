"""`upkeep db` and `upkeep query`: the schema, and questions in SQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from upkeep.metrics.query import Answer

app = typer.Typer(help="The database: bring its schema up to date.", no_args_is_help=True)

Format = Literal["table", "csv", "json"]


@app.callback()
def root() -> None:
    """The database: bring its schema up to date."""


@app.command()
def upgrade(json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False) -> None:
    """Bring the schema of the database up to this version of Upkeep. Safe to run at any time, also by several at once.

    Example: `upkeep db upgrade`
    """
    from upkeep.config import load
    from upkeep.database import schema
    from upkeep.database.server import connect

    settings = load()
    with connect(settings.home, settings.database_url) as database:
        before, now = schema.upgrade(database)
    if json:
        from cli.output import emit_json

        emit_json({"before": before, "now": now, "changed": before != now})
    elif before == now:
        print(f"the database is up to date (migration {now})")
    else:
        print(f"the database is at migration {now} now" + (f" (was {before})" if before else ", newly set up"))


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement, or - to read it from standard input.")],
    format: Annotated[
        Format | None, typer.Option("--format", help="table, csv or json. Default: by the file's name, else table.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Ask the database in SQL, read-only. `metrics.runs` has one row a run; `upkeep.events` everything that happened.

    Examples: `upkeep query "select subject, outcome, reason, seconds_total from runs order by started_at desc"` ·
    `upkeep query "select * from runs" -o runs.csv`
    """
    from upkeep.config import load
    from upkeep.database import schema
    from upkeep.database.server import connect
    from upkeep.metrics.query import asked

    chosen = _format(format, output, json)
    question = sys.stdin.read() if sql == "-" else sql
    settings = load()
    with connect(settings.home, settings.database_url) as database:
        schema.ensure(database)
        with asked(database, question) as answer, _destination(output) as file:
            count = _WRITERS[chosen](answer, file)
    if output is not None:
        print(f"{count} rows in {output}", file=sys.stderr)


def _format(format: Format | None, output: Path | None, json: bool) -> Format:
    if json and format not in (None, "json"):
        raise typer.BadParameter(f"--json and --format {format} contradict each other")
    if json or format is not None:
        return "json" if json else format or "table"
    suffixes: dict[str, Format] = {".csv": "csv", ".json": "json"}
    return suffixes.get(output.suffix.lower(), "table") if output is not None else "table"


@contextmanager
def _destination(output: Path | None) -> Iterator[IO[str]]:
    """Standard output, or a file that is there only when it is complete."""
    from upkeep.errors import UpkeepError

    if output is None:
        yield sys.stdout
        return
    fresh = output.with_name(f".{output.name}.{id(output):x}.tmp")
    try:
        with fresh.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
        fresh.replace(output)
    except OSError as error:
        raise UpkeepError(
            f"{output} cannot be written: {error.strerror}",
            code="query.output",
            remedy="Name a file in a folder that you may write.",
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def _write_table(answer: Answer, file: IO[str]) -> int:
    """Columns as wide as they need: a terminal wraps or scrolls, and nothing is cut away."""
    from rich.cells import cell_len

    from upkeep.forges.text import visible

    rows = list(answer.rows)
    numeric = [any(_is_number(row[at]) for row in rows) for at in range(len(answer.columns))]
    lines = [[visible(name) for name in answer.columns]]
    lines += [[visible(_as_text(value)).replace("\n", "⏎") for value in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["─" * width for width in widths])
    for line in lines:
        cells = []
        for cell, width, right in zip(line, widths, numeric, strict=True):
            blanks = " " * (width - cell_len(cell))
            cells.append(blanks + cell if right else cell + blanks)
        file.write("  ".join(cells).rstrip() + "\n")
    file.write(f"({len(rows)} row{'' if len(rows) == 1 else 's'})\n")
    return len(rows)


def _is_number(value: Any) -> bool:
    from numbers import Number

    return isinstance(value, Number) and not isinstance(value, bool)


def _write_csv(answer: Answer, file: IO[str]) -> int:
    import csv

    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(answer.columns)
    count = 0
    for row in answer.rows:
        writer.writerow([_as_text(value) for value in row])
        count += 1
    return count


def _write_json(answer: Answer, file: IO[str]) -> int:
    import json

    columns = _distinct(answer.columns)
    count = 0
    file.write("[")
    for count, row in enumerate(answer.rows, 1):
        values = {name: _as_json(value) for name, value in zip(columns, row, strict=True)}
        file.write(("," if count > 1 else "") + "\n  " + json.dumps(values, ensure_ascii=False))
    file.write("\n]\n" if count else "]\n")
    return count


_WRITERS = {"table": _write_table, "csv": _write_csv, "json": _write_json}


def _distinct(columns: Sequence[str]) -> list[str]:
    """SQL lets two columns have one name; an object does not."""
    seen: dict[str, int] = {}
    names = []
    for name in columns:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names


def _as_text(value: Any) -> str:
    import json

    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case dict() | list():
            return json.dumps(_as_json(value), ensure_ascii=False)
        case bytes():
            return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _as_json(value: Any) -> Any:
    import math
    from decimal import Decimal

    match value:
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None  # JSON has no NaN
        case None | bool() | int() | str():
            return value
        case dict():
            return {str(key): _as_json(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_as_json(entry) for entry in value]
    return _as_text(value)
