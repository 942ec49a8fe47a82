"""Whole runs on real repositories: an upstream, a fork and a person's working copy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.git_server import GitServer
from tests.support.rebases import TRUNK, World, rebase, theirs
from tests.support.repositories import RepoBuilder
from upkeep.errors import PushRefused, RunCancelled
from upkeep.forks import report as reporting
from upkeep.forks import service
from upkeep.forks.desk import Desk, GateFailed
from upkeep.forks.outcomes import Outcome
from upkeep.forks.records import Verification
from upkeep.forks.report import Gate
from upkeep.forks.snapshot import Snapshot
from upkeep.settings.forks import Version

ODD = os.fsdecode(b"caf\xe9\n.txt")


class TestADay:
    def test_without_news_moves_nothing_and_writes_a_report(self, world: World) -> None:
        before = world.everything()
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.NO_CHANGE, 0)
        assert world.everything() == before

    def test_with_news_rebases_pushes_and_moves_the_checkout_along(self, world: World) -> None:
        old = world.fork.head("trunk")
        head = world.commit_upstream({"a.txt": theirs()})
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.REBASED, 0)
        assert report.verification is not None
        tip = report.verification.tip
        assert report.range_diff.startswith("1:")
        assert world.fork.refs("refs/") == {"refs/heads/main": head, TRUNK: tip, "refs/upkeep/backup/trunk/run-1": old}
        assert world.work.refs()[TRUNK] == world.work.head() == tip
        assert world.work.refs()["refs/heads/main"] == head
        assert world.work.refs("refs/remotes/origin/trunk")["refs/remotes/origin/trunk"] == tip
        assert world.work.git("status", "--porcelain") == ""
        assert (world.work.path / "a.txt").read_text() == theirs().replace("line 3\n", "ours\n")
        assert world.run().outcome is Outcome.NO_CHANGE

    def test_with_news_only_verified_moves_nothing(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        before = world.everything()
        report = world.run(verify_only=True)
        assert (report.outcome, report.exit_code) == (Outcome.VERIFIED, 0)
        assert world.everything() == before
        assert report.next_actions == ("Apply it: `upkeep rebase fork`.",)

    def test_with_a_conflict_moves_nothing_and_says_who_and_where(self, world: World) -> None:
        sha = world.commit_upstream({"a.txt": theirs(3)}, "Break it (#5)")
        before = world.everything()
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.NEEDS_HUMAN, 10)
        assert world.everything() == before
        folder = reporting.folder_of(world.home, report)
        text = (folder / "summary.md").read_text()
        assert "## Patches that go: 1\n\n- 2. Second patch (`" in text
        assert "is now" not in text
        for part in ("Patch 1 conflicts: First patch", "`a.txt`", sha[:12], "Ada Person", "worktree add --detach"):
            assert part in text
        assert report.next_actions[0] == "Mend patch 1 (First patch): the commands below stop at it."

    def test_with_escalated_paths_stops_after_verify(self, world: World) -> None:
        world.settings["escalate"] = ["b.*"]
        base, head = world.upstream.head("main"), world.commit_upstream({"b.txt": theirs()})
        before = world.everything()
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.NEEDS_HUMAN, 10)
        assert world.everything() == before
        assert f"`git diff {base} {head}`" in report.next_actions[0]
        assert "theirs" in world.work.git("diff", base, head)
        del world.settings["escalate"]
        assert world.run().outcome is Outcome.REBASED

    def test_on_a_fork_by_url_needs_no_checkout(self, world: World) -> None:
        world.settings |= {"url": str(world.fork.path), "remotes": {"upstream": str(world.upstream.path)}}
        world.commit_upstream({"a.txt": theirs()})
        report = world.run()
        assert report.outcome is Outcome.REBASED
        assert report.verification is not None
        assert world.fork.refs()[TRUNK] == report.verification.tip
        assert world.run().outcome is Outcome.NO_CHANGE

    def test_with_a_version_is_the_same_however_often_it_runs(self, world: World) -> None:
        world.settings["version"] = Version(
            file="version.txt", pattern="^(.+)$", source="tag", tag="v(.+)", template="{upstream}-us"
        )
        world.commit_upstream({"version.txt": "dev\n"})
        world.upstream.git("tag", "v1.2", "main")
        first = world.run()
        assert first.outcome is Outcome.REBASED
        assert world.fork.read("trunk", "version.txt") == b"1.2-us\n"
        assert [world.run().outcome for _ in range(2)] == [Outcome.NO_CHANGE] * 2
        assert first.verification is not None
        assert world.fork.head("trunk") == first.verification.tip
        world.upstream.git("tag", "v1.10", "main")
        second = world.run()
        assert second.outcome is Outcome.REBASED
        assert world.fork.head("trunk^") == first.verification.stack_tip
        assert world.fork.read("trunk", "version.txt") == b"1.10-us\n"

    def test_shows_paths_that_are_no_utf8(self, world: World) -> None:
        world.commit_fork({ODD: "ours\n"}, "Odd `name` @everyone <b>")
        world.commit_upstream({ODD: "theirs\n"})
        report = world.run()
        assert report.verification is not None
        assert report.verification.conflicts[0].conflicts == ("caf\\xe9\n.txt",)
        text = (reporting.folder_of(world.home, report) / "summary.md").read_text()
        assert "@everyone" not in text.replace("@&#8203;", "")
        assert "<b>" not in text


class TestTheRepositoryHere:
    def test_behind_comes_along(self, world: World) -> None:
        world.work.reset("HEAD~1")
        world.commit_upstream({"a.txt": theirs()})
        report = world.run()
        assert report.outcome is Outcome.REBASED
        assert world.work.head() == world.fork.head("trunk")

    def test_ahead_is_refused_untouched(self, world: World) -> None:
        world.work.commit({"a.txt": "mine\n"}, "Not pushed")
        world.commit_upstream({"a.txt": theirs()})
        before = world.everything()
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.LOCAL_FORBIDS, 11)
        assert report.error is not None
        assert report.error["code"] == "forks.local_commits"
        assert "push origin trunk" in report.next_actions[0]
        assert world.everything() == before

    def test_diverged_is_refused_untouched(self, world: World) -> None:
        world.work.reset("HEAD~1")
        world.work.commit({"a.txt": "mine\n"}, "Another way")
        before = world.everything()
        assert world.run().exit_code == 11
        assert world.everything() == before

    def test_dirty_is_refused_untouched(self, world: World) -> None:
        (world.work.path / "a.txt").write_text("not committed\n")
        world.commit_upstream({"a.txt": theirs()})
        before = world.everything()
        report = world.run()
        assert report.exit_code == 11
        assert report.error is not None
        assert (report.error["code"], report.error["first"]) == ("forks.dirty", "a.txt")
        assert world.everything() == before

    def test_dirty_on_another_branch_is_no_business_of_ours(self, world: World) -> None:
        world.work.switch("elsewhere", "trunk")
        (world.work.path / "a.txt").write_text("not committed\n")
        world.commit_upstream({"a.txt": theirs()})
        assert world.run().outcome is Outcome.REBASED
        assert world.work.refs()[TRUNK] == world.fork.head("trunk")
        assert (world.work.path / "a.txt").read_text() == "not committed\n"

    def test_detached_head_stays_where_it_is(self, world: World) -> None:
        world.work.git("checkout", "-q", "--detach")
        here = world.work.head()
        world.commit_upstream({"a.txt": theirs()})
        assert world.run().outcome is Outcome.REBASED
        assert world.work.head() == here
        assert world.work.refs()[TRUNK] == world.fork.head("trunk")

    def test_rebase_in_progress_by_a_person_is_refused_untouched(self, world: World) -> None:
        world.work.git("fetch", "-q", "upstream")
        world.commit_upstream({"a.txt": theirs(3)})
        world.work.git("fetch", "-q", "upstream")
        started = subprocess.run(
            ["git", "-C", str(world.work.path), "-c", "user.name=A", "-c", "user.email=a@b", "rebase", "upstream/main"],
            capture_output=True,
        )
        assert started.returncode == 1
        before = world.everything()
        report = world.run()
        assert report.error is not None
        assert (report.exit_code, report.error["code"]) == (11, "forks.in_progress")
        assert world.everything() == before

    def test_untracked_file_in_the_way_keeps_local_trunk_where_it_is(self, world: World) -> None:
        (world.work.path / "new.txt").write_text("mine, not tracked\n")
        here = world.work.head()
        world.commit_upstream({"new.txt": "theirs\n"})
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.LOCAL_LEFT, 11)
        assert world.work.head() == here
        assert (world.work.path / "new.txt").read_text() == "mine, not tracked\n"
        assert world.work.git("status", "--porcelain") == "?? new.txt"
        assert world.fork.head("trunk") != here

    def test_moved_between_verify_and_apply_is_left_alone(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        desk = world.desk()
        snapshot = service.take_snapshot(desk)
        tip = str(service.verified(desk, snapshot).tip)
        mine = world.work.commit({"mine.txt": "mine\n"}, "Meanwhile")
        done = service.applied(desk, snapshot, tip)
        assert service.closed(desk).outcome is Outcome.LOCAL_LEFT
        assert world.work.head() == mine
        assert world.fork.head("trunk") == tip
        assert "rebase --onto" in done.notes[0]

    def test_worktree_with_trunk_is_what_moves(self, world: World, tmp_path: Path) -> None:
        world.work.switch("elsewhere", "trunk")
        world.work.git("worktree", "add", "-q", str(tmp_path / "linked"), "trunk")
        world.commit_upstream({"a.txt": theirs()})
        assert world.run().outcome is Outcome.REBASED
        assert (tmp_path / "linked/a.txt").read_text() == theirs().replace("line 3\n", "ours\n")

    def test_shallow_is_refused(self, world: World, tmp_path: Path) -> None:
        shallow = tmp_path / "shallow"
        world.fork.git("clone", "-q", "--depth=1", "--branch=trunk", world.fork.url, str(shallow))
        world.work = RepoBuilder(shallow, create=False)
        world.work.git("remote", "add", "upstream", str(world.upstream.path))
        report = world.run()
        assert report.error is not None
        assert (report.exit_code, report.error["code"]) == (11, "git.shallow")

    def test_remote_that_is_not_there_says_how_to_add_it(self, world: World) -> None:
        world.work.git("remote", "remove", "upstream")
        report = world.run()
        assert report.error is not None
        assert (report.exit_code, report.error["code"]) == (11, "forks.no_remote")


class TestTheRemote:
    def test_trunk_that_gained_a_commit_since_the_snapshot_refuses_the_lease(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        expected = world.fork.head("trunk")
        desk = world.desk()
        snapshot = service.take_snapshot(desk)
        tip = str(service.verified(desk, snapshot).tip)
        actual = world.commit_fork({"c.txt": "meanwhile\n"})
        local = world.work.refs()
        with pytest.raises(PushRefused):
            service.applied(desk, snapshot, tip)
        report = service.closed(desk)
        assert report.outcome is Outcome.REMOTE_REFUSED
        assert report.error is not None
        assert (report.error["code"], report.error["expected"], report.error["actual"]) == (
            "git.lease_refused",
            expected,
            actual,
        )
        assert report.stopped_at == "apply"
        assert world.fork.head("trunk") == actual
        assert not world.fork.refs("refs/upkeep/")
        assert world.work.refs() == local
        assert report.applied is not None
        assert [each.ref for each in report.applied.pushed] == ["refs/heads/main"]
        assert world.run().outcome is Outcome.REBASED
        assert world.fork.read("trunk", "c.txt") == b"meanwhile\n"

    def test_server_that_refuses_force_pushes_is_believed(self, world: World) -> None:
        world.fork.git("config", "receive.denyNonFastForwards", "true")
        world.commit_upstream({"a.txt": theirs()})
        local, trunk = world.work.refs(), world.fork.head("trunk")
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.REMOTE_REFUSED, 12)
        assert report.error is not None
        assert report.error["code"] == "git.push_rejected"
        assert world.fork.head("trunk") == trunk
        assert not world.fork.refs("refs/upkeep/")
        assert world.work.refs() == local

    def test_server_without_atomic_gets_the_backup_first(self, world: World) -> None:
        world.fork.git("config", "receive.advertiseAtomic", "false")
        old = world.fork.head("trunk")
        world.commit_upstream({"a.txt": theirs()})
        assert world.run().outcome is Outcome.REBASED
        assert world.fork.refs("refs/upkeep/") == {"refs/upkeep/backup/trunk/run-1": old}

    def test_mirror_that_has_commits_of_its_own_is_never_forced(self, world: World) -> None:
        own = world._commit(world.fork, "main", {"own.txt": "x\n"}, "On the mirror")
        head = world.commit_upstream({"a.txt": theirs()})
        before = world.everything()
        report = world.run()
        assert report.error is not None
        assert (report.exit_code, report.error["code"]) == (12, "forks.mirror_diverged")
        assert (report.error["actual"], report.error["expected"]) == (own, head)
        assert world.everything() == before

    def test_branch_that_is_gone_is_named(self, world: World) -> None:
        world.settings["upstream_branch"] = "gone"
        report = world.run()
        assert report.error is not None
        assert (report.exit_code, report.error["code"], report.error["branch"]) == (12, "git.branch_gone", "gone")

    def test_answer_that_is_lost_after_the_push_is_no_failure(self, world: World, git_server: GitServer) -> None:
        url = git_server.add(world.fork, "fork.git")
        git_server.repository("fork.git").git("config", "http.receivepack", "true")
        world.work.git("remote", "set-url", "origin", url)
        world.commit_upstream({"a.txt": theirs()})
        git_server.repository("fork.git").git("fetch", "-q", world.upstream.url, "+main:main")
        git_server.fail("drop-response", where="fork.git/git-receive-pack", times=1)
        report = world.run()
        assert report.outcome is Outcome.REBASED
        assert report.verification is not None
        assert git_server.repository("fork.git").head("trunk") == report.verification.tip

    def test_network_that_fails_for_a_moment_costs_no_night(self, world: World, git_server: GitServer) -> None:
        url = git_server.add(world.fork, "fork.git")
        git_server.repository("fork.git").git("config", "http.receivepack", "true")
        world.work.git("remote", "set-url", "origin", url)
        world.commit_upstream({"a.txt": theirs()})
        git_server.fail("drop-request", where="fork.git", times=1)
        said: list[str] = []
        report = world.run(say=said.append, pauses=(0.0,))
        assert report.outcome is Outcome.REBASED
        assert (report.stopped_at, report.error) == (None, None)
        assert any("trying again" in line for line in said)

    def test_network_that_stays_away_ends_the_run(self, world: World, git_server: GitServer) -> None:
        world.work.git("remote", "set-url", "origin", git_server.add(world.fork, "fork.git"))
        git_server.fail("drop-request", where="fork.git", times=9)
        report = world.run(pauses=(0.0,))
        assert (report.outcome, report.stopped_at) == (Outcome.FAILED, "snapshot")
        assert [each.step for each in report.commands] == ["lock", "snapshot", "snapshot"]

    def test_relative_address_counts_from_the_repository(self, world: World) -> None:
        world.work.git("remote", "set-url", "upstream", "../upstream.git")
        world.commit_upstream({"a.txt": theirs()})
        assert world.run().outcome is Outcome.REBASED

    def test_run_that_is_repeated_under_its_name_keeps_both_backups(self, world: World) -> None:
        tips = []
        for number in (1, 2):
            world.commit_upstream({"a.txt": theirs(15, f"theirs {number}")})
            tips.append(world.fork.head("trunk"))
            world.runs = 0
            assert world.run().outcome is Outcome.REBASED
        assert world.fork.refs("refs/upkeep/") == {
            "refs/upkeep/backup/trunk/run-1": tips[0],
            "refs/upkeep/backup/trunk/run-1.2": tips[1],
        }


class TestRestoring:
    def test_puts_back_what_a_run_replaced_and_backs_up_what_was_there(self, world: World) -> None:
        old = world.fork.head("trunk")
        world.commit_upstream({"a.txt": theirs()})
        world.run()
        rebased = world.fork.head("trunk")
        report = world.run(restore="run-1")
        assert (report.outcome, report.restored) == (Outcome.RESTORED, "run-1")
        assert report.next_actions[0].startswith("The next run rebases again")
        assert world.fork.refs("refs/upkeep/")["refs/upkeep/backup/trunk/run-2"] == rebased
        assert world.fork.head("trunk") == world.work.head() == old

    def test_names_the_backups_that_there_are(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        world.run()
        report = world.run(restore="run-77")
        assert report.error is not None
        assert report.error["code"] == "forks.no_backup"
        assert "run-1" in report.next_actions[0]


class TestGates:
    def test_the_tip_that_they_return_is_pushed(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})

        def gates(desk: Desk, snapshot: Snapshot, verification: Verification) -> tuple[str, tuple[Gate, ...]]:
            assert desk.place.repository.resolve(str(verification.tip)) == verification.tip
            tree = str(verification.tree)
            return str(verification.tip), (Gate(command="make test", tree=tree, result="passed", seconds=2.0),)

        report = world.run(gates=gates)
        assert report.outcome is Outcome.REBASED
        assert report.gates[0].result == "passed"

    def test_a_failure_ends_the_run_before_any_push(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        before = world.everything()

        def gates(desk: Desk, snapshot: Snapshot, verification: Verification) -> tuple[str, tuple[Gate, ...]]:
            raise GateFailed("make test failed", remedy="See its log.")

        report = world.run(gates=gates)
        assert (report.outcome, report.exit_code, report.stopped_at) == (Outcome.GATES_FAILED, 14, "gates")
        assert world.everything() == before


class TestInterrupts:
    def test_a_run_that_may_not_go_on_pushes_nothing(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        before = world.everything()

        def may() -> None:
            raise RunCancelled("cancelled by a person")

        report = world.run(may=may)
        assert (report.outcome, report.exit_code) == (Outcome.CANCELLED, 1)
        assert world.everything() == before

    def test_an_interrupt_goes_on_after_its_report(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})

        def may() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            world.run(may=may)
        (file,) = world.home.glob("reports/rebase/fork/*/run-1/report.json")
        report = json.loads(file.read_text())
        assert (report["outcome"], report["error"]["code"]) == ("cancelled", "interrupted")
        assert report["next_actions"] == ["Nothing is lost: run it again."]
        assert world.run().outcome is Outcome.REBASED

    @pytest.mark.parametrize("asked", [1, 2, 3], ids=["before mirror", "before trunk", "before local"])
    def test_kill_9_at_a_boundary_is_finished_by_the_next_run(self, world: World, asked: int) -> None:
        old = world.fork.head("trunk")
        head = world.commit_upstream({"a.txt": theirs()})
        program = f"""
