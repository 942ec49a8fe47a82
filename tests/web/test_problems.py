"""What is no success: refused by tokens, hosts, shapes and sizes, always as a problem that says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.api import Api
from tests.support.api import api as api
from upkeep import tokens


def test_everything_is_closed_to_who_has_no_token(api: Api) -> None:
    for path in ("/repos/", "/repos/sample/", "/nowhere", "/", "/docs", "/repos/../state/health/", "/state/health/"):
        answer = api.ask("GET", path, token=None)
        assert answer.headers["www-authenticate"] == 'Bearer realm="upkeep"'
        assert api.problem("GET", path, 401, token=None)["code"] == "access.no_token"


def test_an_unread_body_does_not_come_before_the_token(api: Api) -> None:
    for content in (b"{", b"x" * 200_000):
        api.problem("POST", "/repos/", 401, token=None, content=content)


def test_what_is_no_token_of_ours_is_refused(api: Api) -> None:
    for header in (b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"Token abc", api.read.encode()):
        answer = api.ask("GET", "/repos/", token=None, headers={"Authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (401, "access.no_token"), header
    for header in (b"Bearer upkeep_0", b"bearer \xff", b"Bearer " + b"a" * 5000, b"Bearer a b"):
        answer = api.ask("GET", "/repos/", token=None, headers={"Authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (401, "access.token_unknown"), header
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert api.client.get("/repos/", headers={"Authorization": f"bEaReR  {api.read}"}).status_code == 200


def test_two_tokens_are_none(api: Api) -> None:
    headers = [("Authorization", f"Bearer {api.read}"), ("Authorization", f"Bearer {api.write}")]
    assert api.client.get("/repos/", headers=headers).status_code == 401


def test_a_revoked_token_is_out_at_once(api: Api) -> None:
    api.get("/repos/")
    with api.database.session() as session:
        tokens.revoke(session, "read", by="ada")
    answer = api.ask("GET", "/repos/")
    assert answer.json()["code"] == "access.token_revoked"
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_a_token_that_reads_does_not_write(api: Api) -> None:
    for method, path in (("POST", "/repos/"), ("PATCH", "/repos/other/"), ("DELETE", "/repos/"), ("TRACE", "/x")):
        problem = api.problem(method, path, 403, json={"domain": "x"})
        assert problem["code"] == "access.scope"
        assert "--scope write" in problem["remedy"]
        assert 'error="insufficient_scope"' in api.ask(method, path, json={}).headers["www-authenticate"]
    assert api.row("other").domain == "d"


def test_a_token_in_the_query_is_none(api: Api) -> None:
    api.problem("GET", f"/repos/?access_token={api.read}", 401, token=None)


def test_a_request_for_another_host_is_refused(api: Api) -> None:
    for host in ("127.0.0.1", "127.0.0.1:8700", "127.0.0.1:1"):
        assert api.ask("GET", "/state/health", token=None, headers={"Host": host}).status_code == 200, host
    foreign = ("evil.example", "127.0.0.1.evil.example:8700", "", "[::1]:8700", "127.0.0.1@evil.example", "0.0.0.0")
    for host in foreign:
        for path in ("/state/health", "/repos/"):
            assert api.problem("GET", path, 421, headers={"Host": host})["code"] == "web.host", host


def test_methods_and_paths_that_are_not_there_say_what_is(api: Api) -> None:
    assert api.problem("PUT", "/repos/other/", 405, token="write")["code"] == "web.method"
    assert api.ask("DELETE", "/repos/other/", token="write").headers["allow"] == "GET, PATCH"
    assert api.ask("OPTIONS", "/repos/").headers["allow"] == "GET, POST"
    assert api.problem("GET", "/repos", 404)["remedy"] == "It is /repos/, with the slash at the end."
    assert "openapi.json" in api.problem("GET", "/repos/a/b/c", 404)["remedy"]


def test_who_asks_for_the_head_gets_no_body_and_the_same_headers(api: Api) -> None:
    head, get = api.ask("HEAD", "/repos/other/"), api.ask("GET", "/repos/other/")
    assert (head.status_code, head.headers["etag"]) == (200, get.headers["etag"])
    assert api.client.head("/state/health").status_code == 200


BODIES: list[tuple[Any, str]] = [
    ({}, "/path"),
    ({"path": "relative"}, "/path"),
    ({"path": "/a\0b"}, "/path"),
    ({"path": 7}, "/path"),
    ({"path": "/", "unknown": 1}, "/unknown"),
    ({"path": "/", "slug": "a/b"}, "/slug"),
    ({"path": "/", "slug": "a\n"}, "/slug"),
    ({"path": "/", "domain": "a\nb"}, "/domain"),
    ({"path": "/", "domain": "x" * 501}, "/domain"),
    ({"path": "/", "workplans": []}, "/workplans"),
    ({"path": "/", "workplans": ["../x"]}, "/workplans/0"),
    ({"path": "/", "workplans": ["a/../x"]}, "/workplans/0"),
    ({"path": "/", "workplans": ["/etc/*"]}, "/workplans/0"),
    ({"path": "/", "goal": {"title": ""}}, "/goal/title"),
    ([], ""),
    ("text", ""),
]


def test_each_fault_of_a_body_is_named_and_nothing_of_it_repeated(api: Api) -> None:
    for body, name in BODIES:
        problem = api.problem("POST", "/repos/", 422, token="write", json=body)
        assert problem["code"] == "web.invalid"
        assert (problem["errors"][0]["location"], problem["errors"][0]["name"]) == ("body", name), body
        assert len(json.dumps(problem)) < 2000
    many = {"path": "/", **{f"unknown{number}": api.write for number in range(200)}}
    problem = api.problem("POST", "/repos/", 422, token="write", json=many)
    assert len(problem["errors"]) == 20
    assert "and 199 more" in problem["detail"]
    assert api.write not in json.dumps(problem)


CONTENTS = [
    (b"{", 422, "web.invalid"),
    (b'{"path": "/\xff"}', 400, "web.unreadable"),
    (b'{"path": "\\ud800"}', 422, "web.invalid"),
    (b"[" * 60_000, 400, "web.unreadable"),
    (b'{"path": "/' + b"x" * 70_000 + b'"}', 413, "web.too_large"),
    (b'{"path": NaN}', 422, "web.invalid"),
    (b"", 422, "web.invalid"),
]


def test_a_body_that_is_no_json_is_refused(api: Api) -> None:
    for content, status, code in CONTENTS:
        headers = {"Content-Type": "application/json"}
        problem = api.problem("POST", "/repos/", status, token="write", content=content, headers=headers)
        assert problem["code"] == code


def test_a_large_body_is_refused_although_it_does_not_say_how_large(api: Api) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 1000

    headers = {"Content-Type": "application/json"}
    assert api.problem("POST", "/repos/", 413, token="write", content=chunks(), headers=headers)["status"] == 413


def test_a_body_of_another_type_is_refused(api: Api) -> None:
    body = json.dumps({"path": str(api.other.path), "slug": "new"}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonp", "multipart/form-data"):
        problem = api.problem("POST", "/repos/", 415, token="write", content=body, headers={"Content-Type": kind})
        assert problem["code"] == "web.media_type"
    merge = {"Content-Type": "application/merge-patch+json; charset=utf-8"}
    assert api.ask("PATCH", "/repos/other/", token="write", content=b"{}", headers=merge).status_code == 200


def test_a_query_that_is_none_is_refused(api: Api) -> None:
    for query in ("limit=0", "limit=501", "limit=x", "after=-b", "state=gone", "limit=99999999999999999999"):
        problem = api.problem("GET", f"/repos/?{query}", 422)
        assert problem["errors"][0]["location"] == "query", query


def test_any_slug_is_answered_or_refused(api: Api) -> None:
    for slug in ("a%00b", "%ff", "a%2Fb", "%2E", "..%2f..", "a" * 200, "%F0%9F%90%8D", "a%0A"):
        for end in ("/", "/dispatch", "/findings"):
            assert api.ask("GET", f"/repos/{slug}{end}").status_code in (404, 422), slug


def test_every_answer_has_the_headers_that_keep_browsers_from_guessing(api: Api) -> None:
    for answer in (api.ask("GET", "/repos/"), api.ask("GET", "/nowhere", token=None), api.ask("POST", "/repos/")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    assert api.ask("GET", "/repos/other/").headers["cache-control"] == "private, no-cache"


def test_what_nobody_foresaw_is_told_without_what_happened(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with api.database.session() as session:
        session.execute(sa.text("UPDATE upkeep.repositories SET findings = '{\"a\": 1}' WHERE slug = 'other'"))
    problem = api.problem("GET", "/repos/other/findings", 500)
    assert problem["code"] == "web.unexpected"
    request_id = problem["instance"].removeprefix("urn:uuid:")
    assert request_id in problem["remedy"]
    (record,) = [record for record in caplog.records if request_id in record.getMessage()]
    assert "ValidationError" in record.getMessage()
    assert api.read not in record.getMessage()
