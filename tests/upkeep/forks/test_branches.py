"""Branches on trunk, restacked in memory: real repositories, whole runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.rebases import TRUNK, World, theirs
from tests.support.repositories import RepoBuilder
from upkeep.forks.outcomes import Outcome
from upkeep.forks.report import Report, Restack


@pytest.fixture
def plain(world: World) -> World:
    world.settings |= {"stack": "plain", "stack_branches": ["feat/*"]}
    return world


def branch(world: World, name: str, changes: dict[str, str], on: str = "trunk", message: str = "") -> str:
    """A branch of the person's with one commit on `on`; the checkout is back on trunk afterwards."""
    world.work.switch(name, on)
    sha = world.work.commit(changes, message or name)
    world.work.git("switch", "-q", "trunk")
    return sha


def results(report: Report) -> dict[str, Restack]:
    assert report.stack is not None
    return {each.branch: each for each in report.stack.branches}


def tree_by_git(world: World, name: str, onto: str, base: str, head: str) -> str:
    """What the real `git rebase --onto` makes of the branch, in a worktree that is removed."""
    place = world.home.parent / f"by-git-{name.replace('/', '-')}"
    world.work.git("worktree", "add", "-q", "--detach", str(place), head)
    tree = RepoBuilder(place, create=False)
    tree.git("-c", "user.name=A", "-c", "user.email=a@b.c", "rebase", "-q", "--onto", onto, base)
    made = tree.git("rev-parse", "HEAD^{tree}")
    world.work.git("worktree", "remove", "--force", str(place))
    return made


def test_every_own_branch_comes_along_as_git_would_bring_it(plain: World) -> None:
    old = plain.work.head()
    heads = {
        "feat/a": branch(plain, "feat/a", {"new.txt": "a\n"}),
        "feat/b": branch(plain, "feat/b", {"b.txt": theirs(17, "b")}),
    }
    other = branch(plain, "other", {"other.txt": "x\n"})
    plain.commit_upstream({"a.txt": theirs()})

    report = plain.run()

    assert (report.outcome, report.exit_code) == (Outcome.REBASED, 0)
    assert report.stack is not None
    assert report.stack.kind == "plain"
    tip = plain.fork.head("trunk")
    for name, head in heads.items():
        done = results(report)[name]
        assert (done.result, done.before, done.after) == ("restacked", head, plain.work.head(name))
        assert plain.work.git("rev-parse", f"{name}^") == tip
        assert plain.work.git("rev-parse", f"{name}^{{tree}}") == tree_by_git(plain, name, tip, old, head)
    assert plain.work.head("other") == other
    assert set(plain.fork.refs()) == {"refs/heads/main", TRUNK}


def test_a_branch_on_a_branch_comes_out_on_top_of_it_again(plain: World) -> None:
    branch(plain, "feat/a", {"new.txt": "a\n"})
    branch(plain, "feat/b", {"more.txt": "b\n"}, on="feat/a")
    plain.commit_upstream({"a.txt": theirs()})

    assert plain.run().outcome is Outcome.REBASED

    assert plain.work.git("rev-parse", "feat/b^") == plain.work.head("feat/a")
    assert plain.work.git("rev-parse", "feat/a^") == plain.work.head("trunk")


def test_a_branch_that_conflicts_stays_and_the_others_go(plain: World) -> None:
    bad = branch(plain, "feat/bad", {"a.txt": theirs(15, "mine")}, message="Mine")
    good = branch(plain, "feat/good", {"new.txt": "a\n"})
    plain.commit_upstream({"a.txt": theirs(15)})

    report = plain.run()

    assert (report.outcome, report.exit_code) == (Outcome.STACK_FAILED, 13)
    assert plain.fork.head("trunk") == plain.work.head("trunk")
    assert {name: each.result for name, each in results(report).items()} == {
        "feat/bad": "conflict",
        "feat/good": "restacked",
    }
    (conflict,) = results(report)["feat/bad"].conflicts
    assert (conflict.subject, conflict.conflicts) == ("Mine", ("a.txt",))
    assert plain.work.head("feat/bad") == bad
    assert plain.work.head("feat/good") != good
    text = next(plain.home.glob(f"reports/rebase/fork/*/{report.run_id}/summary.md")).read_text()
    assert "`feat/bad`: Patch 1 conflicts: Mine" in text
    assert "Rebase `feat/bad` by hand" in report.next_actions[0]