import os, signal, sys
from pathlib import Path
from tests.support.rebases import LINES, TRUNK, World, make_desk, rebase, theirs
left = {asked}
def may():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
rebase(make_desk(Path(sys.argv[2]), "killed", {{"path": sys.argv[1]}}, may=may))
"""
        argv = [sys.executable, "-c", program, str(world.work.path), str(world.home)]
        killed = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True)
        assert killed.returncode == -9, killed.stderr
        assert (world.home / "forks/fork/lock/meta.json").exists()
        assert world.work.refs()[TRUNK] == old
        assert world.work.git("status", "--porcelain") == ""
        assert len(world.work.git("worktree", "list").splitlines()) == 1
        report = world.run()
        assert report.exit_code == 0
        assert report.takeover is not None
        assert not report.takeover.forced
        assert world.fork.head("main") == head
        assert world.work.head() == world.fork.head("trunk")
        assert world.fork.read("trunk", "a.txt").decode() == theirs().replace("line 3\n", "ours\n")
        assert world.work.git("status", "--porcelain") == ""

    def test_kill_9_in_the_middle_of_a_rebase_by_git_leaves_no_worktree(self, world: World, tmp_path: Path) -> None:
        world.commit_upstream({"a.txt": theirs(), ".gitattributes": "*.txt merge=deadly\n"})
        world.work.git("config", "merge.deadly.driver", f"kill -9 $(cat {tmp_path / 'pid'})")
        before = world.everything()
        program = f"""
