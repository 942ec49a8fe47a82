"""Which upstream commits an update covers, and from where its branch starts: a pure decision.

What belongs here: the rules, as a function over what the forge, the target and the upstream's history say. What does
not: asking them (`service.py`).

The rules, in order:

1. A pull request for this very head settles the matter: open or merged means it is there, closed by a person means no.
2. The content says which upstream commit it describes (`_evidence.json` on the commit that the branch will start from).
   A later head whose pull request a person closed unmerged takes its place: declined content is not proposed again.
3. The branch starts from the target's base branch, or from the newest open pull request that a person touched.
   Open pull requests that nobody touched are superseded: the new one covers their range too.
4. Where the recorded commit is no ancestor of the head, history was rewritten: the range starts at the merge base, and
   without one the whole tree is looked at again (bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from upkeep.errors import ConfigError
from upkeep.forges.base import PullRequest

Decision = Literal["update", "nothing_new", "exists", "declined", "irrelevant", "given_up"]

RangeKind = Literal["range", "bootstrap", "rewritten"]

BRANCH_PREFIX = "autoupdate/analytics/"


class History(Protocol):
    """What the upstream repository knows of its commits. Unknown SHAs are nobody's ancestor and have no merge base."""

    def exists(self, sha: str) -> bool: ...

    def is_ancestor(self, ancestor: str, descendant: str) -> bool: ...

    def merge_base(self, one: str, other: str) -> str | None: ...


@dataclass(frozen=True)
class Proposed:
    """One pull request of this watch. `touched`: a person committed to it or reviewed it; `superseded`: we closed it in
    favour of a later one; `describes`: the upstream commit that the content on its head records of itself."""

    pull_request: PullRequest
    touched: bool = False
    superseded: bool = False
    describes: str | None = None

    @property
    def upstream_head(self) -> str:
        return self.pull_request.head_branch.removeprefix(BRANCH_PREFIX)

    @property
    def declined(self) -> bool:
        return self.pull_request.state == "closed" and not self.superseded


@dataclass(frozen=True)
class RangePlan:
    """`decision` with its reason in words. Fields mean what they mean in `records.ChangeSet`."""

    decision: Decision
    reason: str
    kind: RangeKind = "range"
    base: str | None = None
    described: str | None = None
    stacked_on: Proposed | None = None
    supersedes: tuple[Proposed, ...] = ()
    pull_request: PullRequest | None = None


def decide(
    head: str, *, recorded: str | None, begin_after: str | None, proposed: Sequence[Proposed], history: History
) -> RangePlan:
    """Decide what to do about `head`. `recorded` is what the content on the target's base branch describes.

    Raises ConfigError `config.begin_after` where that commit is not in the upstream.
    """
    others = [each for each in proposed if each.upstream_head != head]
    abandoned = tuple(each for each in others if each.pull_request.state == "open" and not each.touched)
    same_head = [each for each in proposed if each.upstream_head == head]
    if settled := _settled(same_head, abandoned):
        return settled

    touched = [each for each in others if each.pull_request.state == "open" and each.touched]
    stacked_on = max(touched, key=lambda each: each.pull_request.number, default=None)
    if stacked_on is not None:
        recorded = stacked_on.describes or stacked_on.upstream_head
    start = _after_declined(head, recorded, others, history)
    if start is None and begin_after is not None:
        if not history.is_ancestor(begin_after, head):
            raise ConfigError(
                f"begin_after names {begin_after}, which is no commit in the history of the upstream's head",
                code="config.begin_after",
                remedy="Give the full SHA of a commit on the watched branch, or remove begin_after for a bootstrap.",
            )
        start = begin_after
    return _range(start, head, history, stacked_on, abandoned)


def _settled(same_head: Sequence[Proposed], abandoned: tuple[Proposed, ...]) -> RangePlan | None:
    for each in same_head:
        number = each.pull_request.number
        if each.pull_request.state == "open":
            reason = f"pull request #{number} proposes this head already"
            return RangePlan("exists", reason, pull_request=each.pull_request, supersedes=abandoned)
        if each.pull_request.state == "merged":
            return RangePlan(
                "exists", f"pull request #{number} for this head is merged", pull_request=each.pull_request
            )
    for each in same_head:
        if each.declined:
            reason = f"pull request #{each.pull_request.number} for this head was closed unmerged"
            return RangePlan("declined", reason, pull_request=each.pull_request)
    return None


def _after_declined(head: str, recorded: str | None, others: Sequence[Proposed], history: History) -> str | None:
    """The latest of what is recorded and what was declined after it, on the way to `head`."""
    start = recorded
    for each in others:
        sha = each.upstream_head
        on_the_way = each.declined and history.exists(sha) and history.is_ancestor(sha, head)
        if on_the_way and (start is None or (history.exists(start) and history.is_ancestor(start, sha))):
            start = sha
    return start


def _range(
    start: str | None,
    head: str,
    history: History,
    stacked_on: Proposed | None,
    supersedes: tuple[Proposed, ...],
) -> RangePlan:
    if start is None:
        reason = "first run: the content records no upstream commit, so the whole tree is looked at"
        return RangePlan("update", reason, "bootstrap", stacked_on=stacked_on, supersedes=supersedes)
    if start == head:
        return RangePlan("nothing_new", f"the content describes upstream commit {head[:12]} already")
    if not history.exists(start):
        reason = f"history was rewritten: recorded commit {start[:12]} is gone from the upstream, so the whole tree is"
        return RangePlan("update", reason + " looked at", "bootstrap", stacked_on=stacked_on, supersedes=supersedes)
    if history.is_ancestor(start, head):
        reason = f"upstream moved from {start[:12]} to {head[:12]}"
        return RangePlan("update", reason, "range", start, start, stacked_on, supersedes)
    if history.is_ancestor(head, start):
        reason = (
            f"upstream head {head[:12]} is older than {start[:12]}, which the content describes: the range is empty"
        )
        return RangePlan("nothing_new", reason)
    base = history.merge_base(start, head)
    if base is None:
        reason = f"history was rewritten: {start[:12]} and {head[:12]} have no common ancestor"
        return RangePlan("update", reason, "bootstrap", stacked_on=stacked_on, supersedes=supersedes)
    reason = (
        f"history was rewritten: {start[:12]} is no ancestor of {head[:12]}, so the range starts at their merge base"
    )
    return RangePlan("update", reason, "rewritten", base, start, stacked_on, supersedes)
