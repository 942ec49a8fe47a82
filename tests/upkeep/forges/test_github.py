"""The GitHub forge, through the real gh, against the fake GitHub: what is peculiar to it. What every forge does is in
`test_promises.py`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.forges import REPO, create, quick, source
from tests.support.github import BOT, TOKEN, GitHub, Hosted
from tests.support.repositories import MakeRepository
from upkeep.errors import AuthenticationFailed, CommandNotFound, ConfigError, ForgeError, ForgeUnavailable, RateLimited
from upkeep.forges.base import Label
from upkeep.forges.text import BODY_LIMIT, size


@pytest.fixture
def dashboard(github: GitHub, make_repository: MakeRepository) -> Hosted:
    return github.repo(REPO, source(make_repository))


# Pull requests ----------------------------------------------------------------------------------------------------


def test_a_created_pull_request_is_read_back_as_it_is(github: GitHub, dashboard: Hosted) -> None:
    forge = github.forge()
    made = create(forge, title="Größe → ok", body='Line "one"\n\u00e9\n')
    assert made == forge.pull_request(REPO, made.number)
    assert (made.state, made.title, made.body) == ("open", "Größe → ok", 'Line "one"\n\u00e9\n')
    assert (made.head_branch, made.base_branch, made.author) == ("bot/1", "main", BOT)
    assert made.head_sha == dashboard.bare.head("bot/1")
    assert made.url == f"https://github.com/{REPO}/pull/{made.number}"
    assert made.created_at.utcoffset() == timedelta(0)
    assert forge.calls == len(github.requests) == 2


def test_all_pages_are_listed_newest_first_and_only_our_own_branches(github: GitHub, dashboard: Hosted) -> None:
    bot = [dashboard.opens("bot/1")]
    for _ in range(120):
        dashboard.closes(dashboard.opens("other"))
    bot.append(dashboard.opens("bot/2"))
    dashboard.record.forks = [
        {"number": 900 + n, "head": {"ref": "bot/1", "repo": repo}, "created_at": "2020-01-01T00:00:00Z"}
        for n, repo in enumerate([None, {"full_name": "stranger/dashboard"}])
    ]
    forge = github.forge()
    assert [one.number for one in forge.pull_requests(REPO, branch_prefix="bot/")] == bot[::-1]
    assert [request.query["page"] for request in github.requests] == ["1", "2"]
    assert len(forge.pull_requests(REPO, branch_prefix="bot/", state="open")) == 2
    assert forge.calls == 3


def test_a_note_on_a_full_body_still_fits(github: GitHub, dashboard: Hosted) -> None:
    forge = github.forge()
    made = create(forge, body="line\n" * (BODY_LIMIT // 5))
    closed = forge.close_pull_request(REPO, made.number, note="> Superseded by #2.", body=made.body)
    assert closed.body.startswith("> Superseded by #2.\n\nline\n")
    assert size(closed.body) <= BODY_LIMIT
    assert "**Cut here:**" in closed.body


# A long-lived one --------------------------------------------------------------------------------------------------

DELTA = Label(name="fork-delta", color="5319e7", description="What the fork carries")


def test_title_and_body_are_edited_in_place_in_one_call(github: GitHub, dashboard: Hosted) -> None:
    forge = github.forge()
    made = create(forge)
    before = forge.calls
    assert forge.edit_pull_request(REPO, made.number, body="New\n").body == "New\n"
    edited = forge.edit_pull_request(REPO, made.number, title="Größe")
    assert (edited.title, edited.body, edited.state) == ("Größe", "New\n", "open")
    assert forge.calls - before == 2
    full = forge.edit_pull_request(REPO, made.number, body="line\n" * BODY_LIMIT)
    assert size(full.body) <= BODY_LIMIT
    assert "**Cut here:**" in full.body


@pytest.mark.parametrize("fault", [{"status": 502, "after": True}, {"drop": True, "after": True}, {"status": 502}])
def test_an_edit_with_unknown_outcome_is_looked_up_before_it_is_sent_again(
    github: GitHub, dashboard: Hosted, fault: dict[str, Any]
) -> None:
    forge = quick(github)
    made = create(forge)
    github.fault("PATCH", **fault)
    assert forge.edit_pull_request(REPO, made.number, title="T", body="New\n").title == "T"
    sent = [request.method for request in github.requests[1:]]
    assert sent == (["PATCH", "GET"] if fault.get("after") else ["PATCH", "GET", "PATCH"])


def test_a_closed_one_is_opened_again_once(github: GitHub, dashboard: Hosted) -> None:
    forge = quick(github)
    made = create(forge)
    dashboard.closes(made.number)
    github.fault("PATCH", status=502, after=True)
    opened = forge.reopen_pull_request(REPO, made.number)
    assert (opened.state, opened.closed_at) == ("open", None)
    assert forge.reopen_pull_request(REPO, made.number).state == "open"
    assert [event["event"] for event in dashboard.pulls[made.number].events].count("reopened") == 1


def forces(dashboard: Hosted) -> None:
    tree = dashboard.bare.git("rev-parse", "bot/1^{tree}")
    dashboard.bare.git("update-ref", "refs/heads/bot/1", dashboard.bare.git("commit-tree", tree, "-p", "main^0"))


@pytest.mark.parametrize(
    ("meanwhile", "words"),
    [
        (forces, "force-pushed or recreated"),
        (lambda dashboard: dashboard.bare.git("branch", "-D", "bot/1"), "has been deleted"),
        (lambda dashboard: dashboard.opens("bot/1"), "already an open pull request"),
        (lambda dashboard: dashboard.merges(1), "It is merged"),
    ],
    ids=["rewritten", "deleted", "another", "merged"],
)
def test_one_that_github_will_not_open_again_has_a_code_of_its_own(
    github: GitHub, dashboard: Hosted, meanwhile: Callable[[Hosted], Any], words: str
) -> None:
    made = create(github.forge())
    dashboard.closes(made.number)
    meanwhile(dashboard)
    with pytest.raises(ForgeError, match=words) as caught:
        github.forge().reopen_pull_request(REPO, made.number)
    assert caught.value.reason == "forge.cannot_reopen"


def test_one_that_only_grew_while_it_was_closed_is_opened_again(github: GitHub, dashboard: Hosted) -> None:
    made = create(github.forge())
    dashboard.closes(made.number)
    tree = dashboard.bare.git("rev-parse", "bot/1^{tree}")
    more = dashboard.bare.git("commit-tree", tree, "-p", "bot/1", "-m", "More")
    dashboard.bare.git("update-ref", "refs/heads/bot/1", more)
    assert github.forge().reopen_pull_request(REPO, made.number).head_sha == more


def test_labels_are_made_where_missing_and_added_once(github: GitHub, dashboard: Hosted) -> None:
    forge = github.forge()
    made = create(forge, labels=[DELTA])
    assert made.labels == ("fork-delta",) == forge.pull_request(REPO, made.number).labels
    assert dashboard.record.labels["fork-delta"] == DELTA.model_dump()
    before = forge.calls
    again = create(forge, labels=[DELTA])
    assert (again.number, again.labels) == (made.number, made.labels)
    assert forge.calls - before == 2, "the refused create and the look-up: a label that is there costs nothing"
    shouted = Label(name="Fork-Delta", color="000000")
    assert forge.add_labels(REPO, made.number, [shouted, Label(name="a/b c")]) == ("fork-delta", "a/b c")
    assert dashboard.record.labels["fork-delta"]["color"] == DELTA.color, "who made it chose its colour"


@pytest.mark.parametrize("route", ["/labels$", r"/issues/1/labels$"])
@pytest.mark.parametrize("fault", [{"status": 502}, {"status": 502, "after": True}, {"drop": True, "after": True}])
def test_labels_with_unknown_outcome_are_looked_up(
    github: GitHub, dashboard: Hosted, route: str, fault: dict[str, Any]
) -> None:
    github.fault(f"POST .*{route}", **fault)
    made = create(quick(github), labels=[Label(name="a/b c")])
    assert made.labels == ("a/b c",)
    assert len(dashboard.record.labels) == 1


def test_one_to_another_base_is_not_adopted(github: GitHub, dashboard: Hosted) -> None:
    dashboard.opens("bot/1", base="other")
    github.fault("POST .*/pulls$", status=502, after=True)
    made = create(quick(github))
    assert (made.number, made.base_branch) == (2, "main")


# Whether a person was there ----------------------------------------------------------------------------------------


def test_a_mention_elsewhere_touches_nothing(github: GitHub, dashboard: Hosted) -> None:
    forge = github.forge()
    made = create(forge)
    create(forge, "bot/2", body=f"Like #{made.number}")
    seen = forge.pull_request(REPO, made.number)
    assert seen.updated_at > made.updated_at
    assert not forge.touched_by_person(seen, since=made.updated_at)


def test_a_comment_of_a_bot_is_no_person_and_one_under_our_own_account_is(github: GitHub, dashboard: Hosted) -> None:
    forge = github.forge()
    made = create(forge)
    dashboard.comments(made.number, login="ci[bot]", kind="Bot")
    assert not forge.touched_by_person(forge.pull_request(REPO, made.number), since=made.updated_at)
    dashboard.comments(made.number, login=BOT)
    assert forge.touched_by_person(forge.pull_request(REPO, made.number), since=made.updated_at)


# Faults ------------------------------------------------------------------------------------------------------------


def test_no_server_at_all_is_unavailable(github: GitHub, dashboard: Hosted) -> None:
    github.socket.unlink()
    with pytest.raises(ForgeUnavailable, match="could not be reached"):
        quick(github).pull_requests(REPO)


def test_a_rate_limit_is_waited_for_when_the_deadline_allows(github: GitHub, dashboard: Hosted) -> None:
    github.fault("POST", status=429, headers={"Retry-After": "7"}, message="You have exceeded a secondary rate limit")
    naps: list[float] = []
    assert create(quick(github, naps)).number == 1
    assert naps == [7.0]


@pytest.mark.parametrize(
    ("fault", "least", "most"),
    [
        ({"status": 403, "headers": {"Retry-After": "600"}}, 600, 600),
        ({"status": 429}, 60, 60),
        ({"status": 403, "message": "You have exceeded a secondary rate limit."}, 60, 60),
        ({"status": 403, "headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, "times": 9}, 1, 1),
        ({"status": 429, "headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999"}}, 1e6, 1e10),
    ],
)
def test_a_rate_limit_says_how_long_to_wait(
    github: GitHub, dashboard: Hosted, fault: dict[str, Any], least: float, most: float
) -> None:
    github.fault("pulls", **fault)
    with pytest.raises(RateLimited) as caught:
        quick(github).pull_requests(REPO)
    assert least <= caught.value.details["seconds"] <= most
    assert caught.value.transient


def test_a_permission_that_is_missing_is_no_rate_limit(github: GitHub, dashboard: Hosted) -> None:
    dashboard.record.readers.add(BOT)
    with pytest.raises(AuthenticationFailed, match="not accessible") as caught:
        create(github.forge())
    assert caught.value.reason == "forge.forbidden"
    assert "write access" in caught.value.remedy


def test_a_wrong_token_is_an_authentication_error_that_never_shows_it(github: GitHub, dashboard: Hosted) -> None:
    with pytest.raises(AuthenticationFailed, match="Bad credentials") as caught:
        github.forge(token=SecretStr("ghp_wrongwrongwrong")).pull_requests(REPO)
    assert "ghp_" not in str(caught.value.as_record())


def test_gh_without_any_login_says_how_to_log_in(
    github: GitHub, dashboard: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GH_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AuthenticationFailed) as caught:
        github.forge(token=None).pull_requests(REPO)
    assert "gh auth login --hostname github.com" in caught.value.remedy


def test_the_login_that_gh_has_is_used_without_a_configured_token(
    github: GitHub, dashboard: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GH_TOKEN", TOKEN)
    assert github.forge(token=None).pull_requests(REPO) == []


def test_a_missing_gh_says_what_to_install(github: GitHub, dashboard: Hosted) -> None:
    with pytest.raises(CommandNotFound) as caught:
        github.forge(gh="/nonexistent/gh").pull_requests(REPO)
    assert "Install the GitHub CLI" in caught.value.remedy


@pytest.mark.parametrize(
    ("over", "words"),
    [({"base": "gone"}, "base invalid"), ({"head": "gone"}, "head invalid"), ({"head": "main"}, "No commits")],
)
def test_a_pull_request_that_cannot_be_made_says_why(
    github: GitHub, dashboard: Hosted, over: dict[str, str], words: str
) -> None:
    with pytest.raises(ForgeError, match=words) as caught:
        create(github.forge(), **over)
    assert caught.value.reason == "forge.invalid"
    assert not caught.value.transient


@pytest.mark.parametrize("repo", ["dashboard", "o/../x", "o/d?x=1", "{owner}/{repo}", ""])
def test_a_name_that_is_no_repository_never_reaches_gh(github: GitHub, repo: str) -> None:
    with pytest.raises(ConfigError, match="no GitHub repository"):
        github.forge().pull_requests(repo)
    assert github.requests == []


def test_a_renamed_repository_is_named_as_such(github: GitHub, dashboard: Hosted) -> None:
    github.fault("POST", status=308, message="Moved Permanently")
    with pytest.raises(ForgeError) as caught:
        create(github.forge())
    assert caught.value.reason == "forge.moved"


# Secrets and git ---------------------------------------------------------------------------------------------------


def test_the_token_is_in_the_environment_of_gh_and_nowhere_else(github: GitHub, tmp_path: Path) -> None:
    record = tmp_path / "record"
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {record}\nprintf "HTTP/2.0 200 OK\\r\\n\\r\\n[]"\necho "$GH_TOKEN" >&2\n'
    )
    gh.chmod(0o755)
    assert github.forge(gh=str(gh)).pull_requests(REPO) == []
    assert record.read_text().splitlines()[:2] == ["api", "--include"]
    assert TOKEN not in record.read_text()


def test_git_asks_gh_and_no_other_helper_for_credentials(github: GitHub, tmp_path: Path) -> None:
    forge = github.forge()
    (tmp_path / "gitconfig").write_text(
        '[credential]\n\thelper = "!echo username=wrong; echo password=wrong; :"\n'
        '[credential "https://github.com"]\n\thelper = "!echo username=wrong; echo password=wrong; :"\n'
    )
    options = [part for key, value in forge.git_config().items() for part in ("-c", f"{key}={value}")]
    assert TOKEN not in str(options)
    done = subprocess.run(
        ["git", *options, "credential", "fill"],
        input="protocol=https\nhost=github.com\n\n",
        env={"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"), **forge.git_environment()},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert f"password={TOKEN}" in done.stdout.splitlines()
    assert "wrong" not in done.stdout


def test_an_enterprise_host_has_its_own_token_variable(github: GitHub, dashboard: Hosted) -> None:
    forge = github.forge(host="git.example.com")
    assert forge.git_environment()["GH_ENTERPRISE_TOKEN"] == TOKEN
    assert "GH_TOKEN" not in forge.git_environment()
    assert "credential.https://git.example.com.helper" in forge.git_config()
    assert forge.commit_url(REPO, "abc") == f"https://git.example.com/{REPO}/commit/abc"
    assert forge.branch_url(REPO, "bot/1") == f"https://git.example.com/{REPO}/tree/bot/1"
    assert forge.pull_requests(REPO) == []