def test_the_commands_of_a_conflict_stop_at_it(plain: World, tmp_path: Path) -> None:
    branch(plain, "feat/bad", {"a.txt": theirs(15, "mine")}, message="Mine")
    plain.commit_upstream({"a.txt": theirs(15)})
    (conflict,) = results(plain.run())["feat/bad"].conflicts

    script = "\n".join(["set +e", "export GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b.c", *conflict.reproduce])
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True)

    assert f"could not apply {conflict.sha[:7]}" in done.stdout + done.stderr
    assert any(" --onto " in command for command in conflict.reproduce)


def test_a_branch_on_a_trunk_of_before_comes_along_without_its_old_patches(plain: World) -> None:
    """The day after it conflicted, or was left alone: trunk has moved away beneath it."""
    head = branch(plain, "feat/late", {"new.txt": "late\n"})
    plain.settings["stack"] = "none"
    plain.commit_fork({"b.txt": theirs(3, "better")}, "Mend the second patch")
    plain.work.git("pull", "-q")
    plain.commit_upstream({"a.txt": theirs()})
    plain.run()
    plain.settings["stack"] = "plain"

    report = plain.run()

    assert report.outcome is Outcome.NO_CHANGE
    done = results(report)["feat/late"]
    assert (done.result, done.before) == ("restacked", head)
    assert plain.work.git("rev-parse", "feat/late^") == plain.fork.head("trunk")


def test_a_branch_that_has_nothing_left_is_left_and_said_to_be_done(plain: World) -> None:
    head = branch(plain, "feat/landed", {"a.txt": theirs(15).replace("line 3\n", "ours\n")})
    plain.commit_upstream({"a.txt": theirs(15)})

    report = plain.run()

    assert report.exit_code == 0
    assert results(report)["feat/landed"].result == "left"
    assert "can be deleted" in results(report)["feat/landed"].note
    assert plain.work.head("feat/landed") == head


def test_a_branch_without_a_commit_follows_trunk(plain: World) -> None:
    plain.work.git("branch", "-q", "feat/fresh", "trunk")
    plain.commit_upstream({"a.txt": theirs()})

    plain.run()

    assert plain.work.head("feat/fresh") == plain.work.head("trunk")


def test_a_branch_beside_trunk_is_no_business_of_ours(plain: World) -> None:
    head = branch(plain, "feat/upstream", {"new.txt": "for upstream\n"}, on="main")
    plain.commit_upstream({"a.txt": theirs()})

    report = plain.run()

    assert report.exit_code == 0
    assert (results(report)["feat/upstream"].result, plain.work.head("feat/upstream")) == ("left", head)


def test_a_day_without_news_leaves_the_branches_as_they_are(plain: World) -> None:
    head = branch(plain, "feat/a", {"new.txt": "a\n"})

    report = plain.run()

    assert report.outcome is Outcome.NO_CHANGE
    assert (results(report)["feat/a"].result, plain.work.head("feat/a")) == ("unchanged", head)


def test_no_branch_on_trunk_is_a_no_op_that_says_so(plain: World) -> None:
    plain.commit_upstream({"a.txt": theirs()})

    report = plain.run()

    assert report.outcome is Outcome.REBASED
    assert report.stack is not None
    assert report.stack.note == "No branch stands on trunk: there was nothing to restack."
    assert report.stack.branches == ()


def test_none_leaves_all_alone(plain: World) -> None:
    plain.settings["stack"] = "none"
    head = branch(plain, "feat/a", {"new.txt": "a\n"})
    plain.commit_upstream({"a.txt": theirs()})

    report = plain.run()

    assert report.stack is not None
    assert report.stack.kind == "none"
    assert plain.work.head("feat/a") == head


