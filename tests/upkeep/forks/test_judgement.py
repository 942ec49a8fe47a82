"""Conflicts that an agent settles and a person decides about: whole runs, real sandbox, the local forge.

Most tests play the agent with a shell script (engine `command`); what real CLIs do is in `test_judgement_by_clis.py`.
"""

from __future__ import annotations

import pytest

from tests.support.court import MERGED, REPO, SETTLE_A, Court, answer, write
from tests.support.github import GitHub
from tests.support.rebases import LINES, dies, rebase, theirs
from tests.support.repositories import RepoBuilder
from upkeep.forks import memory
from upkeep.forks.gating import SandboxedGates
from upkeep.forks.outcomes import Outcome
from upkeep.forks.settling import marker_left


class TestAProposal:
    def test_is_the_whole_trunk_as_it_would_be_and_trunk_stays(self, court: Court) -> None:
        found = court.judged("proposed")
        (made,) = court.proposals()
        assert (found.url, found.branch) == (made.url, f"upkeep/rebase/fork/{found.tip}")
        assert (made.head_branch, made.head_sha, made.base_branch) == (found.branch, found.tip, "upkeep/onto/fork")
        fork = court.world.fork
        assert fork.head("upkeep/onto/fork") == court.world.upstream.head("main")
        assert fork.read(made.head_sha, "a.txt").decode() == MERGED
        subjects = fork.git("log", "--format=%s|%an", f"upkeep/onto/fork..{made.head_sha}").splitlines()
        assert subjects == ["Second patch|Ada Person", "First patch|Ada Person"]
        assert [each.number for each in found.settled] == [1]

    def test_says_how_to_accept_it_and_what_the_agent_says(self, court: Court) -> None:
        court.judged("proposed")
        (made,) = court.proposals()
        assert made.title == f"Rebase of fork: 1 conflict settled (upstream {court.world.upstream.head('main')[:12]})"
        for part in (
            "1 of 2 patches of `trunk` does not go onto",
            "**Merge it to accept.**",
            "nothing was tested",
            "## Patch 1: First patch",
            "> - `a.txt` merged: Both hold.",
            "> - Doubt: Is @&#8203;ada sure?",
            "(range-diff)",
            "+theirs and ours",
        ):
            assert part in made.body

    def test_waits_for_its_person_without_asking_the_agent_again(self, court: Court) -> None:
        url = court.judged("proposed").url
        asked = court.asked()
        assert court.judged("waiting").url == url
        court.world.commit_upstream({"a.txt": theirs(3).replace("line 15\n", "more\n")}, "Go on")
        assert court.judged("waiting").url == url
        assert (court.asked(), len(court.proposals())) == (asked, 1)

    def test_is_replaced_when_something_new_does_not_go(self, court: Court) -> None:
        court.judged("proposed")
        court.world.commit_upstream({"b.txt": theirs(3)}, "Break the other")
        court.script(
            "case $(cat) in *b.txt*) " + write("b.txt", MERGED) + answer(("b.txt", "merged")) + ";;\n*) exit 9;; esac\n"
        )
        court.judged("proposed")
        new, old = court.proposals()
        assert (new.state, old.state) == ("open", "closed")
        assert "Superseded by" in old.body
        assert court.world.fork.read(new.head_sha, "a.txt").decode() == MERGED
        assert court.world.fork.read(new.head_sha, "b.txt").decode() == MERGED
        assert "what writer proposed in" in new.body

    def test_names_every_patch_that_did_not_go(self, court: Court) -> None:
        court.world.commit_upstream({"b.txt": theirs(3)}, "Break the other")
        court.script(
            "file=$(grep -l '^<<<<<<<' *.txt)\n"
            "sed -e '/^<<<<<<</d' -e '/^=======/d' -e '/^>>>>>>>/d' -i $file\n"
            + answer(("FILE", "merged")).replace("<<'ANSWER'", "<<ANSWER").replace("FILE", "$file")
        )
        found = court.judged("proposed")
        assert [each.number for each in found.settled] == [1, 2]
        assert court.world.fork.read(str(found.tip), "b.txt").decode() == LINES.replace("line 3\n", "theirs\nours\n")

    def test_is_made_by_git_itself_where_the_engine_must_not_decide(self, court: Court) -> None:
        clone = court.world.fork.clone(court.folder / "merging", branch="trunk")
        clone.clock = court.world.work.clock
        clone.switch("side", "trunk~1")
        clone.commit({"c.txt": "side\n"}, "Side")
        clone.switch("trunk")
        clone.merge("side")
        clone.git("push", "-q", "origin", "trunk")
        court.world.work.git("pull", "-q", "--ff-only", "origin", "trunk")
        found = court.judged("proposed")
        assert court.world.fork.read(str(found.tip), "a.txt").decode() == MERGED
        assert court.world.fork.read(str(found.tip), "c.txt") == b"side\n"
        court.forge.merge(REPO, court.proposals()[0].number, by="ada")
        report = court.run()
        assert report.outcome is Outcome.REBASED
        assert report.verification is not None
        assert report.verification.method == "worktree"


