"""A repository's working tree: finding, reading and replacing workplan files, and noticing that somebody is at work.

What belongs here: the file system. What does not: what the files say (`document.py`) and what to write (`plan.py`).

git is not asked: a look at a repository costs a few system calls, and there may be thousands of them. Nothing outside
of the working tree is read or written, whatever links say. A folder that cannot be read is a finding, and never an
empty one.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from upkeep.errors import ConfigError, RepositoryNotReady
from upkeep.sync import document
from upkeep.sync.document import Document
from upkeep.sync.findings import Code, Finding

BUSY_SECONDS = 2.0
"""How long a lock of git's index is waited for: a commit holds it for less."""
RACY_NS = 2_000_000_000
"""A file that changed so shortly before it was looked at may change again within one tick of its clock."""

REF_BYTES = 16 * 1024
PACKED_REFS_BYTES = 64 * 1024 * 1024
"""Half a million refs."""

_IN_PROGRESS = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
_TEMPORARY = "upkeep-sync-"

UNREAD = ""
"""In the place of the SHA-256 of a file that is too large or cannot be read."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells that a file is the same without reading it, and its SHA-256, or `UNREAD`. `mtime` 0: look into it next
    time."""

    size: int
    mtime: int
    inode: int
    sha256: str

    def fits(self, now: os.stat_result) -> bool:
        return self.mtime != 0 and (self.size, self.mtime, self.inode) == (now.st_size, now.st_mtime_ns, now.st_ino)


@dataclass(frozen=True, slots=True)
class Place:
    """A workplan file: its path in the repository, where it really is, and its state when it was found."""

    path: str
    real: Path
    state: os.stat_result


