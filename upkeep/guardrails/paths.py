"""Where a patch may write.

What belongs here: globs, allow and deny lists, and the paths that run code, steer agents or prove things, which no
pipeline may change unless it names them. What does not: modes (`modes.py`) and contents.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

from upkeep.guardrails.patch import Patch, Policy
from upkeep.guardrails.report import GuardrailFinding

PROTECTED: tuple[str, ...] = (
    # What git, forges and CI run or obey.
    *("**/.git*", "**/.git*/**", "**/.gitea/**", "**/.forgejo/**", "**/.circleci/**", "**/.buildkite/**"),
    *("**/.woodpecker/**", "**/.woodpecker.y*ml", "**/.drone.y*ml", "**/.travis.y*ml", "**/Jenkinsfile"),
    *("**/azure-pipelines.y*ml", "**/bitbucket-pipelines.y*ml", "**/CODEOWNERS", "**/renovate.json*", ".ci/**"),
    *("**/.husky/**", "**/.githooks/**", "**/.pre-commit-config.yaml", "**/lefthook.y*ml"),
    # What installs or builds, and what pins it.
    *("**/package.json", "**/package-lock.json", "**/npm-shrinkwrap.json", "**/yarn.lock", "**/pnpm-*.yaml"),
    *("**/bun.lock*", "**/.npmrc", "**/.yarnrc*", "**/pyproject.toml", "**/setup.py", "**/setup.cfg"),
    *("**/requirements*.txt", "**/*requirements*.lock", "**/uv.lock", "**/poetry.lock", "**/Pipfile*"),
    *("**/Cargo.toml", "**/Cargo.lock", "**/build.rs", "**/go.mod", "**/go.sum", "**/Gemfile*", "**/*.gemspec"),
    *("**/pom.xml", "**/*.gradle", "**/*.gradle.kts", "**/gradle.properties", "**/gradle/**", "**/gradlew*"),
    *("**/Package.swift", "**/Package.resolved", "**/Podfile*", "**/composer.json", "**/composer.lock"),
    *("**/Dockerfile*", "**/docker-compose*.y*ml", "**/compose.y*ml", "**/Makefile", "**/justfile", "**/*.mk"),
    # What proves the rest.
    *("**/test/**", "**/tests/**", "**/__tests__/**", "**/test_*.py", "**/*_test.*", "**/*.test.*", "**/*.spec.*"),
    *("**/conftest.py", "**/tox.ini", "**/noxfile.py"),
    # What steers agents, editors and shells.
    *("**/.claude/**", "**/.codex/**", "**/.agents/**", "**/.opencode/**", "**/.ai/**", "**/.cursor/**"),
    *("**/.mcp.json", "**/opencode.json*", "**/CLAUDE.md", "**/AGENTS.md", "**/GEMINI.md"),
    *("**/.vscode/**", "**/.idea/**", "**/.devcontainer/**", "**/.env", "**/.env.*", "**/.envrc"),
)


def check_paths(patch: Patch, policy: Policy) -> Iterator[GuardrailFinding]:
    protected = PROTECTED if policy.protected is None else policy.protected
    for change in patch.files:
        path = change.path
        if _escapes(path):
            yield GuardrailFinding(rule="paths.escape", path=path, message="the path leaves the repository")
        if not any(matches(path, pattern) for pattern in policy.allow):
            yield GuardrailFinding(
                rule="paths.outside", path=path, message=f"only {_listed(policy.allow)} may be changed"
            )
        if (denied := _first(path, policy.deny)) is not None:
            yield GuardrailFinding(rule="paths.denied", path=path, message=f"{denied} is denied")
        if path not in policy.allow and (pattern := _first(path, protected)) is not None:
            yield GuardrailFinding(
                rule="paths.protected",
                path=path,
                message=f"{pattern} is protected; to let it pass, name the path itself under guardrails.allow",
            )


def matches(path: str, pattern: str, *, folded: bool = False) -> bool:
    """Whether the whole path matches the glob. `*` and `?` stay inside one name, `**` crosses folders, and a leading
    `**/` matches no folder too. `folded`: compare as a case-insensitive, normalising file system does."""
    if folded:
        path, pattern = _fold(path), _fold(pattern)
    return _compiled(pattern).fullmatch(path) is not None


def _first(path: str, patterns: Sequence[str]) -> str | None:
    """The first pattern that forbids the path, in any case: `.GitHub/` is `.github/` on half of all machines."""
    return next((pattern for pattern in patterns if matches(path, pattern, folded=True)), None)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(part) or re.escape(part) for part in parts), re.DOTALL)


def _escapes(path: str) -> bool:
    return path.startswith("/") or "\\" in path or not {"", ".", ".."}.isdisjoint(path.split("/"))


def _listed(patterns: Sequence[str]) -> str:
    return ", ".join(patterns) or "nothing"