class TestAccepted:
    def test_by_a_merge_it_is_what_the_next_run_rebases_with(self, court: Court) -> None:
        court.judged("proposed")
        (made,) = court.proposals()
        court.forge.merge(REPO, made.number, by="ada")
        report = court.run()
        assert (report.outcome, report.judgement) == (Outcome.REBASED, None)
        assert court.world.fork.read("trunk", "a.txt").decode() == MERGED
        assert report.verification is not None
        (settled,) = report.verification.kept[0].settled
        assert (settled.path, settled.by) == ("a.txt", f"the resolution accepted in {made.url}")
        assert court.run().outcome is Outcome.NO_CHANGE

    def test_it_is_used_again_after_trunk_was_put_back(self, court: Court) -> None:
        court.judged("proposed")
        court.forge.merge(REPO, court.proposals()[0].number, by="ada")
        done = court.run()
        rebase(court.desk(), restore=done.run_id)
        assert court.run().outcome is Outcome.REBASED
        assert court.asked() == 1

    def test_with_a_change_by_a_person_their_version_counts(self, court: Court) -> None:
        court.judged("proposed")
        (made,) = court.proposals()
        clone = court.world.fork.clone(court.folder / "reviewer", branch=made.head_branch)
        clone.commit({"a.txt": MERGED.replace("theirs and ours", "theirs, then ours")}, "Order matters")
        clone.git("push", "-q", "origin", made.head_branch)
        court.forge.merge(REPO, made.number, by="ada")
        report = court.run()
        assert (report.outcome, report.notes) == (Outcome.REBASED, ())
        assert b"theirs, then ours\n" in court.world.fork.read("trunk", "a.txt")

    def test_with_a_commit_that_changes_more_the_report_says_what_is_not_on_trunk(self, court: Court) -> None:
        court.judged("proposed")
        (made,) = court.proposals()
        clone = court.world.fork.clone(court.folder / "reviewer", branch=made.head_branch)
        sha = clone.commit({"new.txt": "new\n"}, "While I am here")
        clone.git("push", "-q", "origin", made.head_branch)
        court.forge.merge(REPO, made.number, by="ada")
        report = court.run()
        assert report.outcome is Outcome.REBASED
        assert sha[:12] in report.notes[0]
        assert court.world.fork.read("trunk", "a.txt").decode() == MERGED

    def test_by_setting_trunk_to_it(self, court: Court) -> None:
        found = court.judged("proposed")
        court.world.fork.git("update-ref", "refs/heads/trunk", str(found.tip))
        court.world.work.git("fetch", "-q", "origin")
        court.world.work.reset("origin/trunk")
        assert court.run().outcome in (Outcome.NO_CHANGE, Outcome.REBASED)
        (row,) = memory.known(court.database, "fork")
        assert row.state == "accepted"

    def test_it_is_carried_over_to_what_upstream_changed_in_the_same_file_since(self, court: Court) -> None:
        court.judged("proposed")
        court.forge.merge(REPO, court.proposals()[0].number, by="ada")
        court.world.commit_upstream({"a.txt": theirs(3).replace("line 15\n", "more\n")}, "Go on")
        report = court.run()
        assert report.outcome is Outcome.REBASED
        assert report.verification is not None
        assert report.verification.kept[0].settled[0].by.endswith("carried over to what upstream changed since")
        assert court.world.fork.read("trunk", "a.txt").decode() == MERGED.replace("line 15\n", "more\n")


def test_a_declined_one_is_not_proposed_again(court: Court) -> None:
    court.judged("proposed")
    court.forge.close(REPO, court.proposals()[0].number, by="ada")
    found = court.judged("declined")
    assert found.message.startswith("A person declined what agent writer made of patch 1: ")
    assert (court.asked(), len(court.proposals())) == (1, 1)


