"""The attributes that hold while patches are merged: those of the tip, as in the work tree of a real rebase.

What belongs here: laying `.gitattributes` files out where merge-tree looks for them, and seeing which of them name a
program. What does not: deciding what follows from that (`routing.py`).

merge-tree reads attributes from the work tree of its repository. In the checkout of a person these would be the ones of
whatever is checked out there; our own mirror has none. The quarantine's work tree holds nothing else than these files.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from upkeep.forks.quarantine import Quarantine
from upkeep.plumbing.checkout import is_unsafe

FILE = ".gitattributes"

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
    listed = quarantine.git("ls-tree", "-r", "-z", "--full-tree", "--end-of-options", tree).stdout
    texts = []
    for sha, path in _entries(listed):
        if is_unsafe(path):
            continue
        text = quarantine.git("cat-file", "blob", sha).stdout
        file = quarantine.work_tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
        texts.append(text)
    return Laid(tuple(texts))


def _entries(listed: bytes) -> Iterator[tuple[str, str]]:
    """SHA and path of the attribute files in what ls-tree lists. A tree of 30,000 files has a handful of them: they are
    searched for, not split (0.4 s against 2 ms)."""
    at = -1
    while (at := listed.find(FILE.encode() + b"\0", at + 1)) >= 0:
        entry = listed[listed.rfind(b"\0", 0, at) + 1 : at + len(FILE)]
        meta, _, path = entry.partition(b"\t")
        mode, _, sha = meta.split(b" ")
        if mode.startswith(b"100") and is_attributes(name := path.decode(errors="surrogateescape")):
            yield sha.decode(), name


def programs(quarantine: Quarantine, laid: Laid) -> list[str]:
    """The merge drivers and filters that are configured and that an attribute file calls for, as `merge=name`."""
    done = quarantine.git("config", "--null", "--name-only", "--get-regexp", r"^(merge|filter)\..+", accept=(0, 1))
    configured = {f"{match[1]}={match[2]}" for name in done.text.split("\0") if (match := _PROGRAM.match(name))}
    if not configured:
        return []
    used = {
        f"{kind.decode()}={name.decode(errors='replace')}"
        for text in (*laid.texts, *_outside(quarantine))
        for kind, name in _USE.findall(text)
    }
    default = quarantine.git("config", "--get", "merge.default", accept=(0, 1)).text.strip()
    return sorted(configured & (used | {f"merge={default}"}))


def _outside(quarantine: Quarantine) -> list[bytes]:
    """Attributes of the repository and of the person (gitattributes(5)); those of the machine are left out."""
    found = quarantine.git("rev-parse", "--git-path", "info/attributes").text.rstrip("\n")
    named = quarantine.git("config", "--type=path", "--get", "core.attributesFile", accept=(0, 1)).text.rstrip("\n")
    places = [quarantine.work_tree / found, *([quarantine.work_tree / named] if named else [])]
    return [place.read_bytes() for place in places if place.is_file()]
