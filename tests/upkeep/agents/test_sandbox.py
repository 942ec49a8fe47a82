"""What a program in the sandbox finds, and what ends it. Attacks by real agent CLIs are in `tests/hostile/`."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tools import ROOT, tool, unavailable
from upkeep.agents import relay
from upkeep.agents.folders import remove
from upkeep.agents.profile import GATEWAY_URL, MIB, Limits, Profile
from upkeep.agents.sandbox import Sandbox, Stop, probe, require, stop_error, stopped
from upkeep.errors import AgentError
from upkeep.process import Completed, start

SMALL = Limits(processes=64, memory=256 * MIB, file=4 * MIB, disk=16 * MIB, temp=2 * MIB, open_files=64)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with a work tree, something to read, a private home, and a secret beside them."""
    tool("bwrap")
    for name in ("work", "reads", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "reads" / "App.kt").write_text("track()\n")
    (tmp_path / "secret").write_text("CANARY")
    yield tmp_path
    # pytest's own removal of old folders recurses, and some are very deep.
    remove(tmp_path / "work")


def profile(place: Path, **more: object) -> Profile:
    values = {
        "directory": place / "work",
        "home": place / "home",
        "write": (place / "work",),
        "private": (place / "home",),
        "read": (place / "reads",),
        "limits": SMALL,
        **more,
    }
    return Profile(**values)  # type: ignore[arg-type]


