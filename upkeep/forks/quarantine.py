"""A throw-away object directory beside a repository: whatever is written there, the repository does not change.

What belongs here: where new objects of a verification go, and making them permanent once they are wanted. What does
not: which objects those are (`engine.py`).

git reads through it into the repository's own objects (`GIT_ALTERNATE_OBJECT_DIRECTORIES`, git(1)) and writes only
here. Its index and work tree are private too, so no command that runs in it can meet the files of a person.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from upkeep import scratch
from upkeep.errors import GitError, UpkeepError
from upkeep.git import Repository
from upkeep.plumbing import checkout, objects
from upkeep.plumbing.command import LOCAL_SECONDS, environment, run_git
from upkeep.plumbing.objects import NONE
from upkeep.process import Completed

# What a verification must not be swayed by: it signs nothing, replays no resolution, and moves no other branch.
_SETTINGS = {"rerere.enabled": "false", "core.abbrev": "no", "core.commitGraph": "true"}

_PREFIX = "upkeep-verify-"
_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it
_MEMORY_BYTES = 1 << 30


class Quarantine:
    """Objects that only we see. Get one from `quarantine`; `folder` is private to it and gone at the end."""

    def __init__(self, repository: Repository, folder: Path, also: Sequence[Repository] = ()) -> None:
        self.repository = repository
        self.folder = folder
        self.objects = folder / "objects"
        self.work_tree = folder / "tree"
        self._shared = [object_folder(each) for each in (repository, *also)]
        for made in (self.objects / "pack", self.objects / "info", self.work_tree):
            made.mkdir(parents=True)

    @property
    def variables(self) -> dict[str, str]:
        """What git needs to work in here."""
        return {
            "GIT_DIR": str(self.repository.git_dir.absolute()),
            "GIT_WORK_TREE": str(self.work_tree),
            "GIT_INDEX_FILE": str(self.folder / "index"),
            **self.object_variables,
        }

    @property
    def object_variables(self) -> dict[str, str]:
        """What makes git write its objects here, wherever it works."""
        return {
            "GIT_OBJECT_DIRECTORY": str(self.objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": ":".join(_quoted(str(folder)) for folder in self._shared),
        }

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a child that works in here. The person's own configuration counts, as it does for a
        rebase by hand: how renames are found and how directories follow them is set there."""
        return environment(_SETTINGS, {**self.variables, **(extra or {})}, personal=True)

    def git(
        self,
        *arguments: str,
        data: bytes | None = None,
        accept: Sequence[int] = (0,),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run one git command in here. Raises as `run_git` does."""
        return run_git(
            arguments,
            cwd=self.work_tree,
            config=_SETTINGS,
            env={**self.variables, **(env or {})},
            personal=True,
            data=data,
            accept=accept,
        )

    def write(self, kind: str, body: bytes) -> str:
        """Write a loose object and return its SHA. Raises GitError (`git.disk_full`) where there is no room."""
        data = b"%s %d\0%s" % (kind.encode(), len(body), body)
        sha = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        file = self.objects / sha[:2] / sha[2:]
        try:
            file.parent.mkdir(exist_ok=True)
            # git may look for it as soon as it is named, and never before: nobody else knows this folder.
            file.write_bytes(zlib.compress(data, 1))
        except OSError as error:
            raise _unwritable(error, self.folder) from error
        return sha

    def tree_with(self, base: str, entries: Mapping[str, tuple[str, str] | None]) -> str:
        """Write the tree of `base` with some paths set to `(mode, blob)` or (None) removed, and return its SHA. Raises
        GitError (`git.unsafe_path`) for a path that git refuses."""
        index = {"GIT_INDEX_FILE": str(self.folder / "tree-index")}
        self.git("read-tree", "--end-of-options", base, env=index)
        lines = (
            f"0 {NONE}\t{path}\0" if entry is None else f"{entry[0]} {entry[1]}\t{path}\0"
            for path, entry in entries.items()
        )
        data = "".join(lines).encode(errors="surrogateescape")
        refused = self.git("update-index", "-z", "--index-info", data=data, env=index).error_text.strip()
        if refused:  # It says "Ignoring path …" and ends with 0.
            raise GitError(f"git refuses a path: {refused}", code="git.unsafe_path")
        return self.git("write-tree", env=index).text.strip()

    def export(self, tree: str, destination: Path) -> list[str]:
        """Write the files of a tree into an empty or new folder, as `Repository.export` does."""
        listed = self.git("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", tree).text.split("\0")[:-1]
        parts = ((line.partition("\t")[0].split(" "), line.partition("\t")[2]) for line in listed)
        entries = [(mode, sha, path) for (mode, _, sha), path in parts]
        return checkout.export(entries, self.blobs, destination)

    def blobs(self, shas: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (sha, content) in the order asked. Raises GitError (`git.missing_object`)."""
        return objects.blobs(self.repository.git_dir, shas, LOCAL_SECONDS, env=self.object_variables)

    def blob(self, sha: str) -> bytes:
        """The content of one blob."""
        return self.git("cat-file", "blob", sha).stdout

    def keep(self, tip: str, known: Sequence[str]) -> None:
        """Copy what `tip` needs and `known` commits do not have into the repository, as one pack. No ref moves."""
        revisions = "".join(f"{line}\n" for line in (tip, *(f"^{sha}" for sha in known)))
        pack = self.git("pack-objects", "--revs", "--quiet", "--stdout", data=revisions.encode()).stdout
        run_git(["index-pack", "--stdin", "--fix-thin"], git_dir=self.repository.git_dir, data=pack)


@contextlib.contextmanager
def quarantine(
    repository: Repository, *, folder: Path | None = None, also: Sequence[Repository] = ()
) -> Iterator[Quarantine]:
    """Open a quarantine below `folder` and remove it at the end. What a killed process left there goes first. Objects
    of the repositories `also` are there, too; configuration and refs are those of `repository`.

    Default is a folder in memory where there is one with room, else the system's temporary folder: a pick writes a
    dozen small files, which takes 0.5 ms in memory and ten times that on some disks.

    Raises GitError: `git.object_format` for a repository that is not SHA-1, `forks.no_room` where nothing can be
    written.
    """
    folder = folder or _scratch()
    made: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        made = scratch.make(_PREFIX, folder)
        opened = Quarantine(repository, made, also)
    except OSError as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        raise _unwritable(error, folder) from error
    try:
        yield opened
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _scratch() -> Path:
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


def _sweep(folder: Path) -> None:
    """Remove the quarantines of processes that are proven dead: nobody frees memory that a kill left."""
    for left in scratch.left_behind(_PREFIX, folder):
        shutil.rmtree(left, ignore_errors=True)


def object_folder(repository: Repository) -> Path:
    """Where a repository keeps its objects. Raises GitError `git.object_format` for one that is not SHA-1."""
    arguments = ["rev-parse", "--show-object-format", "--git-path", "objects"]
    kind, _, path = run_git(arguments, git_dir=repository.git_dir).text.rstrip("\n").partition("\n")
    if kind != "sha1":
        raise GitError(f"{repository.path} uses {kind} for its objects; we know sha1", code="git.object_format")
    # A relative answer counts from where run_git ran: the git folder.
    return (repository.git_dir / path).resolve()


def _quoted(path: str) -> str:
    """A path as one entry of a colon-separated list (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES)."""
    if ":" not in path and not path.startswith('"') and "\n" not in path:
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _unwritable(error: OSError, folder: Path) -> UpkeepError:
    return GitError(
        f"nothing can be written to {folder}: {os.strerror(error.errno or 0)}",
        code="forks.no_room",
        remedy="Free space there, or make it writable; nothing else was touched.",
        folder=str(folder),
    )
