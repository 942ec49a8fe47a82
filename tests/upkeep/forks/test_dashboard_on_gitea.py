"""The one long-lived pull request of a fork on Gitea: made, labelled, edited, opened again."""

from __future__ import annotations

import pytest

from tests.support.gitea import BOT, Gitea, Hosted
from tests.support.gitea_server import ROOT_URL, Topic
from tests.support.rebases import World, rebase, theirs
from tests.support.repositories import RepoBuilder
from upkeep.database.server import Database
from upkeep.forks.outcomes import Outcome
from upkeep.forks.report import Report

REPO = "o/fork"


@pytest.fixture
def hosted(world: World, gitea: Gitea) -> Hosted:
    hosted = gitea.repo(REPO, world.fork)
    world.fork = RepoBuilder(hosted.bare.path, create=False)
    world.work.git("remote", "set-url", "origin", str(hosted.bare.path))
    return hosted


def day(world: World, gitea: Gitea, database: Database, text: str) -> Report:
    """A day on which upstream changed, and the rebase goes."""
    world.commit_upstream({"a.txt": theirs(text=text)})
    desk = world.desk(database=database)
    desk.forge = gitea.forge(sleep=lambda _: None)
    report = rebase(desk)
    assert report.outcome is Outcome.REBASED
    return report


def names(hosted: Hosted, pull: Topic) -> list[str]:
    return [hosted.record.labels[number]["name"] for number in pull.labels]


def test_it_is_made_with_its_label_and_edited_in_place(
    world: World, gitea: Gitea, hosted: Hosted, database: Database
) -> None:
    report = day(world, gitea, database, "one")
    assert report.delta_pull_request == f"{ROOT_URL}{REPO}/pulls/1"
    pull = hosted.pulls[1]
    assert (pull.head, pull.base, pull.author, names(hosted, pull)) == ("trunk", "main", BOT, ["fork-delta"])
    before = pull.body
    day(world, gitea, database, "two")
    assert list(hosted.pulls) == [1]
    assert hosted.pulls[1].body != before


def test_one_that_was_closed_is_opened_again(world: World, gitea: Gitea, hosted: Hosted, database: Database) -> None:
    day(world, gitea, database, "one")
    hosted.closes(1)
    day(world, gitea, database, "two")
    assert {number: pull.state for number, pull in hosted.pulls.items()} == {1: "open"}
