from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.support.sample_content import real_content
from upkeep.errors import GuardrailRefused
from upkeep.guardrails.limits import changed_lines, stretches
from upkeep.guardrails.patch import FileChange, Patch, Policy, watch_policy
from upkeep.guardrails.report import GuardrailReport, refuse_unless_passed
from upkeep.guardrails.review import review
from upkeep.settings.guardrails import Guardrails

CONTENT = "content/analytics"
WATCH = watch_policy(Guardrails(), content=CONTENT, bootstrap=False)


def change(path: str, new: str | None, old: str | None = None, **modes: str) -> FileChange:
    encode = [None if text is None else text.encode() for text in (old, new)]
    return FileChange(path=path, old=encode[0], new=encode[1], **modes)


def _longest_common(one: list[bytes], other: list[bytes]) -> int:
    row = [0] * (len(other) + 1)
    for line in one:
        above = row
        row = [0]
        for number, candidate in enumerate(other):
            row.append(above[number] + 1 if line == candidate else max(above[number + 1], row[-1]))
    return row[-1]


def rules(report: GuardrailReport) -> list[tuple[str, str]]:
    return [(finding.where, finding.rule) for finding in report.findings]


def test_an_ordinary_update_passes_and_tells_what_was_checked() -> None:
    patch = Patch(
        files=(
            change(f"{CONTENT}/login/events.json", '{"a": 1,\n "b": 2}\n', '{"a": 1}\n'),
            change(f"{CONTENT}/login/flow-diagrams.md", "# Login\n\nA tap → `login`<br/>\n"),
            change(f"{CONTENT}/old/events.json", None, "{}\n"),
        ),
        texts={"title": "Update analytics", "body": "One event added.", "branch": "autoupdate/analytics/0a1b2c"},
    )
    report = review(patch, WATCH)
    assert report.findings == ()
    assert report.passed
    assert [check.name for check in report.checks] == ["limits", "paths", "modes", "secrets", "text"]
    assert (report.changed_files, report.changed_lines) == (3, 3 + 3 + 1)
    assert report.checks[0].note == "7 lines (at most 20,000) in 3 files (at most 200)"
    refuse_unless_passed(report)


def test_all_findings_are_reported_not_the_first() -> None:
    patch = Patch(
        files=(
            change("src/app.py", "x\u202ey\n"),
            change(".github/workflows/ci.yml", "on: push\n", "", mode="100755"),
            change(f"{CONTENT}/a/flow-diagrams.md", "<script>\n"),
        ),
        texts={"title": "two\nlines", "body": "a\x00b"},
    )
    report = review(patch, WATCH)
    assert rules(report) == [
        ("(body):1", "text.control"),
        ("(title):1", "text.control"),
        (".github/workflows/ci.yml", "modes.changed"),
        (".github/workflows/ci.yml", "paths.outside"),
        (".github/workflows/ci.yml", "paths.protected"),
        (f"{CONTENT}/a/flow-diagrams.md:1", "text.html"),
        ("src/app.py", "paths.outside"),
        ("src/app.py:1", "text.bidi"),
    ]
    assert {check.name: check.errors for check in report.checks} == {
        "limits": 0,
        "paths": 3,
        "modes": 1,
        "secrets": 0,
        "text": 4,
    }


def test_a_refusal_names_the_first_findings_and_carries_all() -> None:
    report = review(Patch(files=tuple(change(f"src/{n}.py", "x\n") for n in range(5))), WATCH)
    with pytest.raises(GuardrailRefused) as caught:
        refuse_unless_passed(report)
    assert caught.value.exit_code == 3
    assert "5 findings" in caught.value.message
    assert "src/0.py" in caught.value.message
    assert "and 2 more" in caught.value.message
    assert len(caught.value.details["findings"]) == 5


def test_a_warning_refuses_nothing() -> None:
    report = GuardrailReport()
    refuse_unless_passed(report)
    noise = "Zk3xQ9vLp2TnB8rYw5HsJ7dM"
    warned = review(Patch(files=(change(f"{CONTENT}/a.json", f'"{noise}"\n'),)), WATCH)
    assert [finding.severity for finding in warned.findings] == ["warning"]
    refuse_unless_passed(warned)


