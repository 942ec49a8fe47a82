"""A rebase whose conflicts an agent settled, as a branch and a pull request for a person.

What belongs here: names, words, and bringing both to the forge. What does not: having conflicts settled
(`judgement.py`), and finding out what the person thinks of it (`acceptance.py`).

The branch holds exactly what trunk would be, and is named for that commit: `upkeep/rebase/FORK/SHA`. Its base is a
branch of ours at upstream's head, `upkeep/onto/FORK`. So the pull request shows the fork's patches and nothing else,
and merging it is a safe way to say yes: nothing but that base moves. Into trunk it could not be merged, since a rebase
replaces what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import SecretStr

from upkeep import publish
from upkeep.errors import ForgeError, PushRefused
from upkeep.forges import text
from upkeep.forges.base import PullRequest
from upkeep.forges.text import code, fenced, inline, prose
from upkeep.forks import pushing
from upkeep.forks.desk import Desk
from upkeep.forks.pushing import NotAtomic, Update
from upkeep.forks.records import ConflictingPatch, KeptPatch, Record, Verification
from upkeep.forks.settling import Taken
from upkeep.forks.snapshot import Snapshot
from upkeep.forks.verify import shown
from upkeep.git import Repository
from upkeep.guardrails.patch import FileChange, Patch, Policy
from upkeep.guardrails.report import GuardrailReport
from upkeep.guardrails.review import review

_RANGE_DIFF = 24_000
_FILES_MOST = 200

GatesSaid = Literal["passed", "skipped", "none"]


class Proposed(Record):
    """What is proposed. `tip` is what trunk would be, `settled` the patches that conflicted, `conflicts` what
    verification found about them."""

    fork: str
    trunk: str
    before: str
    upstream: str
    tip: str
    patches: int
    settled: tuple[KeptPatch, ...]
    conflicts: tuple[ConflictingPatch, ...]
    gates: GatesSaid
    agent: str
    model: str = ""
    unsafe: bool = False
    words: Mapping[int, tuple[str, ...]]
    range_diff: str = ""

    @property
    def branch(self) -> str:
        return f"{prefix(self.fork)}{self.tip}"

    @property
    def base(self) -> str:
        return f"upkeep/onto/{self.fork}"


def prefix(fork: str) -> str:
    """What the branches of all proposals of a fork begin with."""
    return f"upkeep/rebase/{fork}/"


def proposed(
    desk: Desk,
    verification: Verification,
    rebased: Verification,
    tip: str,
    taken: Sequence[Taken],
    *,
    gates: GatesSaid,
    unsafe: bool,
    range_diff: str,
) -> Proposed:
    """Put together what is said, from what verification found and what `rebased` came to."""
    words = {each.stop.patch.number: tuple(_words(each)) for each in taken}
    return Proposed(
        fork=desk.name,
        trunk=desk.fork.trunk,
        before=verification.head,
        upstream=verification.onto,
        tip=tip,
        patches=len(rebased.kept),
        settled=tuple(each for each in rebased.kept if each.settled),
        conflicts=verification.conflicts,
        gates=gates,
        agent=desk.agent.name,
        model=desk.agent.model,
        unsafe=unsafe,
        words=words,
        range_diff=range_diff,
    )


def title(what: Proposed) -> str:
    count = len(what.settled)
    return text.title(
        f"Rebase of {what.fork}: {count} {'conflict' if count == 1 else 'conflicts'} settled "
        f"(upstream {what.upstream[:12]})"
    )


def body(what: Proposed) -> str:
    """The whole body, cut to what a forge takes."""
    parts = [
        f"<!-- upkeep:rebase {what.fork} {what.tip} -->",
        _opening(what),
        *(_patch(what, each) for each in what.settled),
    ]
    if what.range_diff:
        summary = "<details><summary>How the patches differ from those on trunk (range-diff)</summary>"
        parts.append(f"{summary}\n\n{fenced(what.range_diff, 'diff', limit=_RANGE_DIFF)}\n\n</details>")
    return text.fit("\n\n".join(parts) + "\n")


def checked(desk: Desk, what: Proposed, files: Sequence[FileChange]) -> GuardrailReport:
    """The guardrails over what the agent wrote and what we say of it. It may write the files in conflict, protected
    ones too: a person looks at them. `old` of a file holds all sides of its conflict, so that a line is new where the
    agent invented it."""
    rules = desk.settings.guardrails
    policy = Policy(
        max_lines=None,
        lines_exempt="the sides of a conflict are compared as one text",
        max_files=rules.max_files or _FILES_MOST,
        allow=tuple(each.path for each in files),
        deny=rules.deny,
        secrets=tuple(map(SecretStr, desk.settings.secrets())),
    )
    texts = {"title": title(what), "body": body(what), "branch": what.branch}
    return review(Patch(files=tuple(files), texts=texts), policy)


def send(desk: Desk, snapshot: Snapshot, what: Proposed) -> PullRequest:
    """Push branch and base, make the pull request, and read it back. Done again it finds what is there.

    Raises PushRefused (`git.person_on_branch`, or as `pushing.push`), ForgeError (`forge.not_as_sent`, or as a forge).
    """
    _push(desk, snapshot, what)
    desk.check()
    forge, repo = desk.forge, desk.fork.repo
    made = forge.create_pull_request(repo, head=what.branch, base=what.base, title=title(what), body=body(what))
    made = forge.pull_request(repo, made.number)
    if made.state == "open" and (made.head_sha, made.base_branch) != (what.tip, what.base):
        raise ForgeError(
            f"{made.url} is not as it was sent: it goes from {made.head_sha} to {made.base_branch}",
            code="forge.not_as_sent",
            remedy=f"Look at {made.url}, close it, and run again.",
        )
    return made


def supersede(desk: Desk, made: PullRequest) -> None:
    """Close the proposals before this one, with a pointer to it. What a person has touched stays open."""
    others = desk.forge.pull_requests(desk.fork.repo, branch_prefix=prefix(desk.name), state="open")
    publish.close_superseded(desk.forge, desk, made, [each for each in others if each.number != made.number])


def _push(desk: Desk, snapshot: Snapshot, what: Proposed) -> None:
    place = desk.place
    wanted = {f"refs/heads/{what.base}": snapshot.upstream, f"refs/heads/{what.branch}": what.tip}
    there = Repository.remote_heads(place.push_url, list(wanted), config=place.config, env=place.env)
    branch = f"refs/heads/{what.branch}"
    if there.get(branch, what.tip) != what.tip:
        raise PushRefused(
            f"{what.branch} is at {there[branch]}, which is not the commit that it is named for",
            code="git.person_on_branch",
            remedy="Rename or delete that branch, and run again.",
            branch=what.branch,
        )
    updates = [Update(ref, sha, there.get(ref)) for ref, sha in wanted.items() if there.get(ref) != sha]
    if not updates:
        return
    desk.check()
    try:
        pushing.push(place, updates)
    except NotAtomic:
        for update in updates:
            desk.check()
            pushing.push(place, [update])


def _words(taken: Taken) -> list[str]:
    """The agent's own words about one patch; somebody else's text until it is escaped."""
    said = {decision.path: decision for decision in taken.settlement.files}
    lines = [
        f"{code(path)} {said[path].decision}: {inline(said[path].why, limit=600)}"
        for path in (shown(each.path) for each in taken.stop.sides)
        if path in said
    ]
    return lines + [f"Doubt: {inline(doubt, limit=600)}" for doubt in taken.settlement.doubts[:10]]


def _opening(what: Proposed) -> str:
    who = f"Agent {code(what.agent)}" + (f" (model {code(what.model)})" if what.model else "")
    gates = {
        "passed": "**The gates passed on exactly this commit.**",
        "skipped": "**The gates were left out (--skip-gates).**",
        "none": "The fork has no gates: nothing was tested.",
    }[what.gates]
    count = len(what.settled)
    trunk, does = code(what.trunk), "does" if count == 1 else "do"
    lines = [
        f"{count} of {what.patches} patches of {trunk} {does} not go onto upstream's {code(what.upstream[:12])}. {who} "
        f"settled the conflicts. This branch is what {trunk} would be then: {code(what.tip)}. {gates}",
        "",
        f"- **Merge it to accept.** It goes into {code(what.base)}, a branch that is there for this alone; {trunk} is "
        "not moved. The next run rebases it with these resolutions, runs the gates again, and pushes what passed.",
        "- **Change it first** if something is not right: commit to this branch, then merge. The files count as you "
        "leave them.",
        "- **Close it to decline.** The agent is not asked about these conflicts again.",
    ]
    if what.unsafe:
        lines += ["", "> **Warning:** the agent ran without our sandbox (`unsafe_no_sandbox: true`)."]
    return "\n".join(lines)


def _patch(what: Proposed, kept: KeptPatch) -> str:
    conflict = next((each for each in what.conflicts if each.sha == kept.sha), None)
    lines = [f"## Patch {kept.number}: {inline(kept.subject)}", "", f"{code(kept.sha[:12])} by {inline(kept.author)}"]
    if conflict is not None and (breaker := conflict.broken_by) is not None:
        lines[-1] += f", broken by {code(breaker.sha[:12])} {inline(breaker.subject)} ({inline(breaker.author)})"
    lines.append("")
    words = what.words.get(kept.number)
    if words:
        lines += ["In the words of the agent, which nothing checks:", "", *(f"> - {line}" for line in words)]
    else:
        lines += [f"- {code(each.path)}: {prose(each.by)}" for each in kept.settled]
    return "\n".join(lines)
