"""What is recorded about a rebase of a fork: the parts of its report, as plain values.

What belongs here: the records that go between steps, into the report and into assets. What does not: making them, and
the report as a whole (`report.py`).

SHAs are full, times UTC, `seconds` wall-clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PATCHES_NAMED = 20
"""In a sentence, or in an event."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class PatchRecord(Record):
    """One commit of the fork. `number` counts from 1 in the order of the rebase."""

    number: int
    sha: str
    subject: str
    author: str
    authored_at: datetime
    files: tuple[str, ...]


class SettledFile(Record):
    """A file that conflicted and was settled. `by`: with which resolution, in words."""

    path: str
    by: str


class KeptPatch(PatchRecord):
    """`new_sha` is the commit that it became; its own where it did not have to move. `settled` are the files in which
    it conflicted, where a remembered resolution settled that."""

    new_sha: str
    settled: tuple[SettledFile, ...] = ()


class DroppedPatch(PatchRecord):
    """A patch that is not needed any more. `proof`: the upstream commit with the same patch (`upstream`; empty where
    git knows that there is one and we did not find it), or what was the same before and after it (`became_empty`)."""

    why: Literal["upstream", "became_empty"]
    proof: str


class UpstreamCommit(Record):
    """`pull_request` is the number that its subject names, where it names one."""

    sha: str
    subject: str
    author: str
    authored_at: datetime
    pull_request: int | None = None


class ConflictingPatch(PatchRecord):
    """A patch that does not go. `conflicts` are the paths and `types` git's short names of what is wrong with them.
    `after`: patches that do not go either, come before it and touch the same files. `broken_by`: the first upstream
    merge that it does not go onto, along first parents. `reproduce`: commands that stop where the rebase stops."""

    conflicts: tuple[str, ...]
    types: tuple[str, ...]
    after: tuple[int, ...] = ()
    broken_by: UpstreamCommit | None = None
    reproduce: tuple[str, ...] = ()


class OwnCommit(Record):
    """A commit of ours on trunk, which no rebase picks: it is made anew at the tip."""

    sha: str
    kind: str
    subject: str


class VersionBump(Record):
    """The version that the fork's file has to have. `upstream` is what it was derived from; `commit` is our commit that
    sets it (None: the stack has it already), and `reused` says that it was there before."""

    file: str
    upstream: str
    version: str
    commit: str | None = None
    reused: bool = False


class Size(Record):
    """How much a fork carries on top of upstream. Lines of binary files are not counted."""

    files: int
    lines_added: int
    lines_deleted: int


class Behind(Record):
    """How far trunk is behind upstream: commits that it lacks, and since when the first of them has been upstream.

    `since` is the committer date of the oldest one on upstream's first-parent line: when it was merged, not when it was
    written. None: trunk lacks nothing."""

    commits: int
    since: datetime | None = None

    def days(self, now: datetime) -> float:
        return 0.0 if self.since is None else max(0.0, (now - self.since).total_seconds() / 86400)


class Verification(Record):
    """What a rebase of `head` onto `onto` comes to, without anything having moved.

    `stack_tip` is what `git rebase` makes of the patches, `tip` is that with our own commits on top: exactly what is
    gated and pushed. Both are None where a patch conflicts. `method` says who decided, `reasons` why it was git in a
    worktree. `behind` counts the upstream commits that trunk did not have. `size` is what `tip` carries, or what trunk
    carries now where a patch conflicts.
    """

    onto: str
    head: str
    base: str | None
    behind: int
    method: Literal["memory", "worktree"]
    reasons: tuple[str, ...] = ()
    stack_tip: str | None = None
    tip: str | None = None
    tree: str | None = None
    kept: tuple[KeptPatch, ...] = ()
    dropped: tuple[DroppedPatch, ...] = ()
    conflicts: tuple[ConflictingPatch, ...] = ()
    own_before: tuple[OwnCommit, ...] = ()
    version: VersionBump | None = None
    escalated: tuple[str, ...] = Field(default=(), description="Paths that upstream changed and a person wants to see.")
    size: Size | None = None
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not self.conflicts and self.tip is not None

    @property
    def unchanged(self) -> bool:
        """Whether what would be pushed is what is there."""
        return self.tip == self.head


JudgementState = Literal["proposed", "waiting", "declined", "failed"]


class Judgement(Record):
    """What came of asking an agent about the conflicts; trunk was not moved.

    `proposed`: it settled them, `url` is the pull request; `waiting`: so it did before, and a person has not decided
    yet; `declined`: a person said no, or it failed too often; `failed`: it did not settle them, or what it made was
    refused. `said` are its own words about what it leaves to a person. `settled` are the patches that go with it.
    `cost_usd`: US dollars; None where the price list does not know the model.
    """

    state: JudgementState
    message: str
    said: str = ""
    agent: str
    url: str | None = None
    branch: str | None = None
    tip: str | None = None
    settled: tuple[KeptPatch, ...] = ()
    requests: int = 0
    cost_usd: float | None = 0.0
    seconds: float = 0.0
    transcript: str | None = None


class Outlook(Record):
    """What rebasing trunk on `head` of an upstream branch would meet now. `unsure`: why the rebase itself would be done
    by git; `unknown`: why nothing can be said (the rest is empty then)."""

    branch: str
    head: str
    patches: int = 0
    conflicts: tuple[ConflictingPatch, ...] = ()
    escalated: tuple[str, ...] = Field(default=(), description="Paths changed there that a person wants to see.")
    unsure: tuple[str, ...] = ()
    unknown: str = ""
    seconds: float = 0.0

    @property
    def breaks(self) -> bool:
        return bool(self.conflicts)

    @property
    def words(self) -> str:
        """What a person reads, as the end of a sentence about the branch."""
        if self.unknown:
            return f"cannot be told: {self.unknown}"
        if not self.conflicts:
            return f"all {self.patches} patches go"
        named = ", ".join(f"{each.number} ({each.subject})" for each in self.conflicts[:PATCHES_NAMED])
        more = f" and {len(self.conflicts) - PATCHES_NAMED} more" if len(self.conflicts) > PATCHES_NAMED else ""
        return f"patch {named}{more} will break"


class Forecast(Record):
    """One look. The first outlook is on the branch that trunk is rebased on, the others on `next_branches`."""

    fork: str
    looked_at: datetime
    trunk: str
    behind: Behind
    outlooks: tuple[Outlook, ...]
    seconds: float

    @property
    def tonight(self) -> Outlook:
        """What the next run will meet if nothing moves."""
        return self.outlooks[0]

    @property
    def breaks(self) -> tuple[Outlook, ...]:
        return tuple(each for each in self.outlooks if each.breaks)
