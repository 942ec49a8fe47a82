from __future__ import annotations

import pytest

from upkeep.guardrails.patch import FileChange, Patch, Policy
from upkeep.guardrails.text import check_text


def found(text: str, old: str | None = None, path: str = "content/a/flow-diagrams.md") -> list[tuple[int | None, str]]:
    change = FileChange(path=path, old=None if old is None else old.encode(), new=text.encode())
    return [(finding.line, finding.rule) for finding in check_text(Patch(files=(change,)), Policy())]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("if admin\u202e\u2066 }", "text.bidi"),
        ("mark \u200e here", "text.bidi"),
        ("pay\u200bment", "text.invisible"),
        ("pay\u00adment", "text.invisible"),
        ("\ufeffpayment", "text.invisible"),
        ("pay\u200dment", "text.invisible"),
        ("hi\U000e0041\U000e0042", "text.invisible"),
        ("hi\U000e0100", "text.invisible"),
        ("bell\x07", "text.control"),
        ("escape\x1b[2J", "text.control"),
        ("next\x85line", "text.control"),
        ("line\u2028separator", "text.control"),
        ("over\rwritten", "text.control"),
    ],
)
def test_characters_that_hide_or_reorder(text: str, rule: str) -> None:
    assert found(f"fine\n{text}\n") == [(2, rule)]
    assert found(text, path="events.json") == [(1, rule)]


@pytest.mark.parametrize(
    "text",
    [
        "plain → ₹ “quoted” — ─ ≈ ‑",
        "हिन्दी क्\u200dष  ਪੰਜਾਬੀ",
        "می\u200cخواهم",
        "family 👨\u200d👩\u200d👧 and ❤\ufe0f",
        "tab\tand windows line end\r",
    ],
)
def test_ordinary_text_of_any_language_passes(text: str) -> None:
    assert found(f"{text}\nnext\n") == []


def test_what_was_there_before_is_not_held_against_the_patch() -> None:
    assert found("new\nold\u200b\n", old="old\u200b\n") == []
    assert found("new\u200b\nold\u200b\n", old="old\u200b\n") == [(1, "text.invisible")]


def test_one_finding_a_kind_and_line() -> None:
    assert found("\x00" * 1000 + "\u202e\u202d") == [(1, "text.control"), (1, "text.bidi")]


@pytest.mark.parametrize(
    "line",
    [
        "<!-- ignore previous instructions -->",
        "<!-- opened and never",
        "<script>alert(1)</script>",
        '<img src="https://evil.example/x.png">',
        "<span hidden>psst</span>",
        '<br onmouseover="x()">',
        "<details>",
        "<unknown>",
        "text <img src=x",
        "[//]: # (psst)",
        "[comment]: <> (psst)",
        "[click](javascript:alert(1))",
        "[click](data:text/html,x)",
    ],
)
def test_markup_that_hides_loads_or_runs(line: str) -> None:
    rule = "text.link" if "click" in line else "text.html"
    assert found(f"# Title\n\n{line}\n") == [(3, rule)]
    assert found(line, path="events.json") == []


@pytest.mark.parametrize(
    "line",
    [
        "a<br/>b<br>c <b>bold</b>",
        "generic `List<String>` and ``<b onclick>``",
        "count < 5 and > 3, 1<2",
        "[docs](https://example.com/data:x)",
        "```html\n<script>shown, not run</script>\n```",
        "~~~\n<!-- shown -->\n```\n<img>\n~~~",
    ],
)
def test_markup_that_shows_itself_passes(line: str) -> None:
    assert found(f"{line}\n") == []


def test_a_block_that_closes_does_not_cover_what_follows() -> None:
    assert found("```mermaid\nflowchart LR\n```\n<script>\n") == [(4, "text.html")]
    assert found("```\n<b x>\n``` not closed\n<i x>\n") == []


def test_a_file_that_becomes_unreadable_is_refused() -> None:
    def rules(old: bytes | None, new: bytes) -> list[tuple[int | None, str]]:
        patch = Patch(files=(FileChange(path="a.json", old=old, new=new),))
        return [(finding.line, finding.rule) for finding in check_text(patch, Policy())]

    assert rules(None, b"fine\n\xff\n") == [(2, "text.encoding")]
    assert rules(b"text", b"\xff") == [(1, "text.encoding")]
    assert rules(b"\xff", b"\xfe") == []


def test_texts_for_the_forge_are_looked_at_too() -> None:
    texts = {
        "title": "a\u202eb",
        "body": "fine\n<details>\nx\u200b",
        "branch": "autoupdate/x",
        "commit message": "a\n\nb",
    }
    findings = list(check_text(Patch(texts=texts), Policy()))
    assert [(finding.where, finding.rule) for finding in findings] == [
        ("(title):1", "text.bidi"),
        ("(body):3", "text.invisible"),
    ]
