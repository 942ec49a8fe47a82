"""A whole update whose content a real codex writes, as a scripted model tells it to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from assets.metadata import of_content
from tests.support.model_server import Answer, CallTools, Failure, ModelServer, Reply, Request, ToolCall, play, shell
from tests.support.tools import mermaid, tool
from tests.support.updates import Pair, make_pair
from upkeep.agents.codex import CodexAgent
from upkeep.agents.registry import open_agent
from upkeep.content.ranges import BRANCH_PREFIX
from upkeep.content.summary import EventRef, UpdateSummary
from upkeep.database.server import Database
from upkeep.errors import AgentError, AgentSaidNothing, ContentInvalid

KEY = "sk-canary-0123456789abcdef"
CONTENT = "content/analytics"
EVENT = "search no results shown"

ADD_EVENT = shell(
    f"""apply_patch <<'EOF'
*** Begin Patch
*** Update File: {CONTENT}/search/events.json
@@
         {{"property": "sailingId"}},
         {{"property": "position"}}
       ]
+    }},
+    {{
+      "name": "{EVENT}",
+      "stage": "result",
+      "firingLocation": "SearchViewModel",
+      "description": "No sailing fits.",
+      "properties": [
+        {{"property": "from"}},
+        {{"property": "to"}}
+      ]
     }}
   ]
 }}
