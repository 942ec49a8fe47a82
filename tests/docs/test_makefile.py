"""The names that operators know: each target is a thin name over one command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as a shell would, from within a make or not; nothing is installed (-o)."""
    outside = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "REPO"}
    }
    return subprocess.run(
        ["make", "--no-print-directory", "-o", ".venv/.installed", *arguments],
        cwd=ROOT,
        env=outside,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("fix-consistency-all", "upkeep sync --all --fix"),
        ("install-hooks-all", "upkeep hooks install --all"),
        ("gitea-inventory", "upkeep inventory"),
        ("fix-consistency", 'upkeep sync "$REPO" --fix'),
        ("install-hooks", 'upkeep hooks install "$REPO"'),
    ],
)
def test_a_target_is_a_thin_name_over_a_command(target: str, command: str) -> None:
    shown = make("-n", target, "REPO=the-custodian")
    assert command in shown.stdout, shown.stderr


@pytest.mark.parametrize("target", ["fix-consistency", "install-hooks"])
def test_a_target_for_one_repository_asks_which(target: str) -> None:
    refused = make(target)
    assert refused.returncode != 0
    assert "REPO=slug" in refused.stderr
