"""The sandbox of an account without any rights: where the tests run as root, of another account."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.tools import ROOT, tool, unavailable

NOBODY = 65534
PYTHONS = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")
CODE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from upkeep.agents.profile import MIB, Limits, Profile
from upkeep.agents.sandbox import Sandbox, probe, stopped
bwrap, folder, script = sys.argv[2], Path(sys.argv[3]), sys.argv[4]
limits = Limits(processes=64, memory=256 * MIB, file=4 * MIB, disk=16 * MIB)
done = Sandbox(Profile(directory=folder, home=folder, private=(folder,), limits=limits), bwrap).run(
    ["sh", "-c", script], deadline=60)
stop = stopped(done)
print(json.dumps({"contained": probe(bwrap).contained, "text": done.text, "stop": stop and stop.cause}))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own folders, which nobody else may enter."""
    with TemporaryDirectory(prefix="upkeep-test-", ignore_cleanup_errors=True) as name:
        path = Path(name).resolve()
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        yield path


def as_nobody(folder: Path, script: str) -> Any:
    become = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    for python in PYTHONS:
        asked = [python, "-c", CODE, str(ROOT), tool("bwrap"), str(folder), script]
        try:
            done = subprocess.run(asked, env=environment, cwd="/", capture_output=True, timeout=90, **become)  # type: ignore[call-overload]
        except OSError:
            continue
        if done.returncode == 0:
            return json.loads(done.stdout)
        if b"PermissionError" not in done.stderr and b"No module named 'upkeep'" not in done.stderr:
            raise AssertionError(done.stderr.decode())
    unavailable("no Python of this machine and this checkout can be read by an account without rights")
    return None


def test_it_holds(folder: Path) -> None:
    found = as_nobody(folder, f"id -u; echo a > {folder}/a; ls / ; cat /proc/self/status | grep CapEff")
    assert found["contained"]
    assert found["stop"] is None
    assert found["text"].split()[0] == "1000"
    assert "home" not in found["text"].split()
    assert (folder / "a").read_text() == "a\n"


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("exec bash -c 'for i in $(seq 300); do sleep 50 & done; sleep 50'", "processes"),
        ("for i in $(seq 100); do head -c 1M /dev/zero > ~/$i; done; sleep 50", "disk"),
        ("for i in 1 2 3 4; do python3 -c 'x = bytearray(90 << 20); input()' < /dev/zero & done; sleep 50", "memory"),
    ],
)
def test_its_limits_hold(folder: Path, script: str, cause: str) -> None:
    if "input()" in script:
        script = script.replace("input()", "import time; time.sleep(40)")
    assert as_nobody(folder, script)["stop"] == cause
