"""The suite can fail: with one flag of the sandbox weakened, the attack that the flag is there for succeeds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.hostile.attacks import ATTACKS
from tests.hostile.engines import ENGINES
from tests.hostile.raid import RAN, raid
from tests.hostile.scene import CANARIES, VARIABLES, Scene, lay_out
from tests.support.model_server import ModelServer
from tests.support.tools import tool

ALL_BUT_NETWORK = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")


@dataclass(frozen=True)
class Weakening:
    """`without`: an option that is left out with its value. `instead`: what stands in place of an argument. `late`:
    what is added after all mounts. `attack`: what must get through then."""

    attack: str
    without: str = ""
    instead: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    late: Callable[[Scene], tuple[str, ...]] = lambda scene: ()


WEAKENINGS = (
    Weakening("loopback", instead={"--unshare-all": ALL_BUT_NETWORK}),
    Weakening("abstract-socket", instead={"--unshare-all": ALL_BUT_NETWORK}),
    Weakening("other-address-families", without="--seccomp"),
    Weakening("kernel-interfaces", without="--seccomp"),
    Weakening("environment", late=lambda scene: ("--setenv", "GH_TOKEN", CANARIES["GH_TOKEN"])),
    Weakening("home", late=lambda scene: ("--ro-bind", str(scene.home), str(scene.home))),
    Weakening("writing-outside", late=lambda scene: ("--bind", str(scene.other), str(scene.other))),
    Weakening("repositorys-own-token", late=lambda scene: unhidden(scene.work / ".git")),
    Weakening("instructions-of-the-repository", late=lambda scene: unhidden(scene.work / "AGENTS.md")),
)


def unhidden(path: Path) -> tuple[str, ...]:
    return ("--ro-bind", str(path), str(path))


def weakened(weakening: Weakening, scene: Scene) -> str:
    """A bubblewrap with one thing changed. The probe before the run gets the real one: it would see through most."""
    path = scene.root / "bwrap"
    edits = {"without": weakening.without, "instead": dict(weakening.instead), "late": weakening.late(scene)}
    path.write_text(
        f"#!{sys.executable} -IS\n"
        "import json, os, sys\n"
        f"edits, real, given = json.loads({json.dumps(edits)!r}), {tool('bwrap')!r}, sys.argv[1:]\n"
        "if not any('upkeep-agent-probe-' in part for part in given) and '--version' not in given:\n"
        "    if edits['without'] in given:\n"
        "        at = given.index(edits['without'])\n"
        "        del given[at : at + 2]\n"
        "    end = given.index('--')\n"
        "    root = max(i for i in range(end) if given[i:i + 2] == ['--remount-ro', '/'])\n"
        "    flags = given[:root] + edits['late'] + given[root:end]\n"
        "    given = [new for old in flags for new in edits['instead'].get(old, [old])] + given[end:]\n"
        "os.execv(real, [real, *given])\n"
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
        assert RAN in outcome.outputs[attack.name]
        assert attack.breaches(outcome) != []
