from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.support.flowcharts import ACCEPTED, REFUSED
from tests.support.sample_content import real_content
from tests.support.tools import tool, unavailable
from upkeep.content.flowchart.grammar import parse_flowchart
from upkeep.content.flowchart.model import FlowchartSyntaxError
from upkeep.content.flowchart.source import is_flowchart
from upkeep.content.folder import Content, read_folder
from upkeep.content.mermaid import SCRIPT, MermaidUnavailable, NodeMermaid, Verdict


@pytest.fixture
def mermaid() -> NodeMermaid:
    checker = NodeMermaid(node=tool("node"))
    missing = checker.missing()
    if missing is not None:
        unavailable(f"{missing} (`npm ci` there, or set UPKEEP_MERMAID_DIR)")
    return checker


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that looks installed, for a program that plays node."""
    for name in ("mermaid", "jsdom"):
        (tmp_path / "node_modules" / name).mkdir(parents=True)
    return tmp_path


def playing(folder: Path, script: str) -> str:
    program = folder / "node"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_mermaid_and_our_parser_agree_on_known_texts(mermaid: NodeMermaid) -> None:
    refused = [text for text, *_ in REFUSED]
    verdicts = mermaid.check([*ACCEPTED, *refused])
    disagreeing = [
        (text, verdict.message)
        for (text, expected), verdict in zip(
            [*((text, True) for text in ACCEPTED), *((text, False) for text in refused)], verdicts, strict=True
        )
        if verdict.ok is not expected
    ]
    assert disagreeing == []


SCRAPS = [
    *' \n;:&,*#|()[]{}<>-=~.^"`%v',
    "-->",
    "([",
    "])",
    ":::event",
    "end",
    "subgraph a",
    "class a b",
    '""',
    "%% c",
    "@{ }",
]


def test_mermaid_and_our_parser_agree_on_mutations(mermaid: NodeMermaid) -> None:
    """YAML (front matter, `@{…}`) and `%%{…}%%` are Mermaid's alone to judge; our parser does not look into them."""
    random_ = random.Random(20250601)
    texts = []
    for text in [text for text in ACCEPTED if not any(mark in text for mark in ("@{", "title:", "%%{"))] * 8:
        place = random_.randrange(len(text) + 1)
        texts.append(text[:place] + random_.choice(SCRAPS) + text[place + random_.choice((0, 0, 1, 3)) :])
    disagreeing = [
        (text, verdict.message)
        for text, verdict in zip(texts, mermaid.check(texts), strict=True)
        if is_flowchart(text) and accepted(text) is not verdict.ok
    ]
    assert disagreeing == []


def accepted(text: str) -> bool:
    try:
        parse_flowchart(text)
    except FlowchartSyntaxError:
        return False
    return True


def test_mermaid_and_our_parser_agree_on_a_real_dashboard(mermaid: NodeMermaid) -> None:
    flows = Content(read_folder(real_content())).flows.values()
    blocks = [block for flow in flows if flow.diagrams is not None for block in flow.diagrams.blocks]
    verdicts = mermaid.check([block.text for block in blocks])
    assert [verdict.ok for verdict in verdicts] == [block.syntax_error is None for block in blocks]


def test_other_kinds_of_diagram_are_judged_too(mermaid: NodeMermaid) -> None:
    verdicts = mermaid.check(["sequenceDiagram\n  A->>B: hi", "sequenceDiagram\n  A->>", "nothing known"])
    assert [verdict.ok for verdict in verdicts] == [True, False, False]
    assert "nothing known" in verdicts[2].message


def test_no_diagram_needs_no_node(installed: Path) -> None:
    assert NodeMermaid(installed, node="there-is-no-such-program").check([]) == []


def test_a_missing_program_is_named(installed: Path) -> None:
    with pytest.raises(MermaidUnavailable, match="there-is-no-such-program is not installed") as caught:
        NodeMermaid(installed, node="there-is-no-such-program").check(["graph TD\na"])
    assert "npm ci" in caught.value.remedy


def test_missing_packages_are_named(tmp_path: Path) -> None:
    checker = NodeMermaid(tmp_path, node=playing(tmp_path, "exit 0"))
    with pytest.raises(MermaidUnavailable, match="mermaid and jsdom are not installed"):
        checker.check(["graph TD\na"])


ANSWER = json.dumps({"id": 0, "ok": True})
CRASHES = {
    "nothing": "cat >/dev/null",
    "no last line": f"cat >/dev/null; echo '{ANSWER}'",
    "too few answers": f"cat >/dev/null; echo '{ANSWER}'; echo '{json.dumps({'done': 1})}'",
    "one answer twice": f"cat >/dev/null; echo '{ANSWER}'; echo '{ANSWER}'; echo '{json.dumps({'done': 2})}'",
    "no JSON": "cat >/dev/null; echo hello",
    "an error": f"cat >/dev/null; echo '{ANSWER}'; echo out of memory >&2; exit 134",
    "a signal": "kill -SEGV $$",
}


@pytest.mark.parametrize("script", CRASHES.values(), ids=CRASHES.keys())
def test_a_crash_is_no_verdict(installed: Path, script: str) -> None:
    with pytest.raises(MermaidUnavailable):
        NodeMermaid(installed, node=playing(installed, script)).check(["graph TD\na", "graph TD\nb"])


def test_a_program_that_hangs_is_ended_at_the_deadline(installed: Path) -> None:
    checker = NodeMermaid(installed, node=playing(installed, "exec sleep 60"), deadline=0.3)
    with pytest.raises(MermaidUnavailable):
        checker.check(["graph TD\na"])


def test_equal_diagrams_are_asked_once(installed: Path) -> None:
    lines = [{"id": 0, "ok": True}, {"id": 1, "ok": False, "message": "no", "line": 2}, {"done": 2}]
    script = "cat >/dev/null\n" + "\n".join(f"echo '{json.dumps(line)}'" for line in lines)
    verdicts = NodeMermaid(installed, node=playing(installed, script)).check(["a", "b", "a"])
    assert verdicts == [Verdict(True), Verdict(False, "no", 2), Verdict(True)]


def test_the_environment_names_another_folder(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPKEEP_MERMAID_DIR", str(installed))
    assert NodeMermaid().folder == installed
    monkeypatch.delenv("UPKEEP_MERMAID_DIR")
    assert NodeMermaid().folder == SCRIPT.parent


def test_the_lock_file_pins_every_package_by_hash_and_no_address() -> None:
    lock = json.loads((SCRIPT.parent / "package-lock.json").read_text())
    packages = {path: entry for path, entry in lock["packages"].items() if path}
    assert {packages[f"node_modules/{name}"]["version"] for name in ("mermaid", "jsdom")} == {"11.17.2", "29.1.1"}
    assert [path for path, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []
    assert [path for path, entry in packages.items() if "resolved" in entry] == []
