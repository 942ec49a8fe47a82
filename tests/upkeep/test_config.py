"""upkeep.yaml: what is read, and how a fault is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from upkeep.config import Settings, find, load, schema
from upkeep.errors import ConfigError

WATCH = """\
watches:
  app:
    upstream: {path: ../app, branch: main}
    target: {url: "https://github.com/o/d.git", forge: here, repo: o/d}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    for name in ("UPKEEP_CONFIG", "UPKEEP_HOME", "UPKEEP_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def _write(text: str) -> Path:
        path = tmp_path / "upkeep.yaml"
        path.write_text(text)
        return path

    return _write


def faults(text: str, write: Callable[[str], Path]) -> list[tuple[int, str, str]]:
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(path) in str(caught.value)
    assert caught.value.reason == "config.invalid"
    return [(fault["line"], fault["key"], fault["message"]) for fault in caught.value.details["faults"]]


def test_without_a_file_the_embedded_defaults_hold(write: Callable[[str], Path]) -> None:
    settings = load()
    assert settings.source is None
    assert set(settings.forges) == {"here"}
    assert settings.agents["scan"].engine == "scan"
    assert settings.home == Path("~/.local/state/upkeep").expanduser()


def test_relative_paths_are_relative_to_the_file(write: Callable[[str], Path], tmp_path: Path) -> None:
    write("home: state\n" + WATCH)
    settings = load()
    assert settings.home == tmp_path / "state"
    assert settings.watch("app").upstream.path == tmp_path.parent / "app"


def test_the_file_is_found_upwards_from_the_current_folder(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(WATCH)
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    assert find() == path


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPKEEP_CONFIG", str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ConfigError, match="no configuration file") as caught:
        load()
    assert caught.value.reason == "config.missing"


def test_the_environment_wins_over_the_file(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("home: state\n")
    monkeypatch.setenv("UPKEEP_HOME", str(tmp_path / "elsewhere"))
    assert load().home == tmp_path / "elsewhere"


def test_unknown_keys_name_line_and_nearest_key_at_every_depth(write: Callable[[str], Path]) -> None:
    found = faults(
        "hom: x\n"
        "agents:\n"
        "  codex: {engine: codex, modle: m}\n"
        "watches:\n"
        "  app:\n"
        "    upstream: {path: a, brnch: main}\n"
        "    target: {url: u, forge: here, repo: r}\n"
        "    pol_minutes: 3\n",
        write,
    )
    assert found == [
        (1, "hom", "unknown key; did you mean home?"),
        (3, "agents.codex.modle", "unknown key; did you mean model?"),
        (6, "watches.app.upstream.brnch", "unknown key; did you mean branch?"),
        (8, "watches.app.pol_minutes", "unknown key; did you mean poll_minutes?"),
    ]


def test_faults_inside_mappings_and_lists_name_their_place_too(write: Callable[[str], Path]) -> None:
    found = faults(
        WATCH + "    scan:\n"
        "      kotlin: {calls: [track], evnt: 0}\n"
        "      kotln: {calls: [track]}\n"
        "      java: {calls: [{method: raise, recevers: [a]}]}\n",
        write,
    )
    assert found == [
        (6, "watches.app.scan.kotlin.evnt", "unknown key; did you mean event?"),
        (7, "watches.app.scan.kotln", "unknown key; did you mean kotlin?"),
        (8, "watches.app.scan.java.calls.0.recevers", "unknown key; did you mean receivers?"),
    ]


def test_an_unknown_engine_and_a_missing_key_are_named(write: Callable[[str], Path]) -> None:
    found = faults("agents:\n  a: {engine: codx}\nwatches:\n  app:\n    upstream: {url: u}\n", write)
    assert found == [
        (2, "agents.a", "'engine' 'codx' is none of 'scan', 'codex', 'claude', 'opencode', 'command'"),
        (4, "watches.app.target", "this key is missing"),
    ]


def test_names_that_point_at_nothing_are_faults(write: Callable[[str], Path]) -> None:
    found = faults(WATCH.replace("forge: here", "forge: her") + "    agent: skan\n", write)
    assert found == [
        (4, "watches.app.target.forge", "no forge 'her'; did you mean here?"),
        (5, "watches.app.agent", "no agent 'skan'; did you mean scan?"),
    ]
    found = faults(
        "repositories:\n  a: {path: ., forge: here}\n  b: {path: .}\n  c:\n    path: .\n    forge: heer\n", write
    )
    assert found == [(6, "repositories.c.forge", "no forge 'heer'; did you mean here?")]


def test_a_literal_secret_is_refused_and_a_variable_is_filled(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = faults("forges:\n  g: {kind: github, token: abc}\n", write)
    assert [(line, key) for line, key, _ in found] == [(2, "forges.g.token")]
    write('forges:\n  g: {kind: github, token: "${MY_TOKEN}"}\n')
    monkeypatch.setenv("MY_TOKEN", "sesame-open")
    settings = load()
    assert settings.secrets() == ["sesame-open"]
    assert "sesame-open" not in repr(settings)


def test_what_urls_carry_is_held_as_a_secret_too(write: Callable[[str], Path]) -> None:
    write(
        'database_url: "postgresql://me:data%40base@h/d"\n'
        'agents: {a: {engine: codex, base_url: "https://tok0123456789abcdefgh@proxy/v1"}}\n'
        "watches:\n  app:\n    upstream: {url: 'https://bot:up-stream@host/x.git'}\n"
        "    target: {url: 'https://ada@host/d.git', forge: here, repo: o/d}\n"
    )
    assert set(load().secrets()) == {"data%40base", "data@base", "tok0123456789abcdefgh", "up-stream"}


def test_a_dotenv_beside_the_file_fills_variables_and_the_environment_wins(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('forges:\n  g: {kind: github, host: "${A_HOST}"}\n  h: {kind: github, host: "x.${B_HOST}"}\n')
    (tmp_path / ".env").write_text("A_HOST=a.example\nB_HOST=b.example\n")
    monkeypatch.setenv("B_HOST", "c.example")
    forges = load().forges
    assert (forges["g"].host, forges["h"].host) == ("a.example", "x.c.example")  # type: ignore[union-attr]


def test_an_unset_variable_is_null_alone_and_an_error_inside_text(write: Callable[[str], Path]) -> None:
    write("database_url: ${UPKEEP_NOT_SET}\n")
    assert load().database_url is None
    write("database_url: postgresql://${UPKEEP_NOT_SET}/x\n")
    with pytest.raises(ConfigError, match="UPKEEP_NOT_SET"):
        load()


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("watches:\n  a: [1\n  b: 2\n", "config.syntax", 3),
        ("home: a\nhome: b\n", "config.duplicate_key", 2),
        ("- a list\n", "config.syntax", None),
    ],
)
def test_broken_yaml_is_named_with_its_line(
    text: str, code: str, line: int | None, write: Callable[[str], Path]
) -> None:
    write(text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert caught.value.reason == code
    assert caught.value.details.get("line") == line


@pytest.mark.parametrize("content", ["../x", "/etc", "a/../../b", ".git/x", "a\\b", "."])
def test_the_content_folder_lies_inside_the_repository(content: str, write: Callable[[str], Path]) -> None:
    assert faults(WATCH + f"    content: '{content}'\n", write)[0][1] == "watches.app.content"


def test_an_unknown_watch_names_the_nearest(write: Callable[[str], Path]) -> None:
    write(WATCH)
    with pytest.raises(ConfigError, match="did you mean app") as caught:
        load().watch("ap")
    assert caught.value.reason == "config.unknown_watch"


def test_relevance_by_calls_needs_calls(write: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="relevance: calls"):
        load(
            write(
                "watches:\n  app:\n    upstream: {url: u}\n    target: {url: t, forge: here, repo: o/r}\n"
                "    relevance: calls\n"
            )
        )


def test_the_contract_of_the_design_is_accepted_whole(write: Callable[[str], Path]) -> None:
    write(
        """\
forges:
  github: {kind: github, host: github.com}
  coulomb: {kind: gitea, url: "https://git.example", token: "${GITEA_TOKEN}", orgs: [coulomb], user_repos: false}
agents:
  codex: {engine: codex, bin: codex, model: gpt-5.2, effort: high, api_key: "${OPENAI_API_KEY}", base_url: null,
          timeout_minutes: 30, idle_minutes: 5, budget_usd: 1.00, unsafe_no_budget: false,
          unsafe_no_sandbox: false}
budgets: {per_run_usd: 1.00, per_subject_day_usd: 5.00, per_agent_month_usd: 100.00}
guardrails: {max_lines: 500, max_files: 10, allow: ["src/**"], deny: [".github/**"], protected: default}
watches:
  chalo-analytics:
    upstream: {path: ~/src/app, branch: main}
    target: {url: "https://github.com/o/dashboard.git", base: main, forge: github, repo: o/dashboard}
    content: content/analytics
    agent: codex
    instructions: .ai/codex/analytics-updater.md
    relevance: any
    begin_after: null
    poll_minutes: 10
    attempts: 3
    scan: {kotlin: {calls: [track, logEvent], event: 0, properties: 1}}
forks:
  codex:
    path: ~/src/codex
    remotes: {fork: origin, upstream: upstream}
    trunk: codex/integration-upstream-main
    version: {file: Cargo.toml, pattern: '^version = "(.+)"$', source: tag, tag: 'v(.+)', template: "{upstream}-x.1"}
    gates:
      - "just fmt"
      - {run: "cargo test", prepare: "cargo fetch", timeout_minutes: 120, directory: codex-rs}
    forge: github
    repo: o/codex
repositories:
  docx: {path: ~/docx, forge: coulomb, repo: coulomb/docx, domain: documents, workplans: ["workplans/*.md"], fix: false,
         goal: {title: "t", description: "d"}}
"""
    )
    settings = load()
    assert settings.forks["codex"].gates[0].run == "just fmt"
    assert settings.watch("chalo-analytics").agent == "codex"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "give `path`"),
        ({"url": "https://git.example/fork.git"}, "the address of upstream"),
        ({"path": "~/fork", "trunk": "main"}, "trunk and mirror_branch are both 'main'"),
    ],
    ids=["nowhere", "a name for an address", "patches on the mirror"],
)
def test_a_fork_that_could_not_be_rebased_is_refused(settings: dict[str, str], words: str) -> None:
    fork = {"trunk": "trunk", "forge": "here", "repo": "o/fork", **settings}
    with pytest.raises(ValidationError, match=re.escape(words)):
        Settings.model_validate({"forks": {"fork": fork}})


def test_the_schema_describes_every_key_and_holds_no_internal_one() -> None:
    document = schema()
    assert set(document["properties"]) == set(Settings.model_fields) - {"source"}
