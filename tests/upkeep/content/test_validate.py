from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sample_content import Files, edited, encode, good_content, real_content, replaced, write
from tests.support.tools import ROOT
from upkeep.content.folder import read_folder
from upkeep.content.mermaid import MermaidUnavailable, Verdict
from upkeep.content.report import Finding, ValidationReport
from upkeep.content.validate import NEVER_EXISTING, RULES, validate

CATALOGUE, SLUGS, EVENTS, DIAGRAMS = (
    "flows.json",
    "flow-slug-map.json",
    "checkout/events.json",
    "checkout/flow-diagrams.md",
)
EVIDENCE = {
    "repository": "app",
    "commit": "c0ffee",
    "events": {"home": {"home opened": [{"path": "Home.kt", "line": 2, "symbol": "Home.open"}]}},
}
SOURCE = {"Home.kt": 'class Home {\n  fun open() = track("home opened")\n\n}\n'}


class Judge:
    """A Mermaid of our own making: refuses what contains a word."""

    def __init__(self, refused: str = "no such word", error: MermaidUnavailable | None = None) -> None:
        self.refused = refused
        self.error = error
        self.asked: list[str] = []

    def check(self, texts: Sequence[str]) -> list[Verdict]:
        if self.error is not None:
            raise self.error
        self.asked.extend(texts)
        return [Verdict(self.refused not in text, "Parse error on line 3:\n...Expecting 'X'", 3) for text in texts]


def without(*paths: str) -> Files:
    return {path: content for path, content in good_content().items() if path not in paths}


def with_file(path: str, content: bytes | str) -> Files:
    return {**good_content(), path: content.encode() if isinstance(content, str) else content}


def with_evidence(change: Callable[[Any], None] | None = None) -> Files:
    value = json.loads(json.dumps(EVIDENCE))
    if change is not None:
        change(value)
    return {**good_content(), "_evidence.json": encode(value)}


def event(flow: Any, index: int = 0) -> Any:
    return flow["events"][index]


