"""Reading many blobs from one process, and writing a tree through an index of our own.

What belongs here: what takes more than one git command on the object store. What does not: single commands
(`upkeep/git.py`), and files outside of the store (`checkout.py`).
"""

from __future__ import annotations

import io
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

from upkeep.errors import GitError
from upkeep.plumbing.checkout import is_unsafe
from upkeep.plumbing.command import environment, run_git
from upkeep.process import TERM_GRACE_SECONDS, start

NONE = "0" * 40
# Written in one go and answered before the next. They fit into the 4 KiB that a pipe has when a user holds very many
# (pipe(7)), so neither side can wait for the other for ever.
_AT_ONCE = 60


def blobs(
    git_dir: Path, shas: Iterable[str], deadline: float, *, env: Mapping[str, str] | None = None
) -> Iterator[tuple[str, bytes]]:
    wanted = list(shas)
    if not wanted:
        return
    argv = ["git", f"--git-dir={git_dir}", "cat-file", "--batch"]
    child = start(argv, cwd=git_dir, env=environment({}, env or {}, personal=False), pipes=True)
    timer = threading.Timer(deadline, child.send_signal, args=(signal.SIGKILL,))
    timer.daemon = True
    timer.start()
    try:
        answers = io.BufferedReader(cast("io.FileIO", child.stdout), 1 << 18)
        questions = io.BufferedWriter(cast("io.FileIO", child.stdin))
        for at in range(0, len(wanted), _AT_ONCE):
            batch = wanted[at : at + _AT_ONCE]
            questions.write("".join(f"{sha}\n" for sha in batch).encode())
            questions.flush()
            for sha in batch:
                yield sha, _blob(answers, sha)
        questions.close()
        child.wait(TERM_GRACE_SECONDS)
    except BrokenPipeError as error:
        raise GitError("git cat-file ended before it was asked for everything", code="git.unreadable") from error
    finally:
        timer.cancel()
        child.terminate()


def _blob(answers: IO[bytes], sha: str) -> bytes:
    """Read one answer of `cat-file --batch`: `<sha> <type> <size>`, the content, a newline."""
    header = answers.readline().decode(errors="replace").split()
    if header[-1:] == ["missing"]:
        raise GitError(f"object {sha} is not in the repository", code="git.missing_object", object=sha)
    size = int(header[2]) if len(header) == 3 else -1
    content = answers.read(size) if size >= 0 else b""
    if len(content) != size or answers.read(1) != b"\n":
        raise GitError(f"git ended before it had given out {sha}", code="git.unreadable", object=sha)
    return content


def tree_with(git_dir: Path, base: str, changes: Mapping[str, bytes | None], modes: Mapping[str, str]) -> str:
    """Write `base` with `changes` as a tree; `modes` are those of the files in `base`."""
    for path in changes:
        if is_unsafe(path):
            raise GitError(f"{path!r} must not stand in a tree", code="git.unsafe_path", path=path)
    with tempfile.TemporaryDirectory(prefix="upkeep-index-") as name:
        folder = Path(name)
        shas = _write_blobs(git_dir, changes, folder)
        lines = []
        for path in changes:
            mode = modes.get(path, "100644")
            mode = mode if mode.startswith("100") else "100644"
            lines.append(f"{mode} {shas[path]}\t{path}\0" if path in shas else f"0 {NONE}\t{path}\0")
        index = {"GIT_INDEX_FILE": str(folder / "index")}
        run_git(["read-tree", "--end-of-options", base], git_dir=git_dir, env=index)
        data = "".join(lines).encode(errors="surrogateescape")
        arguments = ["update-index", "--replace", "-z", "--index-info"]
        ignored = run_git(arguments, git_dir=git_dir, env=index, data=data).error_text.strip()
        if ignored:  # It says "Ignoring path …" and ends with 0.
            raise GitError(f"git refuses a path: {ignored}", code="git.unsafe_path")
        return run_git(["write-tree"], git_dir=git_dir, env=index).text.strip()


def _write_blobs(git_dir: Path, changes: Mapping[str, bytes | None], folder: Path) -> dict[str, str]:
    """Store all new contents by one process and return their SHAs by path."""
    files: dict[str, Path] = {}
    for path, content in changes.items():
        if content is not None:
            files[path] = folder / str(len(files))
            files[path].write_bytes(content)
    if not files:
        return {}
    data = "".join(f"{file}\n" for file in files.values()).encode()
    done = run_git(["hash-object", "-w", "--no-filters", "--stdin-paths"], git_dir=git_dir, data=data)
    return dict(zip(files, done.text.split(), strict=True))
