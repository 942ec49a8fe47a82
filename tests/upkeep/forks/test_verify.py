"""Verification on real repositories: the recipe's traps, and that nothing of anybody's moves."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support import histories
from tests.support.histories import COMMITTER, WHEN, real_rebase
from tests.support.repositories import MakeRepository, RepoBuilder
from upkeep.errors import GitError
from upkeep.forks.quarantine import quarantine
from upkeep.forks.rawcommit import Committer
from upkeep.forks.records import Verification
from upkeep.forks.verify import verify
from upkeep.git import AUTHOR, Repository
from upkeep.settings.forks import Version

RITA = Committer(*COMMITTER, datetime.fromtimestamp(WHEN, UTC))
LINES = [f"line {number}\n" for number in range(20)]


def text(**changed: str) -> str:
    """Twenty lines; `l3="x"` changes the fourth."""
    lines = list(LINES)
    for key, value in changed.items():
        lines[int(key[1:])] = f"{value}\n"
    return "".join(lines)


@pytest.fixture
def fork(make_repository: MakeRepository) -> RepoBuilder:
    """A repository with `main` (upstream) and `trunk`, checked out on trunk."""
    builder = make_repository("fork")
    builder.commit({"a.txt": text(), "b.txt": text(), "dir/c.txt": text()}, "Base")
    builder.switch("trunk", "main")
    return builder


def snapshot(path: Path) -> dict[str, bytes]:
    """Every file of a repository and its work tree, byte for byte, but for objects."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not file.is_symlink() and "objects" not in file.relative_to(path).parts
    }


def check(
    builder: RepoBuilder, *, version: Version | None = None, tags: Sequence[str] = (), escalate: Sequence[str] = ()
) -> Verification:
    """Verify trunk on main, and prove that nothing moved."""
    before = snapshot(builder.path)
    repository = Repository.open(builder.path)
    with quarantine(repository) as place:
        result = verify(
            *(place, builder.head("main"), builder.head("trunk"), RITA), version=version, tags=tags, escalate=escalate
        )
        folder = place.folder
        if result.tip is not None:
            place.keep(result.tip, [result.onto, result.head])
    assert not folder.exists()
    after = snapshot(builder.path)
    assert after == before
    if result.tip is not None:
        assert builder.git("cat-file", "-t", result.tip) == "commit"
    return result


def real(builder: RepoBuilder, tmp_path: Path) -> histories.Real:
    return real_rebase(builder.path, builder.head("main"), builder.head("trunk"), tmp_path / "real")


def on_main(builder: RepoBuilder, *commits: tuple[dict[str, str | bytes | None], str]) -> None:
    builder.switch("main")
    for changes, message in commits:
        builder.commit(changes, message)
    builder.switch("trunk")