# code: (files, file of the finding, line, pointer, words of the message). One finding of the code, and no other error
# than those named in ALSO.
BROKEN: dict[str, tuple[Files, str, int | None, str, str]] = {
    "missing_file": (without(SLUGS), SLUGS, None, "", "is missing"),
    "not_utf8": (with_file(EVENTS, b'{\n"flowId": "\xe9"}'), EVENTS, 2, "", "byte 13 (0xe9)"),
    "invalid_json": (replaced(EVENTS, '"Cart",', '"Cart"'), EVENTS, 17, "", 'expected "," or "}", found a text'),
    "duplicate_key": (
        replaced(EVENTS, '"flowId": "checkout",', '"flowId": "a",\n  "flowId": "checkout",'),
        EVENTS,
        3,
        "/flowId",
        "“flowId” stands twice",
    ),
    "control_character": (
        replaced(EVENTS, "The cart is shown.", "The \u202ecart is shown."),
        EVENTS,
        28,
        "",
        "U+202E",
    ),
    "byte_order_mark": (
        with_file(CATALOGUE, b"\xef\xbb\xbf" + good_content()[CATALOGUE]),
        CATALOGUE,
        1,
        "",
        "byte order mark",
    ),
    "invalid_catalogue_shape": (
        edited(CATALOGUE, lambda value: value["flows"].update(home=[])),
        CATALOGUE,
        10,
        "/flows/home",
        "not an array",
    ),
    "invalid_slug_map_shape": (edited(SLUGS, lambda value: value.update(x=1)), SLUGS, 4, "/x", "not a number"),
    "unknown_flow_key": (edited(SLUGS, lambda value: value.update(other="hom")), SLUGS, 4, "/other", "“home”"),
    "duplicate_mapping": (
        {
            **edited(SLUGS, lambda value: value.update(home="pay")),
            CATALOGUE: encode({"flows": {"pay": {"name": "P", "description": "p"}}}),
        },
        SLUGS,
        4,
        "/home",
        "both stand for “pay”",
    ),
    "invalid_flow_dir": (
        edited(SLUGS, lambda value: value.update({"../up": "home"})),
        SLUGS,
        4,
        "/..~1up",
        "no plain folder name",
    ),
    "missing_flow_dir": (
        edited(CATALOGUE, lambda value: value["flows"].update(gone={"name": "G", "description": "g"})),
        CATALOGUE,
        15,
        "/flows/gone",
        "has no folder “gone”",
    ),
    "missing_events_json": (without("home/events.json"), "home/events.json", None, "", "has no events.json"),
    "unlisted_flow": (
        {
            **with_file("stray/events.json", good_content()["home/events.json"]),
            "stray/flow-diagrams.md": good_content()["home/flow-diagrams.md"],
        },
        "stray/events.json",
        None,
        "",
        "“stray”",
    ),
    "incomplete_catalogue_entry": (
        edited(CATALOGUE, lambda value: value["flows"]["home"].update(lastAudited="June")),
        CATALOGUE,
        13,
        "/flows/home/lastAudited",
        "“June”",
    ),
    "invalid_unassigned_shape": (
        with_file("unassigned.json", '{"events": [{"name": " "}]}'),
        "unassigned.json",
        1,
        "/events/0",
        "`name`",
    ),
    "assigned_and_unassigned": (
        with_file("unassigned.json", '{"events": [{"name": "home opened"}]}'),
        "unassigned.json",
        1,
        "/events",
        "“home opened”",
    ),
    "invalid_events_json_shape": (
        edited(EVENTS, lambda flow: flow["events"].append("x")),
        EVENTS,
        54,
        "/events/3",
        "not a text",
    ),
    "missing_flowId": (edited(EVENTS, lambda flow: flow.pop("flowId")), EVENTS, 1, "", "`flowId` is missing"),
    "missing_flowName": (edited(EVENTS, lambda flow: flow.update(flowName=7)), EVENTS, 3, "/flowName", "not 7"),
    "missing_events": (
        {**edited("home/events.json", lambda flow: flow.update(events=[])), "home/flow-diagrams.md": b"# Main\n"},
        "home/events.json",
        5,
        "/events",
        "is empty",
    ),
    "missing_event_name": (
        edited(EVENTS, lambda flow: flow["events"].append({"name": "  "})),
        EVENTS,
        54,
        "/events/3",
        "empty `name`",
    ),
    "unknown_stage_event": (
        edited(EVENTS, lambda flow: flow["stages"][0]["events"].append("payment done")),
        EVENTS,
        21,
        "/stages/0/events/2",
        "Did you mean “payment  done”?",
    ),
    "unexpected_shape": (
        edited(EVENTS, lambda flow: flow.update(stages={})),
        EVENTS,
        14,
        "/stages",
        "should be an array",
    ),
    "missing_description": (
        edited(EVENTS, lambda flow: event(flow).pop("description")),
        EVENTS,
        25,
        "/events/0",
        "1 of 3 events has no",
    ),
    "undefined_property": (
        edited(EVENTS, lambda flow: event(flow)["properties"].append({"property": "colour"})),
        EVENTS,
        31,
        "/events/0/properties/1",
        "“colour” (1 use)",
    ),
    "repeated_name": (
        edited(EVENTS, lambda flow: flow["events"].append({**event(flow), "source": "other"})),
        EVENTS,
        54,
        "/events/3",
        "“cart opened” (entries 1 and 4)",
    ),
    "unknown_key": (
        edited(EVENTS, lambda flow: event(flow).update(desciption="x")),
        EVENTS,
        32,
        "/events/0/desciption",
        "did you mean “description”?",
    ),
    "missing_diagrams": (without(DIAGRAMS), DIAGRAMS, None, "", "no flow-diagrams.md"),
    "invalid_mermaid": (replaced(DIAGRAMS, "|Pay|", "|Pay (now)|"), DIAGRAMS, 20, "", "double quotes"),
    "unclosed_fence": (
        with_file(DIAGRAMS, good_content()[DIAGRAMS].decode().rstrip().removesuffix("```")),
        DIAGRAMS,
        31,
        "",
        "is not closed",
    ),
    "unknown_event_node": (
        replaced(DIAGRAMS, '"cart opened"', '"cart opend"'),
        DIAGRAMS,
        19,
        "",
        "Did you mean “cart opened”?",
    ),
    "event_in_no_diagram": (
        edited("home/events.json", lambda flow: flow["events"].append({"name": "new", "description": "New."})),
        "home/flow-diagrams.md",
        None,
        "",
        "1 of 2 event names is in no diagram: “new”",
    ),
    "unknown_directive_target": (
        replaced(DIAGRAMS, "title:Asking for help", "title:Asking for  Help"),
        DIAGRAMS,
        17,
        "",
        "Did you mean “Asking for help” (line 29)?",
    ),
    "malformed_directive": (replaced(DIAGRAMS, "-> flow:home", "=> flow:home"), DIAGRAMS, 18, "", "not understood"),
    "directive_without_diagram": (
        replaced(DIAGRAMS, "flow:home\n", "title:Nothing here\n").copy()
        | {
            DIAGRAMS: good_content()[DIAGRAMS].replace(b"flow:home\n", b"title:Nothing here\n") + b"\n## Nothing here\n"
        },
        DIAGRAMS,
        18,
        "",
        "no diagram under it",
    ),
    "unknown_node": (replaced(DIAGRAMS, "class ui_cart,", "class ui_car,"), DIAGRAMS, 26, "", "“ui_car”"),
    "no_main_heading": (
        replaced("home/flow-diagrams.md", "Main", "The home screen"),
        "home/flow-diagrams.md",
        None,
        "",
        "“Main”",
    ),
    "invalid_evidence_shape": (
        with_evidence(lambda value: value["events"]["home"]["home opened"].append({"path": 1})),
        "_evidence.json",
        6,
        "/events/home/home opened",
        "list of path, line and symbol",
    ),
    "stale_evidence": (
        with_evidence(lambda value: value["events"]["home"].update(gone=[])),
        "_evidence.json",
        13,
        "/events/home/gone",
        "no such event",
    ),
}
ELSEWHERE = {
    "unreadable_file",
    "link_leaves_folder",
    "event_name_tidied",
    "unchecked_diagram",
    "evidence_not_in_commit",
}


