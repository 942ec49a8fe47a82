"""`upkeep demo rebase`: a generated fork, a clean day and a day on which a patch conflicts, and both reports.

What belongs here: the play, its repositories, and what upstream does on each day. What does not: anything that a rebase
does: it is the same run as `upkeep rebase` and the schedule's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upkeep.git import EMPTY_TREE, Repository

if TYPE_CHECKING:
    from upkeep.config import Settings
    from upkeep.forks.report import Report

FORK = "board"
REPO = "demo/board"
TRUNK = "harbour"

_UPSTREAM = "Board Developers <board@example.org>"
_HARBOUR = "Harbour Master <master@example.org>"
_FIRST_DAY = datetime(2026, 1, 12, 9, tzinfo=UTC)
_MAIN = "refs/heads/main"

_CONFIG = """\
forks:
  {fork}:
    path: {work}
    trunk: {trunk}
    version: {{file: version.txt, pattern: '^(.+)$', source: tag, tag: 'v(.+)', template: "{{upstream}}-harbour.1"}}
    gates: [{gates}]
    forge: here
    repo: {repo}
    schedule: null
"""
_GATE = '"sh test.sh"'

_BOARD = """\
#!/bin/sh
# Prints the departures of one pier.
. ./settings.ini

echo "Departures from $pier"
echo

# One departure a line.
cat lines.txt
"""
_SETTINGS = """\
# The pier that the board stands on.
pier="Old Town"

# How the board looks.
colour="yellow"
"""
_README = """\
# Board

Prints the departures of a pier. Calls at North Pier, Ligthouse and Castle Island.
"""
_FILES = {
    "board.sh": _BOARD,
    "settings.ini": _SETTINGS,
    "README.md": _README,
    "lines.txt": "07:40 Lighthouse\n06:10 North Pier\n09:15 Castle Island\n",
    "test.sh": "set -e\nsh board.sh | grep -q 'Departures from'\nsh board.sh | grep -q '06:10 *North Pier'\n",
    "version.txt": "1.0\n",
}
_SPELLING = "Spell Lighthouse right"
_SPELT = {"README.md": _README.replace("Ligthouse", "Lighthouse")}

Files = Mapping[str, str]
Say = Callable[[str], None]


@dataclass(frozen=True)
class _Commit:
    subject: str
    files: Files
    body: str = ""


_PATCHES = (
    _Commit(
        "Show the departures of our own harbour",
        {"settings.ini": _SETTINGS.replace("Old Town", "South Harbour")},
        "The board hangs in the waiting room of South Harbour.",
    ),
    _Commit(
        "Sort departures by time",
        {"board.sh": _BOARD.replace("cat lines.txt", "sort lines.txt")},
        "Our crew writes them down as they come in.",
    ),
    _Commit(_SPELLING, _SPELT, "Sent to the board's developers, too."),
    _Commit("Say where the board hangs", {"HARBOUR.md": "In the waiting room, left of the door.\n"}),
)
_CLEAN_DAY = (
    _Commit(f"{_SPELLING} (#11)", _SPELT),
    _Commit(
        "Show the platform (#12)",
        {
            "board.sh": _BOARD.replace("from $pier", "from $pier, platform $platform"),
            "settings.ini": _SETTINGS + 'platform="1"\n',
        },
    ),
    _Commit("Release 1.1", {"version.txt": "1.1\n"}),
)
_CONFLICT_DAY = (
    _Commit(
        "Print a table",
        {
            "board.sh": _BOARD.replace("from $pier", "from $pier, platform $platform").replace(
                "cat lines.txt", "awk '{ printf \"%-8s%s %s\\n\", $1, $2, $3 }' lines.txt"
            )
        },
    ),
)


@dataclass(frozen=True)
class _Play:
    """`upstream` and `fork` are bare; `work` is the working copy of the fork's people."""

    upstream: Repository
    fork: Repository
    work: Path

    def clean_day(self) -> int:
        """Upstream takes a patch of ours, changes something else, and makes a release."""
        base = self._tagged("v1.0")
        self._push(base, _commits(self.upstream, base, _CLEAN_DAY, author=_UPSTREAM, day=1), "v1.1")
        return len(_CLEAN_DAY)

    def conflict_day(self) -> int:
        """Upstream merges a pull request that changes the line of our second patch."""
        base = self._tagged("v1.1")
        at = _commits(self.upstream, base, _CONFLICT_DAY, author=_UPSTREAM, day=2)
        message = "Merge pull request #14 from table\n\nPrint a table"
        tree, when = self.upstream.commit(at).tree, _moment(2, 9)
        self._push(base, self.upstream.commit_tree(tree, [base, at], message, author=_UPSTREAM, when=when), "v1.2")
        return 2

    def had(self, tag: str) -> bool:
        """Whether upstream has made a release."""
        return f"refs/tags/{tag}" in self.upstream.refs("refs/tags/")

    def _tagged(self, tag: str) -> str:
        return self.upstream.refs("refs/tags/")[f"refs/tags/{tag}"]

    def _push(self, base: str, sha: str, tag: str) -> None:
        """The same commits are the same SHAs: what was begun and not ended is done again."""
        self.upstream.set_ref(_MAIN, sha, base)
        self.upstream.set_ref(f"refs/tags/{tag}", sha, None)


