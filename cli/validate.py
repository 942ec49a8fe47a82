"""`upkeep validate DIR`: the content validator alone.

What belongs here: reading the folder and its base, asking for Mermaid, printing. What does not: any rule
(`upkeep/content/rules/`).
"""

from __future__ import annotations

import enum
import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import emit_json, say
from upkeep.errors import UpkeepError

if TYPE_CHECKING:
    from upkeep.content.mermaid import MermaidChecker
    from upkeep.content.report import Finding, ValidationReport

INVALID = 2


class Node(enum.StrEnum):
    """Whether Mermaid's own parser is asked: where it is installed, always, never."""

    auto = "auto"
    yes = "yes"
    no = "no"


def validate(
    directory: Annotated[Path, typer.Argument(help="The content folder: the one with flows.json.")],
    base: Annotated[
        str | None,
        typer.Option(metavar="DIR|REV", help="The content before the change: a folder, or a git revision."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as JSON to this file, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    node: Annotated[Node, typer.Option(help="Ask Mermaid's own parser (Node).")] = Node.auto,
) -> None:
    """Check analytics content. Exit codes: 0 valid, 2 invalid, 1 the check itself failed, 64 wrong usage.

    With --base an error that was there already, in an entry that did not change, is only a warning.

    Examples: `upkeep validate content/analytics` · `upkeep validate content/analytics --base origin/main --json`
    """
    if not directory.is_dir():
        what = "is not a folder" if directory.exists() else "does not exist"
        raise typer.BadParameter(f"{directory} {what}: name the folder that holds flows.json.", param_hint="DIRECTORY")
    with _uncollected():
        result = _check(directory, base, node)
    if node is Node.yes and "mermaid" in result.checks_unavailable:
        raise UpkeepError(result.checks_unavailable["mermaid"], code="content.mermaid_unavailable")
    if report is not None:
        _write(report, result)
    if as_json:
        emit_json(result)
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines(result, colour=_wants_colour()))
    if not result.valid:
        raise typer.Exit(INVALID)


def _check(directory: Path, base: str | None, node: Node) -> ValidationReport:
    from upkeep.content.folder import read_folder
    from upkeep.content.validate import validate

    before = _read_base(base, directory) if base is not None else None
    return validate(read_folder(directory), base=before, mermaid=_checker(node))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave reference cycles alone for a while: looking for them is a tenth of a large validation, and finds none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_base(base: str, directory: Path) -> Mapping[str, bytes]:
    """Read the content before the change. A folder wins over a revision of the same name."""
    from upkeep.content.folder import read_folder

    if Path(base).is_dir():
        return read_folder(Path(base))
    from upkeep.git import Repository

    inside = directory.resolve()
    root = next((folder for folder in (inside, *inside.parents) if (folder / ".git").exists()), None)
    if root is None:
        raise UpkeepError(
            f"{base} is no folder, and {directory} is in no git repository that could have such a revision",
            remedy="Name a folder with the content before the change, or run this in the dashboard's repository.",
            code="content.no_base",
        )
    prefix = inside.relative_to(root).as_posix()
    return Repository.open(root).read_folder(base, "" if prefix == "." else prefix)


def _checker(node: Node) -> MermaidChecker | None:
    from upkeep.content.mermaid import NodeMermaid

    checker = NodeMermaid()
    if node is Node.no:
        return None
    if node is Node.auto and (missing := checker.missing()) is not None:
        say(f"Mermaid's own parser is not asked: {missing}.")
    return checker


def _write(path: Path, result: ValidationReport) -> None:
    try:
        path.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UpkeepError(
            f"the report cannot be written to {path}: {error.strerror}",
            remedy="Name a file in a folder that exists and can be written.",
            code="content.report_not_written",
        ) from error


def _wants_colour() -> bool:
    import os

    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


_COLOURS = {"error": "31;1", "warning": "33", "existing": "2", "file": "1", "good": "32;1"}


def lines(result: ValidationReport, *, colour: bool = False) -> Iterator[str]:
    """Yield the report as a person reads it: findings by file, then counts by code, then the verdict."""

    def paint(text: str, style: str) -> str:
        return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if colour else text

    for file, findings in groupby(result.findings, key=lambda finding: finding.file):
        yield paint(file, "file")
        for finding in findings:
            kind = "existing" if finding.existing else finding.severity
            place = f"{finding.line}:{finding.column}" if finding.column else str(finding.line or "-")
            code = paint(f"[{finding.code}]", "existing")
            yield f"  {place:>8}  {paint(f'{kind:<8}', kind)} {finding.message} {code}"
        yield ""
    if result.findings:
        yield from _table(result.findings)
        yield ""
    for check, reason in sorted(result.checks_unavailable.items()):
        yield f"not checked: {check}. {reason}"
    verdict = paint("valid", "good") if result.valid else paint("invalid", "error")
    yield (
        f"{verdict}: {len(result.errors)} errors, {len(result.warnings)} warnings in {result.flows} flows, "
        f"{result.events} events, {result.diagrams} diagrams"
    )


def _table(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield how often each code was found, errors first, the most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for finding in findings:
        key = ("existing" if finding.existing else finding.severity, finding.code)
        counts[key] = counts.get(key, 0) + 1
    order = {"error": 0, "warning": 1, "existing": 2}
    for (kind, code), count in sorted(counts.items(), key=lambda item: (order[item[0][0]], -item[1], item[0][1])):
        yield f"{count:>6}  {kind:<8}  {code}"
