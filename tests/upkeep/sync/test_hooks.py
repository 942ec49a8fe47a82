"""The post-commit hook in real repositories, and the markers that it leaves."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.repositories import MakeRepository, RepoBuilder
from upkeep.sync import markers
from upkeep.sync.hooks import MARK, Hook
from upkeep.sync.workingtree import WorkingTree

NOTES = """
import os, sys
given = [name for name in os.environ if name.startswith("GIT_")]
open(sys.argv[1], "a").write(" ".join([os.getcwd(), os.environ["UPKEEP_HOME"], *given]) + "\\n")
"""


class Hooked:
    """A repository and its hook, which appends a line to `calls` in the background."""

    def __init__(self, builder: RepoBuilder, tmp_path: Path, slug: str = "sample") -> None:
        self.builder = builder
        self.home = tmp_path / "it's home"
        self.calls = tmp_path / "calls"
        command = [sys.executable, "-I", "-c", NOTES, str(self.calls)]
        self.hook = Hook(slug, WorkingTree.open(builder.path), self.home, command, {"UPKEEP_HOME": str(self.home)})

    @property
    def file(self) -> Path:
        return self.hook.file

    def commit(self) -> None:
        self.builder.git("commit", "-q", "--allow-empty", "-m", "x")

    def markers(self) -> int:
        return len(list((markers.folder(self.home, self.hook.repository) / "new").glob("*")))


@pytest.fixture
def hooked(make_repository: MakeRepository, tmp_path: Path) -> Hooked:
    return Hooked(make_repository("a repository"), tmp_path)


def eventually(holds: Callable[[], bool], seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def test_a_commit_leaves_a_marker_and_starts_the_command_apart(hooked: Hooked) -> None:
    assert hooked.hook.status().state == "absent"
    done = hooked.hook.install()
    assert (done.state, done.changed) == ("installed", True)
    assert stat.S_IMODE(hooked.file.stat().st_mode) & 0o111
    hooked.commit()
    assert hooked.markers() == 1
    assert eventually(lambda: hooked.calls.exists() and hooked.calls.read_text().endswith("\n"))
    # In no repository, and with none of the variables that git gives a hook.
    assert hooked.calls.read_text().startswith(f"/ {hooked.home}")
    assert not {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX"} & set(hooked.calls.read_text().split())


def test_installing_and_uninstalling_again_changes_nothing(hooked: Hooked) -> None:
    hooked.hook.install()
    text = hooked.file.read_bytes()
    assert text.startswith(b"#!/bin/sh\n" + MARK.encode())
    again = hooked.hook.install()
    assert (again.state, again.changed, hooked.file.read_bytes()) == ("installed", False, text)
    assert hooked.hook.uninstall().changed
    assert not hooked.file.exists()
    assert not hooked.hook.uninstall().changed


@pytest.mark.parametrize(
    "there",
    [
        b"#!/bin/sh\necho hi\n",
        b"#!/bin/bash -e\nfalse || true\n",
        b"#!/usr/bin/env bash\necho \xff\xfe\n",
        b"echo no shebang",
        b"#!/bin/sh",
        b"",
    ],
)
def test_what_is_there_stays_and_comes_back(hooked: Hooked, there: bytes) -> None:
    hooked.file.parent.mkdir(exist_ok=True)
    hooked.file.write_bytes(there)
    hooked.file.chmod(0o644)
    done = hooked.hook.install()
    assert done.changed
    assert "run bit" in done.note
    text = hooked.file.read_bytes()
    block = hooked.hook.block().encode()
    head = there[: there.find(b"\n") + 1] if there.startswith(b"#!") and b"\n" in there else b""
    if there in (b"", b"#!/bin/sh"):
        assert text == b"#!/bin/sh\n" + block
    else:
        assert text == head + block + there.removeprefix(head)
    hooked.commit()
    assert hooked.markers() == 1
    hooked.hook.uninstall()
    assert not hooked.file.exists() or hooked.file.read_bytes() == there


def test_a_hook_that_fails_still_tells_and_the_commit_stands(hooked: Hooked) -> None:
    hooked.file.parent.mkdir(exist_ok=True)
    hooked.file.write_text("#!/bin/sh -eu\nexit 3\n")
    hooked.hook.install()
    hooked.commit()
    assert hooked.markers() == 1
    assert hooked.builder.message() == "x"


def test_a_hook_never_fails_a_commit_when_its_home_and_its_program_are_gone(hooked: Hooked) -> None:
    hooked.hook.install()
    for folder in sorted(hooked.home.glob("**/"), reverse=True):
        folder.rmdir()
    gone = Hook("sample", hooked.hook.tree, hooked.home, ["/nonexistent/upkeep"], {})
    hooked.file.write_text(hooked.file.read_text().replace(hooked.hook.block(), gone.block()))
    who = ["-c", "user.name=a", "-c", "user.email=b"]
    commit = ["git", "-C", str(hooked.builder.path), *who, "commit", "-q", "--allow-empty", "-m", "x"]
    done = subprocess.run(commit, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("there", [b"#!/usr/bin/env python3\nprint('hi')\n", b"\x7fELF\x00\x01", b"#!/usr/bin/fish\n"])
def test_a_hook_that_is_no_shell_script_is_left_alone(hooked: Hooked, there: bytes) -> None:
    hooked.file.parent.mkdir(exist_ok=True)
    hooked.file.write_bytes(there)
    done = hooked.hook.install()
    assert (done.state, done.changed) == ("foreign", False)
    assert "in the background" in done.remedy
    assert hooked.file.read_bytes() == there
    assert not hooked.hook.uninstall().changed


def test_a_link_and_a_damaged_block_are_left_alone(hooked: Hooked) -> None:
    hooked.file.parent.mkdir(exist_ok=True)
    target = hooked.builder.path / "dispatcher"
    target.write_text("#!/bin/sh\n")
    hooked.file.symlink_to(target)
    assert hooked.hook.install().state == "foreign"
    assert target.read_text() == "#!/bin/sh\n"
    hooked.file.unlink()
    hooked.file.write_text(f"#!/bin/sh\n{MARK} begin sample\necho half\n")
    assert hooked.hook.install().state == "foreign"


def test_another_command_makes_the_block_outdated_and_install_replaces_it(hooked: Hooked) -> None:
    hooked.hook.install()
    newer = Hook("sample", hooked.hook.tree, hooked.home, ["/elsewhere/upkeep", "sync"], {})
    assert newer.status().state == "outdated"
    assert newer.install().changed
    assert newer.status().state == "installed"
    assert hooked.file.read_text().count(MARK) == 2


def test_a_configured_hooks_folder_serves_several_repositories(make_repository: MakeRepository, tmp_path: Path) -> None:
    shared = tmp_path / "shared hooks"
    both = [Hooked(make_repository(name), tmp_path, name) for name in ("one", "two")]
    for each in both:
        each.builder.git("config", "core.hooksPath", str(shared))
        assert each.hook.install().changed
    assert both[0].file == both[1].file == shared / "post-commit"
    assert [each.hook.status().state for each in both] == ["installed", "installed"]
    both[1].commit()
    assert [each.markers() for each in both] == [0, 1]
    both[0].hook.uninstall()
    assert [each.hook.status().state for each in both] == ["absent", "installed"]


def test_a_hooks_folder_in_the_working_tree_is_used_and_noted(hooked: Hooked) -> None:
    hooked.builder.git("config", "core.hooksPath", ".githooks")
    done = hooked.hook.install()
    assert done.path == hooked.hook.tree.root / ".githooks" / "post-commit"
    assert "working tree" in done.note
    hooked.commit()
    assert hooked.markers() == 1


def test_a_linked_worktree_shares_the_hook(hooked: Hooked, tmp_path: Path) -> None:
    hooked.commit()
    hooked.builder.git("worktree", "add", "-q", str(tmp_path / "linked"))
    linked = WorkingTree.open(tmp_path / "linked")
    assert Hook("sample", linked, hooked.home, ["x"], {}).file == hooked.file.resolve()
    hooked.hook.install()
    RepoBuilder(tmp_path / "linked", create=False).git("commit", "-q", "--allow-empty", "-m", "y")
    assert hooked.markers() == 1


# Markers


def leave(home: Path, name: str) -> None:
    (markers.prepare(home, "sample") / name).touch()


def test_ten_markers_are_one_sync_and_late_ones_another(tmp_path: Path) -> None:
    for number in range(10):
        leave(tmp_path, str(number))
    rounds: list[int] = []

    def work() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            leave(tmp_path, "late")

    assert markers.work_off(tmp_path, "sample", work) == 2
    assert rounds == [0, 1]
    assert markers.waiting(tmp_path) == []


def test_one_process_works_and_the_others_leave_it_to_it(tmp_path: Path) -> None:
    leave(tmp_path, "1")
    inside, go = threading.Event(), threading.Event()
    rounds: list[str] = []

    def work() -> None:
        rounds.append("x")
        inside.set()
        assert go.wait(20)

    worker = threading.Thread(target=markers.work_off, args=(tmp_path, "sample", work))
    worker.start()
    assert inside.wait(20)
    leave(tmp_path, "2")
    assert markers.work_off(tmp_path, "sample", work) == 0
    go.set()
    worker.join(20)
    assert rounds == ["x", "x"]
    assert markers.waiting(tmp_path) == []


def test_markers_of_a_sync_that_failed_or_was_killed_are_taken_by_the_next(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    leave(tmp_path, "1")
    with pytest.raises(RuntimeError):
        markers.work_off(tmp_path, "sample", fail)
    assert markers.waiting(tmp_path) == ["sample"]
    killed = f"""
import os
from pathlib import Path
from upkeep.sync import markers
markers.work_off(Path({str(tmp_path)!r}), "sample", lambda: os.kill(os.getpid(), 9))
"""
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
    assert not markers.pending(tmp_path, "sample")
    assert markers.waiting(tmp_path) == ["sample"]
    with markers.taken(tmp_path, "sample") as count:
        assert count == 1
    assert markers.waiting(tmp_path) == []
