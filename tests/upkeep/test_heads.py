"""Asking many remotes at once: over HTTP without git, over files, through git, and when some of them misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.git_server import GitServer
from tests.support.repositories import MakeRepository, RepoBuilder
from tests.support.waiting import until
from upkeep.errors import BranchGone, RemoteUnavailable
from upkeep.heads import HeadRequest, HeadResult, _extra_headers, _pkt, _read_ref, _refs, poll


@pytest.fixture
def upstream(make_repository: MakeRepository) -> RepoBuilder:
    repository = make_repository("upstream")
    repository.commit({"a": "1"})
    repository.branch("main-next")
    repository.commit({"a": "2"})
    return repository


def ask(url: str, branch: str = "main", *, deadline: float = 20, **options: dict[str, str]) -> HeadResult:
    return poll([HeadRequest("it", url, branch, **options)], deadline=deadline)["it"]


def test_nothing_to_ask_is_answered_with_nothing() -> None:
    assert poll([], deadline=5) == {}


def test_smart_http_is_asked_with_one_request_and_no_git(git_server: GitServer, upstream: RepoBuilder) -> None:
    url = git_server.add(upstream, "up.git")
    assert ask(url).sha == upstream.head()
    assert [(request.method, request.path) for request in git_server.requests] == [("POST", "/up.git/git-upload-pack")]


def test_many_watches_of_one_server_are_all_answered(git_server: GitServer, upstream: RepoBuilder) -> None:
    url = git_server.add(upstream, "up.git")
    requests = [HeadRequest(f"w{n}", url, "main" if n % 2 else "main-next") for n in range(20)]
    results = poll(requests, deadline=60)
    assert {results[f"w{n}"].sha for n in range(1, 20, 2)} == {upstream.head("main")}
    assert {results[f"w{n}"].sha for n in range(0, 20, 2)} == {upstream.head("main-next")}


def test_a_branch_that_is_gone_is_told_from_one_that_begins_with_its_name(
    git_server: GitServer, upstream: RepoBuilder
) -> None:
    url = git_server.add(upstream, "up.git")
    for address in (url, upstream.url, str(upstream.path)):
        result = ask(address, "mai")
        assert isinstance(result.error, BranchGone)
        assert result.sha is None


@pytest.mark.parametrize("packed", [False, True])
def test_a_repository_on_this_machine_is_read(upstream: RepoBuilder, packed: bool) -> None:
    if packed:
        upstream.git("pack-refs", "--all")
    head = upstream.head()
    assert _read_ref(upstream.path, "refs/heads/main") == head
    for address in (upstream.url, str(upstream.path)):
        assert ask(address).sha == head


def test_a_moved_branch_wins_over_its_packed_place(upstream: RepoBuilder) -> None:
    upstream.git("pack-refs", "--all")
    moved = upstream.commit({"a": "3"})
    assert ask(upstream.url).sha == moved


def test_a_linked_work_tree_is_asked_through_git(upstream: RepoBuilder, tmp_path: Path) -> None:
    upstream.git("worktree", "add", "-q", str(tmp_path / "linked"), "main-next")
    assert _read_ref(tmp_path / "linked", "refs/heads/main") is None
    assert ask(str(tmp_path / "linked")).sha == upstream.head("main")


def test_a_path_that_is_no_repository_is_an_error_of_its_own(tmp_path: Path) -> None:
    result = ask(str(tmp_path))
    assert result.error is not None
    assert result.error.reason == "git.remote_not_found"


def test_one_that_hangs_and_one_that_refuses_cost_the_others_nothing(
    git_server: GitServer, upstream: RepoBuilder
) -> None:
    good, slow = git_server.add(upstream, "good.git"), git_server.add(upstream, "slow.git")
    git_server.fail("hang", where="slow.git", times=99)
    requests = [HeadRequest(f"slow{n}", slow, "main") for n in range(5)]
    requests += [HeadRequest("closed", "http://127.0.0.1:9/x.git", "main")]
    requests += [HeadRequest(f"good{n}", good, "main") for n in range(5)]

    def let_go_when_the_others_are_served() -> None:
        until(lambda: sum("good.git" in request.path for request in git_server.requests) == 5)
        git_server.let_go()

    with ThreadPoolExecutor(1) as beside:
        beside.submit(let_go_when_the_others_are_served)
        results = poll(requests, deadline=60, concurrency=8)
    assert {results[f"good{n}"].sha for n in range(5)} == {upstream.head()}
    for key in ("slow0", "slow4", "closed"):
        assert isinstance(results[key].error, RemoteUnavailable)
    assert list(results) == [request.key for request in requests]


def test_the_whole_poll_keeps_its_deadline_however_many_hang(git_server: GitServer, upstream: RepoBuilder) -> None:
    slow = git_server.add(upstream, "slow.git")
    git_server.fail("hang", times=999)
    results = poll([HeadRequest(f"{n}", slow, "main") for n in range(12)], deadline=1, concurrency=2)
    assert len(results) == 12
    assert all(isinstance(result.error, RemoteUnavailable) for result in results.values())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_transient_and_not_asked_again(
    git_server: GitServer, upstream: RepoBuilder, status: int
) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.fail("status", status=status)
    result = ask(url)
    assert result.error is not None
    assert result.error.transient
    assert len(git_server.requests) == 1


def test_a_connection_that_ends_in_the_middle_is_transient(git_server: GitServer, upstream: RepoBuilder) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.fail("drop-request", times=9)
    assert isinstance(ask(url).error, RemoteUnavailable)


def test_a_server_that_answers_only_older_clients_is_asked_their_way(
    git_server: GitServer, upstream: RepoBuilder
) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.fail("status", where="/git-upload-pack", times=99, status=404)
    assert ask(url).sha == upstream.head()
    assert [request.method for request in git_server.requests] == ["POST", "GET"]


def test_what_looks_like_a_login_page_is_left_to_git(git_server: GitServer, upstream: RepoBuilder) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.fail("garbage", times=2)
    assert ask(url).sha == upstream.head()
    assert len(git_server.requests) > 3


def test_a_redirect_is_followed_by_git(git_server: GitServer, upstream: RepoBuilder) -> None:
    git_server.add(upstream, "up.git")
    git_server.fail("redirect", where="/old/up.git", times=2, to=git_server.address)
    git_server.add(upstream, "old/up.git")
    assert ask(git_server.url("old/up.git")).sha == upstream.head()


def test_a_login_comes_from_a_header_the_url_or_a_credential_helper(
    git_server: GitServer, upstream: RepoBuilder
) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.login = ("ada", "correct-horse")
    header = {f"http.{git_server.address}/.extraHeader": "Authorization: Basic YWRhOmNvcnJlY3QtaG9yc2U="}
    assert ask(url, config=header).sha == upstream.head()
    assert ask(git_server.url("up.git", login="ada:correct-horse")).sha == upstream.head()
    assert len(git_server.requests) == 2, "neither took git"
    helper = {"credential.helper": '!f() { echo username=ada; echo "password=$WORD"; }; f'}
    assert ask(url, config=helper, env={"WORD": "correct-horse"}).sha == upstream.head()


def test_a_missing_login_is_named_and_its_wrong_password_is_not(git_server: GitServer, upstream: RepoBuilder) -> None:
    git_server.add(upstream, "up.git")
    git_server.login = ("ada", "correct-horse")
    result = ask(git_server.url("up.git", login="ada:wrong-horse"))
    assert result.error is not None
    assert result.error.reason == "git.authentication"
    assert "wrong-horse" not in str(result.error.as_record())


def test_a_netrc_login_works(
    git_server: GitServer, upstream: RepoBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = git_server.add(upstream, "up.git")
    git_server.login = ("ada", "correct-horse")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password correct-horse\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ask(url).sha == upstream.head()


def test_an_ssh_remote_is_asked_through_git(upstream: RepoBuilder, tmp_path: Path) -> None:
    # Plays ssh: takes `[options] host command` and runs the command here.
    ssh = tmp_path / "ssh.sh"
    ssh.write_text('#!/bin/sh\nfor command; do :; done\nexec sh -c "$command"\n')
    ssh.chmod(0o755)
    for url in (f"ssh://git@host.example{upstream.path}", f"git@host.example:{upstream.path}"):
        assert ask(url, env={"GIT_SSH_COMMAND": str(ssh)}).sha == upstream.head()


def test_a_header_for_one_host_is_not_sent_to_another_that_begins_like_it() -> None:
    config = {
        "http.https://host.example.extraHeader": "Authorization: x",
        "http.https://host.example/o.extraHeader": "B: y",
    }
    assert _extra_headers("https://host.example.evil/o/r", config) == {}
    assert _extra_headers("https://host.example/other/r", config) == {"Authorization": "x"}
    assert _extra_headers("https://host.example/o/r", config) == {"Authorization": "x", "B": "y"}


@pytest.fixture
def endless() -> Iterator[str]:
    """A server whose answer never ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-git-upload-pack-result")
            self.end_headers()
            try:
                while not closing.is_set():
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return

        def log_message(self, format: str, *args: object) -> None: ...

    closing = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/r.git"
    closing.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_answer_without_end_is_given_up(endless: str) -> None:
    assert ask(endless, deadline=8).error is not None


def test_a_name_that_does_not_exist_is_said_in_plain_words() -> None:
    result = ask("http://nowhere.invalid/r.git")
    assert isinstance(result.error, RemoteUnavailable)
    assert "name is not known" in str(result.error)


def test_a_server_that_speaks_no_http_is_an_error_and_not_a_crash() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(6):
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"SSH-2.0-nonsense\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        assert ask(f"http://127.0.0.1:{server.getsockname()[1]}/r.git").error is not None
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


SHA = st.text("0123456789abcdef", min_size=40, max_size=40)
NAME = st.from_regex(r"refs/heads/[a-z/]{1,20}", fullmatch=True)


@given(refs=st.dictionaries(NAME, SHA, max_size=5), cut=st.integers(1, 60))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_an_answer_is_read_whole_or_not_at_all(refs: dict[str, str], cut: int) -> None:
    answer = b"".join(_pkt(f"{sha} {name}\n") for name, sha in refs.items()) + b"0000"
    assert _refs(answer) == refs
    assert _refs(answer[: -min(cut, len(answer))]) is None


@given(st.binary(max_size=80))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    found = _refs(data)
    assert found is None or all(len(sha) in (40, 64) for sha in found.values())