def codes(report: ValidationReport) -> list[str]:
    return [finding.code for finding in report.findings]


def only(report: ValidationReport, code: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


def test_good_content_has_no_finding() -> None:
    report = validate(good_content())
    assert report.findings == ()
    assert report.valid
    assert (report.flows, report.events, report.names, report.diagrams) == (2, 4, 4, 4)


@pytest.mark.parametrize("code", BROKEN)
def test_what_is_wrong_is_found_where_it_is(code: str) -> None:
    files, file, line, pointer, words = BROKEN[code]
    report = validate(files)
    finding = only(report, code)
    rule = next(rule for rule in RULES if rule.code == code)
    assert finding.severity == rule.severity
    assert (finding.file, finding.line, finding.pointer) == (file, line, pointer)
    assert words in finding.message
    assert report.valid == (rule.severity == "warning")


def test_every_rule_has_a_test_that_breaks_it() -> None:
    assert {rule.code for rule in RULES} == BROKEN.keys() | ELSEWHERE


def test_every_code_is_documented_with_its_severity_and_nothing_else_is() -> None:
    documented = re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs" / "findings.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted((rule.code, rule.severity) for rule in RULES)


def test_every_code_stands_once_in_the_table() -> None:
    assert len({rule.code for rule in RULES}) == len(RULES)
    assert {rule.code for rule in RULES} >= NEVER_EXISTING


def test_entries_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    root = write(good_content(), tmp_path / "content")
    (tmp_path / "secret.md").write_text("# Funnel\n")
    (root / "home" / "flow-diagrams.md").unlink()
    (root / "home" / "flow-diagrams.md").symlink_to(tmp_path / "secret.md")
    (root / "nothing").symlink_to(root / "absent")
    report = validate(read_folder(root))
    assert [(item.code, item.file) for item in report.errors] == [
        ("link_leaves_folder", "home/flow-diagrams.md"),
        ("unreadable_file", "nothing"),
    ]


def test_one_broken_file_does_not_hide_what_is_wrong_in_others() -> None:
    files = replaced(DIAGRAMS, '"cart opened"', '"cart opend"')
    files["home/events.json"] = b"{"
    files["unassigned.json"] = b"\xff"
    report = validate(files)
    assert [(item.file, item.code) for item in report.errors] == [
        (DIAGRAMS, "unknown_event_node"),
        ("home/events.json", "invalid_json"),
        ("home/flow-diagrams.md", "unknown_event_node"),
        ("unassigned.json", "not_utf8"),
    ]


def test_all_findings_of_a_kind_are_reported() -> None:
    report = validate(edited(EVENTS, lambda flow: [event(flow, index).update(name="") for index in range(3)]))
    assert [item.pointer for item in report.findings if item.code == "missing_event_name"] == [
        "/events/0",
        "/events/1",
        "/events/2",
    ]


def test_a_hidden_character_is_found_as_an_escape_too() -> None:
    report = validate(replaced(EVENTS, "The cart is shown.", "The \\u202ecart\\u0000 is shown."))
    finding = only(report, "control_character")
    assert (finding.line, finding.pointer) == (28, "/events/0/description")
    assert validate(replaced(EVENTS, "The cart is shown.", "Tab \\t, \\\\u202e, caf\\u00e9, \\ud83d\\ude00")).valid


def test_a_name_from_the_file_cannot_disturb_the_message() -> None:
    report = validate(edited(EVENTS, lambda flow: flow["stages"][0]["events"].append("\x1b[2J\n" + "x" * 500)))
    message = only(report, "unknown_stage_event").message
    assert message.isprintable()
    assert "\\u001b[2J\\u000a" in message
    assert len(message) < 400


def test_a_label_may_lack_the_outer_blanks_of_its_name() -> None:
    assert validate(replaced(DIAGRAMS, '"help asked "', '"help asked"')).findings == ()


def test_an_event_node_without_a_label_is_told_which_one_it_has_elsewhere() -> None:
    files = replaced(DIAGRAMS, "ui_help([Help]) --> ev_asked", "ev_opened --> ev_asked")
    files[DIAGRAMS] = files[DIAGRAMS].replace(b"class ev_asked", b"class ev_opened,ev_asked")
    assert 'ev_opened["cart opened"]' in only(validate(files), "unknown_event_node").message


def test_an_event_node_of_another_flow_is_told_so() -> None:
    report = validate(replaced(DIAGRAMS, '"cart opened"', '"home opened"'))
    assert "of “home”" in only(report, "unknown_event_node").message


def test_an_event_that_only_eventgroups_know_is_told_so() -> None:
    files = replaced(DIAGRAMS, '"cart opened"', '"cart shut"')
    flow = json.loads(files[EVENTS])
    flow["eventGroups"] = {"cart": {"events": [{"name": "cart shut"}]}}
    files[EVENTS] = encode(flow)
    assert "eventGroups (cart)" in only(validate(files), "unknown_event_node").message


def test_a_diagram_that_does_not_parse_does_not_make_its_events_absent() -> None:
    report = validate(replaced(DIAGRAMS, "|Pay|", "|Pay (now)|"))
    assert codes(report) == ["invalid_mermaid"]


def test_every_line_of_a_diagram_that_mermaid_refuses_is_reported() -> None:
    files = replaced(DIAGRAMS, "|Pay|", "|Pay (now)|")
    files[DIAGRAMS] = files[DIAGRAMS].replace(b"ui_help([Help])\n", b"ui_help[Help (me)]\n", 1)
    found = [item for item in validate(files).findings if item.code == "invalid_mermaid"]
    assert [(item.line, item.column) for item in found] == [(20, 21), (21, 30)]
    assert all(item.existing for item in validate(files, base=files).findings)


# Mermaid's own parser


def test_without_mermaid_the_report_says_so() -> None:
    report = validate(good_content())
    assert "mermaid" not in report.checks_run
    assert "flowchart" in report.checks_run
    assert "not asked" in report.checks_unavailable["mermaid"]


def test_mermaids_verdict_is_an_error_where_ours_is_good() -> None:
    judge = Judge(refused="ev_paid")
    report = validate(good_content(), mermaid=judge)
    assert len(judge.asked) == 4
    assert "mermaid" in report.checks_run
    finding = only(report, "invalid_mermaid")
    assert (finding.file, finding.line) == (DIAGRAMS, 16)
    assert "Parse error on line 3" in finding.message
    assert "Expecting" not in finding.message


def test_mermaids_verdict_counts_where_ours_is_bad() -> None:
    report = validate(replaced(DIAGRAMS, "|Pay|", "|Pay (now)|"), mermaid=Judge())
    assert codes(report) == ["unchecked_diagram"]
    assert report.valid


def test_a_crash_of_mermaid_is_no_pass() -> None:
    crash = MermaidUnavailable("node ended with 134", remedy="Run it again.")
    report = validate(replaced(DIAGRAMS, "|Pay|", "|Pay (now)|"), mermaid=Judge(error=crash))
    assert "mermaid" not in report.checks_run
    assert report.checks_unavailable["mermaid"] == "node ended with 134. Run it again."
    assert codes(report) == ["invalid_mermaid"]


# Base

EXCUSABLE = [rule.code for rule in RULES if rule.severity == "error" and rule.code in BROKEN]


@pytest.mark.parametrize("code", EXCUSABLE)
def test_an_error_of_the_base_in_an_unchanged_entry_is_existing(code: str) -> None:
    files = BROKEN[code][0]
    report = validate(files, base=files)
    finding = only(report, code)
    assert (finding.severity, finding.existing) == ("warning", True)
    assert report.valid
    assert "base" in report.checks_run


@pytest.mark.parametrize("code", EXCUSABLE)
def test_an_error_that_the_base_does_not_have_is_an_error(code: str) -> None:
    finding = only(validate(BROKEN[code][0], base=good_content()), code)
    assert (finding.severity, finding.existing) == ("error", False)


def test_an_existing_error_whose_entry_changed_is_an_error() -> None:
    base = replaced(DIAGRAMS, '"cart opened"', '"cart opend"')
    report = validate(replaced(DIAGRAMS, '"cart opened"', '"cart openned"'), base=base)
    assert [(item.code, item.existing) for item in report.findings if item.severity == "error"] == [
        ("unknown_event_node", False)
    ]


def test_a_change_elsewhere_in_the_file_leaves_an_error_existing() -> None:
    base = replaced(DIAGRAMS, '"cart opened"', '"cart opend"')
    changed = {
        **base,
        DIAGRAMS: base[DIAGRAMS].replace(b"Green nodes", b"All green nodes\n\nX").replace(b"|Pay|", b"|Pays|"),
    }
    finding = only(validate(changed, base=base), "unknown_event_node")
    assert (finding.existing, finding.line) == (True, 21)


def test_an_error_that_appears_a_second_time_is_new_once() -> None:
    base = edited(EVENTS, lambda flow: flow["events"].append({"description": "nameless"}))
    files = edited(EVENTS, lambda flow: flow["events"].extend([{"description": "nameless"}] * 2))
    found = [item.existing for item in validate(files, base=base).findings if item.code == "missing_event_name"]
    assert sorted(found) == [False, True]


def test_removing_an_event_that_a_diagram_shows_is_an_error_though_the_diagram_did_not_change() -> None:
    report = validate(edited("home/events.json", lambda flow: event(flow).update(name="other")), base=good_content())
    assert ("home/flow-diagrams.md", "unknown_event_node") in [(item.file, item.code) for item in report.errors]


def test_a_block_that_mermaid_refuses_in_the_base_too_is_existing() -> None:
    report = validate(good_content(), base=good_content(), mermaid=Judge(refused="ev_paid"))
    assert only(report, "invalid_mermaid").existing


@pytest.mark.parametrize("name", ["Cart Opened", "cart opened ", "cart  opened", "cartopened"])
def test_a_name_that_was_only_tidied_is_an_error(name: str) -> None:
    files = edited(
        EVENTS, lambda flow: (event(flow).update(name=name), flow["stages"][0]["events"].remove("cart opened"))
    )
    finding = only(validate(files, base=good_content()), "event_name_tidied")
    assert (finding.severity, finding.pointer) == ("error", "/events/0/name")


def test_a_name_that_truly_changed_or_was_added_is_not_called_tidied() -> None:
    renamed = edited(EVENTS, lambda flow: event(flow).update(name="cart shown"))
    added = edited(EVENTS, lambda flow: flow["events"].append({**event(flow), "name": "Cart opened"}))
    for files in (renamed, added):
        assert "event_name_tidied" not in codes(validate(files, base=good_content()))


def test_a_name_that_the_commit_spells_so_is_not_called_tidied() -> None:
    files = with_evidence(
        lambda value: value["events"].update(home={"Home opened": EVIDENCE["events"]["home"]["home opened"]})
    )  # type: ignore[index]
    flow = json.loads(files["home/events.json"])
    flow["events"][0]["name"] = "Home opened"
    files["home/events.json"] = encode(flow)
    spelled = {"Home.kt": SOURCE["Home.kt"].replace("home opened", "Home opened")}
    assert "event_name_tidied" not in codes(validate(files, base=good_content(), evidence=spelled.get))
    assert "event_name_tidied" in codes(validate(files, base=good_content(), evidence=SOURCE.get))


# Evidence


def test_evidence_that_holds_is_checked_and_good() -> None:
    report = validate(with_evidence(), evidence=SOURCE.get)
    assert report.findings == ()
    assert "evidence" in report.checks_run


def test_without_the_source_evidence_is_unavailable() -> None:
    report = validate(with_evidence())
    assert "evidence" in report.checks_unavailable
    assert "evidence" not in report.checks_run


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"path": "Gone.kt", "line": 1, "symbol": ""}, "no such text file"),
        ({"path": "../Home.kt", "line": 1, "symbol": ""}, "no such text file"),
        ({"path": "Home.kt", "line": 5, "symbol": ""}, "the file has 4 lines"),
        ({"path": "Home.kt", "line": 0, "symbol": ""}, "the file has 4 lines"),
        ({"path": "Home.kt", "line": 3, "symbol": "Home.open"}, "the line is empty"),
        ({"path": "Other.kt", "line": 1, "symbol": "Home.open"}, "neither the name nor “open”"),
    ],
)
def test_evidence_that_is_not_in_the_commit_is_an_error_also_with_a_base(place: dict[str, Any], words: str) -> None:
    files = with_evidence(lambda value: value["events"]["home"]["home opened"].append(place))
    source = {**SOURCE, "Other.kt": "nothing\n"}
    finding = only(validate(files, base=files, evidence=source.get), "evidence_not_in_commit")
    assert finding.severity == "error"
    assert finding.pointer == "/events/home/home opened/1"
    assert words in finding.message


