"""Any program as an engine: in the sandbox, behind the gateway."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.model_server import Answer, ModelServer, play
from tests.support.tools import tool
from tests.upkeep.agents.test_programs import killed_in_a_private_folder
from upkeep.agents.base import AgentTask
from upkeep.agents.command import CommandAgent
from upkeep.errors import AgentError, AgentTimedOut

KEY = "sk-canary-0123456789abcdef"
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}

ASK = """
import json, os, sys, urllib.request
prompt = sys.stdin.read()
schema = json.load(open(os.environ["UPKEEP_ANSWER_SCHEMA"]))
body = {"model": os.environ["UPKEEP_MODEL"], "messages": [{"role": "user", "content": prompt}]}
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps(body).encode(),
    {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"},
)
said = json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
open("written.txt", "w").write(said)
print("thinking aloud")
print(json.dumps({"ok": schema["required"] == ["ok"]}))
"""

MakeAgent = Callable[..., CommandAgent]


@pytest.fixture
def make_agent(model_server: ModelServer, tmp_path: Path) -> MakeAgent:
    def make(script: str, **settings: object) -> CommandAgent:
        program = tmp_path / "ask.py"
        program.write_text(script)
        values = {
            "bin": str(Path(sys.executable).resolve()),
            "arguments": (str(program),),
            "files": (program,),
            "model": "gpt-5.2",
            "api_key": SecretStr(KEY),
            "base_url": model_server.base_url,
            "bwrap": tool("bwrap"),
            **settings,
        }
        return CommandAgent("writer", **values)  # type: ignore[arg-type]

    return make


@pytest.fixture
def task(tmp_path: Path) -> AgentTask:
    (tmp_path / "work").mkdir()
    return AgentTask(
        subject="watch:app",
        work=tmp_path / "work",
        prompt="Say hello.",
        answer_schema=SCHEMA,
        log_dir=tmp_path / "logs",
    )


def test_a_program_asks_its_model_and_answers(
    model_server: ModelServer, make_agent: MakeAgent, task: AgentTask
) -> None:
    model_server.script = play(Answer("hello"))
    result = make_agent(ASK).run(task)
    assert (result.outcome, result.answer, result.sandbox) == ("answered", {"ok": True}, "upkeep")
    assert (task.work / "written.txt").read_text() == "hello"
    assert (result.usage.engine, result.usage.requests, result.usage.basis) == ("command", 1, "gateway")
    (request,) = model_server.requests
    assert (request.texts, request.headers["authorization"]) == (["Say hello."], f"Bearer {KEY}")


def test_a_status_other_than_zero_is_a_failure_with_its_words(make_agent: MakeAgent, task: AgentTask) -> None:
    with pytest.raises(AgentError) as caught:
        make_agent("import sys; sys.exit('no idea')").run(task)
    assert caught.value.reason == "agent.failed"
    assert "no idea" in caught.value.message


def test_no_answer_is_a_value(make_agent: MakeAgent, task: AgentTask) -> None:
    result = make_agent("print('nothing to say')").run(task)
    assert (result.outcome, result.message, result.usage.requests) == ("said_nothing", "nothing to say", 0)


def test_the_next_run_removes_what_a_killed_one_left(make_agent: MakeAgent, task: AgentTask) -> None:
    left = killed_in_a_private_folder()
    make_agent('print("{}")').run(task)
    assert not left.exists()


def test_a_program_that_hangs_is_ended(make_agent: MakeAgent, task: AgentTask) -> None:
    with pytest.raises(AgentTimedOut):
        make_agent("import time; time.sleep(600)", idle_minutes=2 / 60).run(task)


def test_a_program_that_is_a_script_is_told_to_name_its_interpreter(
    make_agent: MakeAgent, task: AgentTask, tmp_path: Path
) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    with pytest.raises(AgentError) as caught:
        make_agent("", bin=str(script)).run(task)
    assert caught.value.reason == "agent.program"
