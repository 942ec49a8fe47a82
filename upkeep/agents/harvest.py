"""What an agent left in its work tree, as changes that may be committed.

What belongs here: comparing a plain folder with what it held before, and refusing by name whatever is not a plain file
in the allowed place. What does not: judging contents (`upkeep/guardrails`), and git: a tree that an agent could write
is never opened by git, which would run its hooks, filters and fsmonitor.

Take `snapshot(work)` before the agent starts and `harvest(work, before, …)` after it has ended. Only regular files of
mode 100644 are taken. No symbolic link is followed, of a folder neither: each is opened relative to its parent's
descriptor with O_NOFOLLOW (openat(2)), so that a link swapped in at the last moment changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["file", "executable", "oversized", "link", "hard_link", "git", "deep", "unreadable", "special"]

MIB = 1 << 20

# Characters that file systems ignore in names (HFS+: `.g\u200cit`); a name with them is a twin of one without.
_IGNORED = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u206a-\u206f\ufeff]")
# `git~1` is the short name that NTFS gives to `.git`.
_GIT_PART = re.compile(r"\.git.*|git~\d+")


@dataclass(frozen=True)
class Limits:
    """Bytes of one file, bytes of all changes together, changed files, entries of the tree, folders in folders."""

    file_bytes: int = 4 * MIB
    total_bytes: int = 32 * MIB
    changes: int = 2_000
    entries: int = 200_000
    depth: int = 40


@dataclass(frozen=True)
class Entry:
    """One thing in the tree. `digest` tells two versions apart: SHA-256 of a file, the target of a link."""

    kind: Kind
    digest: str = ""
    data: bytes | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Refusal:
    """`path` is relative to the work tree, with escapes for bytes that are no UTF-8; "." is the tree as a whole.
    `reason` is stable, `message` a sentence for people."""

    path: str
    reason: str
    message: str


@dataclass(frozen=True)
class Harvest:
    """`changes`: path → new content, None for a deleted file, sorted by path. `refused`: everything else that the
    agent changed, sorted by path."""

    changes: Mapping[str, bytes | None]
    refused: tuple[Refusal, ...] = ()


_REASONS: dict[Kind, str] = {
    "executable": "it is executable: only mode 100644 is taken",
    "link": "it is a symbolic link",
    "hard_link": "it is a hard link: the same file has another name, maybe outside",
    "git": "git gives its name a meaning",
    "deep": "it lies too deep",
    "unreadable": "it cannot be read",
    "special": "it is no regular file",
}


class _TooMany(Exception):
    """The tree has more entries than the limit."""


def snapshot(work: Path, limits: Limits | None = None) -> dict[str, Entry]:
    """What the folder holds, without contents. Raises OSError where `work` is no folder."""
    limits = limits or Limits()
    return {path: Entry(entry.kind, entry.digest) for path, entry in _walk(work, limits)}


def harvest(work: Path, before: Mapping[str, Entry], *, allow_prefix: str, limits: Limits | None = None) -> Harvest:
    """Compare `work` with `before` and take what changed below `allow_prefix`, a folder relative to `work` ("": all).

    What did not change is never refused, whatever it is. Reasons of a refusal: `outside`, `executable`, `mode`,
    `link`, `hard_link`, `special`, `git`, `name`, `twin`, `oversized`, `deep`, `unreadable`, `not_plain`, `too_many`,
    `too_large`. Past the last two nothing is taken: half of a change is worse than none.
    """
    limits = limits or Limits()
    after: dict[str, Entry] = {}
    try:
        for path, entry in _walk(work, limits):
            known = before.get(path) == entry
            after[path] = Entry(entry.kind, entry.digest) if known else entry
    except _TooMany:
        return _nothing("too_many", f"the tree has more than {limits.entries:,} entries")
    # What an unreadable folder holds is not known to be gone.
    after |= {path: Entry("unreadable") for path in before.keys() - after.keys() if _hidden(path, after)}
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if len(changed) > limits.changes:
        return _nothing("too_many", f"{len(changed):,} files changed, at most {limits.changes:,} are taken")
    twins = _twins([*after, *(path for path in before if path not in after)], after)
    changes: dict[str, bytes | None] = {}
    refused: list[Refusal] = []
    for path in changed:
        reason = _refusal(path, before.get(path), after.get(path), allow_prefix, twins, limits)
        if reason is None:
            changes[path] = after[path].data if path in after else None
        else:
            refused.append(Refusal(_shown(path), *reason))
    size = sum(len(data) for data in changes.values() if data is not None)
    if size > limits.total_bytes:
        return _nothing("too_large", f"the changes have {size:,} bytes, at most {limits.total_bytes:,} are taken")
    return Harvest(changes, tuple(refused))


def _nothing(reason: str, message: str) -> Harvest:
    return Harvest({}, (Refusal(".", reason, message),))


def _refusal(
    path: str, old: Entry | None, new: Entry | None, allow_prefix: str, twins: set[str], limits: Limits
) -> tuple[str, str] | None:
    """Reason and message, or None for a change that may be taken. The order is from where it is to what it is."""
    if allow_prefix and not path.startswith(allow_prefix.rstrip("/") + "/"):
        return "outside", f"it lies outside {allow_prefix}"
    if any(_GIT_PART.fullmatch(_folded(part)) for part in path.split("/")):
        return "git", _REASONS["git"]
    if not _plain_name(path):
        return "name", "its name holds a backslash, a control or invisible character, or is no UTF-8"
    if path in twins:
        return "twin", "another name differs from it only in case or Unicode form"
    if old is not None and old.kind != "file":
        return "not_plain", f"what was there before is no plain file ({old.kind}): a person has to change it"
    if new is None or new.kind == "file":
        return None
    if new.kind == "executable" and old is not None:
        return "mode", "it was made executable: only mode 100644 is taken"
    if new.kind == "oversized":
        return "oversized", f"it has more than {limits.file_bytes:,} bytes"
    return new.kind, _REASONS[new.kind]


def _hidden(path: str, after: Mapping[str, Entry]) -> bool:
    return any(prefix in after and after[prefix].kind == "unreadable" for prefix in _prefixes(path))


def _twins(paths: Iterable[str], after: Mapping[str, Entry]) -> set[str]:
    """Paths that collide with another one where names are compared without case or Unicode form, at any folder level.

    Two spellings that never exist together (a file renamed to another case) are no twins.
    """
    living = [path for path in paths if path in after]
    spellings = {prefix for path in living for prefix in _prefixes(path)}
    crowded = Counter(_folded(prefix) for prefix in spellings)
    return {path for path in living if any(crowded[_folded(prefix)] > 1 for prefix in _prefixes(path))}


def _prefixes(path: str) -> Iterator[str]:
    """`a`, `a/b`, `a/b/c` of `a/b/c`."""
    parts = path.split("/")
    return ("/".join(parts[: count + 1]) for count in range(len(parts)))


def _folded(name: str) -> str:
    """The name as a case-insensitive, normalising file system compares it (APFS, HFS+, NTFS)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", _IGNORED.sub("", name)).casefold())


