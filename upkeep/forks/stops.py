"""Where a rebase stops: a patch that does not go, what stands against each other, and what it was settled with.

What belongs here: the records that both ways of rebasing (`engine.py`, `worktree.py`) hand to whoever may settle a
conflict. What does not: who that is (`memory.py`, `settling.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from upkeep.forks.merging import Stage
from upkeep.forks.stack import Patch

_PLAIN_MODES = ("100644", "100755")
_BY_CONTENT = frozenset({"CONFLICT (contents)", "CONFLICT (content)", "CONFLICT (add/add)", "CONFLICT (modify/delete)"})


@dataclass(frozen=True)
class Side:
    """A version of a file: git's mode (octal text) and its blob."""

    mode: str
    sha: str

    @property
    def key(self) -> str:
        return f"{self.mode}:{self.sha}"


@dataclass(frozen=True)
class Sides:
    """What stands against each other at one path. None: that side has no file there."""

    path: str
    base: Side | None
    ours: Side | None
    theirs: Side | None

    @property
    def key(self) -> tuple[str, str, str]:
        """Base, ours and theirs as text; "" where there is none. The same three always conflict in the same way."""
        base, ours, theirs = ("" if side is None else side.key for side in (self.base, self.ours, self.theirs))
        return base, ours, theirs


@dataclass(frozen=True)
class Stop:
    """A patch at which the rebase stops. `tree` is the whole tree as it stands there, with conflict markers in its
    files. `files` and `types` are what the report shows of it."""

    patch: Patch
    tree: str
    files: tuple[str, ...]
    types: tuple[str, ...]
    sides: tuple[Sides, ...]

    @property
    def by_content(self) -> bool:
        """Whether the contents of plain files are all that has to be decided: no renames, links, submodules or binary
        files, nothing that git itself reads, and no name that is no UTF-8."""
        return (
            bool(self.sides)
            and _BY_CONTENT.issuperset(self.types)
            and all(
                side is None or side.mode in _PLAIN_MODES
                for each in self.sides
                for side in (each.base, each.ours, each.theirs)
            )
            and not any(part.startswith(".git") for each in self.sides for part in each.path.split("/"))
            and not any("\udc80" <= character <= "\udcff" for each in self.sides for character in each.path)
        )


@dataclass(frozen=True)
class Settled:
    """What a stop was settled with: the file for each path that conflicts (None: there is none then). `by` says for
    each path who decided, for the report."""

    files: Mapping[str, Side | None]
    by: Mapping[str, str]


Settle = Callable[[Stop], Settled | None]
"""Asked at every stop; None: nothing is known, the patch is left out. Raises to end the rebase."""


def sides_of(stages: Iterable[Stage]) -> tuple[Sides, ...]:
    """The stages of an index by path, in order."""
    found: dict[str, dict[int, Side]] = {}
    for stage in stages:
        found.setdefault(stage.path, {})[stage.number] = Side(stage.mode, stage.sha)
    return tuple(Sides(path, each.get(1), each.get(2), each.get(3)) for path, each in sorted(found.items()))
