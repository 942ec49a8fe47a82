"""What a pull request says: complete for a reader, the same for machines, and nothing of a model's unescaped."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from upkeep.agents.base import Usage
from upkeep.content import proposal
from upkeep.content.compare import ContentDelta, DiagramChange, EventChange, EventRename, FlowDelta, PropertyChange
from upkeep.content.coverage import Coverage
from upkeep.content.proposal import Web, web_of
from upkeep.content.records import ChangeSet, CommitLine, GeneratedContent
from upkeep.content.report import Finding, ValidationReport
from upkeep.content.summary import EventRef, RenamedEvent, UnassignedEvent, UpdateSummary
from upkeep.forges.base import PullRequest
from upkeep.forges.text import BODY_LIMIT, size
from upkeep.guardrails.report import Check, GuardrailReport

HEAD = "d" * 40
BASE = "b" * 40
WHEN = datetime(2026, 1, 5, tzinfo=UTC)


def pull(number: int) -> PullRequest:
    return PullRequest(
        forge="here",
        repo="o/d",
        number=number,
        url="u",
        state="open",
        title="",
        body="",
        head_branch="x",
        head_sha=HEAD,
        base_branch="main",
        created_at=WHEN,
        updated_at=WHEN,
    )


def change_set(**fields: Any) -> ChangeSet:
    commits = (CommitLine(sha=HEAD, subject="Fix it for @ada, closes #1", author="Eve <x>", committed_at=WHEN),)
    given = {"base": BASE, "described": BASE, "commit_count": 3, "commits": commits, "reason": "moved"}
    return ChangeSet(watch="app", decision="update", head=HEAD, start_sha="c" * 40, **(given | fields))


def content(**fields: Any) -> GeneratedContent:
    flow = FlowDelta(
        slug="cart",
        name="Cart",
        status="changed",
        events_added=("cart opened",),
        events_removed=("cart gone",),
        events_renamed=(EventRename(before="a", after="b"),),
        properties=(PropertyChange(event="b", added=("x",), removed=("y",)),),
        diagrams=(DiagramChange(title="Main", status="changed"),),
    )
    given: dict[str, Any] = {
        "summary": UpdateSummary(summary="One flow."),
        "delta": ContentDelta(flows=(flow,), files=("cart/events.json",)),
        "usage": Usage(engine="codex", model="m", requests=2, input_uncached=100, output=20, basis="events"),
        "report": ValidationReport(checks_run=("json",)),
        "guardrails": GuardrailReport(checks=(Check(name="limits", errors=0, warnings=0, note="5 lines"),)),
    }
    return GeneratedContent(
        watch="app", head=HEAD, tree="t", outcome="changed", agent="writer", engine="codex", **(given | fields)
    )


def body(change: ChangeSet | None = None, made: GeneratedContent | None = None, web: Web | None = None) -> str:
    return proposal.body("app", change or change_set(), made or content(), web or Web("https://git.example/app"))


def test_the_title_counts_what_changed() -> None:
    assert proposal.title(change_set(), content()) == (
        f"Update analytics docs: 1 event added, 1 renamed, 1 removed in 1 flow (upstream {HEAD[:12]})"
    )


def test_a_reader_finds_range_changes_checks_and_cost() -> None:
    said = body()
    for part in (
        f"[`{BASE[:12]}..{HEAD[:12]}`](https://git.example/app/compare/{BASE}...{HEAD})",
        "| Cart (`cart`) | changed | 1 | 0 | 1 | 1 | 1 | 1 |",
        "- renamed `a` to `b`",
        "- properties of `b`: +`x` −`y`",
        "> One flow.",
        "| validation | 0 errors, 0 warnings |",
        "| safety: limits | passed: 5 lines |",
        "120 tokens in 2 requests",
    ):
        assert part in said


def test_words_of_models_and_authors_reach_nobody_and_nothing() -> None:
    hostile = "@ada closes #7 <img src=x> [click](http://evil.example) `/merge` ![x](http://evil.example/y.png)"
    summary = UpdateSummary(
        summary=hostile, doubts=[hostile], unassigned=[UnassignedEvent(name=hostile, reason=hostile)]
    )
    report = ValidationReport(findings=(Finding(code="c", severity="warning", file="f", message=hostile),))
    said = body(made=content(summary=summary, report=report))
    prose = said.partition("```json")[0]
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    html = parser.render(prose)
    assert "<img" not in html
    assert 'href="http://evil.example' not in html
    # In code nobody is notified; anywhere else a mention or reference would be found in the rendered text.
    inline = [child for token in parser.parse(prose) for child in token.children or ()]
    shown = "".join(token.content for token in inline if token.type == "text")
    assert "ada closes" in shown
    assert "@ada" not in shown
    assert "#7" not in shown


def test_what_is_said_about_its_base_follows_the_range() -> None:
    assert "history was rewritten" in body(change_set(kind="rewritten", reason="history was rewritten: x"))
    assert "covers the whole tree" in body(change_set(kind="bootstrap", base=None, described=None, reason="first run"))
    stacked = body(change_set(stacked_on=pull(4), supersedes=(pull(5),)))
    assert "Builds on [#4](../pull/4)" in stacked
    assert "Supersedes [#5](../pull/5)" in stacked


def test_an_authors_lists_are_held_against_the_change() -> None:
    honest = UpdateSummary(
        events_added=[EventRef(flow="cart", name="cart opened"), EventRef(flow="cart", name="b")],
        events_removed=[EventRef(flow="cart", name="cart gone"), EventRef(flow="cart", name="a")],
    )
    assert "differ from the change" not in body(made=content(summary=honest))
    other = UpdateSummary(
        events_added=[EventRef(flow="cart", name=f"<i>{number}</i> @ada") for number in range(12)],
        events_renamed=[RenamedEvent(flow="cart", before="a", after="b")],
        events_removed=[EventRef(flow="cart", name="cart gone"), EventRef(flow="pay", name="never there")],
    )
    said = body(made=content(summary=other))
    assert "- said to be added, and not in the change: `<i>0</i> @ada` (`cart`)" in said
    assert "and 2 more" in said
    assert "- said to be removed, and still there or never there: `never there` (`pay`)" in said
    assert "- added, and not said: `cart opened` (`cart`)" in said
    assert "- removed, and not said" not in said


def test_an_agent_without_sandbox_is_said() -> None:
    assert "without our sandbox" in body(made=content(unsafe_no_sandbox=True))
    assert "without our sandbox" not in body()


def test_a_cost_that_no_budget_held_is_said() -> None:
    unpriced = Usage(engine="codex", model="m", requests=2, input_uncached=100, basis="gateway")
    said = body(made=content(usage=unpriced))
    assert "100 tokens in 2 requests, at a price that is not known" in said
    assert "no budget held its cost (`unsafe_no_budget: true`)" in said
    priced = body(made=content(usage=unpriced.model_copy(update={"cost_priced_usd": 0.25})))
    assert "100 tokens in 2 requests, $0.2500" in priced
    assert "unsafe_no_budget" not in priced


def test_no_path_of_the_machine_stands_in_it() -> None:
    report = ValidationReport(checks_unavailable={"mermaid": "not installed in /home/ada/upkeep"})
    said = body(made=content(report=report, transcript="/home/ada/transcript"))
    assert "not checked: mermaid" in said
    assert "/home/ada" not in said


def test_machines_read_the_same() -> None:
    block = json.loads(body().partition("```json\n")[2].partition("\n```")[0])
    assert block["counts"]["events_added"] == 1
    assert block["upstream"] == {"kind": "range", "base": BASE, "head": HEAD, "commits": 3}
    assert block["usage"]["input_uncached"] == 100
    assert proposal.watch_of(body()) == "app"


def test_a_huge_change_still_fits_and_keeps_its_block_for_machines() -> None:
    flows = tuple(
        FlowDelta(
            slug=f"flow-{number}",
            name=f"Flow {number}",
            status="changed",
            events_added=tuple(f"event {number} {index}" for index in range(200)),
        )
        for number in range(200)
    )
    said = body(made=content(delta=ContentDelta(flows=flows, files=("x",))))
    assert size(said) <= BODY_LIMIT
    assert "and 140 more flows" in said
    fences = [token for token in MarkdownIt("commonmark").parse(said) if token.type == "fence"]
    assert json.loads(fences[-1].content)["counts"]["events_added"] == 40_000


def test_a_property_that_many_events_got_is_told_once() -> None:
    events = tuple(f"event {number}" for number in range(30))
    flow = FlowDelta(
        slug="cart",
        name="Cart",
        status="changed",
        events_changed=(
            *(EventChange(name=name, fields=("properties",)) for name in events),
            EventChange(name="other", fields=("description", "properties")),
        ),
        properties=(
            *(PropertyChange(event=name, added=("mode",)) for name in events),
            PropertyChange(event="other", removed=("mode",)),
        ),
    )
    said = body(made=content(delta=ContentDelta(flows=(flow,), files=("cart/events.json",))))
    told = said.partition("**Cart**\n\n")[2].partition("\n\n")[0].splitlines()
    assert told[0] == "- changed `other`: `description`, `properties`"
    assert told[1].startswith("- properties of 30 events: +`mode`: `event 0`, `event 1`, ")
    assert told[1].endswith(", `event 24`, and 5 more")
    assert told[2:] == ["- properties of `other`: −`mode`"]


def test_names_that_the_author_left_out_are_told_unless_they_are_unassigned() -> None:
    names = ("left out", "unsure", "waiting")
    made = content(
        coverage=Coverage(commit=HEAD, names_found=5, names_documented=2, undocumented=names),
        summary=UpdateSummary(summary="x", unassigned=[UnassignedEvent(name="unsure", reason="two flows")]),
        delta=ContentDelta(unassigned_added=("waiting",), files=("unassigned.json",)),
    )
    told = body(made=made).partition("## Not documented\n\n")[2].partition("\n\n##")[0]
    assert told == "Event names in the source that no flow documents:\n\n- `left out`"
    assert "## Not documented" not in body()


def test_warnings_about_what_the_change_leaves_alone_are_only_counted() -> None:
    findings = (
        Finding(code="old", severity="warning", file="cart/events.json", message="was there", existing=True),
        Finding(code="elsewhere", severity="warning", file="login/events.json", message="not ours"),
        Finding(code="own", severity="warning", file="cart/events.json", message="look at this"),
    )
    said = body(made=content(report=ValidationReport(findings=findings)))
    assert "0 errors, 1 warning (2 more were there before or are in files that this does not touch)" in said
    assert "look at this" in said
    assert "was there" not in said
    assert "not ours" not in said


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(max_size=300), st.text(max_size=60))
def test_any_text_gives_a_body_whose_block_still_parses(words: str, name: str) -> None:
    flow = FlowDelta(slug="s", name=name, status="added", events_added=(name,))
    made = content(summary=UpdateSummary(summary=words, doubts=[words]), delta=ContentDelta(flows=(flow,)))
    said = body(made=made)
    fences = [token for token in MarkdownIt("commonmark").parse(said) if token.type == "fence"]
    assert json.loads(fences[-1].content)["watch"] == "app"


@pytest.mark.parametrize(
    ("url", "configured", "expected"),
    [
        ("https://git.example/o/app.git", None, "https://git.example/o/app"),
        ("https://user:secret@git.example/o/app.git", None, None),
        ("git@git.example:o/app.git", None, None),
        ("git@git.example:o/app.git", "https://git.example/o/app/", "https://git.example/o/app"),
        (None, None, None),
    ],
)
def test_links_need_a_page_and_never_carry_credentials(
    url: str | None, configured: str | None, expected: str | None
) -> None:
    assert web_of(url, configured).upstream == expected


def test_the_same_update_has_the_same_id_and_another_has_not() -> None:
    assert proposal.update_id("app", change_set()) == proposal.update_id("app", change_set(reason="said otherwise"))
    assert proposal.update_id("app", change_set()) != proposal.update_id("web", change_set())
    assert proposal.update_id("app", change_set()) != proposal.update_id("app", change_set(base=HEAD))
