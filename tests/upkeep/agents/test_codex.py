"""The real codex CLI against a scripted model: what a helpful, a useless, a hanging and a refusing model lead to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.load import slowness
from tests.support.model_server import (
    Answer,
    CallTools,
    Failure,
    Hang,
    Incomplete,
    ModelServer,
    Reply,
    Request,
    Silence,
    Tokens,
    ToolCall,
    always,
    play,
    shell,
    write_file,
)
from tests.support.tools import tool
from upkeep.agents.base import AgentTask, Usage
from upkeep.agents.codex import CodexAgent
from upkeep.agents.codex_command import TESTED_VERSION
from upkeep.agents.profile import Limits
from upkeep.errors import AgentError, AgentTimedOut, BudgetExhausted

KEY = "sk-canary-0123456789abcdef"
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}
SECOND = 1 / 60
"""In minutes, the unit of the settings."""

UNCONTAINED = {"unsafe_no_sandbox": True, "bwrap": "bwrap-that-is-not-there"}
"""Runs the program that `bin` names as it is; in the sandbox only codex itself runs."""

MakeAgent = Callable[..., CodexAgent]


@pytest.fixture
def make_agent(model_server: ModelServer) -> MakeAgent:
    def make(**settings: object) -> CodexAgent:
        values = {
            "bin": tool("codex"),
            "bwrap": tool("bwrap"),
            "api_key": SecretStr(KEY),
            "base_url": model_server.base_url,
            **settings,
        }
        return CodexAgent("writer", **values)  # type: ignore[arg-type]

    return make


@pytest.fixture
def task(tmp_path: Path) -> AgentTask:
    work, upstream = tmp_path / "work", tmp_path / "upstream"
    work.mkdir()
    upstream.mkdir()
    (upstream / "App.kt").write_text("analytics.track(Login)\n")
    return AgentTask(
        subject="watch/app",
        work=work,
        reads={"upstream": upstream},
        prompt="Document the login event.",
        answer_schema=SCHEMA,
        log_dir=tmp_path / "logs",
    )


def wrapper(tmp_path: Path, script: str) -> str:
    """A program that stands in front of codex, as a version manager's shim does."""
    path = tmp_path / "codex-wrapper"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_helpful_model_edits_files_and_answers(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
) -> None:
    upstream = task.reads["upstream"]
    model_server.script = play(
        CallTools(shell(f"cat {upstream}/App.kt"), write_file("events.json", '{"name": "Login"}\n')),
        CallTools(shell("mkdir -p sub && cp events.json sub/")),
        Answer({"ok": True}),
    )
    result = make_agent().run(task)
    assert (result.outcome, result.answer) == ("answered", {"ok": True})
    assert (task.work / "events.json").read_text() == '{"name": "Login"}\n'
    assert (task.work / "sub" / "events.json").read_text() == '{"name": "Login"}\n'
    assert "analytics.track(Login)" in model_server.requests[1].tool_outputs[0]
    assert model_server.requests[0].texts[-1].strip() == task.prompt
    assert (result.exit_code, result.sandbox) == (0, "upkeep")


def test_usage_is_the_servers_to_the_token(model_server: ModelServer, make_agent: MakeAgent, task: AgentTask) -> None:
    model_server.script = play(
        CallTools(shell("true"), tokens=Tokens(input=1000, cached=300, output=50, reasoning=20)),
        Answer({"ok": True}, tokens=Tokens(input=2000, cached=1500, output=80, reasoning=30)),
    )
    usage = make_agent().run(task).usage
    assert usage == Usage(
        engine="codex",
        engine_version=TESTED_VERSION,
        model="gpt-5.2",
        requests=2,
        input_uncached=1200,
        cache_read=1800,
        output=80,
        reasoning=50,
        cost_priced_usd=usage.cost_priced_usd,
        price_source=usage.price_source,
        basis="gateway",
        complete=True,
        gap=0.0,
    )
    # Per million tokens of gpt-5.2: 1.75 input, 0.175 cached input, 14 output, reasoning included.
    assert usage.cost_usd == pytest.approx((1200 * 1.75 + 1800 * 0.175 + 130 * 14) / 1e6)
    assert usage.price_source.startswith("genai-prices ")


