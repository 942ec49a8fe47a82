"""The one long-lived pull request of a fork, from trunk to mirror, that shows what the fork carries.

What belongs here: finding it, opening it again, making it, editing it in place. What does not: what it says
(`delta.py`), and how a forge does any of this (`upkeep/forges`).

It is never merged and decides nothing, so nothing that goes wrong with it ends a run: the report has a note then. Ours
is one with our mark in its body or the label on it; another one that a person opened between the two branches is left
alone. Closed, it is opened again, because it is ours by design: before trunk is pushed, since GitHub opens none again
whose branch was rewritten while it was closed.

Its number and address lie in the fork's folder: a report has the link even where the forge or the database is away, and
finding it costs one call. Lost, it is searched for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from upkeep.database.events import EventType
from upkeep.errors import ForgeError, LockError, RunCancelled, UpkeepError
from upkeep.forges.base import Label, PullRequest
from upkeep.forks import delta, history
from upkeep.forks.delta import Shown
from upkeep.forks.desk import Desk
from upkeep.forks.records import Verification
from upkeep.forks.snapshot import Snapshot
from upkeep.guardrails.patch import Patch, Policy
from upkeep.guardrails.review import review

LABEL = Label(name="fork-delta", color="5319e7", description="What the fork carries on top of upstream; never merged")

_Result = TypeVar("_Result")

_RANGE_DIFF_KEPT = 30_000
"""Characters. It is shown until the next rebase, and a body never has room for more."""


class Known(BaseModel):
    """What the fork's folder remembers. `range_diff` is that of the rebase that made `tip`."""

    model_config = ConfigDict(frozen=True)

    forge: str
    repo: str
    number: int
    url: str
    tip: str = ""
    range_diff: str = ""


def link(desk: Desk) -> str | None:
    """Where the pull request is, as far as it is known; None: there is none, or it is turned off."""
    known = _known(desk) if desk.fork.delta_pull_request else None
    return known.url if known else None


def open_again(desk: Desk) -> None:
    """Open it again where somebody closed it. Called before trunk is pushed."""
    if not desk.fork.delta_pull_request or _known(desk) is None or desk.database is None:
        return
    _never_in_the_way(desk, lambda: _found_open(desk))


def shown(desk: Desk, snapshot: Snapshot, verification: Verification, tip: str | None) -> Shown | None:
    """Bring it up to date with trunk as it is now; None: that was not wanted, or did not work.

    `tip` is what was applied; None: trunk stays where it is, and the patches are shown as they stand, with those that
    do not go. Raises LockError and RunCancelled; whatever else goes wrong is a note in the report.
    """
    if not desk.fork.delta_pull_request or desk.verify_only or desk.database is None:
        return None
    with desk.step("delta", f"pull request from {desk.fork.trunk} to {desk.fork.mirror_branch}"):
        return _never_in_the_way(desk, lambda: _show(desk, snapshot, verification, tip))


def _show(desk: Desk, snapshot: Snapshot, verification: Verification, tip: str | None) -> Shown | None:
    assert desk.database is not None
    mirror = snapshot.mirror if tip is None else snapshot.upstream
    if mirror is None:
        return None  # There is none before the first rebase that goes.
    history.note_conflicts(desk.database, desk.name, desk.run_id, verification.conflicts)
    known = _known(desk)
    head = tip or snapshot.trunk
    range_diff = desk.draft.parts.get("range_diff", "") if tip else ""
    if not range_diff and known is not None and known.tip == head:
        range_diff = known.range_diff
    wanted = delta.read(
        desk.place.repository,
        verification,
        names=(desk.name, desk.fork.trunk, desk.fork.mirror_branch),
        tip=tip,
        mirror=mirror,
        conflicts=history.last_conflicts(desk.database, desk.name),
        range_diff=range_diff,
    )
    found = _found_open(desk)
    if found is None and not wanted.patches:
        # A forge has nothing to show between two equal branches.
        return delta.measured(wanted, "", None, "nothing")
    text, headline = delta.body(wanted, refuse=_refusal(desk)), delta.headline(wanted)
    made, action = (found, "unchanged") if found is not None else _made(desk, headline, text)
    if made is None:
        return None
    _remember(desk, made, head, range_diff)
    if LABEL.name not in map(str.lower, made.labels):
        desk.check()
        desk.forge.add_labels(desk.fork.repo, made.number, [LABEL])
    if made.title != headline or not delta.same(made.body, text):
        desk.check()
        desk.forge.edit_pull_request(desk.fork.repo, made.number, title=headline, body=text)
        desk.note(EventType.PR_EDITED, url=made.url)
        action = "edited" if action == "unchanged" else action
    return delta.measured(wanted, text, made.url, action)


