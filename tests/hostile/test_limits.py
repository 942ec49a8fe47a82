"""Attacks that end their run: bombs, floods and hangs. Each ends by our doing, at its own limit, with nothing left."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.attacks import ATTACKS
from tests.hostile.engines import ENGINES
from tests.hostile.raid import task
from tests.hostile.scene import Scene, lay_out
from tests.support.load import slowness
from tests.support.model_server import Answer, CallTools, Hang, ModelServer, Reply, Request, shell
from upkeep.agents.folders import remove
from upkeep.agents.profile import GIB, MIB, Limits
from upkeep.errors import AgentError

BOUNDS = Limits(processes=160, memory=2 * GIB, file=8 * MIB, disk=64 * MIB, temp=16 * MIB)
SECOND = slowness() / 60
"""In minutes, the unit of the settings."""

BEGUN = ".bomb-begun"
MARK = "hostile-left-behind"
"""Stands for a name of the test's own: others run at the same time."""


@dataclass(frozen=True)
class Bomb:
    """`replies` are the model's; `codes` are the errors that may come of it, or "answered"."""

    name: str
    replies: tuple[Reply, ...]
    codes: frozenset[str]
    settings: dict[str, Any] = field(default_factory=dict)

    def went_off(self, scene: Scene, server: ModelServer) -> bool:
        """Whether it was played at all: the model was asked, and what it asked for was begun."""
        has_tools = any(isinstance(reply, CallTools) for reply in self.replies)
        return bool(server.requests) and (not has_tools or (scene.work / BEGUN).exists())


def bomb(command: str) -> tuple[Reply, ...]:
    return CallTools(shell(command)), Answer({"ok": True})


def endless(command: str) -> tuple[Reply, ...]:
    """One that has to be ended: some CLIs go on after a while although their tool still runs."""
    return CallTools(shell(command)), Hang()


SLEEP = f"exec -a {MARK} sleep 300"
BOMBS = (
    Bomb(
        "fork bomb",
        endless(f"bash -c 'for i in $(seq 400); do ({SLEEP}) & done; b() {{ b | b & }}; b; {SLEEP}'"),
        frozenset({"agent.limit.processes"}),
    ),
    Bomb(
        "memory bomb",
        endless("for i in 1 2 3; do python3 -c 'x = bytearray(900 << 20); import time; time.sleep(60)' & done; wait"),
        frozenset({"agent.limit.memory"}),
    ),
    Bomb(
        "shared memory bomb",
        endless(
            "for i in 1 2 3; do python3 -c 'import mmap, time; m = mmap.mmap(-1, 900 << 20); "
            "[m.write(bytes(1 << 20)) for _ in range(900)]; time.sleep(60)' & done; wait"
        ),
        frozenset({"agent.limit.memory"}),
    ),
    Bomb(
        "disk filler",
        endless("for i in $(seq 4000); do head -c 1M /dev/zero > f$i || break; done; sleep 60"),
        frozenset({"agent.limit.disk"}),
    ),
    Bomb(
        "disk filler in a private folder",
        endless("for i in $(seq 4000); do head -c 1M /dev/zero > ~/f$i || break; done; sleep 60"),
        frozenset({"agent.limit.disk"}),
    ),
    Bomb("one large file", bomb("head -c 900M /dev/zero > big"), frozenset({"answered"})),
    Bomb("a line of 100 MB", bomb("head -c 100M /dev/zero | tr '\\0' x"), frozenset({"answered"})),
    Bomb("a hang at the start", (Hang(),), frozenset({"agent.timed_out.idle"}), {"idle_minutes": 12 * SECOND}),
    Bomb(
        "a hang in the middle",
        (Hang(streaming=True),),
        frozenset({"agent.timed_out.idle"}),
        {"idle_minutes": 12 * SECOND},
    ),
    Bomb(
        "a tool that hangs",
        (CallTools(shell(f"bash -c '{SLEEP}'")), Hang()),
        frozenset({"agent.timed_out.idle", "agent.timed_out.deadline"}),
        {"idle_minutes": 12 * SECOND, "timeout_minutes": 25 * SECOND},
    ),
    Bomb(
        "work without end",
        (CallTools(shell("sleep 0.2; echo again")),) * 500,
        frozenset({"agent.timed_out.deadline"}),
        {"timeout_minutes": 15 * SECOND},
    ),
    Bomb("a flood of errors", bomb("head -c 100M /dev/zero | tr '\\0' x >&2"), frozenset({"answered"})),
    Bomb(
        "a hundred thousand files",
        endless("python3 -c 'for i in range(100_000): open(str(i), \"w\")'; sleep 60"),
        frozenset({"agent.limit.disk"}),
    ),
    Bomb(
        "a hang after the final event",
        (
            CallTools(shell(f"setsid bash -c 'trap : TERM; {SLEEP}' > /dev/null 2>&1 < /dev/null & echo up")),
            Answer({"ok": True}),
        ),
        frozenset({"answered"}),
    ),
    Bomb("killing everything it can", bomb("kill -9 -1; echo alive"), frozenset({"agent.failed", "agent.unavailable"})),
    Bomb(
        "folders without bottom",
        bomb('python3 -c \'import os\nfor _ in range(1500): os.mkdir("d"); os.chdir("d")\''),
        frozenset({"answered", "agent.limit.disk"}),
    ),
)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with lay_out(tmp_path.resolve()) as made:
        monkeypatch.setenv("HOME", str(made.home))
        yield made
    # pytest's own removal of old folders recurses, and some are a thousand deep.
    remove(made.work)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("attack", BOMBS, ids=lambda attack: attack.name.replace(" ", "-"))
def test_a_bomb_ends_by_our_doing(
    attack: Bomb,
    engine: str,
    scene: Scene,
    model_server: ModelServer,
    record_property: Callable[[str, object], None],
) -> None:
    record_property("attack", f"hang, flood, bomb: {attack.name}")
    record_property("engine", engine)

    mark = f"{MARK}-{uuid.uuid4().hex}"

    def script(request: Request) -> Reply:
        return named(attack.replies[min(len(request.tool_outputs), len(attack.replies) - 1)], mark)

    model_server.script = script
    settings = {"limits": BOUNDS, "timeout_minutes": 3, "idle_minutes": 3, "after_final_seconds": 1, **attack.settings}
    before = scene.hosts_files()
    try:
        ENGINES[engine](model_server, **settings).run(task(scene))
        code = "answered"
    except AgentError as error:
        code = error.reason
    assert attack.went_off(scene, model_server), f"it was not played; the agent: {code}"
    assert code in attack.codes
    assert left(mark) == []
    assert scene.victim.poll() is None
    assert scene.hosts_files() == before
    size = sum(path.stat().st_size for path in scene.logs.rglob("*") if path.is_file())
    assert size < 64 * MIB, "what it said is bounded"
    assert max((path.stat().st_size for path in scene.work.glob("*") if path.is_file()), default=0) <= BOUNDS.file


def named(reply: Reply, mark: str) -> Reply:
    if not isinstance(reply, CallTools):
        return reply
    return CallTools(*(shell(f"touch {BEGUN}; {call.arguments['cmd'].replace(MARK, mark)}") for call in reply.calls))


def left(mark: str) -> list[str]:
    """Processes of the host that a bomb started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_text(errors="replace").startswith(mark):
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


def test_there_are_at_least_twenty_five_attacks() -> None:
    assert len({attack.name for attack in (*ATTACKS, *BOMBS)}) == len(ATTACKS) + len(BOMBS) >= 25