@dataclass(frozen=True, slots=True)
class Listing:
    """`complete`: every folder and file that the patterns name could be looked at."""

    places: tuple[Place, ...]
    findings: tuple[Finding, ...]

    @property
    def complete(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class WorkingTree:
    """`root` is the real path; `git_dir` is this tree's own, `common` the one that worktrees share."""

    root: Path
    git_dir: Path
    common: Path

    @classmethod
    def open(cls, path: Path) -> WorkingTree:
        """Raises RepositoryNotReady `sync.unreachable` where there is no working tree at `path`."""
        try:
            root = path.resolve(strict=True)
            git_dir = root / ".git"
            if git_dir.is_file():
                git_dir = (root / _words_of(git_dir).removeprefix("gitdir:").strip()).resolve(strict=True)
            if not (git_dir / "HEAD").is_file():
                raise FileNotFoundError(git_dir / "HEAD")
            shared = git_dir / "commondir"
            common = (git_dir / _words_of(shared)).resolve() if shared.is_file() else git_dir
        except (OSError, ValueError, RuntimeError) as error:
            why, remedy = _why_not(path, error)
            raise RepositoryNotReady(
                f"there is no working tree of a git repository at {path}: {why}",
                code="sync.unreachable",
                remedy=remedy,
                path=str(path),
            ) from error
        return cls(root, git_dir, common)

    def busy(self, *, wait: float = BUSY_SECONDS) -> str | None:
        """What somebody has in progress here, in words; None: nothing. A lock of the index is waited for."""
        deadline = time.monotonic() + wait
        for file, name in _IN_PROGRESS.items():
            if (self.git_dir / file).exists():
                return f"a {name} is in progress"
        while (self.git_dir / "index.lock").exists():
            if time.monotonic() > deadline:
                return "another git process holds the index (.git/index.lock)"
            time.sleep(0.02)
        return None

    def head(self) -> str | None:
        """The commit that is checked out; None where there is none yet, or where only git itself can tell."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            head = _words_of(self.git_dir / "HEAD")
            if not head.startswith("ref: "):
                return head
            ref = head.removeprefix("ref: ")
            for folder in (self.git_dir, self.common):
                if (folder / ref).is_file():
                    return _words_of(folder / ref)
            for line in _words_of(self.common / "packed-refs", PACKED_REFS_BYTES).splitlines():
                if line.endswith(f" {ref}"):
                    return line.split(" ", 1)[0]
        return None

    def files(self, patterns: Sequence[str]) -> Listing:
        """All files that the patterns name, by path. Raises ConfigError `config.bad_pattern`."""
        found: dict[Path, Place] = {}
        findings: list[Finding] = []
        for name in sorted({name for pattern in patterns for name in self._names(pattern, findings)}):
            if PurePosixPath(name).name.casefold().startswith("readme"):
                continue
            place = self._place(name)
            if isinstance(place, Finding):
                findings.append(place)
            elif place is not None:
                # A link and what it leads to are one file, under the name that is its own.
                known = found.get(place.real)
                if known is None or self.root / name == place.real:
                    found[place.real] = place
        return Listing(tuple(sorted(found.values(), key=lambda place: place.path)), tuple(findings))

    def _names(self, pattern: str, findings: list[Finding]) -> Iterator[str]:
        parts = PurePosixPath(pattern).parts
        if not parts or pattern.startswith("/") or ".." in parts or ".git" in parts:
            raise ConfigError(
                f"the pattern {pattern!r} leads out of the repository",
                code="config.bad_pattern",
                remedy="Write patterns relative to the repository, such as workplans/*.md.",
            )
        fixed = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        folder = self.root.joinpath(*parts[: min(fixed, len(parts) - 1)])
        try:
            os.scandir(folder).close()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            name = str(folder.relative_to(self.root))
            findings.append(_unreadable(name, f"the folder cannot be read: {_words(error)}"))
            return
        # Path.glob would go into hidden folders, `.git` among them.
        yield from glob.iglob(pattern, root_dir=self.root, recursive=True)  # noqa: PTH207

    def _place(self, name: str) -> Place | Finding | None:
        try:
            name.encode()
        except UnicodeEncodeError:
            return _unreadable(
                name.encode(errors="surrogateescape").decode(errors="backslashreplace"),
                "the file's name is no UTF-8",
                "Rename it.",
            )
        try:
            real = Path(os.path.realpath(self.root / name, strict=True))
            state = real.lstat()
        except OSError as error:
            return _unreadable(name, f"the file cannot be reached: {_words(error)}")
        if not real.is_relative_to(self.root) or ".git" in real.relative_to(self.root).parts:
            return _unreadable(name, "the link leaves the repository and is not followed", "Replace it by a file.")
        if stat.S_ISDIR(state.st_mode):
            return None
        if not stat.S_ISREG(state.st_mode):
            return _unreadable(name, "this is no regular file", "Remove it.")
        return Place(name, real, state)

    def read(self, place: Place) -> tuple[Document, Stamp]:
        """Read one file, and how to tell later that it is the same (or that it still cannot be read)."""
        if place.state.st_size > document.MAX_BYTES:
            return document.too_large(place.path, place.state.st_size), _stamp(place.state, UNREAD)
        try:
            data, stamp = _contents(place.real)
        except OSError as error:
            finding = _unreadable(place.path, f"the file cannot be read: {_words(error)}")
            return Document(place.path, "", None, (), (finding,), whole=False), Stamp(
                place.state.st_size, 0, place.state.st_ino, UNREAD
            )
        return document.parse(place.path, data), stamp

    def stamp(self, place: Place) -> Stamp:
        """How to tell that a file is the same, without what it says."""
        if place.state.st_size > document.MAX_BYTES:
            # By its state alone: what is said about it stays the same as long as that does.
            return _stamp(place.state, UNREAD)
        try:
            return _contents(place.real)[1]
        except OSError:
            return Stamp(place.state.st_size, 0, place.state.st_ino, UNREAD)

    def replace(self, place: Place, before: str, after: str) -> Stamp | None:
        """Put a new text in the place of a file, whole or not at all. None: the file is no longer what it was, and is
        left alone. Raises RepositoryNotReady `sync.not_writable`."""
        try:
            temporary = self._write_beside(place, after.encode())
            try:
                if _contents(place.real)[0] != before.encode():
                    return None
                temporary.replace(place.real)
            finally:
                temporary.unlink(missing_ok=True)
            return _stamp(place.real.lstat(), hashlib.sha256(after.encode()).hexdigest())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RepositoryNotReady(
                f"{place.path} cannot be written: {_words(error)}",
                code="sync.not_writable",
                remedy="Let the user that runs Upkeep write there, free some space, or sync without --fix.",
                path=str(place.real),
            ) from error

    def _write_beside(self, place: Place, data: bytes) -> Path:
        """A new file on the same disk, as a rename needs it, with the rights of the old one. It lies in git's folder,
        where a killed sync leaves nothing for people to see or to commit."""
        same_disk = self.git_dir.stat().st_dev == place.state.st_dev
        folder = self.git_dir if same_disk else place.real.parent
        self._forget_old(folder)
        descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY if same_disk else f".{_TEMPORARY}", dir=folder)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(place.real, temporary)
            if os.geteuid() == 0:
                os.chown(temporary, place.state.st_uid, place.state.st_gid)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _forget_old(self, folder: Path) -> None:
        """Remove what killed syncs left; what is younger than an hour may be another's."""
        for old in (*folder.glob(f"{_TEMPORARY}*"), *folder.glob(f".{_TEMPORARY}*")):
            with contextlib.suppress(OSError):
                if time.time() - old.lstat().st_mtime > 3600:
                    old.unlink()


def _why_not(path: Path, error: BaseException) -> tuple[str, str]:
    """Why a path is no working tree, and what to do, in words."""
    remedy = "Clone it there, mount its disk, or register another path (`upkeep repos register`)."
    try:
        if not path.exists():
            return "there is no such folder", remedy
        if (path / "HEAD").is_file() and (path / "objects").is_dir():
            return "it is a bare repository, without files", "Clone it, and register the clone."
        if not (path / ".git").exists():
            around = next((folder for folder in path.resolve().parents if (folder / ".git").exists()), None)
            if around is not None:
                return f"it lies inside the one at {around}", f"Register that: `upkeep repos register {around}`."
            return "it has no .git", remedy
    except (OSError, RuntimeError):
        pass  # what the error itself says is as good
    return _words(error), remedy


def _words_of(file: Path, largest: int = REF_BYTES) -> str:
    """A small file of git's own, without blanks around it. OSError where it is none: reading must end."""
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(f"{file} is no regular file")
        data = opened.read(largest + 1)
    if len(data) > largest:
        raise OSError(f"{file} has more than {largest} bytes")
    return data.decode().strip()


def _open(path: Path) -> int:
    # What was a regular file a moment ago may be a link or a pipe now.
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _contents(path: Path) -> tuple[bytes, Stamp]:
    with os.fdopen(_open(path), "rb") as file:
        state = os.fstat(file.fileno())
        data = file.read(document.MAX_BYTES + 1)
    return data, _stamp(state, hashlib.sha256(data).hexdigest())


def _stamp(state: os.stat_result, sha256: str) -> Stamp:
    recent = abs(time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns)) < RACY_NS
    return Stamp(state.st_size, 0 if recent else state.st_mtime_ns, state.st_ino, sha256)


def _unreadable(path: str, message: str, fix: str = "Make it readable, or remove it.") -> Finding:
    return Finding(code=Code.UNREADABLE, severity="error", file=path, message=message, fix=fix)


def _words(error: BaseException) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