def _made(desk: Desk, headline: str, text: str) -> tuple[PullRequest | None, delta.Action]:
    """A new one, or the one that is open between the two branches; None where that is a person's."""
    desk.check()
    fork = desk.fork
    made = desk.forge.create_pull_request(
        fork.repo, head=fork.trunk, base=fork.mirror_branch, title=headline, body=text, labels=()
    )
    if made.state != "open":
        raise ForgeError(
            f"#{made.number} was closed at once", remedy="Nothing to do: the next run makes one again.", url=made.url
        )
    if not _is_ours(desk, made):
        desk.draft.note(
            f"The pull request {made.url} from {fork.trunk} to {fork.mirror_branch} is a person's and was left alone: "
            f"put the label `{LABEL.name}` on it, and it becomes the fork's delta."
        )
        return None, "nothing"
    new = delta.same(made.body, text)
    desk.note(EventType.PR_CREATED if new else EventType.PR_ADOPTED, url=made.url)
    return made, "created" if new else "adopted"


def _found_open(desk: Desk) -> PullRequest | None:
    """Ours, open; None: there is none, or none that the forge would open again."""
    found = _find(desk)
    return _reopened(desk, found) if found is not None and found.state == "closed" else found


def _find(desk: Desk) -> PullRequest | None:
    """Ours between the two branches, open or closed; None: there is none that could be used again."""
    fork, known = desk.fork, _known(desk)
    if known is not None and (known.forge, known.repo) == (fork.forge, fork.repo):
        try:
            remembered = desk.forge.pull_request(fork.repo, known.number)
        except ForgeError as error:
            if error.reason != "forge.not_found":
                raise
        else:
            if remembered.state != "merged" and _between(desk, remembered):
                return remembered
    found = [one for one in desk.forge.pull_requests(fork.repo, branch_prefix=fork.trunk) if _between(desk, one)]
    ours = [one for one in found if _is_ours(desk, one)]
    return next(
        (one for one in ours if one.state == "open"), next((one for one in ours if one.state == "closed"), None)
    )


def _between(desk: Desk, one: PullRequest) -> bool:
    return (one.head_branch, one.base_branch) == (desk.fork.trunk, desk.fork.mirror_branch)


def _is_ours(desk: Desk, one: PullRequest) -> bool:
    return delta.fork_of(one.body) == desk.name or LABEL.name in map(str.lower, one.labels)


def _reopened(desk: Desk, closed: PullRequest) -> PullRequest | None:
    """It, open; None where the forge will not, and a new one takes its place."""
    desk.check()
    try:
        opened = desk.forge.reopen_pull_request(desk.fork.repo, closed.number)
    except ForgeError as error:
        if error.reason != "forge.cannot_reopen":
            raise
        return None
    desk.note(EventType.PR_REOPENED, url=opened.url)
    return opened


class _Refusal:
    """Says why a part of the body must not be published, each text once."""

    def __init__(self, secrets: list[str]) -> None:
        self._policy = Policy(secrets=tuple(map(SecretStr, secrets)))
        self._seen: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        if text not in self._seen:
            errors = review(Patch(texts={"body": text}), self._policy).errors
            self._seen[text] = errors[0].message if errors else ""
        return self._seen[text]


def _refusal(desk: Desk) -> _Refusal:
    return _Refusal(desk.settings.secrets())


def _never_in_the_way(desk: Desk, what: Callable[[], _Result]) -> _Result | None:
    """Do it; an error is a note in the report and None, but for one that ends the run."""
    try:
        return what()
    except (LockError, RunCancelled):
        raise
    except (UpkeepError, OSError) as error:
        said = error.message if isinstance(error, UpkeepError) else f"{error.strerror}"
        more = f" {error.remedy}" if isinstance(error, UpkeepError) and error.remedy else ""
        desk.draft.note(f"The delta pull request was not brought up to date: {said}.{more}")
        return None


def _file(desk: Desk) -> Path:
    return desk.folder / "delta.json"


def _known(desk: Desk) -> Known | None:
    try:
        return Known.model_validate_json(_file(desk).read_bytes())
    except (OSError, ValidationError):
        return None


def _remember(desk: Desk, one: PullRequest, tip: str, range_diff: str) -> None:
    known = Known(
        forge=desk.fork.forge,
        repo=desk.fork.repo,
        number=one.number,
        url=one.url,
        tip=tip,
        range_diff=range_diff[:_RANGE_DIFF_KEPT],
    )
    if known == _known(desk):
        return
    file = _file(desk)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    new.write_text(json.dumps(known.model_dump()))
    new.replace(file)