import os, sys
from pathlib import Path
from tests.support.rebases import LINES, TRUNK, World, make_desk, rebase, theirs
Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
rebase(make_desk(Path(sys.argv[2]), "killed", {{"path": sys.argv[1]}}))
"""
        argv = [sys.executable, "-c", program, str(world.work.path), str(world.home)]
        killed = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True)
        assert killed.returncode == -9, killed.stderr
        assert len(world.work.git("worktree", "list").splitlines()) == 2
        world.work.git("config", "merge.deadly.driver", "git merge-file %A %O %B")
        report = world.run(verify_only=True)
        assert report.outcome is Outcome.VERIFIED
        assert report.verification is not None
        assert report.verification.method == "worktree"
        assert world.everything() == before
        assert not list(world.home.glob("forks/fork/trees/*"))


class TestADiskThatIsFull:
    def test_or_a_home_that_cannot_be_written_ends_the_run_untouched(self, world: World, tmp_path: Path) -> None:
        world.commit_upstream({"a.txt": theirs()})
        before = world.everything()
        file = tmp_path / "file"
        file.write_text("no folder can be made below this")
        world.home, home = file / "home", world.home
        desk = world.desk()
        world.home = home
        report = rebase(desk)
        assert report.error is not None
        assert (report.exit_code, report.error["code"]) == (1, "forks.no_room")
        assert report.notes
        assert world.everything() == before

    @pytest.mark.parametrize("step", ["verified", "take_snapshot"])
    def test_in_the_middle_of_a_step_moves_nothing(self, world: World, step: str) -> None:
        world.commit_upstream({"a.txt": theirs(), "big.txt": "".join(f"{number * 7919}\n" for number in range(50_000))})
        before = world.everything()
        program = f"""