def _plain_name(path: str) -> bool:
    return "\\" not in path and not any(unicodedata.category(char).startswith("C") for char in path)


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _walk(work: Path, limits: Limits) -> Iterator[tuple[str, Entry]]:
    """Every entry but folders, with its path relative to `work`. Raises _TooMany."""
    root = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for count, found in enumerate(_walk_folder(root, "", limits, depth=0)):
            if count >= limits.entries:
                raise _TooMany
            yield found
    finally:
        os.close(root)


def _walk_folder(folder: int, prefix: str, limits: Limits, *, depth: int) -> Iterator[tuple[str, Entry]]:
    with os.scandir(folder) as listing:
        names = sorted(entry.name for entry in listing)
    for name in names:
        path = prefix + name
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            yield path, _entry(folder, name, limits)
        elif _folded(name) == ".git":
            # One refusal for a planted repository, not one for each of its objects.
            yield path, Entry("git")
        elif depth >= limits.depth:
            yield path, Entry("deep")
        else:
            yield from _enter(folder, name, path, limits, depth)


def _enter(folder: int, name: str, path: str, limits: Limits, depth: int) -> Iterator[tuple[str, Entry]]:
    try:
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        yield path, Entry("unreadable")
        return
    try:
        yield from _walk_folder(inner, path + "/", limits, depth=depth + 1)
    finally:
        os.close(inner)


def _entry(folder: int, name: str, limits: Limits) -> Entry:
    try:
        # O_NONBLOCK: opening a named pipe would wait for its writer.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=folder)
    except OSError:
        return _unopened(folder, name)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return Entry("special")
        if status.st_size > limits.file_bytes:
            return Entry("oversized", f"{status.st_size} {status.st_mtime_ns}")
        data = file.read(limits.file_bytes + 1)
    digest = hashlib.sha256(data).hexdigest()
    if status.st_nlink > 1:
        return Entry("hard_link", digest)
    # git knows one bit of the mode: whether the owner may execute it.
    return Entry("executable" if status.st_mode & stat.S_IXUSR else "file", digest, data)


def _unopened(folder: int, name: str) -> Entry:
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        return Entry("link", os.fsdecode(os.readlink(name, dir_fd=folder)))
    return Entry("unreadable" if stat.S_ISREG(mode) else "special")