class TestACheckedOutBranch:
    def test_that_is_clean_comes_along_with_its_files(self, plain: World) -> None:
        branch(plain, "feat/a", {"new.txt": "a\n"})
        plain.work.git("switch", "-q", "feat/a")
        plain.commit_upstream({"a.txt": theirs()})

        assert plain.run().outcome is Outcome.REBASED

        assert plain.work.git("rev-parse", "HEAD^") == plain.fork.head("trunk")
        assert plain.work.git("status", "--porcelain") == ""
        assert (plain.work.path / "a.txt").read_text() == theirs().replace("line 3\n", "ours\n")

    def test_that_has_changes_stays_and_so_do_they(self, plain: World) -> None:
        head = branch(plain, "feat/a", {"new.txt": "a\n"})
        plain.work.git("switch", "-q", "feat/a")
        (plain.work.path / "new.txt").write_text("not committed\n")
        plain.commit_upstream({"a.txt": theirs()})

        report = plain.run()

        assert report.exit_code == 13
        assert "checked out" in results(report)["feat/a"].note
        assert plain.work.head("feat/a") == head
        assert (plain.work.path / "new.txt").read_text() == "not committed\n"
        assert plain.work.head("trunk") == plain.fork.head("trunk")

    def test_in_a_linked_worktree_comes_along_there(self, plain: World, tmp_path: Path) -> None:
        branch(plain, "feat/a", {"new.txt": "a\n"})
        plain.work.git("worktree", "add", "-q", str(tmp_path / "linked"), "feat/a")
        plain.commit_upstream({"a.txt": theirs()})

        assert plain.run().outcome is Outcome.REBASED

        linked = RepoBuilder(tmp_path / "linked", create=False)
        assert linked.git("rev-parse", "HEAD^") == plain.fork.head("trunk")
        assert linked.git("status", "--porcelain") == ""


def test_a_branch_that_moves_meanwhile_is_left_where_it_is(plain: World) -> None:
    branch(plain, "feat/a", {"new.txt": "a\n"})
    plain.commit_upstream({"a.txt": theirs()})
    moved: list[str] = []

    def may() -> None:
        if not moved and plain.work.head("trunk") == plain.fork.head("trunk") != plain.work.head("feat/a^"):
            moved.append(branch(plain, "feat/moved", {"more.txt": "b\n"}, on="feat/a"))
            plain.work.git("branch", "-q", "-f", "feat/a", "feat/moved")

    report = plain.run(may=may)

    assert moved
    assert report.exit_code == 13
    assert results(report)["feat/a"].result == "failed"
    assert plain.work.head("feat/a") == moved[0]


@pytest.mark.parametrize("asked", [4, 5], ids=["before the first", "before the second"])
def test_kill_9_between_branches_is_finished_by_the_next_run(plain: World, asked: int) -> None:
    for name in ("feat/a", "feat/b"):
        branch(plain, name, {f"{name[-1]}2.txt": "x\n"})
    plain.commit_upstream({"a.txt": theirs()})
    program = f"""
import os, signal, sys
from pathlib import Path
from tests.support.rebases import make_desk, rebase
left = {asked}
def may():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
fork = {{"path": sys.argv[1], "stack": "plain", "stack_branches": ["feat/*"]}}
rebase(make_desk(Path(sys.argv[2]), "killed", fork, may=may))
"""
    argv = [sys.executable, "-c", program, str(plain.work.path), str(plain.home)]
    killed = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True)
    assert killed.returncode == -9, killed.stderr
    tip = plain.fork.head("trunk")
    moved = [plain.work.git("rev-parse", f"{name}^") == tip for name in ("feat/a", "feat/b")]
    assert moved == [asked == 5, False]
    assert plain.work.git("status", "--porcelain") == ""
    assert len(plain.work.git("worktree", "list").splitlines()) == 1

    report = plain.run()

    assert report.exit_code == 0
    assert [plain.work.git("rev-parse", f"{name}^") for name in ("feat/a", "feat/b")] == [tip, tip]
    assert not (plain.home / "forks/fork/lock").exists()


