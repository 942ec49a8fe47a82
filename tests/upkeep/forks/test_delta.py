"""What the pull request of a fork says: within its limit, in plain words, and the same for the same delta."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from upkeep.forks.delta import LIMIT, Delta, DeltaPatch, FileStat, body, fork_of, headline, purpose, same

MARKDOWN = MarkdownIt("commonmark", {"html": True})
AT = datetime(2026, 3, 1, tzinfo=UTC)


def patch(number: int = 1, **over: object) -> DeltaPatch:
    values = {
        "number": number,
        "sha": f"{number:040x}",
        "subject": f"Patch {number}",
        "author": "Ada Person",
        "authored_at": AT,
        "purpose": "Because of this.",
        "files": (FileStat(path="a.txt", added=3, deleted=1),),
    }
    return DeltaPatch.model_validate(values | over)


def delta(*patches: DeltaPatch, **over: object) -> Delta:
    values = {"fork": "tool", "trunk": "trunk", "tip": "a" * 40, "mirror": "main", "base": "b" * 40}
    return Delta.model_validate(values | {"patches": patches} | over)


def test_a_section_a_patch_says_purpose_age_and_files() -> None:
    files = (FileStat(path="a.txt", added=3, deleted=1), FileStat(path="logo.png", added=None, deleted=None))
    text = body(delta(patch(1, files=files), patch(2, files=(), purpose="")))
    assert "carries on top of `main`: **2 patches**" in text
    assert "**never merge it**" in text
    assert (
        "## 1. Patch 1\n\n`000000000000` by Ada Person, written 2026-03-01\n\n> Because of this.\n\n"
        "- `a.txt` +3 −1\n- `logo.png` binary\n"
    ) in text
    assert text.endswith("written 2026-03-01\n\n- no file: it is empty on purpose\n")
    assert headline(delta(patch())) == "Fork delta of tool: 1 patch"


def test_the_mark_tells_fork_and_content() -> None:
    text = body(delta(patch()))
    assert fork_of(text) == "tool"
    assert fork_of("Text of a person") is None
    assert same(text.replace("\n", "\r\n").rstrip(), body(delta(patch())))
    assert not same(text, body(delta(patch(subject="Another"))))
    assert not same(text, body(delta(patch(), fork="other")))
    assert not same("Text of a person", text)


def test_what_others_wrote_is_plain_words() -> None:
    text = body(
        delta(patch(subject="Ask @everyone, fixes #1 <img src=x>", purpose="/merge\n@bot ![](http://x.example)"))
    )
    for active in ("@everyone", "#1", "<img", "\n> /merge", "![", "@bot"):
        assert active not in text
    assert "Ask @&#8203;everyone" in text


def test_a_part_with_a_secret_is_left_out_by_name_and_the_rest_stays() -> None:
    text = body(
        delta(patch(1, subject="Add token"), patch(2), range_diff="token"),
        refuse=lambda part: "a GitHub token" if "token" in part else "",
    )
    assert "## 1. `000000000000`\n\n*A part is left out here: a GitHub token.*\n\n## 2. Patch 2\n" in text
    assert "Add token" not in text
    assert text.endswith("*A part is left out here: a GitHub token.*\n")


def test_what_is_too_long_is_said_in_fewer_words_before_patches_are_left_out() -> None:
    many = [patch(number, purpose="why " * 400) for number in range(1, 101)]
    text = body(delta(*many, range_diff="line\n" * 9_000))
    assert len(text.encode()) <= LIMIT
    assert text.count("\n## ") == 100
    assert "cut, " in text
    crowd = [patch(number, subject="x" * 280) for number in range(1, 501)]
    text = body(delta(*crowd))
    assert len(text.encode()) <= LIMIT
    shown = text.count("\n## ")
    assert 100 < shown < 500
    assert f"**{500 - shown} more patches** are not shown" in text


WORDS = st.text(st.sampled_from("ab\n`~<>@#é\u202e\U0001f600"), max_size=60)
PATCHES = st.builds(
    lambda number, subject, purpose, paths, copies: patch(
        number,
        subject=subject,
        purpose=purpose * copies,
        files=[FileStat(path=path or "a", added=1, deleted=0) for path in paths],
    ),
    st.integers(1, 99),
    WORDS,
    WORDS,
    st.lists(WORDS, max_size=4),
    st.integers(1, 300),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PATCHES, max_size=12), WORDS, st.integers(1, 400), st.integers(2_000, 12_000))
def test_a_body_fits_and_leaves_nothing_open(patches: list[DeltaPatch], lines: str, copies: int, limit: int) -> None:
    text = body(delta(*patches, range_diff=lines * copies), limit=limit)
    assert len(text.encode()) <= limit
    assert text.count("<details>") == text.count("</details>")
    sections = sum(token.tag == "h2" and token.type == "heading_open" for token in MARKDOWN.parse(text))
    left = int(text.partition(" more patches**")[0].rpartition("**")[2]) if " more patches**" in text else 0
    assert sections + left == len(patches)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Subject", ""),
        ("Subject\n\nWhy.\n\nSigned-off-by: A <a@b.example>\n", "Why."),
        ("Subject\n\nWhy.\n\nAnd: this is why, but not\nalone.\n", "Why.\n\nAnd: this is why, but not\nalone."),
        ("Subject\n\nFixes: #1\nCc: b\n", ""),
        ("Subject goes\non here\n\nWhy.", "Why."),
    ],
)
def test_the_purpose_is_the_message_without_subject_and_trailers(message: str, said: str) -> None:
    assert purpose(message) == said