import resource, sys
from pathlib import Path
from tests.support.rebases import make_desk
from upkeep.errors import UpkeepError
from upkeep.forks import service
desk = make_desk(Path(sys.argv[2]), "full", {{"path": sys.argv[1]}})
if {step!r} == "verified":
    snapshot = service.take_snapshot(desk)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    service.take_snapshot(desk) if {step!r} == "take_snapshot" else service.verified(desk, snapshot)
except UpkeepError as error:
    print(error.reason)
"""
        argv = [sys.executable, "-c", program, str(world.work.path), str(world.home)]
        done = subprocess.run(argv, cwd=Path(__file__).parents[3], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(("git", "forks"))
        assert world.everything() == before
        assert world.run().outcome is Outcome.REBASED


class TestReports:
    def test_agree_with_their_published_schema(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs(3)})
        report = world.run()
        folder = reporting.folder_of(world.home, report)
        document = json.loads((folder / "report.json").read_text())
        schema = (folder / document["$schema"]).resolve()
        checker = Path(sys.executable).with_name("check-jsonschema")
        done = subprocess.run([checker, "--schemafile", schema, folder / "report.json"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout

    def test_tell_branches_apart_that_are_or_were_at_the_same_commit(self, world: World) -> None:
        world.fork.git("update-ref", "-d", "refs/heads/main")
        head = world.commit_upstream({"a.txt": theirs()})
        old = world.fork.head("trunk")
        report = world.run(verify_only=True)
        text = (reporting.folder_of(world.home, report) / "summary.md").read_text()
        assert f"| trunk | `trunk` | `{old}` | `{old}` |\n| mirror | `main` | `none` | `none` |" in text
        report = world.run()
        text = (reporting.folder_of(world.home, report) / "summary.md").read_text()
        assert f"| trunk | `trunk` | `{old}` | `{world.fork.head('trunk')}` |\n" in text
        assert f"| mirror | `main` | `none` | `{head}` |\n| upstream | `main` | `{head}` | |" in text

    def test_show_a_gate_with_a_pipe_in_its_own_cell(self, world: World) -> None:
        world.settings["gates"] = ["cat a.txt | grep -q ours"]
        world.commit_upstream({"a.txt": theirs()})
        report = world.run()
        text = (reporting.folder_of(world.home, report) / "summary.md").read_text()
        assert "| `cat a.txt \\| grep -q ours` | skipped |" in text

    def test_say_who_held_the_lock(self, world: World) -> None:
        report = world.run()
        assert report.lock is not None
        assert f"pid {os.getpid()} on " in report.lock
        assert (
            "\n- Lock held by run run-1: pid " in (reporting.folder_of(world.home, report) / "summary.md").read_text()
        )

    def test_two_runs_at_once_are_one_run_and_one_refusal(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        before = world.everything()
        with service.held(world.desk()):
            report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.LOCKED, 15)
        assert report.error is not None
        assert report.error["holder"]["run_id"] == "run-1"
        assert world.everything() == before

    def test_force_is_shown_as_an_override(self, world: World) -> None:
        report = world.run(force=True)
        assert report.overrides == ("--force",)
        text = (reporting.folder_of(world.home, report) / "summary.md").read_text()
        assert "**Override: \\--force**" in text