class TestAClean:
    def test_day_gives_what_git_rebase_gives(self, fork: RepoBuilder, tmp_path: Path) -> None:
        first = fork.commit({"a.txt": text(l3="ours")}, "First")
        second = fork.commit({"b.txt": text(l5="ours")}, "Second")
        on_main(fork, ({"a.txt": text(l15="theirs")}, "Upstream"))
        result = check(fork)
        assert result.clean
        assert result.method == "memory"
        assert result.tip == result.stack_tip == real(fork, tmp_path).tip
        assert [(each.sha, each.number) for each in result.kept] == [(first, 1), (second, 2)]
        assert result.behind == 1

    def test_day_without_anything_new_gives_the_same_trunk(self, fork: RepoBuilder) -> None:
        fork.commit({"a.txt": text(l3="ours")}, "First")
        result = check(fork)
        assert result.unchanged
        assert result.tip == fork.head("trunk")
        assert result.kept[0].new_sha == result.kept[0].sha
        assert result.behind == 0

    def test_fork_without_patches_becomes_upstream(self, fork: RepoBuilder) -> None:
        on_main(fork, ({"a.txt": text(l1="theirs")}, "Upstream"))
        assert check(fork).tip == fork.head("main")

    def test_engine_reads_attributes_of_the_tip_and_not_of_the_checkout(
        self, fork: RepoBuilder, tmp_path: Path
    ) -> None:
        fork.commit({"a.txt": text() + "ours\n"}, "Append")
        on_main(fork, ({".gitattributes": "a.txt merge=union\n"}, "Union"), ({"a.txt": text() + "theirs\n"}, "Append"))
        assert not (fork.path / ".gitattributes").exists()
        result = check(fork)
        assert result.clean
        assert result.method == "memory"
        assert result.tip == real(fork, tmp_path).tip
        assert fork.read(str(result.tip), "a.txt").decode() == text() + "theirs\nours\n"

    def test_engine_follows_attributes_that_a_patch_changes(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.commit({"dir/.gitattributes": "*.txt merge=union\n"}, "Union from here on")
        fork.commit({"dir/c.txt": text() + "ours\n"}, "Append")
        on_main(fork, ({"dir/c.txt": text() + "theirs\n"}, "Append"))
        result = check(fork)
        assert result.clean
        assert result.tip == real(fork, tmp_path).tip

    def test_bare_repository_has_attributes_too(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.commit({"a.txt": text() + "ours\n"}, "Append")
        on_main(fork, ({".gitattributes": "a.txt merge=union\n", "a.txt": text() + "theirs\n"}, "Union"))
        bare = fork.bare_clone(tmp_path / "bare.git")
        assert check(bare).tip == real(fork, tmp_path).tip

    def test_colon_and_quote_in_the_path_do_no_harm(self, make_repository: MakeRepository, tmp_path: Path) -> None:
        builder = make_repository('odd: "name"')
        builder.commit({"a.txt": text()}, "Base")
        builder.switch("trunk", "main")
        builder.commit({"a.txt": text(l1="ours")}, "Ours")
        on_main(builder, ({"a.txt": text(l9="theirs")}, "Theirs"))
        assert check(builder).tip == real(builder, tmp_path).tip

    @pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-8", "latin1"], ids=["iso", "utf-8", "alias"])
    def test_patch_in_another_encoding_is_converted_as_git_does(
        self, fork: RepoBuilder, tmp_path: Path, encoding: str
    ) -> None:
        (fork.path / "a.txt").write_text(text(l1="ours"))
        message = "Änderung\n\nÉté\n".encode("utf-8" if encoding == "UTF-8" else "latin-1")
        fork.git("-c", f"i18n.commitEncoding={encoding}", "commit", "-qaF", "-", data=message)
        on_main(fork, ({"b.txt": text(l1="theirs")}, "Theirs"))
        result = check(fork)
        assert result.method == "memory"
        assert result.tip == real(fork, tmp_path).tip
        assert result.kept[0].subject == "Änderung"


def change(builder: RepoBuilder, *commands: str) -> None:
    for command in commands:
        subprocess.run(["sh", "-ec", command], cwd=builder.path, check=True)
    builder.commit({}, "; ".join(commands))


class TestAgreesWithGit:
    """Each case: what upstream does, what the fork does, and whether that goes."""

    @pytest.mark.parametrize(
        ("upstream", "ours", "clean"),
        [
            ("git mv a.txt moved.txt", "sed -i s/line.3$/ours/ a.txt", True),
            ("git mv a.txt moved.txt", "git mv a.txt elsewhere.txt", False),
            ("git mv a.txt moved.txt", "git mv a.txt moved.txt; sed -i s/line.3$/ours/ moved.txt", True),
            ("git mv dir folder", "printf 'new\n' > dir/new.txt", False),
            ("git mv dir folder", "sed -i s/line.3$/ours/ dir/c.txt", True),
            ("chmod +x a.txt", "sed -i s/line.3$/ours/ a.txt", True),
            ("chmod +x a.txt", "git rm -q a.txt", False),
            ("printf '\\000\\001theirs' > bin", "printf '\\000\\001ours' > bin", False),
            ("printf '\\000\\001same' > bin", "printf '\\000\\001same' > bin; echo x > aside", True),
            ("ln -s a.txt link", "ln -s b.txt link", False),
            ("rm a.txt; ln -s b.txt a.txt", "sed -i s/line.3$/ours/ a.txt", False),
            ("sed -i s/$/\\r/ a.txt", "sed -i s/line.3$/ours/ a.txt", False),
            ("git rm -q -r dir; echo file > dir", "echo more > dir/d.txt", False),
            ("ln -s a.txt link", "sed -i s/line.3$/ours/ a.txt", True),
            ("printf '*.txt text eol=crlf\n' > .gitattributes", "sed -i s/line.3$/ours/ a.txt", True),
            ("sed -i s/line.9$/theirs/ a.txt", "printf 'a\r\nb\r\n' > crlf.txt", True),
            ("chmod +x a.txt", "chmod +x a.txt; sed -i s/line.3$/ours/ a.txt", True),
        ],
        ids=lambda value: None if isinstance(value, bool) else value,
    )
    def test_on(self, fork: RepoBuilder, tmp_path: Path, upstream: str, ours: str, clean: bool) -> None:
        change(fork, ours)
        fork.switch("main")
        change(fork, upstream)
        fork.switch("trunk")
        result = check(fork)
        theirs = real(fork, tmp_path)
        assert result.method == "memory"
        assert result.clean is clean
        if clean:
            assert result.tip == theirs.tip
        else:
            conflict = result.conflicts[0]
            assert (conflict.sha, conflict.conflicts) == (theirs.stopped, theirs.files)

    @pytest.mark.parametrize(("setting", "clean"), [("true", True), ("false", True), ("conflict", False)])
    def test_how_directory_renames_are_followed_here(
        self, fork: RepoBuilder, tmp_path: Path, setting: str, clean: bool
    ) -> None:
        fork.git("config", "merge.directoryRenames", setting)
        fork.commit({"dir/new.txt": "new\n"}, "In the old folder")
        fork.switch("main")
        change(fork, "git mv dir folder")
        fork.switch("trunk")
        result = check(fork)
        assert result.clean is clean
        assert (result.tip or "") == real(fork, tmp_path).tip


class TestDropping:
    def test_a_patch_that_upstream_has_names_the_commit_there(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.commit({"a.txt": text(l3="same")}, "Ours")
        fork.commit({"b.txt": text(l3="more")}, "Stays")
        on_main(fork, ({"dir/c.txt": text(l1="x")}, "Before"), ({"a.txt": text(l3="same")}, "Theirs"))
        upstream = fork.head("main")
        result = check(fork)
        assert [(each.number, each.why, each.proof) for each in result.dropped] == [(1, "upstream", upstream)]
        assert [each.subject for each in result.kept] == ["Stays"]
        assert result.tip == real(fork, tmp_path).tip

    def test_a_patch_of_which_nothing_is_left_names_the_tree(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.commit({"a.txt": text(l3="same")}, "Ours")
        on_main(fork, ({"a.txt": text(l3="same", l15="more")}, "Theirs, and more"))
        result = check(fork)
        assert [(each.why, each.proof) for each in result.dropped] == [
            ("became_empty", fork.git("rev-parse", "main^{tree}"))
        ]
        assert result.tip == real(fork, tmp_path).tip == fork.head("main")

    def test_a_patch_that_was_empty_from_the_start_stays(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.commit({}, "A milestone")
        on_main(fork, ({"a.txt": text(l1="x")}, "Theirs"), ({}, "An empty one there"))
        result = check(fork)
        assert [each.subject for each in result.kept] == ["A milestone"]
        assert result.tip == real(fork, tmp_path).tip


class TestConflicts:
    @pytest.fixture
    def broken(self, fork: RepoBuilder) -> RepoBuilder:
        fork.commit({"a.txt": text(l3="ours")}, "Touches a")
        fork.commit({"b.txt": text(l3="ours")}, "Touches b")
        fork.commit({"a.txt": text(l3="ours again")}, "Touches a again")
        fork.commit({"dir/c.txt": text(l3="ours")}, "Goes")
        fork.commit({"b.txt": None}, "Removes b")
        noise = [({"noise.txt": f"{number}\n"}, f"Noise {number}") for number in range(9)]
        on_main(fork, *noise[:3], ({"a.txt": text(l3="theirs")}, "Break a (#12)"), *noise[3:6])
        on_main(fork, ({"b.txt": text(l3="theirs")}, "Merge pull request #7 from o/b"), *noise[6:])
        return fork

    def test_all_are_listed_in_one_pass_with_their_files(self, broken: RepoBuilder, tmp_path: Path) -> None:
        result = check(broken)
        assert not result.clean
        assert result.tip is None
        assert [(each.number, each.conflicts) for each in result.conflicts] == [
            (1, ("a.txt",)),
            (2, ("b.txt",)),
            (3, ("a.txt",)),
            (5, ("b.txt",)),
        ]
        assert [each.types for each in result.conflicts] == [
            ("CONFLICT (contents)",),
            ("CONFLICT (contents)",),
            ("CONFLICT (contents)",),
            ("CONFLICT (modify/delete)",),
        ]
        assert [each.after for each in result.conflicts] == [(), (), (1,), (2,)]
        assert [each.number for each in result.kept] == [4]
        stopped = real(broken, tmp_path)
        assert (stopped.stopped, stopped.files) == (result.conflicts[0].sha, result.conflicts[0].conflicts)

    def test_the_upstream_merge_that_broke_a_patch_is_named(self, broken: RepoBuilder) -> None:
        breakers = [each.broken_by for each in check(broken).conflicts]
        assert [each and each.subject for each in breakers[:2]] == ["Break a (#12)", "Merge pull request #7 from o/b"]
        assert [each and each.pull_request for each in breakers[:2]] == [12, 7]
        assert breakers[0] is not None
        assert breakers[0].author == "Ada Person"

    def test_a_merge_upstream_is_named_and_not_what_came_with_it(self, fork: RepoBuilder) -> None:
        fork.commit({"a.txt": text(l3="ours")}, "Ours")
        fork.switch("topic", "main")
        fork.commit({"a.txt": text(l3="theirs")}, "In the topic")
        fork.switch("main")
        fork.commit({"b.txt": text(l1="x")}, "Aside")
        merge = fork.merge("topic", "Merge the topic")
        fork.switch("trunk")
        (conflict,) = check(fork).conflicts
        assert conflict.broken_by is not None
        assert conflict.broken_by.sha == merge

    def test_a_patch_that_needs_an_earlier_one_is_tried_with_it(self, fork: RepoBuilder) -> None:
        fork.commit({"new.txt": text()}, "Adds a file")
        fork.commit({"new.txt": text(l2="more"), "a.txt": text(l3="ours")}, "Needs it")
        on_main(fork, ({"b.txt": text(l1="x")}, "Aside"), ({"a.txt": text(l3="theirs")}, "Breaks"))
        (conflict,) = check(fork).conflicts
        assert conflict.number == 2
        assert conflict.broken_by is not None
        assert conflict.broken_by.subject == "Breaks"

    @pytest.mark.parametrize("number", [0, 1, 3])
    def test_the_commands_stop_where_it_stops(self, broken: RepoBuilder, number: int) -> None:
        conflict = check(broken).conflicts[number]
        *commands, status, remove = conflict.reproduce
        script = "\n".join([*commands, 'git -C "$tree" rev-parse REBASE_HEAD', status, remove])
        environment = {**histories.environment(), "HOME": str(broken.path)}
        done = subprocess.run(["sh", "-c", script], capture_output=True, env=environment, check=True)
        assert conflict.sha in done.stdout.decode()
        assert "worktree" not in "".join(str(path) for path in (broken.path / ".git" / "worktrees").glob("*"))

    def test_two_things_that_want_one_path_are_named_as_git_names_them(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.commit({"thing": "a file\n"}, "A file/of ours")
        on_main(fork, ({"thing/inside.txt": "a folder\n"}, "A folder of theirs"))
        result = check(fork)
        assert result.conflicts[0].types == ("CONFLICT (file/directory)",)
        assert result.conflicts[0].conflicts == real(fork, tmp_path).files

    def test_escalated_paths_are_those_that_upstream_changed(self, fork: RepoBuilder) -> None:
        fork.commit({"dir/d.txt": "ours\n"}, "Ours alone")
        on_main(fork, ({"dir/c.txt": text(l1="x"), "b.txt": text(l1="x")}, "Theirs"))
        assert check(fork, escalate=["dir/**"]).escalated == ("dir/c.txt",)


class TestWhatGitDecides:
    def test_merges_on_the_fork(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.switch("side", "trunk")
        fork.commit({"b.txt": text(l3="side")}, "Side")
        fork.switch("trunk")
        fork.commit({"a.txt": text(l3="ours")}, "Ours")
        fork.merge("side")
        on_main(fork, ({"dir/c.txt": text(l1="x")}, "Theirs"))
        result = check(fork)
        assert result.method == "worktree"
        assert "merge commit" in result.reasons[0]
        assert result.tip == real(fork, tmp_path).tip
        assert {each.subject for each in result.kept} == {"Side", "Ours"}

    def test_a_submodule_change(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
        fork.git("commit", "-qm", "Add a submodule")
        on_main(fork, ({"a.txt": text(l1="x")}, "Theirs"))
        result = check(fork)
        assert result.method == "worktree"
        assert result.tip == real(fork, tmp_path).tip

    def test_a_signed_patch_loses_its_signature_as_git_has_it(self, fork: RepoBuilder, tmp_path: Path) -> None:
        fork.commit({"a.txt": text(l3="ours")}, "Ours")
        raw = fork.git_bytes("cat-file", "commit", "HEAD")
        head, _, message = raw.partition(b"\n\n")
        signed = head + b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\n" + message
        fork.reset(fork.git("hash-object", "-w", "-t", "commit", "--stdin", data=signed))
        on_main(fork, ({"b.txt": text(l1="x")}, "Theirs"))
        result = check(fork)
        assert result.reasons == ("patch 1 is signed",)
        assert result.tip == real(fork, tmp_path).tip

    @pytest.mark.parametrize(("kind", "setting"), [("merge", "driver"), ("filter", "clean")])
    def test_a_program_that_attributes_call_for(
        self, fork: RepoBuilder, tmp_path: Path, kind: str, setting: str
    ) -> None:
        fork.commit({"a.txt": text(l3="ours")}, "Ours")
        on_main(fork, ({"a.txt": text(l15="x"), ".gitattributes": f"*.txt {kind}=mine\n"}, "Theirs"))
        assert check(fork).method == "memory"
        fork.git("config", f"{kind}.mine.{setting}", "cat" if kind == "filter" else "cp %B %A")
        result = check(fork)
        assert result.method == "worktree"
        assert f"{kind}=mine" in result.reasons[0]
        assert result.tip == real(fork, tmp_path).tip

    def test_all_conflicts_are_found_there_too(self, fork: RepoBuilder) -> None:
        fork.commit({"a.txt": text(l3="ours")}, "First")
        fork.commit({"b.txt": text(l3="ours")}, "Second")
        fork.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
        fork.git("commit", "-qm", "Add a submodule")
        on_main(fork, ({"a.txt": text(l3="x")}, "Break a"), ({"b.txt": text(l3="x")}, "Break b"))
        result = check(fork)
        assert result.method == "worktree"
        assert [(each.number, each.conflicts) for each in result.conflicts] == [(1, ("a.txt",)), (2, ("b.txt",))]
        assert [each.broken_by and each.broken_by.subject for each in result.conflicts] == ["Break a", "Break b"]
        assert [each.subject for each in result.kept] == ["Add a submodule"]


class TestOwnCommits:
    VERSION = Version(file="version.txt", pattern=r'^version = "(.+)"$', template="{upstream}-rawr.1")

    @pytest.fixture
    def versioned(self, fork: RepoBuilder) -> RepoBuilder:
        on_main(fork, ({"version.txt": 'name = "x"\nversion = "1.0.0"\n'}, "Version 1.0.0"))
        fork.switch("trunk", "main")
        fork.commit({"a.txt": text(l3="ours")}, "Ours")
        return fork

    def test_the_version_is_set_at_the_tip_and_never_conflicts(self, versioned: RepoBuilder) -> None:
        first = check(versioned, version=self.VERSION)
        assert first.version is not None
        assert first.version.version == "1.0.0-rawr.1"
        assert first.stack_tip == versioned.head("trunk")
        assert versioned.read(str(first.tip), "version.txt") == b'name = "x"\nversion = "1.0.0-rawr.1"\n'
        assert "Upkeep-Commit: version" in versioned.message(str(first.tip))
        versioned.reset(str(first.tip))
        on_main(versioned, ({"version.txt": 'name = "x"\nversion = "1.1.0"\n'}, "Version 1.1.0"))
        second = check(versioned, version=self.VERSION)
        assert second.clean
        assert [each.sha for each in second.own_before] == [first.tip]
        assert versioned.read(str(second.tip), "version.txt") == b'name = "x"\nversion = "1.1.0-rawr.1"\n'
        assert versioned.head(f"{second.tip}^") == second.stack_tip

    def test_the_same_tip_gives_the_same_commit(self, versioned: RepoBuilder) -> None:
        first = check(versioned, version=self.VERSION)
        assert check(versioned, version=self.VERSION).tip == first.tip
        versioned.reset(str(first.tip))
        for _ in range(2):
            again = check(versioned, version=self.VERSION)
            assert again.unchanged
            assert again.version is not None
            assert (again.version.reused, again.version.commit) == (True, first.tip)

    def test_a_version_that_the_stack_sets_itself_is_left_alone(self, versioned: RepoBuilder) -> None:
        versioned.commit({"version.txt": 'name = "x"\nversion = "1.0.0-rawr.1"\n'}, "By hand")
        result = check(versioned, version=self.VERSION)
        assert result.unchanged
        assert result.version is not None
        assert result.version.commit is None

    def test_fixes_of_ours_on_top_of_an_unmoved_stack_are_used_again(self, versioned: RepoBuilder) -> None:
        versioned.reset(str(check(versioned, version=self.VERSION).tip))
        versioned.commit({"a.txt": text(l3="ours", l4="formatted")}, "Format\n\nUpkeep-Commit: fix", author=AUTHOR)
        assert check(versioned, version=self.VERSION).unchanged

    def test_a_person_s_commit_with_our_trailer_is_a_patch(self, versioned: RepoBuilder) -> None:
        versioned.commit({"b.txt": text(l3="mine")}, "Mine\n\nUpkeep-Commit: fix")
        on_main(versioned, ({"dir/c.txt": text(l1="x")}, "Theirs"))
        assert [each.subject for each in check(versioned).kept] == ["Ours", "Mine"]

    def test_ours_under_a_person_s_commit_move_to_the_tip(self, versioned: RepoBuilder) -> None:
        versioned.reset(str(check(versioned, version=self.VERSION).tip))
        person = versioned.commit({"b.txt": text(l3="more")}, "A person's next patch")
        result = check(versioned, version=self.VERSION)
        assert [each.subject for each in result.kept] == ["Ours", "A person's next patch"]
        assert result.kept[1].new_sha != person
        assert versioned.head(f"{result.tip}^") == result.kept[1].new_sha

    def test_a_conflict_is_reproduced_without_ours(self, versioned: RepoBuilder) -> None:
        versioned.reset(str(check(versioned, version=self.VERSION).tip))
        versioned.commit({"b.txt": text(l3="more")}, "A person's next patch")
        on_main(versioned, ({"version.txt": 'version = "2"\n', "b.txt": text(l3="theirs")}, "Break both"))
        (conflict,) = check(versioned, version=self.VERSION).conflicts
        assert conflict.subject == "A person's next patch"
        *commands, _, remove = conflict.reproduce
        script = "\n".join([*commands, 'git -C "$tree" rev-parse REBASE_HEAD', remove])
        environment = {**histories.environment(), "HOME": str(versioned.path)}
        done = subprocess.run(["sh", "-c", script], capture_output=True, env=environment, check=True)
        assert conflict.sha in done.stdout.decode()

    def test_git_in_a_worktree_leaves_ours_out_as_well(self, versioned: RepoBuilder) -> None:
        versioned.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
        versioned.git("commit", "-qm", "Add a submodule")
        versioned.git("rm", "-q", "--cached", "module")
        versioned.git("commit", "-qm", "Remove it")
        versioned.reset(str(check(versioned, version=self.VERSION).tip))
        on_main(versioned, ({"version.txt": 'version = "2"\n'}, "Version 2"))
        result = check(versioned, version=self.VERSION)
        assert result.method == "worktree"
        assert [each.subject for each in result.kept] == ["Ours", "Add a submodule", "Remove it"]
        assert versioned.read(str(result.tip), "version.txt") == b'version = "2-rawr.1"\n'

    def test_the_version_comes_from_the_newest_tag(self, versioned: RepoBuilder) -> None:
        version = Version(
            file="version.txt", pattern=r'^version = "(.+)"$', source="tag", tag="rust-v(.+)", template="{upstream}-r.1"
        )
        tags = ["rust-v0.9.0", "rust-v0.10.0-alpha.2", "rust-v0.10.0-alpha.10", "v99", "rust-v0.2.0"]
        result = check(versioned, version=version, tags=tags)
        assert result.version is not None
        assert result.version.version == "0.10.0-alpha.10-r.1"
        released = check(versioned, version=version, tags=[*tags, "rust-v0.10.0"])
        assert released.version is not None
        assert released.version.upstream == "0.10.0"

    @pytest.mark.parametrize(
        "version",
        [
            Version(file="gone.txt", pattern="(x)"),
            Version(file="version.txt", pattern="^nothing (.+)$"),
            Version(file="version.txt", pattern='^version = "(.+)"$', source="tag", tag="v(.+)"),
            Version(file="version.txt", pattern="(unclosed"),
            Version(file="version.txt", pattern="^version"),
        ],
        ids=["file", "pattern", "tag", "no expression", "no group"],
    )
    def test_a_version_that_cannot_be_found_says_what_is_wrong(self, versioned: RepoBuilder, version: Version) -> None:
        with pytest.raises(Exception, match="the version cannot be derived") as caught:
            check(versioned, version=version)
        assert getattr(caught.value, "reason", "") == "forks.version_not_found"


class TestQuarantine:
    def test_no_room_says_so_and_leaves_nothing(self, fork: RepoBuilder, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text("in the way")
        with pytest.raises(GitError) as caught, quarantine(Repository.open(fork.path), folder=file / "below"):
            pass
        assert caught.value.reason == "forks.no_room"

    def test_what_a_killed_process_left_is_removed(self, fork: RepoBuilder, tmp_path: Path) -> None:
        ended = subprocess.Popen(["true"])
        ended.wait()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        left = tmp_path / f"upkeep-verify-{ended.pid}-12345-{namespace}-abcdefgh"
        foreign = tmp_path / "upkeep-verify-1-12345-1-abcdefgh"
        for folder in (left, foreign):
            (folder / "objects").mkdir(parents=True)
        with quarantine(Repository.open(fork.path), folder=tmp_path) as place:
            assert place.folder.parent == tmp_path
            assert not left.exists()
            assert foreign.exists()
        assert not place.folder.exists()
