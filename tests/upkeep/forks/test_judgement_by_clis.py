"""Conflicts that the real agent CLIs settle, contained and metered, as a scripted model tells them to."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.court import MERGED, Court
from tests.support.model_server import Answer, CallTools, ModelServer, Request, play, shell
from tests.support.rebases import LINES
from tests.support.tools import tool

KEY = "sk-canary-0123456789abcdef"
MODELS = {"codex": "gpt-5.2", "claude": "claude-sonnet-4-5", "opencode": "gpt-5.2"}
SAID = {"path": "a.txt", "decision": "merged", "why": "Both hold."}
SETTLED = {"settled": True, "reason": "", "files": [SAID], "doubts": []}

engines = pytest.mark.parametrize(
    "engine", ["codex", *(pytest.param(name, marks=pytest.mark.long) for name in ("claude", "opencode"))]
)


def by(court: Court, model_server: ModelServer, engine: str) -> None:
    base = model_server.base_url.removesuffix("/v1") if engine == "claude" else model_server.base_url
    court.world.agents["writer"] = {
        "engine": engine,
        "bin": tool(engine),
        "model": MODELS[engine],
        "api_key": KEY,
        "base_url": base,
    }


@engines
def test_a_settled_conflict_is_proposed_and_booked(court: Court, model_server: ModelServer, engine: str) -> None:
    by(court, model_server, engine)
    write = shell(f"cat > a.txt <<'TEXT'\n{MERGED}TEXT")
    look = shell("ls; cat a.txt; find . -name .git")
    model_server.script = play(CallTools(look), CallTools(write), Answer(SETTLED))
    found = court.judged("proposed")
    assert court.world.fork.read(str(found.tip), "a.txt").decode() == MERGED
    assert found.requests == 3
    assert found.cost_usd
    (shown,) = model_server.requests[1].tool_outputs
    assert "<<<<<<<" in shown
    assert ".git" not in shown
    prompt = "\n".join(model_server.requests[0].texts)
    assert "a.txt  [both changed it]" in prompt
    assert KEY not in court.proposals()[0].body
    with court.database.session() as session:
        rows = session.execute(sa.text("SELECT name, spent_usd, reserved_usd FROM upkeep.spending")).all()
    assert any("fork:fork" in row.name for row in rows)
    assert all(float(row.reserved_usd) == 0.0 and float(row.spent_usd) > 0 for row in rows)


@pytest.mark.long
def test_what_a_model_without_a_price_cost_is_not_told_as_nothing(court: Court, model_server: ModelServer) -> None:
    by(court, model_server, "codex")
    court.world.agents["writer"] |= {"model": "of-our-own", "unsafe_no_budget": True}
    write = shell(f"cat > a.txt <<'TEXT'\n{MERGED}TEXT")
    model_server.script = play(CallTools(write), Answer(SETTLED))
    found = court.judged("proposed")
    assert (found.requests, found.cost_usd) == (2, None)
    (summary,) = court.world.home.glob("reports/rebase/fork/*/*/summary.md")
    assert "- 2 request(s), a price that is not known, " in summary.read_text()


@pytest.mark.long
@engines
def test_a_hostile_model_gets_nothing_out_and_nothing_in(court: Court, model_server: ModelServer, engine: str) -> None:
    by(court, model_server, engine)
    secrets = court.world.home.parent / "id_ed25519"
    secrets.write_text("canary-of-the-home")
    steal = shell(f"cat {secrets}; env; cat ~/.ssh/* ; echo mine > b.txt; mkdir .git; echo x > .git/config")

    def script(request: Request) -> CallTools | Answer:
        return CallTools(steal) if request.number % 2 else Answer(SETTLED)

    model_server.script = script
    before = court.world.fork.refs("refs/")
    found = court.judged("failed")
    assert "a conflict marker is left" in found.message
    assert court.world.fork.refs("refs/") == before
    assert court.world.fork.read("trunk", "b.txt").decode() == LINES.replace("line 3\n", "ours\n")
    for request in model_server.requests:
        assert "canary-of-the-home" not in "\n".join(request.tool_outputs)
        assert KEY not in "\n".join(request.tool_outputs)
