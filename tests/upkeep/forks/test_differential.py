"""The engine against the real `git rebase`, on generated histories: the same tip, or the same first conflict."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support import histories
from tests.support.histories import COMMITTER, WHEN, History, Real, Step, real_rebase
from upkeep.forks import attributes, worktree
from upkeep.forks.engine import Engine
from upkeep.forks.quarantine import quarantine
from upkeep.forks.rawcommit import Committer
from upkeep.forks.stack import read_stack
from upkeep.forks.stops import Settled, Stop
from upkeep.git import Repository

RITA = Committer(*COMMITTER, datetime.fromtimestamp(WHEN, UTC))


def agree(history: History, *, single: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="upkeep-fuzz-") as name:
        folder = Path(name)
        histories.build(history, folder / "repository")
        repository = Repository.open(folder / "repository")
        onto, head = str(repository.resolve("upstream")), str(repository.resolve("fork"))
        before = list(histories.refs(repository.path))
        with quarantine(repository) as place, Engine(place, RITA, single=single) as engine:
            attributes.lay_out(place, onto)
            ours = engine.rebase(read_stack(place, onto, head))
        assert list(histories.refs(repository.path)) == before
        theirs = real_rebase(repository.path, onto, head, folder / "worktree")
    if ours.clean:
        assert Real(ours.tip) == theirs
    else:
        first = ours.conflicts[0]
        assert Real("", first.patch.sha, first.files) == theirs
        assert first.types
        assert first.after == ()


FIXED = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
MANY = settings(FIXED, max_examples=900, derandomize=False)
"""About a second each on a machine that has other work as well: a quarter of an hour."""


@FIXED
@given(histories.histories())
def test_the_engine_makes_what_git_rebase_makes(history: History) -> None:
    agree(history, single=False)


@settings(FIXED, max_examples=8)
@given(histories.histories(fork=4))
def test_a_process_for_each_merge_gives_the_same(history: History) -> None:
    agree(history, single=True)


def as_the_patch_has_it(stop: Stop) -> Settled | None:
    """What a person decides who always takes the patch's side, where contents are all that is to be decided."""
    if not stop.by_content:
        return None
    return Settled({each.path: each.theirs for each in stop.sides}, {each.path: "theirs" for each in stop.sides})


def agree_on_what_was_settled(history: History) -> None:
    """In memory and by git in a worktree, a resolution has to come to the same commits."""
    with tempfile.TemporaryDirectory(prefix="upkeep-fuzz-") as name:
        folder = Path(name)
        histories.build(history, folder / "repository")
        repository = Repository.open(folder / "repository")
        onto, head = str(repository.resolve("upstream")), str(repository.resolve("fork"))
        with quarantine(repository) as place, Engine(place, RITA) as engine:
            attributes.lay_out(place, onto)
            stack = read_stack(place, onto, head)
            ours = engine.rebase(stack, as_the_patch_has_it)
        with quarantine(repository) as place:
            theirs = worktree.rebase(place, stack, RITA, folder=folder / "trees", settle=as_the_patch_has_it)
    assert [(each.patch.sha, each.sha) for each in ours.kept] == [(each.patch.sha, each.sha) for each in theirs.kept]
    assert ours.tip == theirs.tip
    settled = [(each.patch.sha, each.settled) for each in ours.kept if each.settled]
    assert settled == [(each.patch.sha, each.settled) for each in theirs.kept if each.settled]
    assert [(each.patch.sha, each.files) for each in ours.conflicts] == [
        (each.patch.sha, each.files) for each in theirs.conflicts
    ]


@settings(FIXED, max_examples=15)
@given(histories.histories(upstream=4, fork=4))
def test_what_settles_a_conflict_comes_to_the_same_commits_in_memory_and_by_git(history: History) -> None:
    agree_on_what_was_settled(history)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(MANY, max_examples=400)
@given(histories.histories())
def test_what_settles_a_conflict_comes_to_the_same_commits_many_times(history: History) -> None:
    agree_on_what_was_settled(history)


@pytest.mark.long
@pytest.mark.timeout(3600)
@MANY
@given(histories.histories(upstream=10, fork=10))
def test_the_engine_makes_what_git_rebase_makes_many_times(history: History) -> None:
    agree(history, single=False)


@pytest.mark.long
def test_a_git_that_keeps_its_answers_to_itself_gets_a_process_for_each_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without stdbuf a git before 2.49 answers only when its buffer is full: that is noticed, and waited for once."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("git", "sh", "sed"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))
    step = Step("edit", "f0", "f0", 1, 1, b"Ours\n", histories.AUTHORS[0])
    history = History((), (replace(step, line=4),), (step, replace(step, file="f1")))
    agree(history, single=False)
