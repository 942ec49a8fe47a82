"""The attributes that hold while patches are merged: those of the tip, as in the work tree of a real rebase.

What belongs here: laying `.gitattributes` files out where merge-tree looks for them, seeing which of them name a
program, and asking the `.gitignore` files of a tree. What does not: deciding what follows from that (`routing.py`).

merge-tree reads attributes from the work tree of its repository. In the checkout of a person these would be the ones of
whatever is checked out there; our own mirror has none. The quarantine's work tree holds nothing else than these files.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from upkeep.forks.quarantine import Quarantine
from upkeep.git import EMPTY_TREE
from upkeep.plumbing.checkout import is_unsafe

FILE = ".gitattributes"
IGNORE_FILE = ".gitignore"

_PROGRAM = re.compile(r"^(merge|filter)\.(.+)\.(driver|clean|smudge|process)$")
_USE = re.compile(rb"(?:^|[ \t])(merge|filter)=([^ \t\r\n]+)", re.MULTILINE)


@dataclass(frozen=True)
class Laid:
    """What was laid out: the text of every attribute file of a tree."""

    texts: tuple[bytes, ...]


def is_attributes(path: str) -> bool:
    return path == FILE or path.endswith(f"/{FILE}")


def lay_out(quarantine: Quarantine, tree: str) -> Laid:
    """Make the quarantine's work tree hold the attribute files of `tree` (a tree or a commit), and nothing else."""
    shutil.rmtree(quarantine.work_tree)
    quarantine.work_tree.mkdir()
    return Laid(tuple(_laid_out(quarantine, tree, FILE, quarantine.work_tree)))


def ignored(quarantine: Quarantine, tree: str, paths: Sequence[str]) -> set[str]:
    """Those of `paths` that the `.gitignore` files of `tree`, or the person's own, leave out (gitignore(5))."""
    if not paths:
        return set()
    folder = quarantine.folder / "ignore"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for _ in _laid_out(quarantine, tree, IGNORE_FILE, folder):
        pass
    # A leading "./" keeps a name that begins with a colon from being taken for magic (gitglossary(7), "pathspec").
    data = "".join(f"./{path}\0" for path in paths).encode(errors="surrogateescape")
    variables = {"GIT_WORK_TREE": str(folder), "GIT_LITERAL_PATHSPECS": "0"}
    arguments = ["-C", str(folder), "check-ignore", "-z", "--no-index", "--stdin"]
    done = quarantine.git(*arguments, data=data, env=variables, accept=(0, 1))
    return {path.removeprefix("./") for path in done.text.split("\0")[:-1]}


def _laid_out(quarantine: Quarantine, tree: str, name: str, folder: Path) -> Iterator[bytes]:
    """Write every file of `tree` with this name below `folder`, and yield its text."""
    for sha, path in _entries(quarantine, tree, name):
        if is_unsafe(path):
            continue
        text = quarantine.git("cat-file", "blob", sha).stdout
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
        yield text


def _entries(quarantine: Quarantine, tree: str, name: str) -> Iterator[tuple[str, str]]:
    """SHA and path of the files of a tree with this name. git searches: a tree of 30,000 files has a handful."""
    arguments = ["diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", EMPTY_TREE, tree]
    globs = {"GIT_LITERAL_PATHSPECS": "0", "GIT_GLOB_PATHSPECS": "1"}
    fields = iter(quarantine.git(*arguments, "--", f"**/{name}", env=globs).text.split("\0")[:-1])
    for meta in fields:
        _, mode, _, sha, _ = meta.split(" ")
        path = next(fields)
        if mode.startswith("100"):
            yield sha, path


def programs(quarantine: Quarantine, laid: Laid, settings: Mapping[str, str]) -> list[str]:
    """The merge drivers and filters that are configured and that an attribute file calls for, as `merge=name`.
    `settings` are those that git has here, by name."""
    configured = {f"{match[1]}={match[2]}" for name in settings if (match := _PROGRAM.match(name))}
    if not configured:
        return []
    used = {
        f"{kind.decode()}={name.decode(errors='replace')}"
        for text in (*laid.texts, *_outside(quarantine))
        for kind, name in _USE.findall(text)
    }
    return sorted(configured & (used | {f"merge={settings.get('merge.default', '')}"}))


def _outside(quarantine: Quarantine) -> list[bytes]:
    """Attributes of the repository and of the person (gitattributes(5)); those of the machine are left out."""
    found = quarantine.git("rev-parse", "--git-path", "info/attributes").text.rstrip("\n")
    named = quarantine.git("config", "--type=path", "--get", "core.attributesFile", accept=(0, 1)).text.rstrip("\n")
    places = [quarantine.work_tree / found, *([quarantine.work_tree / named] if named else [])]
    return [place.read_bytes() for place in places if place.is_file()]