def test_branches_that_only_git_may_carry_over_go_through_a_worktree(plain: World) -> None:
    old = plain.work.head()
    head = branch(plain, "feat/a", {"new.txt": "a\n"})
    plain.work.git("config", "merge.ours.driver", "true")
    plain.commit_upstream({"a.txt": theirs(), ".gitattributes": "*.txt merge=ours\n"})

    report = plain.run()

    assert results(report)["feat/a"].result == "restacked"
    tip = plain.fork.head("trunk")
    assert plain.work.git("rev-parse", "feat/a^") == tip
    assert plain.work.git("rev-parse", "feat/a^{tree}") == tree_by_git(plain, "feat/a", tip, old, head)
    assert not list(plain.home.glob("forks/fork/trees/*"))


class TestPushing:
    @pytest.fixture
    def pushed(self, plain: World) -> World:
        plain.settings["push_stack"] = True
        branch(plain, "feat/a", {"new.txt": "a\n"})
        plain.work.git("push", "-q", "origin", "feat/a")
        return plain

    def test_takes_each_branch_with_a_lease_of_its_own(self, pushed: World) -> None:
        pushed.commit_upstream({"a.txt": theirs()})

        report = pushed.run()

        assert report.outcome is Outcome.REBASED
        assert results(report)["feat/a"].pushed
        assert pushed.fork.head("feat/a") == pushed.work.head("feat/a")
        assert pushed.fork.git("rev-parse", "feat/a^") == pushed.fork.head("trunk")
        again = pushed.run()
        assert (results(again)["feat/a"].result, results(again)["feat/a"].pushed) == ("unchanged", False)

    def test_makes_no_branch_public_that_was_not(self, pushed: World) -> None:
        branch(pushed, "feat/secret", {"secret.txt": "a\n"})
        pushed.commit_upstream({"a.txt": theirs()})

        report = pushed.run()

        assert report.exit_code == 0
        assert results(report)["feat/secret"].result == "restacked"
        assert "the remote has no such branch" in results(report)["feat/secret"].note
        assert "refs/heads/feat/secret" not in pushed.fork.refs()

    def test_never_loses_what_only_the_remote_has(self, pushed: World) -> None:
        theirs_there = pushed._commit(pushed.fork, "feat/a", {"team.txt": "x\n"}, "By a colleague")
        here = pushed.work.head("feat/a")
        pushed.commit_upstream({"a.txt": theirs()})

        report = pushed.run()

        assert report.exit_code == 13
        assert "1 commit(s) of it that are not here" in results(report)["feat/a"].note
        assert (pushed.fork.head("feat/a"), pushed.work.head("feat/a")) == (theirs_there, here)

    def test_refused_by_a_lease_leaves_that_branch_and_takes_the_others(self, pushed: World) -> None:
        branch(pushed, "feat/b", {"b2.txt": "b\n"})
        pushed.work.git("push", "-q", "origin", "feat/b")
        here = pushed.work.head("feat/a")
        pushed.commit_upstream({"a.txt": theirs()})
        meanwhile: list[str] = []

        def may() -> None:
            if not meanwhile and pushed.work.head("trunk") == pushed.fork.head("trunk") != pushed.work.head("feat/a^"):
                meanwhile.append(pushed._commit(pushed.fork, "feat/a", {"team.txt": "x\n"}, "By a colleague"))

        report = pushed.run(may=may)

        assert report.exit_code == 13
        assert {name: each.result for name, each in results(report).items()} == {
            "feat/a": "failed",
            "feat/b": "restacked",
        }
        assert "not where it was" in results(report)["feat/a"].note
        assert (pushed.fork.head("feat/a"), pushed.work.head("feat/a")) == (meanwhile[0], here)

    def test_happens_for_a_fork_by_url_too(self, pushed: World) -> None:
        pushed.settings |= {"url": str(pushed.fork.path), "remotes": {"upstream": str(pushed.upstream.path)}}
        pushed.commit_upstream({"a.txt": theirs()})

        report = pushed.run()

        assert report.outcome is Outcome.REBASED
        assert results(report)["feat/a"].pushed
        assert pushed.fork.git("rev-parse", "feat/a^") == pushed.fork.head("trunk")
        pushed.settings["push_stack"] = False
        pushed.commit_upstream({"a.txt": theirs(16)})
        report = pushed.run()
        assert report.stack is not None
        assert "push_stack" in report.stack.note