def sh(place: Path, script: str, *, deadline: float = 60, **more: object) -> Completed:
    return Sandbox(profile(place, **more), tool("bwrap")).run(["sh", "-c", script], deadline=deadline)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestSight:
    def test_the_work_tree_is_written_and_the_rest_is_not(self, place: Path) -> None:
        done = sh(place, f"echo a > a.txt; cat {place}/reads/App.kt; echo b > {place}/reads/b; echo c > ~/c; pwd")
        assert (place / "work" / "a.txt").read_text() == "a\n"
        assert (place / "home" / "c").read_text() == "c\n"
        assert done.text == f"track()\n{place}/work\n"
        assert names(place / "reads") == ["App.kt"]
        assert stopped(done) is None

    def test_nothing_else_of_the_host_exists(self, place: Path) -> None:
        done = sh(place, f"ls -A / /etc {place.parent}; cat {place}/secret; ls /home /root/.ssh /srv /var")
        assert "secret" not in done.text
        listed = set(done.text.split())
        assert not {"home", "var", "srv", "boot", "sys", "shadow", "hostname", "resolv.conf", "gitconfig"} & listed
        assert {"usr", "passwd", "ld.so.cache"} <= listed

    def test_no_variable_of_ours_arrives_by_any_way(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GH_TOKEN", "CANARY-ENV")
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/CANARY-ENV")
        done = sh(place, "env; cat /proc/*/environ | tr '\\0' '\\n'", environment={"ONLY": "this"})
        assert "CANARY-ENV" not in done.text
        names = {line.partition("=")[0] for line in done.text.splitlines()}
        assert names - {"UPKEEP_PROCESS_OWNER", "PWD", "LC_CTYPE", ""} == {
            *("HOME", "LANG", "ONLY", "PATH", "TMPDIR", "USER")
        }

    def test_processes_of_the_host_are_not_there(self, place: Path) -> None:
        done = sh(place, "ls -d /proc/[0-9]* | wc -l")
        assert int(done.text) < 10

    def test_there_is_no_network_but_an_empty_loopback(self, place: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            done = sh(
                place, f"bash -c ': <>/dev/tcp/127.0.0.1/{port}' && echo CONNECTED; cat /proc/net/dev", deadline=20
            )
        assert "CONNECTED" not in done.text
        assert [line.split(":")[0].strip() for line in done.text.splitlines()[2:]] == ["lo"]

    @pytest.mark.parametrize(
        "target",
        ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/usr/x", "/x", "/dev/x"],
    )
    def test_the_system_cannot_be_written_by_roots_files_either(self, place: Path, target: str) -> None:
        """Where Upkeep runs as root the user inside owns these files in the kernel's eyes."""
        before = Path("/proc/sys/kernel/core_pattern").read_text()
        done = sh(place, f"echo x > {target}")
        assert done.returncode != 0
        assert Path("/proc/sys/kernel/core_pattern").read_text() == before

    def test_nobody_becomes_more_inside(self, place: Path) -> None:
        done = sh(place, "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; unshare -Ur true; echo $?")
        lines = done.text.split()
        assert lines[:7] == ["1000", "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
        assert lines[-1] != "0"

    def test_keys_that_the_kernel_keeps_for_the_account_stay_outside(self, place: Path) -> None:
        """In a process of its own, for it puts a key into its session keyring: Kerberos tickets lie there."""
        look = (
            "import ctypes\ncall = ctypes.CDLL(None).syscall\ntext = ctypes.create_string_buffer(64)\n"
            "for ring in (-3, -4, -5):\n"
            "    key = call({keyctl}, 10, ring, b'user', b'canary', 0)\n"
            "    print('SECRET' if key > 0 and call({keyctl}, 11, key, text, 64) > 0 else 'none')"
        )
        numbers = {"x86_64": (248, 250), "aarch64": (217, 219)}.get(os.uname().machine)
        if numbers is None:
            unavailable("the numbers of the keyring calls are not known for this machine")
            return
        look = look.format(keyctl=numbers[1])
        code = (
            f"import ctypes, sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\n"
            "from upkeep.agents.profile import Profile\nfrom upkeep.agents.sandbox import Sandbox\n"
            f"call = ctypes.CDLL(None).syscall\ncall({numbers[1]}, 1, b'upkeep-test')\n"
            f"assert call({numbers[0]}, b'user', b'canary', b'SECRET', 6, -3) > 0, 'keyring'\n"
            f"exec({look!r})\nwork = Path({str(place / 'work')!r})\n"
            f"sandbox = Sandbox(Profile(directory=work, home=work, private=(work,)), {tool('bwrap')!r})\n"
            f"print(sandbox.run(['python3', '-c', {look!r}], deadline=60).text)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
        if "AssertionError: keyring" in done.stderr:
            unavailable("this machine lets nobody use keyrings")
        assert done.stdout.split() == ["SECRET", "none", "none", "none", "none", "none"], done.stderr

    def test_nothing_that_we_have_open_is_inherited(self, place: Path) -> None:
        with (place / "secret").open() as held:
            os.set_inheritable(held.fileno(), True)
            done = sh(place, "ls -l /proc/self/fd")
        assert str(place) not in done.text


class TestHidden:
    def test_a_repositorys_agent_files_are_empty_and_fixed_at_any_depth(self, place: Path) -> None:
        deep = place / "work" / "a" / "b"
        deep.mkdir(parents=True)
        for path in (
            place / "work" / "AGENTS.md",
            deep / "CLAUDE.md",
            deep / ".mcp.json",
            place / "reads" / "AGENTS.md",
        ):
            path.write_text("CANARY")
        (deep / ".claude").mkdir()
        (deep / ".claude" / "settings.json").write_text("CANARY")
        script = "cat $(find . ../reads -name '*.md' -o -name '.mcp.json'); ls -A a/b/.claude; "
        done = sh(place, script + "echo x > AGENTS.md; rm -rf a/b/.claude; mv AGENTS.md moved; touch a/b/.claude/x")
        assert "CANARY" not in done.text
        assert (place / "work" / "AGENTS.md").read_text() == "CANARY"
        assert names(deep / ".claude") == ["settings.json"]

    def test_what_a_link_of_such_a_name_leads_to_is_hidden_too(self, place: Path) -> None:
        (place / "work" / "docs").mkdir()
        (place / "work" / "docs" / "rules.md").write_text("CANARY")
        (place / "work" / "CLAUDE.md").symlink_to("docs/rules.md")
        (place / "work" / "AGENTS.md").symlink_to(place / "secret")
        done = sh(place, "cat CLAUDE.md docs/rules.md; cat AGENTS.md")
        assert done.text == ""

    def test_git_is_hidden_or_shown_read_only(self, place: Path) -> None:
        (place / "work" / ".git" / "hooks").mkdir(parents=True)
        (place / "work" / ".git" / "config").write_text("token")
        script = "cat .git/config; touch .git/hooks/pre-commit"
        assert sh(place, script).text == ""
        assert sh(place, script, git="read").text == "token"
        assert names(place / "work" / ".git" / "hooks") == []

    def test_too_many_are_refused_rather_than_shown(self, place: Path) -> None:
        for number in range(401):
            (place / "work" / str(number)).mkdir()
            (place / "work" / str(number) / "AGENTS.md").touch()
        with pytest.raises(AgentError) as caught:
            sh(place, "true")
        assert caught.value.reason == "agent.sandbox.hidden"


class TestLimits:
    def ended(self, place: Path, script: str, **more: object) -> Stop | None:
        began = time.monotonic()
        done = sh(place, script, deadline=60, **more)
        assert done.outcome == "exited", f"the limit must end it, not the deadline; {time.monotonic() - began:.0f} s"
        return stopped(done)

    def test_a_fork_bomb(self, place: Path) -> None:
        # Bash tries again where it may not fork; another shell gives up, and its bomb goes out by itself.
        bomb = "for i in $(seq 300); do sleep 50 & done; b() { b | b & }; b; sleep 50"
        stop = self.ended(place, f"exec bash -c '{bomb}'")
        assert stop == Stop("processes", "the sandbox was ended: more than 64 processes and threads")

    def test_memory_of_many_processes_together(self, place: Path) -> None:
        eat = "x = bytearray(90 << 20); import time; time.sleep(50)"
        stop = self.ended(place, " ".join(f"/usr/bin/env python3 -c '{eat}' &" for _ in range(4)) + " wait")
        assert stop == Stop("memory", "the sandbox was ended: more than 256 MiB of memory")

    @pytest.mark.parametrize(
        "eat",
        [
            "m = mmap.mmap(-1, 90 << 20); m.write(bytes(90 << 20))",
            "held = [os.memfd_create(chr(120)) for _ in range(24)]; [os.write(m, bytes(4 << 20)) for m in held]",
        ],
        ids=["mapped", "files without a name"],
    )
    def test_memory_that_is_shared(self, place: Path, eat: str) -> None:
        code = f"import mmap, os, time; {eat}; time.sleep(50)"
        script = " ".join(f"/usr/bin/env python3 -c '{code}' &" for _ in range(4)) + " wait"
        stop = self.ended(place, script, uncounted_memory=True)
        assert stop == Stop("memory", "the sandbox was ended: more than 256 MiB of memory")

    def test_one_file(self, place: Path) -> None:
        done = sh(place, "head -c 8M /dev/zero > big; echo $?")
        assert done.text.strip() != "0"
        assert (place / "work" / "big").stat().st_size <= 4 * MIB

    @pytest.mark.parametrize("folder", ["{work}", "$HOME"])
    def test_many_files(self, place: Path, folder: str) -> None:
        where = folder.format(work=place / "work")
        script = (
            f"i=0; while [ $i -lt 400 ]; do i=$((i+1)); head -c 1M /dev/zero > {where}/$i; sleep 0.01; done; sleep 50"
        )
        assert self.ended(place, script) == Stop("disk", "the sandbox was ended: its folders grew by more than 16 MiB")

    def test_folders_so_deep_that_nobody_can_look(self, place: Path) -> None:
        code = "import os\\nfor _ in range(700):\\n os.mkdir('d'*20); os.chdir('d'*20)\\nimport time; time.sleep(50)"
        stop = self.ended(place, f'printf "{code}" > x.py; python3 x.py')
        assert stop is not None
        assert stop.cause == "disk"

    @pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
    def test_private_memory_folders_are_small(self, place: Path, folder: str) -> None:
        done = sh(place, f"head -c 3M /dev/zero > {folder}/x; echo $?")
        assert done.text.strip() != "0"

    def test_open_files(self, place: Path) -> None:
        done = sh(place, "ulimit -n; ulimit -c")
        assert done.text.split() == ["64", "0"]

    def test_nothing_outlives_it(self, place: Path) -> None:
        done = sh(place, "setsid sleep 987 > /dev/null 2>&1 & sleep 0.1; echo started")
        assert done.text == "started\n"
        assert not running("sleep\x00987")

    def test_a_deadline_ends_everything(self, place: Path) -> None:
        done = sh(place, "trap '' TERM; setsid sleep 986 & sleep 986", deadline=2)
        assert done.outcome == "deadline"
        assert not running("sleep\x00986")

    def test_a_cancelled_run_leaves_nothing(self, place: Path) -> None:
        """An interrupt reaches the thread that reads the output, as it does in a Dagster run that is cancelled."""

        def cancel(line: str) -> bool:
            raise KeyboardInterrupt

        sandbox = Sandbox(profile(place), tool("bwrap"))
        script = "trap '' TERM INT; setsid sleep 984 & echo up; sleep 984"
        with pytest.raises(KeyboardInterrupt):
            sandbox.run(["sh", "-c", script], deadline=60, on_line=cancel)
        assert not running("sleep\x00984")

    def test_a_run_that_we_end_after_its_final_event_leaves_nothing_that_writes(self, place: Path) -> None:
        script = "setsid sh -c 'while :; do date > late; done' & echo final; sleep 983"
        sandbox = Sandbox(profile(place), tool("bwrap"))
        done = sandbox.run(["sh", "-c", script], deadline=60, after_final=0.2, on_line=lambda line: True)
        assert done.outcome == "final"
        written = (place / "work" / "late").stat().st_mtime_ns
        assert not running("sleep\x00983")
        assert (place / "work" / "late").stat().st_mtime_ns == written

    def test_the_end_of_whoever_watches_ends_it_too(self, place: Path) -> None:
        """`kill -9` of the watcher: bubblewrap and all below it go with it."""
        command = Sandbox(profile(place), tool("bwrap")).command(["sh", "-c", "echo > up; exec sleep 985"])
        with start(command) as child:
            until(lambda: (place / "work" / "up").exists())
            os.kill(child.pid, 9)
            child.wait(10)
            until(lambda: not running("sleep\x00985"))


def running(arguments: str) -> bool:
    """Whether any process of the host was called so."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and arguments in (entry / "cmdline").read_text():
                return True
        except OSError:
            continue
    return False


def until(condition: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


class TestEnds:
    @pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 7", 7), ("exit 79", 79), ("kill -9 $$", 137)])
    @pytest.mark.parametrize("gateway", [False, True])
    def test_a_commands_own_status_comes_through(
        self, place: Path, echo: Path, script: str, status: int, gateway: bool
    ) -> None:
        done = sh(place, script, gateway=echo if gateway else None)
        assert (done.returncode, stopped(done), stop_error(done, agent="writer")) == (status, None, None)

    def test_input_and_output_pass(self, place: Path) -> None:
        done = Sandbox(profile(place), tool("bwrap")).run(["sh", "-c", "cat; echo no >&2"], deadline=30, input=b"hello")
        assert (done.text, done.error_text) == ("hello", "no\n")

    def test_a_program_that_is_not_there(self, place: Path) -> None:
        done = Sandbox(profile(place), tool("bwrap")).run(["no-such-program"], deadline=30)
        stop = stopped(done)
        assert stop == Stop("no_program", "cannot run no-such-program: No such file or directory")
        error = stop_error(done, agent="writer")
        assert error is not None
        assert error.reason == "agent.not_installed"

    def test_a_sandbox_that_does_not_start(self, place: Path) -> None:
        broken = place / "bwrap"
        broken.write_text(f"#!/bin/sh\nexec {tool('bwrap')} --bind /nowhere /nowhere true\n")
        broken.chmod(0o755)
        done = Sandbox(profile(place), str(broken)).run(["touch", "ran"], deadline=30)
        stop = stopped(done)
        assert stop is not None
        assert (stop.cause, "nowhere" in stop.message) == ("not_started", True)
        error = stop_error(done, agent="writer")
        assert error is not None
        assert error.reason == "agent.sandbox"
        assert not (place / "work" / "ran").exists()

    def test_a_path_that_is_not_there(self, place: Path) -> None:
        with pytest.raises(AgentError) as caught:
            sh(place, "true", read=(place / "gone",))
        assert caught.value.reason == "agent.sandbox.missing"
        assert "gone" in caught.value.message


def give_back(client: socket.socket) -> None:
    with client:
        relay.pump(client, client)


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[Path]:
    """A gateway that gives back what it gets."""
    path = tmp_path / "echo.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=give_back, args=(client,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)


class TestGateway:
    def talk(self, place: Path, echo: Path, code: str) -> Completed:
        host, port = GATEWAY_URL.removeprefix("http://").split(":")
        head = f"import socket, threading\nconnect = lambda: socket.create_connection(({host!r}, {port}))\n"
        return sh(place, f"exec python3 -c {shlex.quote(head + code)}", gateway=echo)

    def test_bytes_pass_both_ways_until_each_side_ends(self, place: Path, echo: Path) -> None:
        code = (
            "s = connect(); data = bytes(range(256)) * 20000; got = bytearray()\n"
            "t = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))); t.start()\n"
            "while part := s.recv(65536): got += part\nprint(got == data)"
        )
        assert self.talk(place, echo, code).text == "True\n"

    def test_a_part_is_passed_on_before_the_next_comes(self, place: Path, echo: Path) -> None:
        code = "s = connect()\nfor n in range(50):\n s.sendall(b'x'); assert s.recv(10) == b'x'\nprint('ok')"
        assert self.talk(place, echo, code).text == "ok\n"

    def test_many_connections_at_once(self, place: Path, echo: Path) -> None:
        code = (
            "ends = [connect() for _ in range(12)]\nfor i, s in enumerate(ends): s.sendall(b'%d' % i)\n"
            "print(all(s.recv(9) == b'%d' % i for i, s in enumerate(ends)))"
        )
        assert self.talk(place, echo, code).text == "True\n"

    def test_one_that_is_gone_ends_the_connection_and_nothing_else(self, place: Path, tmp_path: Path) -> None:
        path = tmp_path / "dead.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        assert self.talk(place, path, "print(connect().recv(1))").text in ("b''\n", "")


class TestThisMachine:
    def test_a_probe_says_that_it_contains(self) -> None:
        found = probe(tool("bwrap"))
        assert (found.contained, found.reason) == (True, "")
        assert found.version[0].isdigit()

    def test_without_bubblewrap_a_run_is_refused_with_what_to_do(self) -> None:
        with pytest.raises(AgentError) as caught:
            require("writer", bwrap="bwrap-that-is-not-there")
        assert caught.value.reason == "agent.sandbox"
        assert "install bubblewrap" in caught.value.remedy
        assert "agents.writer.unsafe_no_sandbox" in caught.value.remedy

    def test_only_an_explicit_word_lets_it_pass(self) -> None:
        assert require("writer", unsafe_no_sandbox=True, bwrap="bwrap-that-is-not-there") is False

    def test_a_host_without_user_namespaces(self, tmp_path: Path) -> None:
        outer = f"{tool('bwrap')} --unshare-user --disable-userns --dev-bind / /"
        wrapped = tmp_path / "bwrap"
        wrapped.write_text(f'#!/bin/sh\nexec {outer} {tool("bwrap")} "$@"\n')
        wrapped.chmod(0o755)
        found = probe(str(wrapped))
        assert not found.contained
        assert "namespace" in found.reason

    def test_a_sandbox_that_shows_too_much_is_found_out(self, tmp_path: Path) -> None:
        open_wide = tmp_path / "bwrap"
        script = (
            'case "$1" in --version) echo bubblewrap 0.8.0; exit;; esac\nwhile [ "$1" != -- ]; do shift; done\nshift'
        )
        open_wide.write_text(f'#!/bin/sh\n{script}\nexec {tool("bwrap")} --dev-bind / / "$@"\n')
        open_wide.chmod(0o755)
        assert not probe(str(open_wide)).contained

    def test_an_old_one(self, tmp_path: Path) -> None:
        old = tmp_path / "bwrap"
        old.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
        old.chmod(0o755)
        assert "too old" in probe(str(old)).reason