def test_a_real_dashboards_content_has_nothing_against_it() -> None:
    root = real_content()
    files = tuple(
        FileChange(path=f"{CONTENT}/{path.relative_to(root).as_posix()}", new=path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    )
    report = review(Patch(files=files), watch_policy(Guardrails(), content=CONTENT, bootstrap=True))
    assert len(files) > 50
    assert report.findings == ()


class TestLimits:
    POLICY = Policy(max_lines=3, max_files=2)

    def test_as_many_as_allowed_pass(self) -> None:
        assert review(Patch(files=(change("a", "1\n2\n"), change("b", "1\n"))), self.POLICY).passed

    def test_one_more_is_refused(self) -> None:
        files = (change("a", "1\n2\n"), change("b", "1\n"), change("c", None, "1\n"))
        assert [finding.rule for finding in review(Patch(files=files), self.POLICY).findings] == [
            "limits.files",
            "limits.lines",
        ]

    def test_a_bootstrap_is_exempt_and_says_so(self) -> None:
        policy = watch_policy(Guardrails(max_lines=1), content=CONTENT, bootstrap=True)
        report = review(Patch(files=(change(f"{CONTENT}/a.json", "1\n" * 30_000),)), policy)
        assert report.passed
        assert "30,000 lines (no limit: a bootstrap writes the whole content at once)" in report.checks[0].note

    @pytest.mark.parametrize(
        ("old", "new", "count"),
        [
            ("a\nb\nc\n", "a\nX\nc\n", 2),
            ("a\nb\nc\n", "a\nb\nc\nd\n", 1),
            ("a\nb\nc\n", "c\na\nb\n", 2),
            ("a\n", "a", 0),
            ("same\n" * 9, "same\n" * 7, 2),
            ("x\n" * 5_000, "y\n" * 5_000, 10_000),
            ("", "", 0),
        ],
    )
    def test_lines_are_counted_as_a_diff_does(self, old: str, new: str, count: int) -> None:
        assert changed_lines(Patch(files=(change("f", new, old),))) == count

    def test_a_long_file_that_changed_in_many_places_is_counted_exactly(self) -> None:
        """Evidence of a thousand events, of which every third moved to another line."""
        old = [f'"event {number}": [\n  {{\n    "line": {number % 90}\n  }}\n]' for number in range(1_500)]
        new = [entry.replace('"line"', '"LINE"') if number % 3 == 0 else entry for number, entry in enumerate(old)]
        moved = [*new[700:], *new[:700]]
        assert changed_lines(Patch(files=(change("f", "\n".join(new), "\n".join(old)),))) == 1_000
        assert changed_lines(Patch(files=(change("f", "\n".join(moved), "\n".join(old)),))) >= 2 * 5 * 700

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.sampled_from("abcdefgh")), st.lists(st.sampled_from("abcdefgh")))
    def test_stretches_count_never_less_than_the_difference(self, old: list[str], new: list[str]) -> None:
        before, after = ([line.encode() for line in lines] for lines in (old, new))
        apart = sum(len(one) + len(other) for one, other in stretches(before, after, exact=0))
        common = _longest_common(before, after)
        assert apart >= len(before) + len(after) - 2 * common


class TestWatchPolicy:
    def test_defaults_are_the_watchs_own(self) -> None:
        assert (WATCH.max_lines, WATCH.max_files, WATCH.allow) == (20_000, 200, (f"{CONTENT}/**",))

    def test_settings_win(self) -> None:
        settings = Guardrails(max_lines=5, max_files=6, allow=("docs/**",), deny=("docs/x",), protected=("docs/y",))
        policy = watch_policy(settings, content=CONTENT, bootstrap=False, secrets=(SecretStr("hunter2!"),))
        assert (policy.max_lines, policy.max_files, policy.allow) == (5, 6, ("docs/**",))
        assert (policy.deny, policy.protected) == (("docs/x",), ("docs/y",))
        assert "hunter2" not in repr(policy)


class TestModes:
    @pytest.mark.parametrize("mode", ["100755", "120000", "160000"])
    def test_only_plain_files_are_new(self, mode: str) -> None:
        assert [f.rule for f in review(Patch(files=(change("a", "x", mode=mode),)), Policy()).findings] == [
            "modes.kind"
        ]

    def test_a_mode_that_was_there_stays(self) -> None:
        same = change("run.sh", "b\n", "a\n", old_mode="100755", mode="100755")
        assert review(Patch(files=(same,)), Policy()).passed

    def test_a_link_is_not_redirected(self) -> None:
        link = change("latest", "../../etc", "docs", old_mode="120000", mode="120000")
        assert [f.rule for f in review(Patch(files=(link,)), Policy()).findings] == ["modes.kind"]

    def test_a_deleted_file_has_no_mode(self) -> None:
        gone = change("run.sh", None, "a\n", old_mode="100755")
        assert review(Patch(files=(gone,)), Policy()).passed
