"""The Gitea forge against the fake Gitea: what is peculiar to it. What every forge does is in `test_promises.py`."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.forges import REPO, SILENT, create, quick, source
from tests.support.gitea import BOT, TOKEN, Gitea, Hosted, running_gitea
from tests.support.gitea_server import ROOT_URL
from tests.support.repositories import MakeRepository, RepoBuilder
from tests.support.tools import tool
from upkeep.config import Settings
from upkeep.errors import AuthenticationFailed, ConfigError, ForgeError, ForgeUnavailable, GitError, RateLimited
from upkeep.forges.base import Label
from upkeep.forges.gitea_api import checked
from upkeep.forges.registry import credentials_for
from upkeep.git import Repository


@pytest.fixture
def dashboard(gitea: Gitea, make_repository: MakeRepository) -> Hosted:
    return gitea.repo(REPO, source(make_repository))


def sent(gitea: Gitea) -> list[str]:
    return [str(request).replace(f"/api/v1/repos/{REPO}", "") for request in gitea.requests]


# Pull requests -----------------------------------------------------------------------------------------------------


def test_a_created_pull_request_is_read_back_as_it_is(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    made = create(forge, title="Größe → ok", body='Line "one"\né\n')
    assert made == forge.pull_request(REPO, made.number)
    assert (made.state, made.title, made.body) == ("open", "Größe → ok", 'Line "one"\né\n')
    assert (made.head_branch, made.base_branch, made.author) == ("bot/1", "main", BOT)
    assert made.head_sha == dashboard.bare.head("bot/1")
    assert made.url == f"{ROOT_URL}{REPO}/pulls/{made.number}"
    assert made.relative_url == f"pulls/{made.number}"
    assert made.created_at.utcoffset() == timedelta(0)
    assert forge.calls == len(gitea.requests) == 2


@pytest.mark.parametrize("cap", [50, 7])
def test_all_pages_are_listed_newest_first_whatever_the_server_gives_a_page(
    gitea: Gitea, dashboard: Hosted, cap: int
) -> None:
    gitea.server.max_response_items = cap
    bot = [dashboard.opens("bot/1")]
    for _ in range(60):
        dashboard.closes(dashboard.opens("other"))
    bot.append(dashboard.opens("bot/2"))
    forge = gitea.forge()
    assert [one.number for one in forge.pull_requests(REPO, branch_prefix="bot/")] == bot[::-1]
    assert forge.calls == -(-62 // cap)
    assert [one.number for one in forge.pull_requests(REPO, state="open")] == bot[::-1]


def test_a_pull_request_from_a_fork_is_nobodys_of_ours(gitea: Gitea, dashboard: Hosted) -> None:
    for home in (-1, 99):
        dashboard.record.topics[dashboard.opens("bot/1")].from_fork = home
        dashboard.record.topics[max(dashboard.pulls)].state = "closed"
    assert gitea.forge().pull_requests(REPO) == []


def test_a_list_that_changes_while_it_is_read_is_read_again(gitea: Gitea, dashboard: Hosted) -> None:
    """One that is closed moves those after it up a place: the first of page two would be lost."""
    gitea.server.max_response_items = 2
    numbers = [dashboard.opens(branch) for branch in ("bot/1", "bot/2", "other")]
    closed: list[int] = []

    def closes(request: Any) -> None:
        if request.query.get("page") == "2" and not closed:
            closed.append(numbers[-1])
            dashboard.closes(numbers[-1])

    gitea.server.before = closes
    assert [one.number for one in gitea.forge().pull_requests(REPO, state="open")] == numbers[1::-1]


def test_a_list_that_never_is_whole_is_an_error(gitea: Gitea, dashboard: Hosted) -> None:
    """Every time that its end is read, there is one more."""
    gitea.server.max_response_items = 2
    branches = iter(("bot/1", "bot/2", "other", *(f"more/{number}" for number in range(9))))
    for number in range(9):
        dashboard.bare.branch(f"more/{number}", "other")
    for _ in range(3):
        dashboard.opens(next(branches))

    def grows(request: Any) -> None:
        if request.query.get("page") == "2":
            dashboard.opens(next(branches))

    gitea.server.before = grows
    with pytest.raises(ForgeUnavailable, match="changed while they were read") as caught:
        gitea.forge().pull_requests(REPO)
    assert caught.value.reason == "forge.incomplete"


def test_a_page_that_repeats_is_an_error_and_not_a_circle(gitea: Gitea, dashboard: Hosted) -> None:
    gitea.server.max_response_items = 1
    gitea.server.same_page = True
    for branch in ("bot/1", "bot/2"):
        dashboard.opens(branch)
    with pytest.raises(ForgeUnavailable, match="page 2 is page 1 again") as caught:
        gitea.forge().pull_requests(REPO)
    assert caught.value.reason == "forge.incomplete"


def test_states_are_open_closed_and_merged_with_the_nulls_that_go_writes(gitea: Gitea, dashboard: Hosted) -> None:
    closed, merged = dashboard.opens("bot/1"), dashboard.opens("bot/2")
    dashboard.closes(closed)
    commit = dashboard.merges(merged)
    opened = dashboard.opens("other")
    gitea.server.nulls = True
    seen = {one.number: one for one in gitea.forge().pull_requests(REPO)}
    assert [seen[number].state for number in (closed, merged, opened)] == ["closed", "merged", "open"]
    assert seen[merged].merge_commit_sha == commit
    assert seen[merged].merged_at is not None
    assert seen[closed].closed_at is not None
    assert (seen[opened].merge_commit_sha, seen[opened].closed_at) == (None, None)
    assert not gitea.forge().touched_by_person(seen[opened])
    gitea.http.exchanges.clear()  # the description knows no null


def test_the_branch_of_a_pull_request_is_known_after_it_is_gone(gitea: Gitea, dashboard: Hosted) -> None:
    number = dashboard.opens("bot/1")
    head = dashboard.bare.head("bot/1")
    dashboard.bare.git("update-ref", "-d", "refs/heads/bot/1")
    gitea.server.pushed(dashboard.record, "ada")
    seen = gitea.forge().pull_request(REPO, number)
    assert (seen.state, seen.head_branch, seen.head_sha) == ("closed", "bot/1", head)


def test_editing_changes_what_is_given_and_nothing_else(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    made = create(forge)
    assert forge.edit_pull_request(REPO, made.number, body="New\n").title == "Update"
    edited = forge.edit_pull_request(REPO, made.number, title="New title")
    assert (edited.title, edited.body, edited.state) == ("New title", "New\n", "open")


def test_reopening_is_refused_where_gitea_itself_would_let_it_pass(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    first = create(forge)
    forge.close_pull_request(REPO, first.number, note="> Closed")
    assert forge.reopen_pull_request(REPO, first.number).state == "open"
    assert forge.reopen_pull_request(REPO, first.number).state == "open"
    forge.close_pull_request(REPO, first.number, note="> Closed")
    create(forge)
    gone = create(forge, "bot/2")
    dashboard.bare.git("update-ref", "-d", "refs/heads/bot/2")
    gitea.server.pushed(dashboard.record, "ada")
    merged = create(forge, "other")
    dashboard.merges(merged.number)
    for number, words in ((first.number, "another one"), (gone.number, "is gone"), (merged.number, "is merged")):
        with pytest.raises(ForgeError, match=words) as caught:
            forge.reopen_pull_request(REPO, number)
        assert caught.value.reason == "forge.cannot_reopen"


def test_labels_are_made_where_they_are_missing_and_kept_where_they_are_there(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    labels = [Label(name="fork-delta", color="00ff00", description="Ours"), Label(name="other")]
    made = create(forge, labels=labels[:1])
    assert made.labels == ("fork-delta",)
    assert forge.add_labels(REPO, made.number, [Label(name="Fork-Delta"), labels[1]]) == ("fork-delta", "other")
    assert [label["color"] for label in dashboard.record.labels.values()] == ["00ff00", "ededed"]
    assert forge.pull_request(REPO, made.number).labels == ("fork-delta", "other")


# Whether a person was there ----------------------------------------------------------------------------------------


def test_a_comment_on_code_is_seen(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    made = create(forge)
    dashboard.comments_on_code(made.number)
    assert forge.touched_by_person(forge.pull_request(REPO, made.number), since=made.updated_at)


def test_a_review_behind_a_page_that_gitea_empties_is_seen(gitea: Gitea, dashboard: Hosted) -> None:
    gitea.server.max_response_items = 2
    forge = gitea.forge()
    made = create(forge)
    dashboard.comments_on_code(made.number, times=5)
    timeline = gitea.server.list_timeline(dashboard.record, str(made.number), query={"limit": "2"}, login=BOT)
    assert timeline[2] == []
    assert forge.touched_by_person(forge.pull_request(REPO, made.number), since=made.updated_at)


def test_a_mention_a_push_a_label_and_gitea_itself_touch_nothing(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    made = create(forge)
    create(forge, "bot/2", body=f"Like #{made.number}, like [this](/{REPO}/pulls/{made.number})")
    forge.add_labels(REPO, made.number, [Label(name="x")])
    gitea.server.users["gitea-actions"] = -2
    dashboard.comments(made.number, login="gitea-actions")
    seen = forge.pull_request(REPO, made.number)
    kinds = [row["type"] for row in dashboard.record.topics[made.number].timeline]
    assert kinds == ["pull_ref", "pull_ref", "label", "comment"]
    assert seen.updated_at > made.updated_at
    assert not forge.touched_by_person(seen, since=made.updated_at)


def test_our_own_link_to_another_pull_request_is_no_mention(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    made = create(forge)
    create(forge, "bot/2", body=f"Follows [#{made.number}]({made.relative_url})")
    assert forge.pull_request(REPO, made.number).updated_at == made.updated_at


# Issues, comments, branches ----------------------------------------------------------------------------------------


def test_issues_are_made_found_by_label_commented_on_and_closed(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    create(forge)
    made = forge.create_issue(REPO, title="It broke", body="Here.\n")
    forge.add_labels(REPO, made.number, [Label(name="bug")])
    other = forge.create_issue(REPO, title="Another", body="There.\n")
    assert [one.number for one in forge.issues(REPO)] == [other.number, made.number]
    assert [one.number for one in forge.issues(REPO, labels=["bug"])] == [made.number]
    said = forge.comment(REPO, made.number, "I saw it.")
    assert forge.comments(REPO, made.number) == [said]
    assert (said.author, said.body) == (BOT, "I saw it.")
    assert forge.close_issue(REPO, made.number).state == "closed"
    assert forge.issue(REPO, made.number).labels == ("bug",)
    assert [one.number for one in forge.issues(REPO, state="closed")] == [made.number]


@pytest.mark.parametrize("fault", [{"status": 502, "after": True}, {"status": 502}, SILENT])
def test_an_issue_or_comment_of_unknown_outcome_is_there_once(
    gitea: Gitea, dashboard: Hosted, fault: dict[str, Any]
) -> None:
    forge = quick(gitea, attempt_seconds=1.5)
    gitea.fault("POST .*/issues$", **fault)
    made = forge.create_issue(REPO, title="It broke", body="Here.\n")
    gitea.fault("POST .*/comments$", **fault)
    forge.comment(REPO, made.number, "I saw it.")
    assert [one.title for one in forge.issues(REPO)] == ["It broke"]
    assert [one.body for one in forge.comments(REPO, made.number)] == ["I saw it."]


def test_branches_are_told_with_their_commits(gitea: Gitea, dashboard: Hosted) -> None:
    forge = gitea.forge()
    assert forge.branches(REPO) == {
        name.removeprefix("refs/heads/"): sha for name, sha in dashboard.bare.refs().items()
    }
    assert forge.branch(REPO, "bot/1") == dashboard.bare.head("bot/1")
    assert forge.branch(REPO, "bot/9") is None


# Faults ------------------------------------------------------------------------------------------------------------


def test_no_server_at_all_is_unavailable(gitea: Gitea) -> None:
    gitea.http.close()
    with pytest.raises(ForgeUnavailable, match="could not be reached"):
        quick(gitea).pull_requests(REPO)


def test_a_rate_limit_of_a_read_is_waited_for_and_of_a_write_is_told(gitea: Gitea, dashboard: Hosted) -> None:
    naps: list[float] = []
    gitea.fault("GET", status=429, headers={"Retry-After": "7"})
    assert quick(gitea, naps).pull_requests(REPO) == []
    assert naps == [7.0]
    gitea.fault("POST", status=429, headers={"Retry-After": "7"})
    with pytest.raises(RateLimited) as caught:
        create(quick(gitea, naps))
    assert caught.value.details["seconds"] == 7.0
    assert sent(gitea)[-1] == "POST /pulls"
    assert naps == [7.0]


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [({}, 60, 60), ({"Retry-After": "600"}, 600, 600), ({"Retry-After": "soon"}, 60, 60)],
)
def test_a_rate_limit_says_how_long_to_wait(
    gitea: Gitea, dashboard: Hosted, headers: dict[str, str], least: float, most: float
) -> None:
    gitea.fault("pulls", status=429, headers=headers)
    with pytest.raises(RateLimited) as caught:
        quick(gitea).pull_requests(REPO)
    assert least <= caught.value.details["seconds"] <= most


def test_a_time_to_wait_may_be_a_date(gitea: Gitea, dashboard: Hosted) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    gitea.fault("pulls", status=503, times=9, headers={"Retry-After": at.strftime("%a, %d %b %Y %H:%M:%S GMT")})
    with pytest.raises(ForgeUnavailable) as caught:
        quick(gitea).pull_requests(REPO)
    assert 3000 < caught.value.details["seconds"] <= 3600


def test_html_is_no_answer_and_says_what_to_look_at(gitea: Gitea, dashboard: Hosted) -> None:
    gitea.fault("pulls", status=200, content="<html>Please sign in</html>", kind="text/html")
    with pytest.raises(ForgeError, match="answered with text/html where JSON was expected") as caught:
        quick(gitea).pull_requests(REPO)
    assert (caught.value.reason, caught.value.transient) == ("forge.not_json", False)
    assert "`url`" in caught.value.remedy


def test_half_a_json_that_stays_half_is_said(gitea: Gitea, dashboard: Hosted) -> None:
    gitea.fault("pulls", short=True, status=200, times=99)
    with pytest.raises(ForgeUnavailable, match="no whole JSON") as caught:
        quick(gitea).pull_requests(REPO)
    assert caught.value.reason == "forge.half_answer"


def test_one_value_where_a_list_belongs_is_no_list(gitea: Gitea, dashboard: Hosted) -> None:
    gitea.fault("pulls", status=200, content='{"ok": true}')
    with pytest.raises(ForgeError) as caught:
        quick(gitea).pull_requests(REPO)
    assert caught.value.reason == "forge.unexpected"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_redirect_to_another_host_is_refused_and_the_token_stays_here(
    gitea: Gitea, dashboard: Hosted, status: int, scheme: str
) -> None:
    gitea.fault("pulls", status=status, times=9, headers={"Location": f"{scheme}://evil.example/api/v1/x"})
    for call in (lambda: gitea.forge().pull_requests(REPO), lambda: create(gitea.forge())):
        with pytest.raises(ForgeError, match=rf"redirected to {scheme}://evil\.example,") as caught:
            call()
        assert caught.value.reason == "forge.redirected_elsewhere"
    assert dashboard.pulls == {}


def test_another_port_or_scheme_of_the_host_is_another_place(gitea: Gitea, dashboard: Hosted) -> None:
    for place in ("http://127.0.0.1:1/x", gitea.url.replace("http:", "https:") + "/x", "//evil.example/x"):
        gitea.fault("pulls", status=307, headers={"Location": place})
        with pytest.raises(ForgeError) as caught:
            gitea.forge().pull_requests(REPO)
        assert caught.value.reason == "forge.redirected_elsewhere"


def test_a_redirect_without_end_is_an_error(gitea: Gitea, dashboard: Hosted) -> None:
    gitea.fault("pulls", status=307, times=99, headers={"Location": f"/api/v1/repos/{REPO}/pulls"})
    with pytest.raises(ForgeError) as caught:
        gitea.forge().pull_requests(REPO)
    assert caught.value.reason == "forge.redirected"


def test_a_change_is_not_sent_on_by_a_redirect_that_would_turn_it_into_a_read(gitea: Gitea, dashboard: Hosted) -> None:
    gitea.fault("POST", status=302, headers={"Location": "/api/v1/repos/o/new/pulls"})
    with pytest.raises(ForgeError, match="a change would get lost") as caught:
        create(gitea.forge())
    assert "/api/v1/repos/o/new/pulls" in caught.value.remedy


def test_a_renamed_repository_is_followed_by_reads_writes_and_git(
    gitea: Gitea, dashboard: Hosted, tmp_path: Path
) -> None:
    first = create(gitea.forge())
    gitea.server.rename(dashboard.record, "team/board")
    forge = gitea.forge()
    assert [one.number for one in forge.pull_requests(REPO, branch_prefix="bot/")] == [first.number]
    second = create(forge, "bot/2")
    assert (second.repo, second.url) == (REPO, f"{ROOT_URL}team/board/pulls/{second.number}")
    seen = Repository.mirror(dashboard.url, tmp_path / "mirror", branches=["main"], config=forge.git_config())
    assert seen.resolve("refs/heads/main") == dashboard.bare.head("main")


def test_a_permission_a_scope_and_an_archived_repository_say_what_is_missing(gitea: Gitea, dashboard: Hosted) -> None:
    dashboard.record.readers.add(BOT)
    with pytest.raises(AuthenticationFailed, match="permission to write") as caught:
        create(gitea.forge())
    assert caught.value.reason == "forge.forbidden"
    dashboard.record.readers.clear()
    gitea.server.scopes[TOKEN] = {"repository": "read"}
    with pytest.raises(AuthenticationFailed, match="required scope") as caught:
        create(gitea.forge())
    assert "repository and issue" in caught.value.remedy
    gitea.server.scopes.clear()
    dashboard.record.archived = True
    with pytest.raises(ForgeError, match="archived") as archived:
        create(gitea.forge())
    assert archived.value.reason == "forge.archived"
    gitea.http.exchanges.pop()  # the description of this operation knows 423 without a body


def test_a_wrong_token_is_an_authentication_error_that_never_shows_it(gitea: Gitea, dashboard: Hosted) -> None:
    with pytest.raises(AuthenticationFailed, match="invalid username, password or token") as caught:
        gitea.forge(token=SecretStr("gitea_wrongwrongwrong")).pull_requests(REPO)
    assert "gitea_" not in str(caught.value.as_record())


@pytest.mark.parametrize(
    ("over", "reason"),
    [({"base": "gone"}, "forge.not_found"), ({"head": "gone"}, "forge.not_found"), ({"head": "main"}, "forge.invalid")],
)
def test_a_pull_request_that_cannot_be_made_says_why(
    gitea: Gitea, dashboard: Hosted, over: dict[str, str], reason: str
) -> None:
    with pytest.raises(ForgeError) as caught:
        create(gitea.forge(), **over)
    assert caught.value.reason == reason
    assert not caught.value.transient


@pytest.mark.parametrize("repo", ["dashboard", "o/../x", "o/..", "../x", "o/d?x=1", "{owner}/{repo}", ""])
def test_a_name_that_is_no_repository_is_never_sent(gitea: Gitea, repo: str) -> None:
    with pytest.raises(ConfigError, match="no Gitea repository"):
        gitea.forge().pull_requests(repo)
    assert gitea.requests == []


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://git.example", "https://git.example"),
        ("https://git.example/gitea/", "https://git.example/gitea"),
        ("https://git.example/api/v1", "https://git.example"),
        ("git.example", None),
        ("ssh://git@git.example", None),
        ("https://me:secret@git.example", None),
        ("https://git.example/?token=x", None),
        ("", None),
    ],
)
def test_the_address_of_a_forge_is_a_plain_one(url: str, good: str | None) -> None:
    if good is not None:
        assert checked(url) == good
        return
    with pytest.raises(ConfigError) as caught:
        checked(url)
    assert caught.value.reason == "config.forge_url"
    assert "secret" not in str(caught.value.as_record())


# TLS, secrets and git ----------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that no authority of this machine has signed, and its key in one file."""
    file = tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    command = [tool("openssl"), "req", "-x509", *kind, *subject, "-keyout", str(file), "-out", f"{file}.crt"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


def test_a_certificate_that_nobody_vouches_for_is_said_and_may_be_vouched_for(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with running_gitea(tls) as gitea:
        with pytest.raises(ForgeError, match="certificate was refused: self-signed certificate") as caught:
            quick(gitea).pull_requests(REPO)
        assert (caught.value.reason, caught.value.transient) == ("forge.certificate", False)
        assert "SSL_CERT_FILE" in caught.value.remedy
        assert gitea.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
        with pytest.raises(ForgeError) as missing:
            quick(gitea).pull_requests(REPO)
        assert missing.value.reason == "forge.not_found"


def test_tls_to_a_port_that_speaks_none_is_said(gitea: Gitea) -> None:
    with pytest.raises(ForgeError, match="no TLS connection") as caught:
        quick(gitea, url=gitea.url.replace("http:", "https:")).pull_requests(REPO)
    assert (caught.value.reason, caught.value.transient) == ("forge.tls", False)


def test_git_pushes_with_the_token_from_the_environment_of_the_child_alone(
    gitea: Gitea, dashboard: Hosted, make_repository: MakeRepository, tmp_path: Path
) -> None:
    forge = gitea.forge()
    work: RepoBuilder = dashboard.bare.clone(tmp_path / "work")
    commit = work.commit({"file.txt": "new"})
    assert TOKEN not in str(forge.git_config())
    assert TOKEN in str(forge.git_environment())
    Repository.open(work.path).push(
        dashboard.url, commit, "bot/9", expect=None, config=forge.git_config(), env=forge.git_environment()
    )
    assert dashboard.bare.head("bot/9") == commit
    assert set(gitea.http.pushes) == {(REPO, BOT)}
    for file in (work.path / ".git").rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes()


def test_a_push_without_right_is_refused_and_names_no_token(gitea: Gitea, dashboard: Hosted, tmp_path: Path) -> None:
    work = dashboard.bare.clone(tmp_path / "work")
    commit = work.commit({"file.txt": "new"})
    for forge in (gitea.forge(token=None), gitea.forge(token=SecretStr("gitea_wrongwrongwrong"))):
        with pytest.raises(GitError) as caught:
            Repository.open(work.path).push(
                dashboard.url, commit, "bot/9", expect=None, config=forge.git_config(), env=forge.git_environment()
            )
        assert caught.value.reason == "git.authentication"
        assert "gitea_wrong" not in str(caught.value)
    assert gitea.http.pushes == []


def test_git_asks_no_other_helper_and_gives_the_token_to_no_other_host(gitea: Gitea, tmp_path: Path) -> None:
    forge = gitea.forge(url="https://git.example:3000/gitea")
    helper = '\thelper = "!echo username=wrong; echo password=wrong; :"\n'
    (tmp_path / "gitconfig").write_text(f'[credential]\n{helper}[credential "https://git.example:3000"]\n{helper}')
    options = [part for key, value in forge.git_config().items() for part in ("-c", f"{key}={value}")]

    def asked(host: str) -> str:
        done = subprocess.run(
            ["git", *options, "credential", "fill"],
            input=f"protocol=https\nhost={host}\n\n",
            env={
                "PATH": os.environ["PATH"],
                "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
                "GIT_TERMINAL_PROMPT": "0",
                **forge.git_environment(),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout

    assert f"password={TOKEN}" in asked("git.example:3000").splitlines()
    assert "wrong" not in asked("git.example:3000")
    for other in ("git.example", "evil.example", "git.example:3001"):
        assert TOKEN not in asked(other)


def test_addresses_for_people_are_those_of_gitea(gitea: Gitea) -> None:
    forge = gitea.forge(url="https://git.example/gitea/")
    assert forge.branch_url(REPO, "bot/ä") == "https://git.example/gitea/o/dashboard/src/branch/bot/%C3%A4"
    assert forge.commit_url(REPO, "abc") == "https://git.example/gitea/o/dashboard/commit/abc"


def test_nothing_is_imported_for_gitea_where_it_is_not_used() -> None:
    program = "import sys, upkeep.forges.registry, cli.main; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", program], timeout=60, check=False).returncode == 0


def test_a_url_of_the_forge_gets_its_credentials_and_no_other_does() -> None:
    forges = {"coulomb": {"kind": "gitea", "url": "https://git.example:3000/gitea", "token": TOKEN}}
    settings = Settings.model_validate({"forges": forges})
    config, environment = credentials_for(settings, "https://git.example:3000/gitea/o/r.git")
    assert environment == {"GITEA_TOKEN": TOKEN}
    assert "credential.https://git.example:3000.helper" in config
    for url in ("http://git.example:3000/o/r.git", "https://git.example/o/r.git", "git@git.example:o/r.git", "/srv/r"):
        assert credentials_for(settings, url) == ({}, {})