def test_a_constant_elsewhere_is_proven_by_its_symbol() -> None:
    source = {"Home.kt": "class Home {\n  fun open() = track(Events.HOME)\n}\n"}
    assert validate(with_evidence(), evidence=source.get).findings == ()


# Whatever comes

FILE_NAMES = st.sampled_from(
    (
        *good_content(),
        "_evidence.json",
        "unassigned.json",
        "x/events.json",
        "x",
        "a/b/events.json",
        "../flows.json",
        "",
        "é\x00/events.json",
    )
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "flows",
                    "events",
                    "name",
                    "stages",
                    "properties",
                    "home",
                    "checkout",
                    "flowId",
                    "eventGroups",
                    "_x",
                    "",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
CONTENTS = st.binary(max_size=40) | JSON_VALUES.map(lambda value: json.dumps(value).encode())


@given(st.dictionaries(FILE_NAMES, CONTENTS, max_size=5), st.booleans())
@settings(deadline=None, max_examples=150)
def test_nothing_that_files_hold_makes_the_validator_fail(changes: Files, from_nothing: bool) -> None:
    files = changes if from_nothing else {**good_content(), **changes}
    report = validate(files, base=good_content(), evidence=SOURCE.get, mermaid=Judge())
    assert validate(files, base=good_content(), evidence=SOURCE.get, mermaid=Judge()) == report
    assert ValidationReport.model_validate_json(report.model_dump_json()) == report
    assert all(finding.message.isprintable() and finding.file.isprintable() for finding in report.findings)
    assert not any(
        finding.severity == "error"
        for finding in validate(files, base=files).findings
        if finding.code not in NEVER_EXISTING
    )


def test_the_real_dashboards_findings_are_those_that_were_read_by_hand() -> None:
    report = validate(read_folder(real_content()))
    assert (report.flows, report.events, report.names, report.diagrams) == (25, 1311, 1021, 233)
    counts = {code: codes(report).count(code) for code in set(codes(report))}
    assert counts == {
        "duplicate_key": 1,
        "invalid_mermaid": 15,
        "unknown_event_node": 30,
        "unknown_directive_target": 19,
        "directive_without_diagram": 2,
        "event_in_no_diagram": 8,
        "missing_description": 16,
        "no_main_heading": 1,
        "repeated_name": 2,
        "undefined_property": 7,
        "unknown_key": 1,
        "unknown_node": 1,
    }


def test_the_real_dashboard_is_valid_against_itself() -> None:
    files = read_folder(real_content())
    report = validate(files, base=files)
    assert report.valid
    assert sum(finding.existing for finding in report.findings) == 65