def test_an_upstream_that_deleted_the_file_leaves_keeping_or_deleting_to_the_answer(court: Court) -> None:
    court.world.commit_upstream({"a.txt": None}, "Delete it")
    court.script("rm a.txt\n" + answer(("a.txt", "deleted")))
    found = court.judged("proposed")
    assert "a.txt" not in court.world.fork.git("ls-tree", "--name-only", str(found.tip)).splitlines()


GIT = "mkdir .git; printf '[core]\\nfsmonitor = touch /tmp/owned\\n' > .git/config\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (answer(("a.txt", "merged")), "a.txt:4: a conflict marker is left"),
        (write("a.txt", MERGED + "<<<<<<< new\n") + answer(("a.txt", "merged")), "a conflict marker is left"),
        (SETTLE_A + write("b.txt", "mine\n"), "b.txt is no file in conflict and was changed"),
        (write("new.txt", "new\n") + SETTLE_A, "new.txt is no file in conflict"),
        (GIT + SETTLE_A, ".git is no file in conflict"),
        ("rm a.txt; ln -s /etc/passwd a.txt\n" + answer(("a.txt", "merged")), "a.txt: it is a symbolic link"),
        ("rm a.txt\n" + answer(("a.txt", "merged")), "says that a.txt was merged, and that is not so"),
        (write("a.txt", MERGED) + answer(), "does not say what was done about a.txt"),
        (answer(settled=False, reason="Which one is right?"), "leaves patch 1 to a person"),
        (write("a.txt", MERGED), "ended without a usable answer"),
        ("exit 3\n", "failed and said: status 3"),
        (write("a.txt", MERGED + "key: ghp_" + "Zx9" * 12 + "\n") + answer(("a.txt", "merged")), "GitHub token"),
        (write("a.txt", MERGED + "x\u202ey\n") + answer(("a.txt", "merged")), "reorders text"),
    ],
    ids=[
        *("markers", "new marker", "other file", "new file", "planted git", "link", "deleted"),
        *("nothing named", "a person", "silence", "failure", "secret", "bidi"),
    ],
)
def test_what_an_agent_must_not_leave_is_never_proposed(court: Court, script: str, words: str) -> None:
    court.script(script)
    before = court.world.fork.refs("refs/")
    found = court.judged("failed")
    assert words in found.message
    assert court.world.fork.refs("refs/") == before
    assert court.proposals() == []
    assert not (court.world.home / "forks/fork/agent").exists() or not any(
        (court.world.home / "forks/fork/agent").iterdir()
    )


def test_its_own_words_for_a_person_stand_in_the_report(court: Court) -> None:
    court.script(answer(settled=False, reason="Which one is right?"))
    assert court.judged("failed").said == "Which one is right?"


def test_findings_go_back_to_the_agent_and_what_a_build_left_is_no_matter(court: Court) -> None:
    court.world.commit_upstream({".gitignore": "build/\n"}, "Ignore")
    build = "mkdir -p build; echo x > build/x; chmod +x build/x\n"
    first = write("b.txt", "mine\n") + answer(("a.txt", "merged"))
    second = write("b.txt", LINES.replace("line 3\n", "ours\n")) + SETTLE_A
    court.script(f"{build}case $(cat) in *'last try left wrong'*)\n{second};;\n*)\n{first};; esac\n")
    court.world.commit_fork({"z.txt": "z\n"}, "Third patch")
    court.world.work.git("pull", "-q", "--ff-only", "origin", "trunk")
    found = court.judged("failed")
    assert "b.txt is no file in conflict" in found.message, "it is not as the rebase had it when it stopped"
    court.script(
        f"{build}case $(cat) in *'last try left wrong'*)\n{SETTLE_A};;\n*)\n{answer(('a.txt', 'merged'))};; esac\n"
    )
    court.judged("proposed")
    assert court.asked() == 3 + 2


SETTLED = b"a\nb\n"
MARKED = b"a\n<<<<<<< ours\nb\n=======\nc\n>>>>>>> theirs\n"


