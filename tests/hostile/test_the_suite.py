"""The suite can fail: with one flag of the sandbox weakened, the attack that the flag is there for succeeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile.attacks import ATTACKS
from tests.hostile.engines import ENGINES
from tests.hostile.raid import raid
from tests.hostile.scene import CANARIES, VARIABLES, Scene, lay_out
from tests.support.model_server import ModelServer
from tests.support.tools import tool

ALL_BUT_NETWORK = "--unshare-user --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try"
PROBE = "upkeep-probe-"


@dataclass(frozen=True)
class Weakening:
    """`edit`: bubblewrap's arguments as they become, as lines of shell that may look at "$@"; `attack`: what gets
    through then."""

    attack: str
    edit: Callable[[Scene], str]


def without(*flags: str, instead: str = "") -> str:
    """Drop flags, by rotating the arguments through themselves."""
    dropped = "|".join(flags)
    return (
        'count=$#; while [ $count -gt 0 ]; do case "$1" in '
        f'{dropped}) set -- "$@" {instead};; *) set -- "$@" "$1";; esac; shift; count=$((count - 1)); done'
    )


WEAKENINGS = (
    Weakening("loopback", lambda scene: without("--unshare-all", instead="--unshare-user --unshare-pid --unshare-ipc")),
    Weakening("abstract-socket", lambda scene: without("--unshare-all", instead="--unshare-user --unshare-pid")),
    Weakening("home", lambda scene: f'set -- --ro-bind-late {scene.home} "$@"'),
    Weakening("environment", lambda scene: without("--clearenv", instead=f"--setenv GH_TOKEN {CANARIES['GH_TOKEN']}")),
    Weakening("writing-outside", lambda scene: f'set -- --bind-late {scene.other} "$@"'),
)


def weakened(weakening: Weakening, scene: Scene) -> str:
    """A bubblewrap with one thing changed. The probe before the run gets the real one: it would see through this.

    A late bind comes after all others, before the command.
    """
    path = scene.root / "bwrap"
    late = (
        'case "$1" in --ro-bind-late|--bind-late) kind=${1%-late}; folder=$2; shift 2; '
        'count=$#; done=; while [ $count -gt 0 ]; do [ "$1$done" = "--remount-ro" ] && [ "$2" = / ] && '
        '{ set -- "$@" $kind "$folder" "$folder"; done=1; }; set -- "$@" "$1"; shift; count=$((count - 1)); done;; esac'
    )
    real = tool("bwrap")
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *{PROBE}*|--version) exec {real} "$@";; esac\n'
        f'{weakening.edit(scene)}\n{late}\nexec {real} "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("weakening", WEAKENINGS, ids=lambda weakening: weakening.attack)
def test_a_weakened_sandbox_lets_the_attack_through(
    weakening: Weakening, tmp_path: Path, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (attack,) = (attack for attack in ATTACKS if attack.name == weakening.attack)
    with lay_out(tmp_path.resolve()) as scene:
        monkeypatch.setenv("HOME", str(scene.home))
        for name in VARIABLES:
            monkeypatch.setenv(name, CANARIES[name])
        agent = ENGINES["codex"](model_server, bwrap=weakened(weakening, scene))
        outcome = raid(agent, scene, model_server, [attack], tmp_path / "bare")
        assert outcome.error is None
        assert attack.breaches(outcome) != []
