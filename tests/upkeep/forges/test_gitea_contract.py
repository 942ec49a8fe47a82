"""The contract with the vendor can fail: what is not as described is found, in requests and in answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.gitea import BOT, Gitea
from tests.support.gitea_contract import FILE, Contract, contract, described
from tests.support.gitea_http import Exchange
from tests.support.gitea_server import Request
from tests.support.repositories import MakeRepository

REPO = "o/dashboard"


@pytest.fixture
def agreed() -> Contract:
    file = described()
    if file is None:
        pytest.skip(
            f"UPKEEP_SPECS_DIR names no folder with {FILE}: the Gitea tests run without the vendor's description"
        )
    return contract(file)


def exchange(
    method: str = "GET", target: str = "/user", body: Any = None, answer: Any = None, status: int = 200
) -> Any:
    request = Request(method, target.partition("?")[0], {}, body, status, f"/api/v1{target}")
    return Exchange(request, "application/json", "", status, answer, faulty=False)


@pytest.fixture
def recorded(gitea: Gitea, make_repository: MakeRepository) -> list[Exchange]:
    """A pull request that was made, listed, labelled and closed."""
    source = make_repository("dashboard")
    source.commit({"README.md": "A dashboard\n"})
    source.switch("bot/1", "main")
    source.commit({"file.txt": "1"})
    gitea.repo(REPO, source)
    forge = gitea.forge()
    made = forge.create_pull_request(REPO, head="bot/1", base="main", title="t", body="b")
    forge.pull_requests(REPO)
    forge.close_pull_request(REPO, made.number, note="> Note")
    return gitea.http.exchanges


def test_what_we_send_and_the_fake_answers_is_as_described(agreed: Contract, recorded: list[Exchange]) -> None:
    assert [str(one.request) for one in recorded] == [
        f"POST /api/v1/repos/{REPO}/pulls",
        f"GET /api/v1/repos/{REPO}/pulls",
        f"GET /api/v1/repos/{REPO}/pulls/1",
        f"PATCH /api/v1/repos/{REPO}/pulls/1",
    ]
    assert [agreed.violations(one) for one in recorded] == [[], [], [], []]


def test_a_field_that_is_not_described_is_found_in_request_and_answer(
    agreed: Contract, recorded: list[Exchange]
) -> None:
    post = recorded[0]
    wrong = replace(post, request=replace(post.request, body={**post.request.body, "draft": True}))
    assert any("'draft' was unexpected" in problem for problem in agreed.violations(wrong))
    answer = {**post.answer, "head": {**post.answer["head"], "branch": "bot/1"}}
    (problem,) = agreed.violations(replace(post, answer=answer))
    assert "answer 201: head" in problem
    assert "'branch' was unexpected" in problem


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (exchange("GET", "/repos/o/r/pulls?per_page=50"), "per_page in the query is no parameter"),
        (exchange("GET", "/repos/o/r/pulls?state=merged"), "'merged' is none of open, closed, all"),
        (exchange("GET", "/repos/o/r/pulls?page=0"), "0 is below 1"),
        (exchange("GET", "/repos/o/r/pulls?page=two"), "'two' is no integer"),
        (exchange("GET", "/repos/o/r/pulls/latest"), "index in the path: 'latest' is no integer"),
        (exchange("PUT", "/repos/o/r/pulls/1"), "there is no such operation"),
        (exchange("GET", "/repos/o/r/merges"), "there is no such operation"),
        (exchange("POST", "/repos/o/r/pulls", {"title": 1}, {}, 201), "request body: title: 1 is not of type"),
        (exchange("POST", "/repos/o/r/labels", {"name": "x"}, {}, 201), "'color' is a required property"),
        (exchange("GET", "/repos/o/r", {"x": 1}), "a body was sent where none is taken"),
        (exchange("GET", "/user", answer={"id": "1"}), "answer 200: id: '1' is not of type 'integer'"),
        (exchange("GET", "/user", answer={"created": "yesterday"}), "'yesterday' is not a 'date-time'"),
        (exchange("GET", "/user/repos", answer=None), "None is not of type 'array'"),
        (exchange("GET", "/user", answer={}, status=204), "status 204 is not described"),
    ],
)
def test_what_is_not_as_described_is_named(agreed: Contract, wrong: Exchange, words: str) -> None:
    assert any(words in problem for problem in agreed.violations(wrong)), agreed.violations(wrong)


def test_a_body_that_is_not_sent_as_json_is_found(agreed: Contract) -> None:
    wrong = replace(exchange("POST", "/repos/o/r/issues/1/comments", {"body": "x"}, {}, 201), content_type="text/plain")
    assert any("sent as text/plain" in problem for problem in agreed.violations(wrong))


def test_a_token_in_an_address_is_found(gitea: Gitea) -> None:
    secret = next(iter(gitea.server.tokens))
    assert gitea.server.tokens[secret] == BOT
    gitea.http.exchanges.append(exchange("GET", f"/user?token={secret}"))
    assert any("outside of the Authorization header" in problem for problem in gitea.violations())
    gitea.http.exchanges.clear()
