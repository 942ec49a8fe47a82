"""What a fork carries on top of its upstream, as the text of its one long-lived pull request.

What belongs here: reading the delta, and saying it within what a forge takes. What does not: the pull request itself
(`dashboard.py`), and rebasing.

The text holds no moment of the run and no count of days: it changes when the delta does, and only then is it edited.
Whatever somebody else wrote (subjects, messages, paths, the range-diff) is shown as plain words, and a part that looks
as if it held a secret is left out by name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import repeat
from typing import Literal

from upkeep.forges.text import code, fenced, inline, prose, title
from upkeep.forks.records import ConflictingPatch, PatchRecord, Record, Verification
from upkeep.forks.verify import shown
from upkeep.git import Commit, Repository
from upkeep.plumbing.command import run_git

LIMIT = 60_000
"""Bytes of UTF-8 in a body. GitHub takes 65,536 characters; the rest is for a note that somebody puts on top."""

_MARK = re.compile(r"<!-- upkeep:fork-delta (\S+) ([0-9a-f]{16}) -->")
_TRAILERS = re.compile(r"(?:[A-Za-z0-9-]+: .*\n?|\([^\n]*\)\n?| [^\n]*\n?)+")


Action = Literal["created", "adopted", "edited", "unchanged", "nothing"]


class FileStat(Record):
    """One file of a patch. Lines are None for a binary file."""

    path: str
    added: int | None
    deleted: int | None


class LastConflict(Record):
    """When a patch last did not go onto upstream."""

    at: datetime
    run_id: str
    conflict: ConflictingPatch


class DeltaPatch(Record):
    """One patch as it stands on trunk. `purpose` is its message without subject and trailers. `state`: `carried`, or
    what upstream's head makes of it today: it `conflicts`, or upstream `has` it."""

    number: int
    sha: str
    subject: str
    author: str
    authored_at: datetime
    purpose: str
    files: tuple[FileStat, ...]
    state: str = "carried"
    last_conflict: LastConflict | None = None


class Delta(Record):
    """`tip` is trunk, `base` the mirror. `own` are the commits by Upkeep on top, each with its subject."""

    fork: str
    trunk: str
    tip: str
    mirror: str
    base: str
    patches: tuple[DeltaPatch, ...]
    own: tuple[tuple[str, str], ...] = ()
    version: str | None = None
    range_diff: str = ""


class Shown(Record):
    """What came of showing a delta. `url` is where (None: nowhere yet), `digest` tells two contents apart, `added` and
    `deleted` count lines of all patches."""

    url: str | None
    action: Action
    digest: str = ""
    patches: int
    files: int
    added: int
    deleted: int


def measured(delta: Delta, text: str, url: str | None, action: Action) -> Shown:
    """How large the delta is that was shown at `url` as `text`."""
    found = _MARK.search(text)
    stats = [file for patch in delta.patches for file in patch.files]
    return Shown(
        url=url,
        action=action,
        digest=found[2] if found else "",
        patches=len(delta.patches),
        files=len({file.path for file in stats}),
        added=sum(file.added or 0 for file in stats),
        deleted=sum(file.deleted or 0 for file in stats),
    )


def read(
    repository: Repository,
    verification: Verification,
    *,
    names: tuple[str, str, str],
    tip: str | None,
    mirror: str,
    conflicts: dict[str, LastConflict],
    range_diff: str = "",
) -> Delta:
    """The delta of the fork with these `names` (fork, trunk, mirror branch).

    `tip` is what trunk was moved to; None: it stays where it is, and its patches are shown as they are there.
    `conflicts` are known by `history.key`.
    """
    listed = _listed(verification, moved=tip is not None)
    head = tip or verification.head
    commits = {commit.sha: commit for commit in repository.commits(verification.onto, head)}
    stats = _stats(repository, [sha for _, sha, _ in listed])
    patches = tuple(
        DeltaPatch(
            number=number,
            sha=sha,
            subject=record.subject,
            author=record.author,
            authored_at=record.authored_at,
            purpose=purpose(commits[sha].message) if sha in commits else "",
            files=stats.get(sha, ()),
            state=state,
            last_conflict=conflicts.get(key(record)),
        )
        for number, (record, sha, state) in enumerate(listed, 1)
    )
    fork, trunk, branch = names
    return Delta(
        fork=fork,
        trunk=trunk,
        tip=head,
        mirror=branch,
        base=mirror,
        patches=patches,
        own=_own(commits, verification, tip, head),
        version=verification.version.version if verification.version and tip else None,
        range_diff=range_diff,
    )