*** End Patch
EOF"""
)
DRAW = "sed -i 's/  ev_submit --> ev_result.*/&\\n  ev_submit --> ev_none[\"{}\"]\\n  class ev_none event;/' {}"
DIAGRAM = f"{CONTENT}/search/flow-diagrams.md"
SUMMARY = UpdateSummary(
    summary="One event added.", flows_changed=["search"], events_added=[EventRef(flow="search", name=EVENT)]
)


@pytest.fixture
def written(
    tmp_path: Path, database: Database, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pair]:
    """A pair whose agent is codex, with the model that the test scripts."""
    mermaid()
    monkeypatch.setenv("MODEL_KEY", KEY)
    more = (
        "    agent: writer\nagents:\n  writer:\n    engine: codex\n"
        f'    bin: {tool("codex")}\n    api_key: "${{MODEL_KEY}}"\n    base_url: "{model_server.base_url}"\n'
    )
    with make_pair(tmp_path, database, more=more) as made:
        yield made


def answer(summary: UpdateSummary) -> Answer:
    return Answer(summary.model_dump(mode="json"))


def test_what_the_model_wrote_is_proposed_with_its_summary_and_cost(written: Pair, model_server: ModelServer) -> None:
    model_server.script = play(CallTools(ADD_EVENT, shell(DRAW.format(EVENT, DIAGRAM))), answer(SUMMARY))
    done = written.update()
    assert done.outcome == "done"
    assert done.content is not None
    assert done.published is not None
    assert done.published.pull_request is not None
    assert set(done.content.files) == {
        f"{CONTENT}/{name}" for name in ("_evidence.json", "search/events.json", "search/flow-diagrams.md")
    }
    branch = BRANCH_PREFIX + written.app.head()
    events = json.loads(written.dashboard.read(branch, f"{CONTENT}/search/events.json"))["events"]
    assert [event["name"] for event in events][-1] == EVENT
    assert done.content.guardrails.passed
    assert (done.content.usage.requests, done.content.usage.basis, done.content.tries) == (2, "gateway", 1)
    assert "One event added." in done.published.pull_request.body
    assert KEY not in done.published.pull_request.body
    shown = of_content(done.content)
    assert (shown["usage_gap"], shown["usage_basis"], shown["requests"]) == (0.0, "gateway", 2)
    assert Path(shown["transcript"].value).is_file()
    assert shown["sandbox"].startswith("Upkeep's")
    assert shown["sandbox_profile"].value["network"].startswith("none")
    assert {row.data["check"] for row in shown["guardrails"].records} >= {"limits", "paths", "secrets", "text"}


def test_where_there_is_no_sandbox_only_an_explicit_word_lets_it_run_and_readers_are_told(
    written: Pair, model_server: ModelServer
) -> None:
    agent = open_agent("writer", written.settings.agents["writer"])
    assert isinstance(agent, CodexAgent)
    bare = replace(agent, bwrap="no-bwrap")
    with pytest.raises(AgentError) as caught:
        written.update(agent=bare)
    assert (caught.value.reason, model_server.requests) == ("agent.sandbox", [])
    model_server.script = play(CallTools(ADD_EVENT, shell(DRAW.format(EVENT, DIAGRAM))), answer(SUMMARY))
    done = written.update(agent=replace(bare, unsafe_no_sandbox=True))
    assert done.content is not None
    assert done.published is not None
    assert done.published.pull_request is not None
    assert "ran without our sandbox (`unsafe_no_sandbox: true`)" in done.published.pull_request.body
    assert "unsafe_no_sandbox is set" in of_content(done.content)["sandbox"]


def test_the_model_could_read_what_the_prompt_names(written: Pair, model_server: ModelServer) -> None:
    def script(request: Request) -> Reply:
        if request.number > 1:
            return answer(UpdateSummary(no_change=True, reason="nothing to do"))
        reads = [line.split("`")[1] for line in request.texts[-1].splitlines() if line.startswith("- Read only: ")]
        return CallTools(*(shell(f"find {path} -type f | sort") for path in reads), shell(f"ls {CONTENT}"))

    model_server.script = script
    done = written.update()
    upstream, context, content = model_server.requests[1].tool_outputs
    assert "SearchViewModel.kt" in upstream
    assert "scan.json" in context
    assert "flow-slug-map.json" in content
    assert done.content is not None
    assert (done.content.outcome, done.content.reason) == ("no_change", "nothing to do")


def test_findings_go_back_to_the_model_and_are_mended(written: Pair, model_server: ModelServer) -> None:
    model_server.script = play(
        CallTools(ADD_EVENT, shell(DRAW.format("No results", DIAGRAM))),
        answer(SUMMARY),
        CallTools(shell(f"sed -i 's/No results/{EVENT}/' {DIAGRAM}")),
        answer(SUMMARY),
    )
    done = written.update()
    assert done.outcome == "done"
    assert done.content is not None
    assert (done.content.tries, done.content.report.valid, done.content.usage.requests) == (2, True, 4)
    retry = model_server.requests[2].texts[-1]
    assert "What your last try left wrong" in retry
    assert "No results" in retry


def test_a_model_that_did_nothing_and_says_it_is_done_is_asked_again(written: Pair, model_server: ModelServer) -> None:
    """As one does whose tools all fail: "no change" is a word of its own."""
    model_server.script = play(
        answer(SUMMARY), CallTools(ADD_EVENT, shell(DRAW.format(EVENT, DIAGRAM))), answer(SUMMARY)
    )
    done = written.update()
    assert done.content is not None
    assert (done.outcome, done.content.tries, done.content.report.valid) == ("done", 2, True)
    assert "Nothing in the content was changed" in model_server.requests[1].texts[-1]


@pytest.mark.parametrize(
    ("said", "work"),
    [
        (SUMMARY, ()),
        (UpdateSummary(no_change=True), ()),
        (UpdateSummary(no_change=True, reason="nothing to do"), (ADD_EVENT, shell(DRAW.format(EVENT, DIAGRAM)))),
    ],
    ids=["changes that are none", "no change without a reason", "no change that is one"],
)
def test_an_answer_that_contradicts_the_work_is_never_taken_for_success(
    written: Pair, model_server: ModelServer, said: UpdateSummary, work: tuple[ToolCall, ...]
) -> None:
    def script(request: Request) -> Reply:
        return CallTools(*work) if work and request.number == 1 else answer(said)

    model_server.script = script
    with pytest.raises(ContentInvalid) as caught:
        written.update()
    assert "no_change" in caught.value.message
    assert set(written.branches()) == {"main"}


def test_what_lies_outside_the_content_is_not_taken(written: Pair, model_server: ModelServer) -> None:
    workflow, link = "mkdir -p .github && echo 'on: push' > .github/x.yml", f"ln -s /etc/passwd {CONTENT}/p"
    model_server.script = play(
        CallTools(ADD_EVENT, shell(DRAW.format(EVENT, DIAGRAM)), shell(workflow), shell(link)), answer(SUMMARY)
    )
    done = written.update()
    assert done.content is not None
    branch = BRANCH_PREFIX + written.app.head()
    assert not [path for path in written.dashboard.files(branch) if path.startswith(".github") or path.endswith("/p")]
    refused = {finding.code for finding in done.content.evidence_findings}
    assert {"harvest.outside", "harvest.link"} <= refused


def test_a_model_that_says_nothing_useful_leaves_no_trace_on_the_dashboard(
    written: Pair, model_server: ModelServer
) -> None:
    model_server.script = play(Answer("I am a teapot."))
    with pytest.raises(AgentSaidNothing) as caught:
        written.update()
    assert "teapot" in caught.value.details["said"]
    assert set(written.branches()) == {"main"}


def test_a_model_that_fails_half_way_was_paid_for_and_is_on_record(written: Pair, model_server: ModelServer) -> None:
    model_server.script = play(CallTools(ADD_EVENT), Failure(400, "no"))
    with pytest.raises(AgentError):
        written.update()
    with written.database.session() as session:
        rows = session.execute(sa.text("SELECT summary FROM upkeep.events WHERE type = 'agent.ended'")).scalars().all()
        (cost,) = session.execute(sa.text("SELECT cost_priced_usd FROM metrics.runs")).scalars().all()
        booked = session.execute(sa.text("SELECT sum(cost_usd) FROM upkeep.model_requests")).scalar_one()
    (ended,) = rows
    assert (ended["failed"], ended["requests"]) == ("agent.failed", 1)
    assert float(cost) == pytest.approx(float(booked))
    assert cost > 0
