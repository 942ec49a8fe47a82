"""Programs that tests need: found, or the test is skipped with a reason that the summary shows.

With UPKEEP_REQUIRE_TOOLS=1 (set by `.ci/run`) a missing tool fails the test instead: CI runs with none skipped.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from upkeep.content.mermaid import NodeMermaid

ROOT = Path(__file__).resolve().parents[2]
TOOL_FOLDERS = (ROOT / ".tools" / "bin", ROOT / "tests" / "tools" / "node_modules" / ".bin")


def unavailable(reason: str) -> None:
    """Skip the running test because of this machine, or fail it where nothing may be missing."""
    if os.environ.get("UPKEEP_REQUIRE_TOOLS") == "1":
        pytest.fail(f"missing on this machine: {reason}")
    pytest.skip(reason)


def find(name: str) -> str | None:
    """Return the absolute path of a program, None where it is not installed."""
    path = os.pathsep.join([*map(str, TOOL_FOLDERS), os.environ.get("PATH", os.defpath)])
    return shutil.which(name, path=path)


def tool(name: str) -> str:
    """Return the absolute path of a program; skip (or fail) where it is not installed, or bubblewrap has no right to
    make a sandbox."""
    found = find(name)
    if found is None:
        unavailable(f"{name} is not installed (`make test` says how to get it)")
    assert found is not None
    if name == "bwrap" and (why := _no_sandbox(found)):
        unavailable(f"this machine allows no sandbox: {why}")
    return found


def mermaid() -> None:
    """Skip (or fail) where Mermaid's own parser cannot be asked."""
    tool("node")
    if not (NodeMermaid().folder / "node_modules").is_dir():
        unavailable("mermaid is not installed (`make test` does it)")


@functools.cache
def _no_sandbox(bwrap: str) -> str:
    """Why bubblewrap cannot make namespaces here (a kernel without those of users, a chroot); "" where it can."""
    command = [bwrap, "--ro-bind", "/", "/", "--unshare-all", "--dev", "/dev", "--proc", "/proc", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"bwrap ended with {done.returncode}")
