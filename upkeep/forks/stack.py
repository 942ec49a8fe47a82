"""The patches of a fork: which commits a rebase would pick, in which order, and what each of them touches.

What belongs here: reading the stack, before anything is merged. What does not: picking (`engine.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from upkeep.errors import GitError
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.rawcommit import RawCommit, parse

SUBMODULE = "160000"


@dataclass(frozen=True)
class Patch:
    """One commit of the fork. `number` counts from 1 in the order of the rebase. `files` are the paths that it changes
    (both of a rename), `modes` the modes that they have before and after it."""

    number: int
    commit: RawCommit
    parent: RawCommit | None
    files: tuple[str, ...]
    modes: frozenset[str]

    @property
    def sha(self) -> str:
        return self.commit.sha

    @property
    def empty(self) -> bool:
        """Whether it changes nothing, on purpose."""
        return not self.files


@dataclass(frozen=True)
class Equivalent:
    """A patch that upstream has already. `upstream` is the commit there with the same patch id, where it was found."""

    patch: Patch
    upstream: str | None


@dataclass(frozen=True)
class Stack:
    """What a rebase of `head` onto `onto` is about. `base` is their merge base, `merges` are merge commits on the fork
    (a rebase leaves them out), `own` the commits that the caller asked to leave out."""

    onto: str
    head: str
    base: str | None
    patches: tuple[Patch, ...]
    equivalents: tuple[Equivalent, ...]
    own: tuple[Patch, ...]
    merges: tuple[str, ...]

    @property
    def tip(self) -> RawCommit | None:
        return self.patches[-1].commit if self.patches else None


def read_stack(
    quarantine: Quarantine, onto: str, head: str, *, own: Callable[[RawCommit], bool] = lambda _: False
) -> Stack:
    """Read what `head` has and `onto` has not. `own` says which commits are made anew elsewhere and not picked.

    The order and the marks are those of `git rebase` (sequencer.c `sequencer_make_script`): a commit whose patch is
    upstream is dropped unless it was empty from the start.
    """
    arguments = ["--right-only", "--cherry-mark", "--topo-order", "--reverse", "--parents", "--end-of-options"]
    lines = quarantine.git("rev-list", *arguments, f"{onto}...{head}").text.splitlines()
    marked = [(line[0], line[1:].split()) for line in lines]
    merges = tuple(shas[0] for _, shas in marked if len(shas) > 2)
    listed = [(mark, shas) for mark, shas in marked if len(shas) <= 2]
    commits = read_commits(quarantine, {sha for _, shas in listed for sha in shas} | {onto})
    touched = _touched(quarantine, [shas[0] for _, shas in listed])
    picks: list[Patch] = []
    ours: list[Patch] = []
    same: list[Patch] = []
    for mark, (sha, *parents) in listed:
        files, modes = touched.get(sha, ((), frozenset()))
        parent = commits[parents[0]] if parents else None
        patch = Patch(len(picks) + len(same) + 1, commits[sha], parent, files, modes)
        (ours if own(patch.commit) else same if mark == "=" and files else picks).append(patch)
    return Stack(
        onto=onto,
        head=head,
        base=_merge_base(quarantine, onto, head),
        patches=tuple(picks),
        equivalents=tuple(_paired(quarantine, onto, head, same)),
        own=tuple(ours),
        merges=merges,
    )


def read_commits(quarantine: Quarantine, shas: Collection[str]) -> dict[str, RawCommit]:
    """Read commit objects by their full SHAs, in one go. Raises GitError (`git.missing_object`)."""
    output = quarantine.git("cat-file", "--batch", data="".join(f"{sha}\n" for sha in shas).encode()).stdout
    found = {}
    at = 0
    for sha in shas:
        end = output.index(b"\n", at)
        header = output[at:end].split()
        if len(header) != 3 or header[1] != b"commit":
            raise GitError(f"there is no commit {sha}", code="git.missing_object", object=sha)
        size = int(header[2])
        found[sha] = parse(sha, output[end + 1 : end + 1 + size])
        at = end + size + 2
    return found


def _touched(quarantine: Quarantine, shas: Sequence[str]) -> dict[str, tuple[tuple[str, ...], frozenset[str]]]:
    """Paths and modes that each commit changes against its parent; those that change nothing are left out."""
    if not shas:
        return {}
    arguments = ["diff-tree", "--stdin", "-r", "--raw", "-z", "--root", "--no-renames", "--no-abbrev"]
    fields = quarantine.git(*arguments, data="".join(f"{sha}\n" for sha in shas).encode()).text.split("\0")[:-1]
    found: dict[str, tuple[list[str], set[str]]] = {}
    commit = ""
    parts = iter(fields)
    for part in parts:
        # With -z a commit is a field of its own.
        if not part.startswith(":"):
            commit = part
            continue
        before, after, *_ = part[1:].split(" ")
        files, modes = found.setdefault(commit, ([], set()))
        files.append(next(parts))
        modes |= {before, after}
    return {sha: (tuple(files), frozenset(modes)) for sha, (files, modes) in found.items()}


def _merge_base(quarantine: Quarantine, a: str, b: str) -> str | None:
    done = quarantine.git("merge-base", "--end-of-options", a, b, accept=(0, 1))
    return done.text.split("\n", 1)[0] or None


def _paired(quarantine: Quarantine, onto: str, head: str, same: Sequence[Patch]) -> Iterator[Equivalent]:
    """Say for each dropped patch which upstream commit holds it."""
    if not same:
        return
    arguments = ["--left-only", "--cherry-mark", "--no-merges", "--end-of-options", f"{onto}...{head}"]
    lines = quarantine.git("rev-list", *arguments).text.splitlines()
    theirs = [line[1:] for line in lines if line.startswith("=")]
    ids = _patch_ids(quarantine, [*theirs, *(patch.sha for patch in same)])
    # The oldest one counts, where upstream holds the same patch more than once.
    upstream = {ids[sha]: sha for sha in theirs if sha in ids}
    for patch in same:
        yield Equivalent(patch, upstream.get(ids.get(patch.sha, "")))


def _patch_ids(quarantine: Quarantine, shas: Sequence[str]) -> Mapping[str, str]:
    listed = "".join(f"{sha}\n" for sha in shas).encode()
    patches = quarantine.git(
        "diff-tree", "--stdin", "-r", "-p", "--full-index", "--no-ext-diff", "--no-textconv", data=listed
    )
    lines = quarantine.git("patch-id", "--stable", data=patches.stdout).text.splitlines()
    return {sha: name for name, sha in (line.split() for line in lines)}
