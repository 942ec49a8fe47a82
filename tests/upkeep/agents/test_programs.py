"""Finding what a CLI needs in the sandbox, and reading folders that a hostile program could write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from upkeep.agents.folders import PREFIX, plain_files, private_folder, read_plain, remove, sweep
from upkeep.agents.programs import Program, locate, native
from upkeep.errors import AgentError


def executable(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


class TestLocate:
    def test_a_native_program_needs_its_installation(self, tmp_path: Path) -> None:
        program = executable(tmp_path / "tool-1.2" / "bin" / "tool", b"\x7fELF...")
        (tmp_path / "link").symlink_to(program)
        assert locate(str(tmp_path / "link"), agent="a") == Program((str(program),), (tmp_path / "tool-1.2",))

    def test_a_lone_one_needs_itself(self, tmp_path: Path) -> None:
        program = executable(tmp_path / "tool", b"\x7fELF...")
        assert locate(str(program), agent="a").files == (program,)

    @pytest.mark.parametrize("folder", ["bin", ".local/bin"])
    def test_a_home_is_never_shown_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        program = executable(tmp_path / folder / "tool", b"\x7fELF...")
        assert native(program).files == (program,)

    def test_a_node_package_needs_its_modules_and_node(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        node = executable(tmp_path / "node-20" / "bin" / "node", b"\x7fELF...")
        modules = tmp_path / "lib" / "node_modules"
        script = executable(modules / "@x" / "cli" / "node_modules" / "y" / "cli.js", b"#!/usr/bin/env node\n")
        (tmp_path / "cli").symlink_to(script)
        monkeypatch.setenv("PATH", str(node.parent))
        found = locate(str(tmp_path / "cli"), agent="a")
        assert found == Program((str(node), str(script)), (tmp_path / "node-20", modules))

    def test_what_lies_below_usr_is_there_anyway(self) -> None:
        assert native(Path("/usr/bin/env")).files == ()

    def test_a_shim_is_refused_by_name(self, tmp_path: Path) -> None:
        shim = executable(tmp_path / "shim", b"#!/bin/sh\nexec real\n")
        with pytest.raises(AgentError) as caught:
            locate(str(shim), agent="writer")
        assert caught.value.reason == "agent.program"
        assert "agents.writer.bin" in caught.value.remedy

    def test_a_missing_program(self) -> None:
        with pytest.raises(AgentError) as caught:
            locate("no-such-program-here", agent="writer", remedy="get it")
        assert (caught.value.reason, caught.value.remedy) == ("agent.not_installed", "get it")


class TestFolders:
    def test_only_plain_files_are_read(self, tmp_path: Path) -> None:
        (tmp_path / "plain").write_bytes(b"0123456789")
        (tmp_path / "link").symlink_to("plain")
        (tmp_path / "twin").write_bytes(b"x")
        os.link(tmp_path / "twin", tmp_path / "hard")
        os.mkfifo(tmp_path / "pipe")
        assert read_plain(tmp_path / "plain") == b"0123456789"
        assert read_plain(tmp_path / "plain", max_bytes=4) == b"0123"
        for name in ("link", "hard", "pipe", "gone", "."):
            assert read_plain(tmp_path / name) is None

    def test_files_are_listed_without_following_links(self, tmp_path: Path) -> None:
        inner = tmp_path / "sessions" / "2026" / "01"
        inner.mkdir(parents=True)
        (inner / "a.jsonl").touch()
        (inner / "b.txt").touch()
        (inner / "c.jsonl").symlink_to("/etc/passwd")
        (tmp_path / "sessions" / "loop").symlink_to(tmp_path)
        assert plain_files(tmp_path / "sessions", ".jsonl") == [inner / "a.jsonl"]
        (tmp_path / "away").symlink_to(tmp_path / "sessions")
        assert plain_files(tmp_path / "away", ".jsonl") == []
        assert len(plain_files(tmp_path / "sessions", "", most=1)) == 1

    def test_a_private_folder_is_gone_whatever_was_left_in_it(self) -> None:
        with private_folder("test") as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "locked").mkdir()
            (folder / "locked" / "file").touch()
            (folder / "locked").chmod(0)
            deep(folder, 1500)
        assert not folder.exists()

    def test_what_a_killed_process_left_is_swept_and_nothing_else(self, tmp_path: Path) -> None:
        """Its folder goes; those of a living one, links, and names that are no owner's stay."""
        gone = killed_in_a_private_folder()
        parent = gone.parent
        (tmp_path / "kept").mkdir()
        link = parent / f"{gone.name.rpartition('-')[0]}-{uuid.uuid4().hex}"
        link.symlink_to(tmp_path / "kept")
        named = parent / f"{PREFIX}test-of-a-person-{uuid.uuid4().hex}"
        named.mkdir()
        try:
            with private_folder("test") as mine:
                sweep()
                assert mine.is_dir()
            assert not gone.exists()
            assert link.is_symlink()
            assert named.is_dir()
        finally:
            link.unlink()
            named.rmdir()

    def test_removing_does_not_follow_links(self, tmp_path: Path) -> None:
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "file").touch()
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "link").symlink_to(tmp_path / "kept")
        remove(tmp_path / "bad")
        assert (tmp_path / "kept" / "file").exists()
        assert not (tmp_path / "bad").exists()
        remove(tmp_path / "gone")


def killed_in_a_private_folder() -> Path:
    """A private folder with a file, whose process was killed while it was open. Tests that run at the same time may
    have swept it already."""
    code = (
        "import os, signal\nfrom upkeep.agents.folders import private_folder\n"
        "with private_folder('test') as folder:\n (folder / 'home').mkdir()\n (folder / 'home' / 'file').touch()\n"
        " print(folder, flush=True)\n os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return Path(done.stdout.strip())


def deep(folder: Path, levels: int) -> None:
    """Folders in each other, deeper than a path can name: by descriptors."""
    assert levels > sys.getrecursionlimit()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