@pytest.mark.parametrize(
    ("content", "laid_out", "sides", "line"),
    [
        (SETTLED, MARKED, [SETTLED], None),
        (MARKED, MARKED, [SETTLED], 2),
        (b"a\r\n=======\r\nb\r\n", MARKED, [SETTLED], 2),
        (b"Title\n=======\n", MARKED, [b"Title\n=======\n"], None),
        (b"Title\n=======\n>>>>>>> theirs\n", MARKED, [b"Title\n=======\n"], 3),
        (b"||||||| base\n", SETTLED, [SETTLED], 1),
        (b"<<<<<<<<<<< ours\n", b"<<<<<<<<<<< ours\n", [SETTLED], 1),
        (b"<<<<<<<<<<< shift\n<<<\n", MARKED, [SETTLED], None),
        (b"", MARKED, [], None),
    ],
    ids=["settled", "all", "crlf", "heading", "under a heading", "base", "long", "no marker", "empty"],
)
def test_a_marker_is_known_by_what_the_rebase_wrote(
    content: bytes, laid_out: bytes, sides: list[bytes], line: int | None
) -> None:
    assert marker_left(content, laid_out, sides) == line


def test_on_github_a_squashed_merge_is_as_good(court: Court, github: GitHub) -> None:
    hosted = github.repo(REPO, court.world.fork)
    court.world.fork = RepoBuilder(hosted.bare.path, create=False)
    court.world.work.git("remote", "set-url", "origin", str(hosted.bare.path))
    court.github = github
    assert court.judged("proposed").url == f"https://github.com/{REPO}/pull/1"
    assert (hosted.pulls[1].base, hosted.pulls[1].state) == ("upkeep/onto/fork", "open")
    hosted.merges(1)
    assert court.run().outcome is Outcome.REBASED
    assert court.world.fork.read("trunk", "a.txt").decode() == MERGED


class TestGates:
    def test_judge_the_proposal_before_it_is_pushed(self, court: Court) -> None:
        court.world.settings["gates"] = ["grep -q 'theirs and ours' a.txt"]
        court.judged("proposed", gates=SandboxedGates())
        assert "**The gates passed on exactly this commit.**" in court.proposals()[0].body

    def test_that_fail_keep_it_from_being_proposed(self, court: Court) -> None:
        court.world.settings["gates"] = ["grep -q 'something else' a.txt"]
        found = court.judged("failed", gates=SandboxedGates())
        assert "the gates failed on what agent writer made" in found.message
        assert court.proposals() == []
        for _ in range(2):
            court.judged("failed", gates=SandboxedGates())
        assert "is not asked again" in court.judged("declined", gates=SandboxedGates()).message
        assert court.asked() == 3

    def test_that_are_skipped_are_said_so(self, court: Court) -> None:
        court.world.settings["gates"] = ["false"]
        report = court.run(gates=None)
        assert report.overrides == ("--skip-gates",)
        assert "**The gates were left out (--skip-gates).**" in court.proposals()[0].body


def test_after_three_failures_the_conflict_is_left_alone(court: Court) -> None:
    court.script(answer(settled=False, reason="No."))
    for _ in range(3):
        court.judged("failed")
    assert "is not asked again" in court.judged("declined").message
    assert court.asked() == 3
    court.world.commit_upstream({"a.txt": theirs(3, "other")}, "Another conflict")
    court.judged("failed")


def test_escalated_paths_come_before_the_agent(court: Court) -> None:
    court.world.settings["escalate"] = ["a.*"]
    report = court.run()
    assert (report.outcome, report.exit_code, report.judgement) == (Outcome.NEEDS_HUMAN, 10, None)
    assert report.notes == ("The agent was not asked: upstream changed paths that a person wants to see first.",)


@pytest.mark.parametrize("option", [{"on_conflict": "stop"}, {}])
def test_who_did_not_ask_for_an_agent_gets_none(court: Court, option: dict[str, str]) -> None:
    court.world.settings |= option
    report = court.run(verify_only=not option)
    assert (report.outcome, report.exit_code, report.judgement) == (Outcome.NEEDS_HUMAN, 10, None)
    assert court.asked() == 0


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_run_that_ends_anywhere_is_finished_by_the_next_and_the_agent_paid_once(court: Court, at: int) -> None:
    """0: before the agent; 1: before the push; 2: before the pull request is made."""
    report = court.run(may=dies(at))
    assert report.outcome is Outcome.CANCELLED
    assert court.proposals() == []
    found = court.judged("proposed")
    assert court.asked() == 1
    assert [each.head_sha for each in court.proposals()] == [found.tip]
    assert [name for name in court.world.fork.refs() if "upkeep/rebase" in name] == [f"refs/heads/{found.branch}"]