def _listed(verification: Verification, *, moved: bool) -> list[tuple[PatchRecord, str, str]]:
    """Each patch as it stands on trunk: its record, its SHA there, its state."""
    if moved:
        return [(each, each.new_sha, "carried") for each in verification.kept]
    found: list[tuple[PatchRecord, str, str]] = [(each, each.sha, "carried") for each in verification.kept]
    found += [(each, each.sha, "conflicts") for each in verification.conflicts]
    found += [(each, each.sha, "has") for each in verification.dropped]
    return sorted(found, key=lambda entry: entry[0].number)


def key(patch: PatchRecord) -> str:
    """What stays of a patch when it is rebased, amended and resolved: who wrote it, when, under which subject."""
    return key_of(patch.author, patch.authored_at, patch.subject)


def key_of(author: str, authored_at: datetime, subject: str) -> str:
    """`key` from what it is made of."""
    parts = (author, authored_at.isoformat(), subject)
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]


def purpose(message: str) -> str:
    """The text between subject and trailers of a commit message."""
    paragraphs = re.split(r"\n[ \t]*\n", message.strip("\n"))[1:]
    while paragraphs and re.match(r"[A-Za-z0-9-]+: ", paragraphs[-1]) and _TRAILERS.fullmatch(paragraphs[-1]):
        paragraphs.pop()
    return "\n\n".join(paragraphs).strip()


def _own(
    commits: dict[str, Commit], verification: Verification, tip: str | None, head: str
) -> tuple[tuple[str, str], ...]:
    """The commits by Upkeep at the end of trunk, oldest first."""
    before = {each.sha for each in verification.own_before}
    found = []
    at = head
    while at in commits and (at in before if tip is None else at != verification.stack_tip):
        found.append((at, commits[at].subject))
        at = commits[at].parents[0] if commits[at].parents else ""
    return tuple(reversed(found))


