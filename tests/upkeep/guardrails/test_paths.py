from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.guardrails.patch import FileChange, Patch, Policy
from upkeep.guardrails.paths import PROTECTED, check_paths, matches


def rules(path: str, policy: Policy) -> list[str]:
    return [finding.rule for finding in check_paths(Patch(files=(FileChange(path=path, new=b"x\n"),)), policy)]


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("src/a.py", "src/**", True),
        ("src/deep/a.py", "src/**", True),
        ("src", "src/**", False),
        ("src2/a.py", "src/**", False),
        ("src/a.py", "src/*", True),
        ("src/deep/a.py", "src/*", False),
        ("a.py", "**/a.py", True),
        ("x/y/a.py", "**/a.py", True),
        ("xa.py", "**/a.py", False),
        ("docs/a.md", "docs/?.md", True),
        ("docs/a+b (1).md", "docs/a+b (1).md", True),
        ("docs/axb (1).md", "docs/a+b (1).md", False),
        ("a/tests/b", "**/tests/**", True),
        ("tests/b", "**/tests/**", True),
        ("contests/b", "**/tests/**", False),
        ("a\nb", "*", True),
    ],
)
def test_globs(path: str, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) is expected


PATHS = st.lists(st.text("abAB.*é", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(path=PATHS)
def test_every_path_is_in_everything_and_matches_nothing_but_itself_literally(path: str) -> None:
    assert matches(path, "**")
    assert matches(f"x/{path}", "x/**")
    if "*" not in path:
        assert matches(path, path)
        assert not matches(f"{path}z", path)


def test_outside_the_allow_list_is_refused() -> None:
    policy = Policy(allow=("content/analytics/**", "docs/*.md"))
    assert rules("content/analytics/a/events.json", policy) == []
    assert rules("docs/a.md", policy) == []
    assert rules("content/analytics", policy) == ["paths.outside"]
    assert rules("Content/analytics/a.json", policy) == ["paths.outside"]


@pytest.mark.parametrize("path", ["src/secret/a", "SRC/Secret/a", "src/SECRET/A"])
def test_the_deny_list_wins_in_any_case(path: str) -> None:
    assert "paths.denied" in rules(path, Policy(deny=("src/secret/**",)))


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "a//b", "a\\b", "./a", ""])
def test_a_path_that_leaves_the_repository(path: str) -> None:
    assert "paths.escape" in rules(path, Policy())


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".GitHub/Workflows/CI.yml",
        "sub/.gitmodules",
        ".gitattributes",
        "hooks/.githooks/pre-commit",
        "package.json",
        "app/package-lock.json",
        "requirements-dev.txt",
        "requirements.lock",
        "Cargo.lock",
        "app/build.gradle.kts",
        "gradle/wrapper/gradle-wrapper.properties",
        "tests/test_app.py",
        "src/app.test.ts",
        "AGENTS.md",
        "sub/CLAUDE.md",
        ".ai/codex/analytics-updater.md",
        ".claude/settings.json",
        ".mcp.json",
        ".env",
        ".env.local",
        "Makefile",
        "Dockerfile.prod",
    ],
)
def test_what_runs_steers_or_proves_is_protected(path: str) -> None:
    assert rules(path, Policy()) == ["paths.protected"]


@pytest.mark.parametrize(
    "path", ["src/app.py", "content/analytics/flows.json", "docs/testing.md", "src/environment.ts"]
)
def test_other_files_are_not(path: str) -> None:
    assert rules(path, Policy()) == []


def test_a_protected_path_passes_only_by_its_own_name() -> None:
    assert rules(".github/dependabot.yml", Policy(allow=(".github/**",))) == ["paths.protected"]
    assert rules(".github/dependabot.yml", Policy(allow=(".github/dependabot.yml",))) == []


def test_the_list_of_protected_paths_can_be_replaced() -> None:
    policy = Policy(protected=("legal/**",))
    assert rules("legal/terms.md", policy) == ["paths.protected"]
    assert rules("Makefile", policy) == []


def test_no_protected_pattern_forbids_content_of_a_dashboard() -> None:
    for name in ("flows.json", "flow-slug-map.json", "login/events.json", "login/flow-diagrams.md", "_evidence.json"):
        path = f"content/analytics/{name}"
        assert [pattern for pattern in PROTECTED if matches(path, pattern, folded=True)] == []