def test_model_effort_schema_and_tools_are_forced(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
) -> None:
    model_server.script = play(Answer({"ok": True}))
    make_agent(model="gpt-5.1", effort="low").run(task)
    body = model_server.requests[0].body
    assert body["model"] == "gpt-5.1"
    assert body["reasoning"]["effort"] == "low"
    assert body["text"]["format"]["schema"] == SCHEMA
    hosted = [entry["type"] for entry in body["tools"] if entry["type"] not in ("function", "custom")]
    assert hosted == []
    assert set(model_server.requests[0].tools) <= {"exec_command", "write_stdin", "request_user_input", "view_image"}


def test_the_users_and_the_repositorys_configuration_take_no_part(
    model_server: ModelServer,
    make_agent: MakeAgent,
    task: AgentTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    config = 'model = "hijacked"\ndeveloper_instructions = "CANARY"\n[mcp_servers.evil]\ncommand = "touch"\n'
    for folder in (home / ".codex", task.work / ".codex"):
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(config)
        (folder / "AGENTS.md").write_text("CANARY")
    for folder in (home / ".agents", task.work / ".agents"):
        skill = folder / "skills" / "canary"
        skill.mkdir(parents=True)
        (skill / "SKILL.md").write_text("---\nname: canary\ndescription: CANARY\n---\nCANARY\n")
    (task.work / "AGENTS.md").write_text("CANARY")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CODEX_HOME", str(home / ".codex"))
    model_server.script = play(Answer({"ok": True}))
    make_agent().run(task)
    request = model_server.requests[0]
    assert request.body["model"] == "gpt-5.2"
    assert "CANARY" not in json.dumps(request.body)
    assert sorted(path.name for path in (home / ".codex").iterdir()) == ["AGENTS.md", "config.toml"]


def test_the_models_shell_sees_no_variable_of_ours_no_other_file_and_no_network(
    model_server: ModelServer,
    make_agent: MakeAgent,
    task: AgentTask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "secret").write_text("CANARY-FILE")
    (task.work / ".git" / "hooks").mkdir(parents=True)
    (task.work / ".git" / "config").write_text("CANARY-FILE")
    monkeypatch.setenv("GH_TOKEN", "CANARY-ENV")
    port = model_server.base_url.split(":")[2].split("/")[0]
    attempts = {
        "file": f"cat {tmp_path}/secret",
        "environment": "env; cat /proc/*/environ",
        "network": f"bash -c ': <>/dev/tcp/127.0.0.1/{port}' && echo CONNECTED",
        "outside": f"touch {tmp_path}/outside",
        "upstream": f"touch {task.reads['upstream']}/planted",
        "git": "cat .git/config; mkdir -p .git/hooks && touch .git/hooks/pre-commit",
    }
    model_server.script = play(CallTools(*(shell(command) for command in attempts.values())), Answer({"ok": True}))
    make_agent().run(task)
    outputs = dict(zip(attempts, model_server.requests[1].tool_outputs, strict=True))
    assert "CANARY-FILE" not in outputs["file"] + outputs["git"]
    assert "CANARY-ENV" not in outputs["environment"]
    assert KEY not in "".join(outputs.values())
    assert "PATH=" in outputs["environment"], "the command must have run for its silence to mean anything"
    assert "CONNECTED" not in outputs["network"]
    assert not (tmp_path / "outside").exists()
    assert list(task.reads["upstream"].iterdir()) == [task.reads["upstream"] / "App.kt"]
    assert not (task.work / ".git" / "hooks" / "pre-commit").exists()


def test_the_key_reaches_the_provider_and_nothing_else(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
) -> None:
    """While the model is asked, the test looks at what any process of this machine shows of itself."""
    shown: list[str] = []

    def script(request: Request) -> Reply:
        shown.extend(f"{file}" for file in Path("/proc").glob("[0-9]*/cmdline") if KEY in read(file))
        shown.extend(f"{file}" for file in Path("/proc").glob("[0-9]*/environ") if KEY in read(file))
        # A model that somehow learnt it and prints it.
        return CallTools(shell(f"echo {KEY}")) if request.number == 1 else Answer({"ok": True})

    model_server.script = script
    result = make_agent().run(task)
    assert shown == []
    assert {request.headers["authorization"] for request in model_server.requests} == {f"Bearer {KEY}"}
    logs = sorted(path for path in task.log_dir.iterdir())
    assert [path.name for path in logs] == [
        *("1-events.jsonl", "1-gateway-stderr.txt", "1-sandbox.json", "1-session.jsonl"),
        *("1-stderr.txt", "1-transcript.jsonl"),
    ]
    assert result.transcript == task.log_dir / "1-transcript.jsonl"
    assert "echo ***" in result.transcript.read_text()
    assert not [path for path in logs if KEY in path.read_text()]
    token = "(?<!/)upkeep-[A-Za-z0-9_-]{32}"
    assert not [path for path in logs if re.search(token, path.read_text())], "the gateway's token is nobody's business"
    assert result.profile is not None
    assert result.profile["writable"][-1] == str(task.work)
    assert (result.profile["network"], KEY in json.dumps(result.profile)) == (
        "none, but http://127.0.0.1:8317 leads to the gateway",
        False,
    )
    assert KEY not in repr(make_agent())


def read(file: Path) -> str:
    """A file of another process, which may be gone by now."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Silence(), ""),
        (Answer("I could not find any event."), "I could not find any event."),
        (Answer({"surprise": 1}), '{"surprise": 1}'),
        (Answer('["ok"]'), '["ok"]'),
    ],
)
def test_no_usable_answer_is_a_value(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, reply: Silence | Answer, said: str
) -> None:
    model_server.script = play(reply)
    result = make_agent().run(task)
    assert (result.outcome, result.answer, result.message) == ("said_nothing", None, said)
    assert (result.exit_code, result.usage.requests) == (0, 1)


def test_a_model_that_calls_tools_that_do_not_exist_is_told_so(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
) -> None:
    model_server.script = play(CallTools(ToolCall("frobnicate", {})), Answer({"ok": True}))
    assert make_agent().run(task).outcome == "answered"
    assert model_server.requests[1].tool_outputs == ["unsupported call: frobnicate"]


@pytest.mark.parametrize(
    ("reply", "code", "retryable"),
    [
        (Failure(401, f"Incorrect API key provided: {KEY}"), "agent.authentication", False),
        (Failure(403), "agent.authentication", False),
        (Failure(429), "agent.rate_limited", True),
        (Failure(500), "agent.unavailable", True),
        (Failure(400, "no such model"), "agent.failed", False),
        (Incomplete(), "agent.incomplete", False),
    ],
)
def test_a_refusal_of_the_provider_is_an_error_that_names_the_next_step(
    model_server: ModelServer,
    make_agent: MakeAgent,
    task: AgentTask,
    reply: Failure | Incomplete,
    code: str,
    retryable: bool,
) -> None:
    model_server.script = always(reply)
    with pytest.raises(AgentError) as caught:
        make_agent().run(task)
    error = caught.value
    assert (error.reason, error.details["retryable"]) == (code, retryable)
    assert error.remedy
    assert KEY not in json.dumps(error.as_record())
    assert Path(error.details["transcript"]).is_file()


def test_what_failed_was_paid_for_too(model_server: ModelServer, make_agent: MakeAgent, task: AgentTask) -> None:
    model_server.script = lambda request: (
        CallTools(shell("true"), tokens=Tokens(input=1000, cached=300, output=50, reasoning=20))
        if request.number == 1
        else Failure(400)
    )
    with pytest.raises(AgentError) as caught:
        make_agent().run(task)
    usage = Usage.model_validate(caught.value.details["usage"])
    assert usage.basis == "gateway"
    assert (usage.input_uncached, usage.cache_read, usage.output, usage.reasoning) == (700, 300, 30, 20)
    assert usage.cost_usd == pytest.approx(700 * 1.75e-6 + 300 * 0.175e-6 + 50 * 14e-6)


@pytest.mark.parametrize("replies", [(Hang(),), (Hang(streaming=True),), (CallTools(shell("true")), Hang())])
def test_a_hang_at_the_start_or_in_the_middle_ends_by_silence(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, replies: tuple[CallTools | Hang, ...]
) -> None:
    model_server.script = play(*replies)
    with pytest.raises(AgentTimedOut) as caught:
        make_agent(idle_minutes=3 * SECOND * slowness()).run(task)
    assert caught.value.reason == "agent.timed_out.idle"
    assert "idle_minutes" in caught.value.remedy
    usage = Usage.model_validate(caught.value.details["usage"])
    assert (usage.requests, usage.complete) == (len(replies), False)


def test_a_model_that_never_stops_working_ends_by_the_wall_clock(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
) -> None:
    model_server.script = always(CallTools(shell("sleep 0.3")))
    with pytest.raises(AgentTimedOut) as caught:
        make_agent(timeout_minutes=3 * SECOND).run(task)
    assert caught.value.reason == "agent.timed_out.deadline"


def test_a_cli_that_does_not_exit_after_its_final_event_loses_nothing(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path
) -> None:
    model_server.script = play(CallTools(write_file("a.txt", "a\n")), Answer({"ok": True}))
    shim = wrapper(tmp_path, f'{tool("codex")} "$@"\ncase "$1" in exec) sleep 600;; esac')
    result = make_agent(bin=shim, after_final_seconds=0.5, **UNCONTAINED).run(task)
    assert (result.outcome, result.usage.requests) == ("answered", 2)
    assert (task.work / "a.txt").read_text() == "a\n"
    assert result.seconds < 60


def test_an_unreachable_provider_is_no_hang(make_agent: MakeAgent, task: AgentTask) -> None:
    """With its defaults codex 0.169.0 waits for the network for ever."""
    with pytest.raises(AgentError) as caught:
        make_agent(base_url="http://127.0.0.1:9/v1").run(task)
    assert caught.value.reason == "agent.unavailable"
    assert "base_url" in caught.value.remedy


class TestSandbox:
    def broken(self, tmp_path: Path) -> str:
        """codex makes no sandbox helper where its home is below the temporary folder; then every tool call fails."""
        return wrapper(tmp_path, f'TMPDIR=$(dirname "$CODEX_HOME") exec {tool("codex")} "$@"')

    @pytest.mark.parametrize("why", ["missing", "forbidden"])
    def test_one_that_does_not_start_stops_the_run_before_the_model_is_asked(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path, why: str
    ) -> None:
        """Forbidden: a host that does not allow user namespaces."""
        bare = f"{tool('bwrap')} --unshare-user --disable-userns --dev-bind / /"
        forbidden = wrapper(tmp_path, f'exec {bare} {tool("bwrap")} "$@"')
        with pytest.raises(AgentError) as caught:
            make_agent(bwrap=forbidden if why == "forbidden" else "bwrap-that-is-not-there").run(task)
        assert caught.value.reason == "agent.sandbox"
        assert ("namespace" if why == "forbidden" else "not installed") in caught.value.message
        assert "user namespaces" in caught.value.remedy
        assert "agents.writer.unsafe_no_sandbox" in caught.value.remedy
        assert model_server.requests == []

    def test_a_limit_that_is_passed_is_an_error_that_says_which(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
    ) -> None:
        model_server.script = always(CallTools(shell("for i in $(seq 500); do head -c 1M /dev/zero > f$i; done")))
        with pytest.raises(AgentError) as caught:
            make_agent(limits=Limits(disk=100 << 20)).run(task)
        assert caught.value.reason == "agent.limit.disk"
        assert caught.value.details["usage"]["requests"] >= 1, "what was ended was paid for too"

    def test_doing_without_is_a_decision_that_the_result_tells(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path
    ) -> None:
        (tmp_path / "readable").write_text("in the open")
        model_server.script = play(CallTools(shell(f"cat {tmp_path}/readable; env")), Answer({"ok": True}))
        result = make_agent(bin=self.broken(tmp_path), **UNCONTAINED).run(task)
        assert result.sandbox == "none"
        output = model_server.requests[1].tool_outputs[0]
        assert "in the open" in output
        assert KEY not in output

    def test_codex_own_is_used_where_ours_is_not_to_be_had(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text("CANARY")
        model_server.script = play(CallTools(shell(f"cat {tmp_path}/secret; echo a > a.txt")), Answer({"ok": True}))
        assert make_agent(**UNCONTAINED).run(task).sandbox == "codex"
        assert "CANARY" not in model_server.requests[1].tool_outputs[0]
        assert (task.work / "a.txt").exists()

    def test_codex_own_that_fails_later_is_found_by_what_the_tools_returned(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path
    ) -> None:
        bare = f"{tool('bwrap')} --unshare-user --disable-userns --dev-bind / /"
        broken = f'TMPDIR=$(dirname "$CODEX_HOME") exec {bare} {tool("codex")} "$@"'
        shim = wrapper(tmp_path, f'case "$1" in exec) {broken};; *) exec {tool("codex")} "$@";; esac')
        model_server.script = play(CallTools(shell("echo a > a.txt")), Answer({"ok": True}))
        with pytest.raises(AgentError) as caught:
            make_agent(bin=shim, **UNCONTAINED).run(task)
        assert caught.value.reason == "agent.sandbox"
        assert caught.value.details["usage"]["requests"] == 2
        assert not (task.work / "a.txt").exists()

    def test_where_ours_works_it_is_used_although_it_need_not_be(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
    ) -> None:
        model_server.script = play(Answer({"ok": True}))
        assert make_agent(unsafe_no_sandbox=True).run(task).sandbox == "upkeep"

    def test_a_shim_in_front_of_codex_is_seen_through(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path
    ) -> None:
        model_server.script = play(Answer({"ok": True}))
        shim = wrapper(tmp_path, f'exec {tool("codex")} "$@"')
        assert make_agent(bin=shim).run(task).outcome == "answered"

    def test_what_the_tools_plant_in_codex_own_files_is_not_followed(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path
    ) -> None:
        """The home of codex is writable to its tools now: the answer and the session may be links to anything."""
        (tmp_path / "secret").write_text('{"ok": true, "secret": "CANARY"}')
        plant = (
            f"home=$(dirname $TMPDIR); ln -sf {tmp_path}/secret $home/codex/sessions/x.jsonl; "
            f"mkfifo $home/codex/sessions/y.jsonl; mkdir $home/answer.json; ls $home/codex/sessions"
        )
        model_server.script = play(CallTools(shell(plant)), Answer({"ok": True}))
        result = make_agent().run(task)
        assert "x.jsonl" in model_server.requests[1].tool_outputs[0]
        assert result.answer == {"ok": True}
        kept = [path.read_text() for path in task.log_dir.iterdir()]
        assert any("function_call_output" in text for text in kept), "the session itself was kept"
        assert not [text for text in kept if "CANARY" in text]


class TestBeforeTheStart:
    def test_a_probe_says_what_is_there(self, make_agent: MakeAgent) -> None:
        probe = make_agent().probe()
        assert (probe.version, probe.contained, probe.reason) == (TESTED_VERSION, True, "")
        assert Path(probe.program.argv[0]).read_bytes()[:4] == b"\x7fELF"

    def test_a_missing_program(self, make_agent: MakeAgent, task: AgentTask) -> None:
        with pytest.raises(AgentError) as caught:
            make_agent(bin="codex-that-is-not-there").run(task)
        assert caught.value.reason == "agent.not_installed"
        assert f"@openai/codex@{TESTED_VERSION}" in caught.value.remedy

    @pytest.mark.parametrize(
        ("script", "code"),
        [
            ("echo codex-cli 0.99.12", "agent.version"),
            ("echo hello", "agent.not_installed"),
            ("exit 1", "agent.not_installed"),
        ],
    )
    def test_a_program_that_is_no_codex_of_ours(
        self, make_agent: MakeAgent, task: AgentTask, tmp_path: Path, script: str, code: str
    ) -> None:
        with pytest.raises(AgentError) as caught:
            make_agent(bin=wrapper(tmp_path, script)).run(task)
        assert caught.value.reason == code

    def test_a_version_that_does_not_take_our_arguments(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path
    ) -> None:
        shim = wrapper(
            tmp_path,
            f'case "$1" in exec) exec {tool("codex")} "$@" --disable no_such;; esac; exec {tool("codex")} "$@"',
        )
        with pytest.raises(AgentError) as caught:
            make_agent(bin=shim, **UNCONTAINED).run(task)
        assert caught.value.reason == "agent.version"
        assert model_server.requests == []

    @pytest.mark.parametrize("key", [None, SecretStr("")])
    def test_no_key(self, make_agent: MakeAgent, task: AgentTask, key: SecretStr | None) -> None:
        with pytest.raises(AgentError) as caught:
            make_agent(api_key=key, base_url=None).run(task)
        assert caught.value.reason == "agent.authentication"
        assert "agents.writer.api_key" in caught.value.remedy

    @pytest.mark.parametrize("budget", [1.0, None])
    def test_a_budget_needs_a_price(self, make_agent: MakeAgent, task: AgentTask, budget: float | None) -> None:
        """Without one of its own too: those of the run, the subject's day and the agent's month could not be held."""
        with pytest.raises(AgentError) as caught:
            make_agent(model="house-model-7", budget_usd=budget).run(task)
        assert caught.value.reason == "agent.no_price"
        assert "agents.writer.unsafe_no_budget" in caught.value.remedy

    def test_only_an_explicit_word_lets_an_unpriced_model_run(
        self, model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
    ) -> None:
        model_server.script = play(Answer({"ok": True}))
        usage = make_agent(model="house-model-7", unsafe_no_budget=True).run(task).usage
        assert (usage.cost_priced_usd, usage.cost_usd, usage.requests) == (None, 0.0, 1)

    def test_an_empty_budget(self, make_agent: MakeAgent, task: AgentTask) -> None:
        with pytest.raises(BudgetExhausted):
            make_agent(budget_usd=0).run(task)


def test_a_second_run_of_a_task_keeps_the_firsts_logs(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
) -> None:
    model_server.script = always(Answer({"ok": True}))
    first, second = make_agent().run(task), make_agent().run(task)
    assert (first.transcript, second.transcript) == (
        task.log_dir / "1-transcript.jsonl",
        task.log_dir / "2-transcript.jsonl",
    )
    assert first.transcript is not None
    assert first.transcript.is_file()


def test_nothing_of_the_private_home_is_left(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask, tmp_path: Path
) -> None:
    homes = tmp_path / "homes"
    shim = wrapper(tmp_path, f'echo "$HOME" >> {homes}\nexec {tool("codex")} "$@"')
    model_server.script = play(CallTools(shell("touch $TMPDIR/x")), Answer({"ok": True}))
    assert make_agent(bin=shim, **UNCONTAINED).run(task).outcome == "answered"
    used = {Path(line) for line in homes.read_text().splitlines()}
    assert used
    assert Path.home() not in used
    assert not [home for home in used if home.exists()]
