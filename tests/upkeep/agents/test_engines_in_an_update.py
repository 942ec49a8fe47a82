"""A whole update whose content each of the real CLIs writes, contained and metered, as a scripted model tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.model_server import Answer, CallTools, ModelServer, Tokens, always, play, shell
from tests.support.tools import mermaid, tool
from tests.support.updates import SAMPLES, Pair, make_pair
from upkeep.content.ranges import BRANCH_PREFIX
from upkeep.content.summary import EventRef, UpdateSummary
from upkeep.database.server import Database
from upkeep.errors import BudgetExhausted

pytestmark = pytest.mark.long

KEY = "sk-canary-0123456789abcdef"
CONTENT = "content/analytics"
EVENTS = f"{CONTENT}/search/events.json"
DIAGRAM = f"{CONTENT}/search/flow-diagrams.md"
EVENT = "search no results shown"
MODELS = {"codex": "gpt-5.2", "claude": "claude-sonnet-4-5", "opencode": "gpt-5.2"}

engines = pytest.mark.parametrize("engine", sorted(MODELS))
Open = Callable[..., AbstractContextManager[Pair]]


def add_event() -> str:
    """The shell command that adds the event to the sample's last one."""
    before = (SAMPLES / "dashboard" / EVENTS).read_text()
    head, mark, tail = before.rpartition("\n    }\n  ]\n}")
    event = {
        "name": EVENT,
        "stage": "result",
        "firingLocation": "SearchViewModel",
        "description": "No sailing fits.",
        "properties": [{"property": "from"}, {"property": "to"}],
    }
    lines = "\n".join("    " + line for line in json.dumps(event, indent=2).splitlines())
    assert mark
    return f"cat > {EVENTS} <<'EOF'\n{head}\n    }},\n{lines}\n  ]\n}}{tail.rstrip()}\nEOF"


DRAW = (
    f"sed -i 's/  ev_submit --> ev_result.*/&\\n  ev_submit --> ev_none[\"{EVENT}\"]\\n  class ev_none event;/' "
    f"{DIAGRAM}"
)
SUMMARY = UpdateSummary(
    summary="One event added.", flows_changed=["search"], events_added=[EventRef(flow="search", name=EVENT)]
)


@pytest.fixture
def open_pair(tmp_path: Path, database: Database, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Open:
    """A pair whose agent is this engine, with the model that the test scripts."""

    @contextmanager
    def opened(engine: str, budgets: str = "{}") -> Iterator[Pair]:
        tool("bwrap")
        mermaid()
        monkeypatch.setenv("MODEL_KEY", KEY)
        base = model_server.base_url.removesuffix("/v1") if engine == "claude" else model_server.base_url
        more = (
            f"    agent: writer\nagents:\n  writer:\n    engine: {engine}\n    bin: {tool(engine)}\n"
            f'    model: {MODELS[engine]}\n    api_key: "${{MODEL_KEY}}"\n    base_url: "{base}"\nbudgets: {budgets}\n'
        )
        with make_pair(tmp_path, database, more=more) as made:
            yield made

    return opened


@engines
def test_what_the_model_wrote_is_proposed_and_booked(
    open_pair: Open, model_server: ModelServer, database: Database, engine: str
) -> None:
    model_server.script = play(CallTools(shell(add_event()), shell(DRAW)), Answer(SUMMARY.model_dump(mode="json")))
    with open_pair(engine) as pair:
        done = pair.update()
        branch = BRANCH_PREFIX + pair.app.head()
        events = json.loads(pair.dashboard.read(branch, EVENTS))["events"]
    assert (done.outcome, events[-1]["name"]) == ("done", EVENT)
    assert done.content is not None
    assert done.published is not None
    assert done.published.pull_request is not None
    usage = done.content.usage
    assert (usage.engine, usage.requests, usage.basis, usage.complete, usage.gap) == (engine, 2, "gateway", True, 0.0)
    assert done.content.guardrails.passed
    assert KEY not in done.published.pull_request.body
    with database.session() as session:
        rows = session.execute(sa.text("SELECT scope, name, spent_usd, reserved_usd FROM upkeep.spending")).all()
        states = session.execute(sa.text("SELECT state FROM upkeep.model_requests")).scalars().all()
    assert {row.scope for row in rows} == {"run", "subject_day", "agent_month"}
    assert states == ["settled", "settled"]
    for row in rows:
        assert (float(row.spent_usd), float(row.reserved_usd)) == (pytest.approx(usage.cost_usd, abs=1e-8), 0.0)


@engines
def test_the_day_of_a_watch_ends_with_its_budget(
    open_pair: Open, model_server: ModelServer, database: Database, engine: str
) -> None:
    """The first run is ended by the request that could pass it, the next is refused before anything starts."""
    model_server.script = always(CallTools(shell("true"), tokens=Tokens(input=20_000, cached=0, output=6_000)))
    with open_pair(engine, budgets="{per_subject_day_usd: 0.40}") as pair:
        with pytest.raises(BudgetExhausted):
            pair.update()
        asked = len(model_server.requests)
        with database.session() as session:
            session.execute(sa.text("UPDATE upkeep.spending SET spent_usd = 0.40 WHERE scope = 'subject_day'"))
        pair.push({"README.md": "more\n"})
        with pytest.raises(BudgetExhausted, match="today is"):
            pair.update()
        assert set(pair.branches()) == {"main"}
    assert 0 < asked == len(model_server.requests)
