"""A repository whose own tests are the attack: each runs as a gate, which nobody's model has to be talked into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hostile.attacks import ATTACKS, ENVIRONMENT, HOST, NETWORK, Attack
from tests.hostile.raid import RAN, Raid
from tests.hostile.scene import CANARIES, VARIABLES, Scene, lay_out
from tests.support.model_server import ModelServer
from tests.support.tools import tool
from upkeep.gates import Gates
from upkeep.settings.forks import Gate

# A gate has no gateway. It sees the tree's `.git`, read-only, which of a fork's worktree is the name of a folder.
NOT_OF_GATES = {"gateways-other-paths", "repositorys-own-token", "staying-behind"}
# PostgreSQL, which test suites start, needs System V memory, and others need memory by descriptor (docs/agents.md).
BY_DESIGN = {"kernel-interfaces": {"system call 29 was let through", "system call 319 was let through"}}
PLAYED = [
    attack for attack in ATTACKS if attack.threat in (ENVIRONMENT, NETWORK, HOST) and attack.name not in NOT_OF_GATES
]

Look = Callable[[Attack], Raid]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with lay_out(tmp_path.resolve()) as made:
        monkeypatch.setenv("HOME", str(made.home))
        for name in VARIABLES:
            monkeypatch.setenv(name, CANARIES[name])
        yield made


@pytest.fixture
def play(scene: Scene, model_server: ModelServer) -> Callable[..., Raid]:
    def run(attack: Attack, **fields: str) -> Raid:
        outcome = Raid(scene, model_server, scene.hosts_files())
        gates = Gates(scene.work, scene.root / "cache", scene.logs, bwrap=tool("bwrap"), home=scene.home)
        gates.run(Gate(**{"run": "true", "timeout_minutes": 5, **fields}))  # type: ignore[arg-type]
        return outcome

    return run


def holds(
    attack: Attack,
    scene: Scene,
    play: Callable[..., Raid],
    phase: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Play an attack as one phase of a gate: it ran, and breached what it may by design and nothing else."""
    record_property("attack", f"{attack.threat}: {attack.name}")
    outcome = play(attack, **{phase: f"{attack.command(scene)}\necho attack-was-run-$((6 * 7))"})
    assert [path for path in scene.logs.iterdir() if RAN in path.read_text(errors="replace")], "it was not run"
    assert set(attack.breaches(outcome)) == BY_DESIGN.get(attack.name, set())


@pytest.mark.parametrize("attack", PLAYED, ids=lambda attack: attack.name)
def test_a_gate_holds_the_tests_of_a_hostile_repository(
    attack: Attack, scene: Scene, play: Callable[..., Raid], record_property: Callable[[str, object], None]
) -> None:
    record_property("engine", "gate")
    holds(attack, scene, play, "run", record_property)


@pytest.mark.parametrize("attack", [each for each in PLAYED if each.threat != NETWORK], ids=lambda attack: attack.name)
def test_the_preparation_has_the_network_and_nothing_else_more(
    attack: Attack, scene: Scene, play: Callable[..., Raid], record_property: Callable[[str, object], None]
) -> None:
    record_property("engine", "prepare")
    holds(attack, scene, play, "prepare", record_property)