def _stats(repository: Repository, shas: Sequence[str]) -> dict[str, tuple[FileStat, ...]]:
    if not shas:
        return {}
    flags = ["--stdin", "-r", "-z", "--root", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv"]
    data = "".join(f"{sha}\n" for sha in shas).encode()
    found: dict[str, list[FileStat]] = {}
    at = ""
    for part in run_git(["diff-tree", *flags], git_dir=repository.git_dir, data=data).text.split("\0")[:-1]:
        if re.fullmatch(r"[0-9a-f]{40}", part):
            at = part
            continue
        added, deleted, path = part.lstrip("\n").split("\t", 2)
        counts = [None if number == "-" else int(number) for number in (added, deleted)]
        found.setdefault(at, []).append(FileStat(path=shown(path), added=counts[0], deleted=counts[1]))
    return {sha: tuple(files) for sha, files in found.items()}


# Saying it


class _Detail(Record):
    """How much is said of each patch: characters of its purpose, files, characters of the whole range-diff."""

    purpose: int
    files: int
    range_diff: int


_DETAILS = (
    _Detail(purpose=3_000, files=50, range_diff=24_000),
    _Detail(purpose=1_000, files=20, range_diff=16_000),
    _Detail(purpose=400, files=8, range_diff=8_000),
    _Detail(purpose=120, files=3, range_diff=0),
    _Detail(purpose=0, files=0, range_diff=0),
)


def headline(delta: Delta) -> str:
    """The pull request's title."""
    count = len(delta.patches)
    return title(f"Fork delta of {delta.fork}: {count} {'patch' if count == 1 else 'patches'}")


def body(delta: Delta, *, refuse: Callable[[str], str] = lambda _: "", limit: int = LIMIT) -> str:
    """The pull request's body, at most `limit` bytes: with less of each patch where all of it is too much, and at last
    with fewer patches.

    `refuse` says why a text must not be published ("": it may).
    """
    for detail in _DETAILS:
        text = _text(delta, detail, refuse, len(delta.patches))
        if _size(text) <= limit:
            return _marked(delta, text)
    fitting, too_many = 0, len(delta.patches)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        fits = _size(_text(delta, _DETAILS[-1], refuse, middle)) <= limit
        fitting, too_many = (middle, too_many) if fits else (fitting, middle)
    return _marked(delta, _text(delta, _DETAILS[-1], refuse, fitting))


def fork_of(text: str) -> str | None:
    """The fork whose delta a pull request's body is; None: it is not ours."""
    found = _MARK.search(text)
    return found[1] if found else None


def same(text: str, new: str) -> bool:
    """Whether a body that a forge gave back has the content of `new`. Forges change line ends and blanks at the end."""
    found, wanted = _MARK.search(text), _MARK.search(new)
    return found is not None and wanted is not None and found.groups() == wanted.groups()


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass")) + 100  # and the mark


def _marked(delta: Delta, text: str) -> str:
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"<!-- upkeep:fork-delta {delta.fork} {digest} -->\n{text}"


def _text(delta: Delta, detail: _Detail, refuse: Callable[[str], str], most: int) -> str:
    shown_patches = delta.patches[:most]
    headings = [f"## {patch.number}. {code(patch.sha[:12])}\n\n" for patch in shown_patches]
    sections = ["\n".join(_patch(patch, detail)) for patch in shown_patches]
    parts = [_opening(delta), *(_vetted(*each) for each in zip(sections, repeat(refuse), headings))]
    if left := len(delta.patches) - len(shown_patches):
        parts.append(f"**{left} more patches** are not shown: there is no room for them. Every report lists them all.")
    if delta.own:
        lines = [f"- {code(sha[:12])} {inline(subject)}" for sha, subject in delta.own]
        parts.append(_vetted("\n".join(["## Commits by Upkeep", "", *lines]), refuse))
    if delta.range_diff and detail.range_diff:
        folded = fenced(delta.range_diff, "diff", limit=detail.range_diff)
        summary = "<details><summary>How the last rebase changed the patches (range-diff)</summary>"
        parts.append(_vetted(f"{summary}\n\n{folded}\n\n</details>", refuse))
    return "\n\n".join(parts) + "\n"


def _vetted(text: str, refuse: Callable[[str], str], heading: str = "") -> str:
    """The text, or why it is left out below a `heading` of ours."""
    why = refuse(text)
    return f"{heading}*A part is left out here: {inline(why)}.*" if why else text


def _opening(delta: Delta) -> str:
    rows = [
        f"| trunk | {code(delta.trunk, in_table=True)} | {code(delta.tip[:12])} |",
        f"| mirror of upstream | {code(delta.mirror, in_table=True)} | {code(delta.base[:12])} |",
    ]
    if delta.version:
        rows.append(f"| version | {code(delta.version, in_table=True)} | |")
    count = len(delta.patches)
    said = "one patch" if count == 1 else f"{count} patches"
    return "\n".join(
        [
            f"What {code(delta.trunk)} carries on top of {code(delta.mirror)}: **{said}**.",
            "",
            "> This pull request is a dashboard: **never merge it**. Upkeep keeps it open and rewrites its text when "
            "the delta changes.",
            "",
            "| | branch | commit |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def _patch(patch: DeltaPatch, detail: _Detail) -> Iterator[str]:
    yield f"## {patch.number}. {inline(patch.subject)}"
    yield ""
    yield f"{code(patch.sha[:12])} by {inline(patch.author, limit=100)}, written {patch.authored_at:%Y-%m-%d}"
    if patch.state == "conflicts":
        yield "**It does not go onto upstream's head.**"
    elif patch.state == "has":
        yield "**Upstream has it, or nothing of it is left: the next rebase drops it.**"
    if patch.purpose and detail.purpose:
        yield from ("", *(f"> {line}".rstrip() for line in prose(patch.purpose, limit=detail.purpose).split("\n")))
    yield from ("", *_files(patch.files, detail.files))
    if patch.last_conflict is not None:
        yield from ("", _last(patch.last_conflict))


def _files(files: Sequence[FileStat], most: int) -> Iterator[str]:
    for file in files[:most]:
        lines = "binary" if file.added is None else f"+{file.added} −{file.deleted}"
        yield f"- {code(file.path)} {lines}"
    if left := len(files) - min(most, len(files)):
        yield f"- {left} {'more ' if most else ''}{'file' if left == 1 else 'files'}"
    if not files:
        yield "- no file: it is empty on purpose"


def _last(last: LastConflict) -> str:
    conflict = last.conflict
    paths = ", ".join(code(path) for path in conflict.conflicts[:3])
    more = f" and {len(conflict.conflicts) - 3} more" if len(conflict.conflicts) > 3 else ""
    said = f"Last conflict: {last.at:%Y-%m-%d} in {paths}{more}"
    if breaker := conflict.broken_by:
        number = f" (upstream's {breaker.pull_request})" if breaker.pull_request else ""
        said += f", broken by {code(breaker.sha[:12])} {inline(breaker.subject, limit=120)}{number}"
    return said
