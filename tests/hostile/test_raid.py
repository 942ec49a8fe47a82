"""Every attack by every engine: the model's shell tries it, the host, the canaries and the commit are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.hostile.attacks import ATTACKS, Attack
from tests.hostile.engines import ENGINES
from tests.hostile.raid import RAN, Raid, raid
from tests.hostile.scene import CANARIES, VARIABLES, lay_out
from tests.support.model_server import ModelServer

MakeRaid = Callable[[str], Raid]


@pytest.fixture(scope="module")
def raids(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeRaid]:
    """One raid an engine, made when it is first asked for."""
    made: dict[str, Raid] = {}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        def of(engine: str) -> Raid:
            if engine not in made:
                root = tmp_path_factory.mktemp(engine).resolve()
                scene = stack.enter_context(lay_out(root))
                server = ModelServer()
                stack.callback(server.close)
                patch.setenv("HOME", str(scene.home))
                for name in VARIABLES:
                    patch.setenv(name, CANARIES[name])
                made[engine] = raid(ENGINES[engine](server), scene, server, ATTACKS, root / "bare")
            return made[engine]

        yield of


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_held(
    attack: Attack, engine: str, raids: MakeRaid, record_property: Callable[[str, object], None]
) -> None:
    record_property("attack", f"{attack.threat}: {attack.name}")
    record_property("engine", engine)
    outcome = raids(engine)
    assert RAN in outcome.outputs.get(attack.name, ""), f"it was not run; the agent: {outcome.error or outcome.result}"
    assert attack.breaches(outcome) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_agent_may_do_still_works(engine: str, raids: MakeRaid) -> None:
    """The raid is worth nothing if the agent could do nothing: it ended with its answer, and its content was taken."""
    outcome = raids(engine)
    assert outcome.error is None
    assert outcome.result is not None
    assert (outcome.result.answer, outcome.result.sandbox) == ({"ok": True}, "upkeep")
    assert "content/analytics/late.txt" in outcome.committed
    assert {refusal.reason for refusal in outcome.harvest.refused} >= {
        "outside",
        "link",
        "git",
        "special",
        "executable",
    }
    assert (Path(outcome.scene.home) / ".bashrc").read_text() == "# mine\n"