def rebase(json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False) -> None:
    """Rebase a generated fork: a clean day, then a day on which a patch conflicts; both reports.

    Everything lies under the home folder (UPKEEP_HOME); an upkeep.yaml for it is written to the current folder where
    there is none. Run once more, it says what there is.

    Example: `upkeep demo rebase`, then `upkeep pr show 1`.
    """
    from cli.demo_configuration import configure
    from cli.output import emit_json, say
    from upkeep.config import load

    home = load().home
    play, made = _open(home / "demo" / "rebase")
    section = _CONFIG.format(fork=FORK, work=play.work, trunk=TRUNK, gates=_gate(say), repo=REPO)
    settings, config = configure(home, "rebase", section)
    say(f"upstream, fork and working copy {'made' if made else 'found'} in {home / 'demo' / 'rebase'}")
    if not play.had("v1.1"):
        say(f"upstream: {play.clean_day()} commits, one of them a patch of ours that it took")
    reports = [_run(settings, say)] if not _reports(settings) else []
    if not play.had("v1.2"):
        say(f"upstream: {play.conflict_day()} commits, one of them changes a line that a patch of ours changes")
    if len(_reports(settings)) < 2:
        reports.append(_run(settings, say))
    if json:
        emit_json({"config": str(config), "home": str(home), "reports": [_record(home, each) for each in reports]})
    else:
        _show(settings, play, reports, config)


def _gate(say: Say) -> str:
    """The sample's test, where the sandbox that gates need works here."""
    from upkeep.agents.sandbox import probe

    found = probe()
    if found.contained:
        return _GATE
    say(f"no gate is run: the sandbox does not work here ({found.reason})")
    return ""


def _open(folder: Path) -> tuple[_Play, bool]:
    """The play's repositories, made where they are not there; a half-made one is never used."""
    made = not folder.is_dir()
    if made:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".rebase-", dir=folder.parent))
        try:
            _make(draft, folder)
            draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return _Play(Repository.open(folder / "upstream.git"), Repository.open(folder / "fork.git"), folder / FORK), made


def _make(draft: Path, folder: Path) -> None:
    """Make them in `draft`; their addresses are those that they will have in `folder`."""
    from upkeep.plumbing.command import run_git

    upstream = Repository.init_bare(draft / "upstream.git")
    first = _commits(upstream, None, [_Commit("Start the board", _FILES)], author=_UPSTREAM, day=0)
    upstream.set_ref(_MAIN, first, None)
    upstream.set_ref("refs/tags/v1.0", first, None)
    fork = Repository.init_bare(draft / "fork.git", branch=TRUNK)
    fork.fetch(str(draft / "upstream.git"), [f"{_MAIN}:{_MAIN}"])
    trunk = _commits(fork, first, _PATCHES, author=_HARBOUR, day=0)
    fork.set_ref(f"refs/heads/{TRUNK}", trunk, None)
    work = draft / FORK
    run_git(["clone", "--quiet", "--branch", TRUNK, str(draft / "fork.git"), str(work)], cwd=draft)
    name, _, address = _HARBOUR.removesuffix(">").partition(" <")
    for arguments in (
        ["config", "user.name", name],
        ["config", "user.email", address],
        ["remote", "set-url", "origin", str(folder / "fork.git")],
        ["remote", "add", "upstream", str(folder / "upstream.git")],
        ["branch", "--quiet", "--track", "main", "origin/main"],
    ):
        run_git(arguments, cwd=work)


