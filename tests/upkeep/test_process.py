"""Children: deadlines, bounds, redaction, and that nothing of them stays behind, whatever happens to us."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tools import ROOT
from tests.support.waiting import until
from upkeep import reaper
from upkeep.errors import CommandFailed, CommandNotFound, CommandTimeout
from upkeep.process import MIB, base_environment, run, start, sweep
from upkeep.redaction import Redactor
from upkeep.streams import LineCutter

SECRET = "s3cr3t/with+signs=="


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def pids_in(file: Path, count: int) -> list[int]:
    until(lambda: file.exists() and len(file.read_text().split()) >= count, "the start of the children")
    return [int(pid) for pid in file.read_text().split()]


def start_script(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Run Python code in a process of its own, which a test can kill without harm to itself."""
    # What a shell starts with `&` ignores the interrupt, and passes that on: these scripts are to be interrupted.
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    return subprocess.Popen(
        [sys.executable, "-c", interruptible + textwrap.dedent(code), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


# A child, a grandchild in its group, and one that left the group for a session of its own.
FAMILY = "echo $$ >>{0}; (echo $BASHPID >>{0}; exec sleep 300) & setsid sh -c 'echo $$ >>{0}; exec sleep 300' & wait"
STUBBORN = "trap '' TERM; " + FAMILY


class TestRun:
    def test_output_status_and_error_text_come_back(self) -> None:
        done = run(["sh", "-c", "cat; echo oops >&2; exit 3"], input=b"in\n", deadline=20, check=False)
        assert (done.stdout, done.error_text, done.returncode, done.outcome) == (b"in\n", "oops\n", 3, "exited")
        assert not done.truncated

    def test_standard_input_is_empty_unless_given(self) -> None:
        assert run(["cat"], deadline=20).stdout == b""

    def test_more_input_than_a_pipe_holds_goes_through_while_output_comes_back(self) -> None:
        data = os.urandom(3 * MIB)
        assert run(["cat"], input=data, deadline=60).stdout == data

    def test_a_child_that_does_not_read_its_input_is_no_error(self) -> None:
        assert run(["true"], input=b"x" * MIB, deadline=20).returncode == 0

    def test_a_failure_says_what_and_why(self) -> None:
        with pytest.raises(CommandFailed, match="sh ended with status 7: broken") as caught:
            run(["sh", "-c", "echo broken >&2; exit 7"], deadline=20)
        assert caught.value.details["returncode"] == 7
        assert caught.value.details["stderr"] == "broken\n"

    def test_a_missing_program_and_a_missing_folder_are_told_apart(self, tmp_path: Path) -> None:
        with pytest.raises(CommandNotFound) as missing:
            run(["no-such-program-here"], deadline=20)
        assert missing.value.remedy
        with pytest.raises(CommandFailed) as folder:
            run(["true"], cwd=tmp_path / "gone", deadline=20)
        assert folder.value.reason == "process.no_folder"

    def test_the_wall_clock_ends_a_child_that_talks_all_the_time(self) -> None:
        with pytest.raises(CommandTimeout) as caught:
            run(["sh", "-c", "while :; do echo .; sleep 0.05; done"], deadline=1, idle=60)
        assert caught.value.details["outcome"] == "deadline"

    def test_silence_ends_a_child_before_the_wall_clock_does(self) -> None:
        # The clock of silence runs from the start, too: it leaves the shell time to say its word.
        done = run(["sh", "-c", "echo working; sleep 300"], deadline=250, idle=3, check=False)
        assert (done.outcome, done.stdout) == ("idle", b"working\n")

    def test_a_child_that_stays_after_its_final_event_is_ended_and_has_succeeded(self) -> None:
        done = run(
            ["sh", "-c", "echo one; echo final; sleep 300"],
            deadline=60,
            after_final=0.1,
            on_line=lambda line: line == "final",
        )
        assert (done.outcome, done.stdout) == ("final", b"one\nfinal\n")

    def test_a_child_that_goes_by_itself_after_its_final_event_exited(self) -> None:
        done = run(["sh", "-c", "echo final"], deadline=60, after_final=30, on_line=lambda line: True)
        assert (done.outcome, done.returncode) == ("exited", 0)

    def test_a_callback_that_raises_ends_the_child(self, tmp_path: Path) -> None:
        def refuse(line: str) -> None:
            raise RuntimeError(line)

        with pytest.raises(RuntimeError, match="first"):
            run(["sh", "-c", f"echo $$ >{tmp_path}/pid; echo first; exec sleep 300"], deadline=60, on_line=refuse)
        assert not is_alive(int((tmp_path / "pid").read_text()))

    def test_a_line_of_100_mb_is_cut_and_never_held_whole(self) -> None:
        code = """
            import pathlib
            from upkeep.process import MIB, run
            lines = []
            script = "head -c 100000000 /dev/zero | tr '\\\\0' a; echo; echo end"
            done = run(["sh", "-c", script], deadline=240, on_line=lines.append, max_output=MIB)
            assert [len(line) for line in lines] == [MIB, 3], [len(line) for line in lines]
            assert done.truncated and len(done.stdout) == MIB
            # Not ru_maxrss: Linux hands that of the forking process on.
            peak = int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
            assert peak < 60_000, peak
        """
        assert start_script(code).wait(250) == 0

    def test_output_beyond_the_bound_is_dropped_and_said(self) -> None:
        done = run(["sh", "-c", "head -c 3000000 /dev/zero; exit 0"], deadline=60, max_output=1000)
        assert (len(done.stdout), done.truncated) == (1000, True)

    def test_of_error_output_the_end_is_kept(self) -> None:
        done = run(["sh", "-c", "seq 1 1000000 >&2"], deadline=60)
        assert done.stderr.endswith(b"999999\n1000000\n")
        assert done.truncated
        assert len(done.stderr) <= MIB

    def test_output_is_written_to_files_as_it_comes(self, tmp_path: Path) -> None:
        run(
            ["sh", "-c", "echo out; echo err >&2"],
            deadline=20,
            stdout_path=tmp_path / "out.log",
            stderr_path=tmp_path / "err.log",
        )
        assert (tmp_path / "out.log").read_text() == "out\n"
        assert (tmp_path / "err.log").read_text() == "err\n"

    def test_a_log_is_bounded(self, tmp_path: Path) -> None:
        done = run(["head", "-c", "5000", "/dev/zero"], deadline=20, stdout_path=tmp_path / "log", max_file=100)
        assert (tmp_path / "log").stat().st_size == 100
        assert done.truncated

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    def test_a_full_disk_costs_the_log_and_not_the_child(self) -> None:
        done = run(["sh", "-c", "seq 1 100000"], deadline=20, stdout_path=Path("/dev/full"))
        assert done.stdout.endswith(b"100000\n")
        assert done.truncated

    def test_a_program_that_is_not_there_leaves_no_descriptor_open(self, tmp_path: Path) -> None:
        descriptors = Path("/proc/self/fd")
        before = len(list(descriptors.iterdir()))
        for _ in range(5):
            with pytest.raises(CommandNotFound):
                run(["no-such-program-here"], deadline=20, stdout_path=tmp_path / "log")
            run(["true"], input=b"x", deadline=20)
        assert len(list(descriptors.iterdir())) <= before + 1  # the watcher's pipe, if this was the first child


class TestNothingStaysBehind:
    def test_background_children_end_with_their_leader(self, tmp_path: Path) -> None:
        done = run(["sh", "-c", f"sleep 300 & echo $! >{tmp_path}/pid; echo done"], deadline=60)
        assert done.stdout == b"done\n"
        until(lambda: not is_alive(int((tmp_path / "pid").read_text())))

    def test_a_deadline_reaches_those_that_left_the_group(self, tmp_path: Path) -> None:
        for deadline in (1.5, 6, 24, 96):  # the first that lets all three start
            (tmp_path / "pids").unlink(missing_ok=True)
            run(["bash", "-c", STUBBORN.format(tmp_path / "pids")], deadline=deadline, check=False)
            if (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 3:
                break
        pids = pids_in(tmp_path / "pids", 3)
        until(lambda: not any(map(is_alive, pids)))

    def test_one_that_left_the_group_and_holds_the_pipe_open_does_not_hold_us(self, tmp_path: Path) -> None:
        script = "setsid sh -c 'echo $$ >pid; sleep 300' & while ! [ -s pid ]; do :; done; echo out"
        assert run(["sh", "-c", script], cwd=tmp_path, deadline=60).stdout == b"out\n"
        until(lambda: not is_alive(int((tmp_path / "pid").read_text())))

    def test_kill_9_of_the_caller_ends_children_grandchildren_and_those_that_left_the_group(
        self, tmp_path: Path
    ) -> None:
        caller = start_script(
            "import sys; from upkeep.process import run; run(['bash', '-c', sys.argv[1]], deadline=300)",
            STUBBORN.format(tmp_path / "pids"),
        )
        pids = pids_in(tmp_path / "pids", 3)
        caller.kill()
        caller.wait()
        until(lambda: not any(map(is_alive, pids)))

    def test_kill_9_of_the_caller_asks_a_server_with_its_own_signal_first(self, tmp_path: Path) -> None:
        code = """
            import pathlib, signal, sys, time
            from upkeep.process import start
            script = "trap 'echo stopped >end; exit' INT; echo $$ >pids; while :; do sleep 0.05; done"
            start(["bash", "-c", script], cwd=pathlib.Path(sys.argv[1]), death_signal=signal.SIGINT)
            pathlib.Path(sys.argv[1], "told").touch()
            time.sleep(300)
        """
        caller = start_script(code, str(tmp_path))
        (pid,) = pids_in(tmp_path / "pids", 1)
        until((tmp_path / "told").exists, "the watcher to know the child")
        caller.kill()
        caller.wait()
        until(lambda: not is_alive(pid))
        assert (tmp_path / "end").read_text() == "stopped\n"

    def test_a_thread_that_ends_does_not_take_its_children_along(self) -> None:
        children = []
        thread = threading.Thread(target=lambda: children.append(start(["sleep", "300"])))
        thread.start()
        thread.join()
        time.sleep(0.1)
        assert children[0].poll() is None
        assert children[0].terminate(grace=60) == -signal.SIGTERM

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_cancelled_caller_ends_the_group_and_lets_the_interrupt_through(
        self, tmp_path: Path, number: signal.Signals
    ) -> None:
        code = """
            import signal, sys
            from upkeep.process import run
            class Cancelled(BaseException): ...
            def cancel(*_): raise Cancelled
            signal.signal(signal.SIGTERM, cancel)
            try:
                run(["bash", "-c", sys.argv[1]], deadline=300)
            except (KeyboardInterrupt, Cancelled):
                sys.exit(42)
        """
        caller = start_script(code, FAMILY.format(tmp_path / "pids"))
        pids = pids_in(tmp_path / "pids", 3)
        caller.send_signal(number)
        assert caller.wait(120) == 42
        assert not any(map(is_alive, pids))

    def test_a_sweep_ends_what_a_dead_owner_left_when_its_watcher_died_too(self, tmp_path: Path) -> None:
        code = """
            import pathlib, sys, time
            from upkeep import process
            process.record_in(pathlib.Path(sys.argv[1]) / "processes")
            process.start(["bash", "-c", sys.argv[2]])
            pathlib.Path(sys.argv[1], "watcher").write_text(str(process._watcher._process.pid))
            time.sleep(300)
        """
        caller = start_script(code, str(tmp_path), FAMILY.format(tmp_path / "pids"))
        pids = pids_in(tmp_path / "pids", 3)
        (watcher,) = pids_in(tmp_path / "watcher", 1)
        sweep(tmp_path / "processes")
        assert all(map(is_alive, pids)), "a living owner's children are left alone"
        os.kill(watcher, signal.SIGKILL)
        caller.kill()
        caller.wait()
        assert all(map(is_alive, pids))
        record = next((tmp_path / "processes").glob("*.json"))
        record.with_name("torn.json").write_text('{"owner": "1:')
        assert sweep(tmp_path / "processes") >= 2
        until(lambda: not any(map(is_alive, pids)))
        assert list((tmp_path / "processes").iterdir()) == []

    def test_a_record_whose_number_now_belongs_to_a_stranger_ends_nobody(self, tmp_path: Path) -> None:
        stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
        try:
            gone = f"{2**22 - 1}:1:{reaper.owner_token(os.getpid()).rpartition(':')[2]}"
            reaper.record(tmp_path, gone, reaper.Group(stranger.pid, 1, signal.SIGTERM))
            sweep(tmp_path)
            assert stranger.poll() is None
            assert list(tmp_path.iterdir()) == []
        finally:
            stranger.kill()
            stranger.wait()

    def test_a_killed_watcher_is_replaced_and_knows_the_running_groups(self, tmp_path: Path) -> None:
        code = """
            import os, pathlib, signal, sys, time
            from upkeep import process
            process.start(["bash", "-c", sys.argv[2]])
            old = process._watcher._process
            os.kill(old.pid, signal.SIGKILL)
            old.wait()
            process.run(["true"], deadline=20)
            pathlib.Path(sys.argv[1], "ready").write_text("1")
            time.sleep(300)
        """
        caller = start_script(code, str(tmp_path), FAMILY.format(tmp_path / "pids"))
        pids = pids_in(tmp_path / "pids", 3)
        pids_in(tmp_path / "ready", 1)
        caller.kill()
        caller.wait()
        until(lambda: not any(map(is_alive, pids)))

    def test_a_forked_child_of_ours_does_not_keep_the_watcher_waiting(self, tmp_path: Path) -> None:
        code = """
            import os, pathlib, sys, time
            from upkeep import process
            process.start(["bash", "-c", sys.argv[2]])
            if os.fork() == 0:
                pathlib.Path(sys.argv[1], "fork").write_text(str(os.getpid()))
                time.sleep(300)
            time.sleep(300)
        """
        caller = start_script(code, str(tmp_path), FAMILY.format(tmp_path / "pids"))
        pids = pids_in(tmp_path / "pids", 3)
        (fork,) = pids_in(tmp_path / "fork", 1)
        caller.kill()
        caller.wait()
        try:
            until(lambda: not any(map(is_alive, pids)))
        finally:
            os.kill(fork, signal.SIGKILL)


class TestChild:
    def test_it_is_talked_to_through_its_pipes(self) -> None:
        with start(["cat"], pipes=True) as child:
            child.stdin.write(b"hello\n")
            assert child.stdout.read(6) == b"hello\n"
            assert child.poll() is None
            assert child.terminate(grace=60) == -signal.SIGTERM
        assert child.poll() == -signal.SIGTERM

    def test_it_ends_with_its_block(self) -> None:
        with start(["sleep", "300"]) as child:
            assert child.poll() is None
        assert child.poll() in {-signal.SIGTERM, -signal.SIGKILL}

    def test_one_that_ignores_the_request_is_killed_after_the_grace(self) -> None:
        child = start(["bash", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], pipes=True)
        assert child.stdout.read(3) == b"up\n"
        assert child.terminate(0.2) == -signal.SIGKILL
        assert child.terminate() == -signal.SIGKILL

    def test_both_streams_can_go_into_one_log(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        child = start(["sh", "-c", "echo out; echo err >&2"], stdout_path=log, stderr_path=log)
        assert child.wait(20) == 0
        assert log.read_text() == "out\nerr\n"

    def test_waiting_for_one_that_stays_says_so(self) -> None:
        with start(["sleep", "300"]) as child, pytest.raises(CommandTimeout):
            child.wait(0.1)


class TestEnvironment:
    def test_tokens_and_git_variables_do_not_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("GH_TOKEN", "OPENAI_API_KEY", "GIT_DIR", "GIT_INDEX_FILE", "LC_ALL", "PYTHONPATH"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("SSL_CERT_FILE", "/etc/certificates.pem")
        names = dict(line.split("=", 1) for line in run(["env"], deadline=20).text.splitlines())
        assert names["SSL_CERT_FILE"] == "/etc/certificates.pem"
        assert names["LANG"] == "C.UTF-8"
        allowed = {*base_environment(), reaper.OWNER_VARIABLE, "PWD", "SHLVL", "_"}
        assert set(names) <= allowed

    def test_what_a_caller_keeps_or_adds_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
        found = base_environment({"LANG": "de_DE.UTF-8"}, keep=["SSH_AUTH_SOCK", "NOT_SET_ANYWHERE"])
        assert found["SSH_AUTH_SOCK"] == "/run/agent"
        assert found["LANG"] == "de_DE.UTF-8"
        assert "NOT_SET_ANYWHERE" not in found


class TestRedaction:
    def test_output_files_callback_and_error_are_all_redacted(self, tmp_path: Path) -> None:
        lines: list[str] = []
        with pytest.raises(CommandFailed) as caught:
            run(
                ["sh", "-c", f"echo 'out {SECRET}'; echo 'err {SECRET}' >&2; exit 1"],
                deadline=20,
                on_line=lines.append,
                stdout_path=tmp_path / "out",
                stderr_path=tmp_path / "err",
                redact=Redactor([SECRET]),
            )
        assert lines == ["out ***"]
        assert (tmp_path / "out").read_text() == "out ***\n"
        assert (tmp_path / "err").read_text() == "err ***\n"
        assert SECRET not in str(caught.value.as_record())

    def test_a_secret_across_two_reads_or_across_a_cut_is_hidden(self) -> None:
        half = len(SECRET) // 2
        script = "printf 'x%s' $1; sleep 0.2; printf '%s\\n' $2; printf 'aaaaaaa%s%s\\n' $1 $2"
        argv = ["sh", "-c", script, "sh", SECRET[:half], SECRET[half:]]
        done = run(argv, deadline=20, redact=Redactor([SECRET]), max_line=12)
        assert done.stdout == b"x***\naaaaaaa***\n"


class TestLineCutter:
    @given(
        lines=st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=8),
        cuts=st.lists(st.integers(0, 100), max_size=6),
        limit=st.integers(1, 8),
        overlap=st.integers(0, 3),
    )
    @settings(max_examples=200, derandomize=True, deadline=None)
    def test_every_line_comes_once_whole_or_cut_however_the_stream_is_chopped(
        self, lines: list[bytes], cuts: list[int], limit: int, overlap: int
    ) -> None:
        stream = b"".join(line + b"\n" for line in lines)
        edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
        cutter = LineCutter(limit, overlap)
        found = [line for a, b in itertools.pairwise(edges) for line in cutter.feed(stream[a:b])]
        found += cutter.finish()
        assert len(found) == len(lines)
        for line, got in zip(lines, found, strict=True):
            body = got.removesuffix(b"\n")
            assert line.startswith(body)
            assert body == line or len(body) >= limit
            assert len(body) <= limit + overlap + 1


def test_records_are_kept_while_a_group_runs(tmp_path: Path) -> None:
    code = """
        import pathlib, sys
        from upkeep import process
        folder = pathlib.Path(sys.argv[1])
        process.record_in(folder)
        with process.start(["sleep", "300"]):
            assert len(list(folder.iterdir())) == 1
        assert list(folder.iterdir()) == []
    """
    assert start_script(code, str(tmp_path / "processes")).wait(120) == 0
