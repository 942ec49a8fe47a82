"""Our own commits on a fork's trunk: knowing them, leaving them out of the rebase, and making them anew at the tip.

What belongs here: the trailer, the version bump, and when a commit that is there is used again. What does not: running
gates that fix files (their changes become a commit through `write_commit`).

A version bump touches the line that upstream touches with every release: rebased like a patch it would conflict every
time. So it is never rebased. It is made from the tip, with the tip's own date, and the same tip gives the same commit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from upkeep.errors import ConfigError
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.rawcommit import RawCommit
from upkeep.forks.records import VersionBump
from upkeep.forks.stack import Patch, read_commits
from upkeep.git import AUTHOR
from upkeep.settings.forks import Version

TRAILER = "Upkeep-Commit"
Kind = Literal["version", "fix"]

_MARK = re.compile(rf"^{TRAILER}: (version|fix)\s*$", re.MULTILINE)
_PARTS = re.compile(r"\d+|[A-Za-z]+")


@dataclass(frozen=True)
class Top:
    """What stands on top of the stack once our own commits are there."""

    tip: str
    version: VersionBump | None


def kind_of(commit: RawCommit) -> Kind | None:
    """Which of our own commits this is; None: somebody else's. Ours has Upkeep as its author and the trailer in its
    last paragraph: what is taken for ours is not carried over, so a copied trailer alone does not do."""
    if not commit.author.startswith(AUTHOR.encode() + b" "):
        return None
    last = commit.text.rstrip().rpartition("\n\n")[2]
    found = _MARK.search(last)
    return None if found is None else "version" if found[1] == "version" else "fix"


def is_own(commit: RawCommit) -> bool:
    return kind_of(commit) is not None


def crown(
    quarantine: Quarantine,
    stack_tip: str,
    own: Sequence[Patch],
    head: str,
    *,
    onto: str,
    version: Version | None,
    tags: Sequence[str] = (),
) -> Top:
    """Put our own commits on `stack_tip` and return what is then the tip.

    Where the stack did not move and what lies on it is right, that is used again as it is: nothing is made. Else the
    version is set anew, and fixes are left to the gates, which make them again. Raises ConfigError
    `forks.version_not_found` where file or tag do not match the configuration.
    """
    wanted = None if version is None else _wanted(quarantine, version, onto, tags)
    on_top = _on_top(own, stack_tip, head)
    if on_top and (
        wanted is None or _version_in(quarantine, wanted.file, str(version and version.pattern), head) == wanted.version
    ):
        commit = next((patch.sha for patch in reversed(own) if kind_of(patch.commit) == "version"), None)
        return Top(head, wanted and wanted.model_copy(update={"commit": commit, "reused": commit is not None}))
    if version is None or wanted is None:
        return Top(stack_tip, None)
    if _version_in(quarantine, version.file, version.pattern, stack_tip) == wanted.version:
        return Top(stack_tip, wanted)
    text = _read(quarantine, stack_tip, version.file)
    found = _search(version.pattern, text)
    if found is None:
        raise _not_found(f"{version.file} has no line that matches {version.pattern!r} in the rebased stack")
    changed = text[: found.start(1)] + wanted.version + text[found.end(1) :]
    content = changed.encode(errors="surrogateescape")
    subject = f"Set the version to {wanted.version}"
    sha = write_commit(quarantine, stack_tip, {version.file: content}, "version", subject)
    return Top(sha, wanted.model_copy(update={"commit": sha}))


def write_commit(
    quarantine: Quarantine, parent: str, files: Mapping[str, bytes], kind: Kind, subject: str, body: str = ""
) -> str:
    """Write a commit of ours on `parent` that sets some files; return its SHA. The same input gives the same commit: it
    has its parent's date."""
    commit = read_commits(quarantine, [parent])[parent]
    tree = _tree_with(quarantine, parent, files)
    line = f"{AUTHOR} {commit.committed_seconds} +0000"
    text = f"{subject}\n\n{body.strip() + chr(10) * 2 if body.strip() else ''}{TRAILER}: {kind}\n"
    head = f"tree {tree}\nparent {parent}\nauthor {line}\ncommitter {line}\n\n"
    return quarantine.write("commit", (head + text).encode())


def newest_version(tags: Sequence[str], pattern: str) -> str | None:
    """The highest version among `tags`: the first group of `pattern`, which has to match the whole tag. A release comes
    after its own pre-releases (semver.org, 11)."""
    compiled = _compiled(pattern)
    found = [match[1] for tag in tags if (match := compiled.fullmatch(tag))]
    return max(found, key=_order, default=None)


def _order(version: str) -> tuple[tuple[int, ...], int, tuple[tuple[int, int, str], ...], str]:
    release, _, pre = version.partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in re.findall(r"\d+", release))
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]
    # A number sorts before a word within a pre-release, and a shorter one before a longer one.
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in _PARTS.findall(pre))
    return numbers, 0 if pre else 1, parts, version


def _wanted(quarantine: Quarantine, version: Version, onto: str, tags: Sequence[str]) -> VersionBump:
    if version.source == "tag":
        upstream = newest_version(tags, version.tag or "(.+)")
        missing = f"no tag of upstream matches {version.tag or '(.+)'!r}"
    else:
        upstream = _version_in(quarantine, version.file, version.pattern, onto)
        missing = f"{version.file} has no line that matches {version.pattern!r} upstream"
    if upstream is None:
        raise _not_found(missing)
    wanted = version.template.replace("{upstream}", upstream)
    return VersionBump(file=version.file, upstream=upstream, version=wanted)


def _on_top(own: Sequence[Patch], stack_tip: str, head: str) -> bool:
    """Whether our commits, and nothing else, lead from the stack's tip to `head`."""
    at = stack_tip
    for patch in own:
        if patch.parent is None or patch.parent.sha != at:
            return False
        at = patch.sha
    return at == head


def _version_in(quarantine: Quarantine, file: str, pattern: str, rev: str) -> str | None:
    found = _search(pattern, _read(quarantine, rev, file))
    return None if found is None else found[1]


def _search(pattern: str, text: str) -> re.Match[str] | None:
    return _compiled(pattern).search(text)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise _not_found(f"{pattern!r} is no regular expression: {error}") from error
    if compiled.groups < 1:
        raise _not_found(f"{pattern!r} has no group that says which part is the version")
    return compiled


def _read(quarantine: Quarantine, rev: str, file: str) -> str:
    done = quarantine.git("cat-file", "blob", f"{rev}:{file}", accept=(0, 128))
    if done.returncode != 0:
        raise _not_found(f"there is no file {file} in {rev[:12]}")
    return done.text


def _not_found(what: str) -> ConfigError:
    return ConfigError(
        f"the version cannot be derived: {what}",
        code="forks.version_not_found",
        remedy="Mend `version` of this fork in upkeep.yaml: its file, pattern or tag.",
    )


def _tree_with(quarantine: Quarantine, base: str, files: Mapping[str, bytes]) -> str:
    entries = {}
    for path, content in files.items():
        entry = quarantine.git("ls-tree", "-z", "--full-tree", base, "--", path).text
        mode = entry[:6] if entry.startswith("100") else "100644"
        entries[path] = (mode, quarantine.write("blob", content))
    return quarantine.tree_with(base, entries)