def _commits(repository: Repository, at: str | None, commits: Sequence[_Commit], *, author: str, day: int) -> str:
    """Write commits one after another, with the same SHAs on every machine; return the last."""
    for number, each in enumerate(commits):
        tree = repository.tree_with(at or EMPTY_TREE, {path: text.encode() for path, text in each.files.items()})
        message = f"{each.subject}\n\n{each.body}".strip()
        parents = [] if at is None else [at]
        hour = number + (4 if author == _HARBOUR else 0)
        at = repository.commit_tree(tree, parents, message, author=author, when=_moment(day, hour))
    assert at is not None
    return at


def _moment(day: int, hour: int) -> datetime:
    return _FIRST_DAY + timedelta(days=day, hours=hour)


def _run(settings: Settings, say: Say) -> Report:
    from orchestration.rebase import rebase as execute

    return execute(settings, FORK, trigger="demo", progress=lambda line: say(f"  {line}"))


def _record(home: Path, report: Report) -> dict[str, Any]:
    from upkeep.forks import report as reporting

    return {
        "outcome": str(report.outcome),
        "exit_code": report.exit_code,
        "seconds": report.seconds,
        "kept": len(report.verification.kept) if report.verification else None,
        "dropped": len(report.verification.dropped) if report.verification else None,
        "conflicts": len(report.verification.conflicts) if report.verification else None,
        "report": str(reporting.folder_of(home, report)),
    }


def _show(settings: Settings, play: _Play, reports: Sequence[Report], config: Path) -> None:
    from cli.output import stdout
    from upkeep.forks import summary

    console = stdout()
    for report in reports:
        print(f"\n{'─' * 72}\n\n{summary.render(report)}", end="")
    if not reports:
        console.print("\n[bold]Both days have been played.[/] What there is:")
        _show_there(settings, play)
    console.print("\n[bold]Where to look next[/]")
    for command, what in (
        (f"upkeep rebase {FORK}", "the same run by hand; it still exits with 10, trunk is not moved"),
        ("upkeep pr show 1", "what the fork carries, as its dashboard on the forge"),
        (f"git -C {play.work} log --oneline main..{TRUNK}", "the rebased patches, and the version on top"),
        (f"git -C {play.work} fetch upstream", f"then `git rebase upstream/main {TRUNK}`: mend it, push, run again"),
        ("upkeep up", "Dagster's UI: group `forks`, both runs with what each step found"),
    ):
        console.print(f"  {command}", soft_wrap=True, markup=False)
        console.print(f"      {what}", soft_wrap=True, markup=False)
    console.print(f"\nconfiguration: {config}", soft_wrap=True, markup=False)


def _reports(settings: Settings) -> list[Path]:
    return list((settings.home / "reports" / "rebase" / FORK).glob("*/*/report.json"))


def _show_there(settings: Settings, play: _Play) -> None:
    from upkeep.forks import report as reporting
    from upkeep.forks import summary

    found = sorted((reporting.read(file) for file in _reports(settings)), key=lambda report: report.started)
    for report in found[-10:]:
        when = f"{report.started:%Y-%m-%d %H:%M}"
        print(f"  {when}  {summary.headline(report)} (exit code {report.exit_code})")
        print(f"      {reporting.folder_of(settings.home, report) / 'summary.md'}")
    trunk = play.fork.refs(f"refs/heads/{TRUNK}")
    print(f"  {TRUNK} on the fork is at {next(iter(trunk.values()), 'nothing')[:12]}")
