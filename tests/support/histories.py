"""Generated histories of a fork, and the real `git rebase` on them, for holding the engine against it.

What belongs here: Hypothesis strategies for a base, an upstream and a stack of patches, building them quickly, and
rebasing them with git itself in a worktree. What does not: the code under test.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

COMMITTER = ("Rita Rebase", "rita@example.com")
WHEN = 1_770_000_000
FOLDERS = ("", "a/", "b/")
NAMES = tuple(f"{folder}f{number}" for folder in FOLDERS for number in range(2))


@dataclass(frozen=True)
class Step:
    """One commit: what is done to which file. `text` is a number that new lines are made of."""

    kind: str
    file: str
    other: str
    line: int
    text: int
    message: bytes
    author: bytes


@dataclass(frozen=True)
class History:
    base: tuple[Step, ...]
    upstream: tuple[Step, ...]
    fork: tuple[Step, ...]


KINDS = (
    *("edit", "edit", "edit", "edit", "insert", "delete_line", "add", "remove", "rename", "rename_folder"),
    *("mode", "link", "binary", "crlf", "empty", "attributes", "revert"),
)
MESSAGES = (
    b"Change\n",
    b"Change without an end",
    b"\n\n  Blank lines first\n\nBody\n",
    "Überschrift\n\nText\n".encode(),
    b"Latin \xe9t\xe9\n",
    b"# looks like a comment\n\nx\n",
    b"Two\nlines of subject\n\n\n\nBody  \n\n",
    b"",
    b"Noncharacter \xef\xbf\xbf\n",
)
AUTHORS = (
    b"Ada Person <ada@example.com> 1600000000 +0000",
    b"Zo\xc3\xab <z@example.com> 1500000000 -0730",
    b"Zo\xeb <z@example.com> 1500000001 +0530",
    b" <nobody> 0 +0000",
)


def steps(*, most: int, least: int = 0) -> st.SearchStrategy[tuple[Step, ...]]:
    step = st.builds(
        Step,
        kind=st.sampled_from(KINDS),
        file=st.sampled_from(NAMES),
        other=st.sampled_from(NAMES),
        line=st.integers(0, 5),
        text=st.integers(0, 3),
        message=st.sampled_from(MESSAGES),
        author=st.sampled_from(AUTHORS),
    )
    return st.lists(step, min_size=least, max_size=most).map(tuple)


def histories(*, upstream: int = 6, fork: int = 6) -> st.SearchStrategy[History]:
    return st.builds(
        History, base=steps(most=3), upstream=steps(least=1, most=upstream), fork=steps(least=1, most=fork)
    )


Files = dict[str, tuple[str, bytes]]


def first_files() -> Files:
    return {name: ("100644", b"".join(b"%s line %d\n" % (name.encode(), at) for at in range(6))) for name in NAMES}


def apply(files: Files, step: Step, before: Files) -> Files:
    """What a commit makes of the files. A step that cannot be done leaves them, which is an empty commit."""
    after = dict(files)
    mode, content = files.get(step.file, ("", b""))
    lines = content.splitlines(keepends=True)
    at = min(step.line, max(len(lines) - 1, 0))
    new = b"new %d\n" % step.text
    match step.kind:
        case "edit" if lines:
            after[step.file] = (mode, b"".join([*lines[:at], new, *lines[at + 1 :]]))
        case "insert" if mode:
            after[step.file] = (mode, b"".join([*lines[:at], new, *lines[at:]]))
        case "delete_line" if lines:
            after[step.file] = (mode, b"".join([*lines[:at], *lines[at + 1 :]]))
        case "add":
            after[f"{step.file}-{step.text}"] = ("100644", new * 4)
        case "remove":
            after.pop(step.file, None)
        case "rename" if mode and step.other not in files:
            after[step.other] = after.pop(step.file)
        case "rename" if mode:
            after[f"{step.other}.moved"] = after.pop(step.file)
        case "rename_folder":
            source, target = ("a/", "c/") if step.line % 2 else ("b/", "a/b/")
            after = {(target + name[2:] if name.startswith(source) else name): entry for name, entry in files.items()}
        case "mode" if mode.startswith("100"):
            after[step.file] = ("100755" if mode == "100644" else "100644", content)
        case "link":
            after[step.file] = ("120000", b"target%d" % step.text)
        case "binary":
            after[step.file] = ("100644", bytes([0, step.text, 255]) + content)
        case "crlf" if mode:
            after[step.file] = (mode, content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        case "attributes":
            rule = (b"* merge=union\n", b"* -merge\n", b"f0 merge=union\n", b"* text=auto\n")[step.text]
            after[("", "a/")[step.line % 2] + ".gitattributes"] = ("100644", rule)
        case "revert":
            after = dict(before)
    # No file system has a link to nothing, and a name is a file or a folder.
    whole = {name: (mode, content or b"nothing") for name, (mode, content) in after.items()}
    return {name: entry for name, entry in whole.items() if not _is_folder_of(name, whole)}


def _is_folder_of(name: str, files: Files) -> bool:
    return any(other.startswith(f"{name}/") for other in files)


def build(history: History, path: Path) -> None:
    """Write the history as a bare repository with the branches `upstream` and `fork`."""
    _run(path.parent, "init", "-q", "--bare", "--initial-branch=upstream", str(path))
    out: list[bytes] = []
    files = first_files()
    clock = 1_700_000_000
    start = Step("add", "f0", "f0", 0, 0, b"Base\n", AUTHORS[0])

    def commit(ref: str, parent: str, files: Files, step: Step, mark: int) -> None:
        nonlocal clock
        clock += 60
        out.append(b"commit %s\nmark :%d\nauthor %s\n" % (ref.encode(), mark, step.author))
        out.append(b"committer C <c@example.com> %d +0000\ndata %d\n%s\n" % (clock, len(step.message), step.message))
        out.append((f"from {parent}\n" if parent else "").encode() + b"deleteall\n")
        for name, (mode, content) in files.items():
            out.append(b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), name.encode(), len(content), content))

    mark = 1
    commit("refs/heads/base", "", files, start, mark)
    for step in history.base:
        files = apply(files, step, files)
        commit("refs/heads/base", f":{mark}", files, step, mark + 1)
        mark += 1
    base, base_files = mark, files
    for branch, taken in (("upstream", history.upstream), ("fork", history.fork)):
        parent, files, before = base, base_files, base_files
        for step in taken:
            mark += 1
            files, before = apply(files, step, before), files
            commit(f"refs/heads/{branch}", f":{parent}", files, step, mark)
            parent = mark
    _run(path, "fast-import", "--quiet", "--force", data=b"".join(out))


@dataclass(frozen=True)
class Real:
    """What `git rebase` did: its tip, or the first patch that conflicts and the files."""

    tip: str
    stopped: str = ""
    files: tuple[str, ...] = ()
    output: str = field(default="", compare=False)


def real_rebase(repository: Path, onto: str, head: str, scratch: Path) -> Real:
    """Rebase in a worktree, as a person would, and remove it."""
    _run(repository, "worktree", "add", "-q", "--detach", str(scratch), head)
    try:
        done = _start(scratch, "-c", "core.abbrev=no", "rebase", onto)
        if done.returncode == 0:
            return Real(_run(scratch, "rev-parse", "HEAD").decode().strip())
        words = (done.stdout + done.stderr).decode(errors="replace")
        stopped = re.search(r"could not apply ([0-9a-f]{40})", words)
        if stopped is None:
            return Real("", "unknown", output=words)
        unmerged = _run(scratch, "ls-files", "-u", "-z").split(b"\0")[:-1]
        files = {os.fsdecode(entry.partition(b"\t")[2]) for entry in unmerged}
        return Real("", stopped[1], tuple(sorted(files)), words)
    finally:
        _run(repository, "worktree", "remove", "--force", "--force", str(scratch))


def environment() -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.devnull,
        "LANG": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_COMMITTER_NAME": COMMITTER[0],
        "GIT_COMMITTER_EMAIL": COMMITTER[1],
        "GIT_COMMITTER_DATE": f"@{WHEN} +0000",
        "GIT_EDITOR": "true",
    }


def _start(path: Path, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["git", "-C", str(path), "-c", "gc.auto=0", *arguments],
        input=data if data is not None else b"",
        capture_output=True,
        env=environment(),
        timeout=120,
        check=False,
    )


def _run(path: Path, *arguments: str, data: bytes | None = None) -> bytes:
    done = _start(path, *arguments, data=data)
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def refs(path: Path) -> Iterator[str]:
    """Every ref and where it points, HEAD included."""
    yield from _run(path, "for-each-ref", "--format=%(refname) %(objectname)").decode().splitlines()
    yield (path / "HEAD").read_text() if (path / "HEAD").exists() else ""
