"""Gates in the sandbox: three verdicts that are never confused, two phases, and what neither of them sees."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.support.tools import tool
from upkeep.agents.profile import MIB, Limits
from upkeep.gates import GateResult, Gates
from upkeep.settings.forks import Gate


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    tool("bwrap")
    tree = tmp_path / "tree"
    (tree / ".git").mkdir(parents=True)
    (tree / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tree / "sub").mkdir()
    mounts = (tmp_path / "toolchain",)
    (mounts[0] / "bin").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    limits = Limits(processes=256, memory=512 * MIB, file=8 * MIB, disk=32 * MIB, temp=8 * MIB, open_files=256)
    return Gates(tree, tmp_path / "cache", tmp_path / "out", mounts, limits, tool("bwrap"), tmp_path / "home")


def ran(gates: Gates, run: str, *, tree_id: str | None = None, **more: object) -> GateResult:
    return gates.run(Gate(run=run, **more), tree_id=tree_id)  # type: ignore[arg-type]


class TestVerdicts:
    @pytest.mark.parametrize(
        ("run", "verdict", "reason"),
        [
            ("true", "pass", ""),
            ("exit 1", "fail", "failed"),
            ("false || exit 42", "fail", "failed"),
            ("no-such-tool --check", "could_not_run", "missing_tool"),
            ("echo 'error: no such command: `nextest`' >&2; exit 101", "could_not_run", "missing_tool"),
            ("python3 -m no_such_module_here", "could_not_run", "missing_tool"),
            ("echo 'GET /x: not found'; exit 1", "fail", "failed"),
            ("kill -9 $$", "could_not_run", "killed"),
            ("sleep 30", "could_not_run", "timed_out"),
            (
                "i=0; while [ $i -lt 60 ]; do i=$((i+1)); head -c 1M /dev/zero > $i; done; sleep 9",
                "could_not_run",
                "limit",
            ),
        ],
    )
    def test_pass_fail_and_could_not_run_are_told_apart(
        self, gates: Gates, run: str, verdict: str, reason: str
    ) -> None:
        result = ran(gates, run, timeout_minutes=6 / 60)
        assert (result.verdict, result.reason) == (verdict, reason)
        assert bool(result.message) == (verdict != "pass")

    def test_a_preparation_that_fails_is_no_failed_gate(self, gates: Gates) -> None:
        result = ran(gates, "touch ran", prepare="echo no registry; exit 3")
        assert (result.verdict, result.reason, result.exit_code) == ("could_not_run", "prepare_failed", 3)
        assert "prepare" in result.message
        assert result.tail == "no registry"
        assert not (gates.tree / "ran").exists()

    def test_a_missing_tool_in_the_preparation(self, gates: Gates) -> None:
        assert ran(gates, "true", prepare="no-such-tool").reason == "missing_tool"

    def test_without_a_sandbox_nothing_runs(self, gates: Gates) -> None:
        bare = Gates(gates.tree, gates.cache, gates.outputs, bwrap="bwrap-that-is-not-there")
        result = ran(bare, "touch ran")
        assert (result.verdict, result.reason) == ("could_not_run", "no_sandbox")
        assert "install bubblewrap" in result.message
        assert not (gates.tree / "ran").exists()

    @pytest.mark.parametrize("directory", ["gone", "..", "link"])
    def test_a_folder_that_is_not_of_the_repository(self, gates: Gates, directory: str) -> None:
        (gates.tree / "link").symlink_to("/etc")
        result = ran(gates, "true", directory=directory)
        assert (result.verdict, result.reason) == ("could_not_run", "no_folder")

    def test_the_output_is_kept_in_order_and_its_end_is_in_the_result(self, gates: Gates) -> None:
        result = ran(gates, "for i in $(seq 100); do echo out $i; echo err $i >&2; done; exit 1")
        assert result.output is not None
        lines = result.output.read_text().splitlines()
        assert lines == [f"{kind} {number}" for number in range(1, 101) for kind in ("out", "err")]
        assert result.tail.splitlines() == lines[-40:]


class TestSight:
    def test_only_the_preparation_reaches_the_network(self, gates: Gates) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            call = f"bash -c ': <>/dev/tcp/127.0.0.1/{listener.getsockname()[1]}'"
            assert ran(gates, "true", prepare=call).verdict == "pass"
            assert ran(gates, call).verdict == "fail"

    def test_no_phase_sees_a_secret(self, gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GH_TOKEN", "CANARY-ENV")
        monkeypatch.setenv("PIP_INDEX_URL", "https://user:CANARY-ENV@host/simple")
        monkeypatch.setenv("HTTPS_PROXY", "http://user:CANARY-ENV@proxy:3128")
        (gates.mounts[0] / "credentials.toml").write_text("CANARY-FILE")
        (gates.mounts[0] / "config.toml").write_text("[registry]\ntoken = 'CANARY-FILE'\n")
        (gates.mounts[0] / "settings.xml").write_text("<mirror>https://mirror.test/maven</mirror>\n")
        (gates.home / ".npmrc").write_text("registry=https://mirror.test/\n//mirror.test/:_authToken=CANARY-FILE\n")
        (gates.home / "secret").write_text("CANARY-FILE")
        files = f"{gates.mounts[0]}/*.* {gates.home}/secret ~/.npmrc"
        look = f"env; cat /proc/*/environ; cat {files}; true"
        result = ran(gates, look, prepare=look)
        assert result.verdict == "pass"
        said = "".join(path.read_text(errors="replace") for path in gates.outputs.glob("*.txt"))
        assert "CANARY" not in said
        assert said.count("registry=https://mirror.test/") == 2
        assert said.count("https://mirror.test/maven") == 2, "settings without a secret are seen"

    def test_toolchains_are_on_the_path_and_read_only(self, gates: Gates) -> None:
        program = gates.mounts[0] / "bin" / "house-lint"
        program.write_text("#!/bin/sh\necho linted\n")
        program.chmod(0o755)
        result = ran(gates, f"house-lint; echo bad > {program}; echo $?")
        assert result.tail.splitlines()[0] == "linted"
        assert "linted" in program.read_text()

    def test_the_tree_is_written_and_its_git_is_not(self, gates: Gates) -> None:
        result = ran(gates, "pwd; cat ../.git/HEAD; echo x > made; mkdir -p ../.git/hooks; echo $?", directory="sub")
        assert result.tail.splitlines()[0] == str(gates.tree / "sub")
        assert "ref: refs/heads/main" in result.tail
        assert (gates.tree / "sub" / "made").exists()
        assert not (gates.tree / ".git" / "hooks").exists()

    def test_the_cache_lasts_and_the_home_does_not(self, gates: Gates) -> None:
        ran(gates, 'echo 1 > "$UPKEEP_GATE_CACHE/kept"; echo 2 > ~/lost')
        assert ran(gates, 'cat "$UPKEEP_GATE_CACHE/kept"; test ! -e ~/lost').verdict == "pass"

    def test_links_that_a_gate_leaves_lead_us_nowhere(self, gates: Gates, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.mkdir()
        (gates.home / ".npmrc").write_text("registry=https://mirror.test/\n")
        ran(
            gates,
            f"rm -rf ~/.[a-z]*; ln -s {victim} ~/.cargo; ln -s {victim}/x ~/.npmrc; "
            f'ln -s {victim} "$UPKEEP_GATE_CACHE/cargo-registry"',
        )
        assert ran(gates, "cat ~/.npmrc").tail == "registry=https://mirror.test/"
        assert list(victim.iterdir()) == []


class TestVerdictsOfBefore:
    def test_the_same_command_on_the_same_tree_is_not_run_again(self, gates: Gates) -> None:
        run = 'echo x >> "$UPKEEP_GATE_CACHE/count"; exit 1'
        first, second = ran(gates, run, tree_id="t1"), ran(gates, run, tree_id="t1")
        assert (first.cached, second.cached) == (False, True)
        assert second.model_copy(update={"cached": False}) == first
        ran(gates, run, tree_id="t2")
        assert (gates.cache / "build" / "count").read_text() == "x\nx\n"

    def test_what_could_not_run_is_tried_again(self, gates: Gates) -> None:
        assert ran(gates, "no-such-tool", tree_id="t").verdict == "could_not_run"
        assert not ran(gates, "no-such-tool", tree_id="t").cached

    def test_a_gate_that_mends_the_tree_is_always_run(self, gates: Gates) -> None:
        for _ in range(2):
            assert not ran(gates, "true", tree_id="t", fix=True).cached

    def test_a_gate_cannot_write_a_verdict(self, gates: Gates) -> None:
        ran(gates, "true", tree_id="t")
        (record,) = (gates.cache / "verdicts").iterdir()
        result = ran(gates, f"echo forged > {record}; ls {gates.cache}")
        assert "forged" not in record.read_text()
        assert result.tail.splitlines()[-2:] == ["build", "home"]

    def test_a_record_that_cannot_be_read_is_no_verdict(self, gates: Gates) -> None:
        ran(gates, "true", tree_id="t")
        (record,) = (gates.cache / "verdicts").iterdir()
        record.write_text("{")
        assert not ran(gates, "true", tree_id="t").cached


@pytest.mark.long
class TestRealRepositories:
    """With dependencies from the real registries, reached by this machine's own configuration."""

    @pytest.fixture
    def real(self, tmp_path: Path) -> Gates:
        (tmp_path / "tree").mkdir()
        home = Path.home()
        mounts = tuple(folder for folder in (home / ".cargo", home / ".rustup") if folder.is_dir())
        python = Path(sys.base_prefix).resolve()
        mounts = mounts if python.is_relative_to("/usr") else (*mounts, python)
        return Gates(tmp_path / "tree", tmp_path / "cache", tmp_path / "out", mounts, bwrap=tool("bwrap"))

    def proves(self, gates: Gates, gate: Gate, broken: str, old: str, new: str) -> None:
        """Passes; fails where the code is wrong; could not run without its dependencies."""
        unprepared = gates.run(gate.model_copy(update={"prepare": "exit 9"}))
        assert (unprepared.verdict, unprepared.reason) == ("could_not_run", "prepare_failed")
        good = gates.run(gate)
        assert (good.verdict, good.exit_code) == ("pass", 0), good.tail
        source = gates.tree / broken
        source.write_text(source.read_text().replace(old, new))
        bad = gates.run(gate)
        assert (bad.verdict, bad.reason) == ("fail", "failed"), bad.tail

    def test_rust(self, real: Gates) -> None:
        tool("cargo")
        (real.tree / "src").mkdir()
        (real.tree / "Cargo.toml").write_text(
            '[package]\nname = "sample"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\nitoa = "1"\n'
        )
        (real.tree / "src" / "lib.rs").write_text(
            "pub fn text(n: u8) -> String { itoa::Buffer::new().format(n).to_string() }\n"
            '#[test]\nfn seven() { assert_eq!(text(7), "7"); }\n'
        )
        gate = Gate(run="cargo test --quiet", prepare="cargo fetch", timeout_minutes=4)
        self.proves(real, gate, "src/lib.rs", "text(7)", "text(8)")

    def test_node(self, real: Gates) -> None:
        tool("npm")
        (real.tree / "package.json").write_text(
            '{"name": "sample", "version": "1.0.0", "dependencies": {"ms": "2.1.3"},'
            ' "scripts": {"test": "node test.js"}}'
        )
        (real.tree / "test.js").write_text("require('assert').strictEqual(require('ms')('2 s'), 2000);\n")
        gate = Gate(run="npm test", prepare="npm install --no-audit --no-fund", timeout_minutes=4)
        self.proves(real, gate, "test.js", "2000", "2001")
        assert real.run(Gate(run="npm run no-such-script")).reason == "missing_tool"

    def test_python(self, real: Gates) -> None:
        (real.tree / "requirements.txt").write_text("iniconfig\n")
        (real.tree / "test_it.py").write_text(
            "import io, iniconfig\nassert iniconfig.IniConfig('x', '[a]\\nb = 1\\n')['a']['b'] == '1'\n"
        )
        install = 'python3 -m pip install --quiet --target "$UPKEEP_GATE_CACHE/site" -r requirements.txt'
        gate = Gate(run='PYTHONPATH="$UPKEEP_GATE_CACHE/site" python3 test_it.py', prepare=install, timeout_minutes=4)
        self.proves(real, gate, "test_it.py", "'1'", "'2'")
