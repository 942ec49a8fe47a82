from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.agents.harvest import Entry, Harvest, Limits, harvest, snapshot

CONTENT = "content/analytics"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    for name, text in {
        f"{CONTENT}/login/events.json": "{}\n",
        f"{CONTENT}/login/flow-diagrams.md": "# Login\n",
        f"{CONTENT}/flows.json": "{}\n",
        "src/app.py": "print()\n",
        ".github/workflows/ci.yml": "on: push\n",
        "README.md": "hello\n",
    }.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (work / "run.sh").write_text("#!/bin/sh\n")
    (work / "run.sh").chmod(0o755)
    (work / "latest").symlink_to("README.md")
    return work


def after(work: Path, change: Callable[[Path], object], limits: Limits | None = None) -> Harvest:
    """What is harvested when the agent did `change` below the content folder's repository."""
    before = snapshot(work, limits)
    change(work)
    return harvest(work, before, allow_prefix=CONTENT, limits=limits)


def refusals(result: Harvest) -> dict[str, str]:
    return {refusal.path: refusal.reason for refusal in result.refused}


def test_an_untouched_tree_gives_nothing(work: Path) -> None:
    assert after(work, lambda _: None) == Harvest({}, ())


def test_added_changed_and_deleted_files_are_taken_sorted(work: Path) -> None:
    def change(work: Path) -> None:
        (work / CONTENT / "pay").mkdir()
        (work / CONTENT / "pay/events.json").write_bytes(b"\xff new \n")
        (work / CONTENT / "flows.json").write_text('{"a": 1}\n')
        (work / CONTENT / "login/flow-diagrams.md").unlink()
        (work / CONTENT / "empty").mkdir()

    result = after(work, change)
    assert list(result.changes.items()) == [
        (f"{CONTENT}/flows.json", b'{"a": 1}\n'),
        (f"{CONTENT}/login/flow-diagrams.md", None),
        (f"{CONTENT}/pay/events.json", b"\xff new \n"),
    ]
    assert result.refused == ()


def test_a_touched_but_equal_file_is_no_change(work: Path) -> None:
    assert after(work, lambda w: (w / CONTENT / "flows.json").write_text("{}\n")) == Harvest({}, ())


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "src/new.py",
        ".github/workflows/ci.yml",
        "content/analytics.json",
        "content/Analytics/x.json",
        "content",
    ],
)
def test_outside_the_content_folder_is_refused_by_name(work: Path, path: str) -> None:
    def change(work: Path) -> None:
        if path == "content":
            shutil.rmtree(work / "content")
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text("mine\n")

    result = after(work, change)
    assert refusals(result)[path] == "outside"
    assert path not in result.changes


def test_deleting_outside_is_refused_too(work: Path) -> None:
    assert refusals(after(work, lambda w: (w / "src/app.py").unlink())) == {"src/app.py": "outside"}


@pytest.mark.parametrize(
    "name",
    [".git", ".GIT", ".gitattributes", ".gitmodules", "git~1", ".g\u200cit", ".gitignore", "x/.git", "x/.Git"],
)
def test_names_that_mean_something_to_git_are_refused(work: Path, name: str) -> None:
    def change(work: Path) -> None:
        (work / CONTENT / name).parent.mkdir(exist_ok=True)
        (work / CONTENT / name).write_text("gitdir: /elsewhere\n")

    assert refusals(after(work, change)) == {f"{CONTENT}/{name}": "git"}


def test_a_planted_repository_is_one_refusal(work: Path) -> None:
    def change(work: Path) -> None:
        hooks = work / CONTENT / "sub/.git/hooks"
        hooks.mkdir(parents=True)
        (hooks / "pre-commit").write_text("#!/bin/sh\n")
        (work / CONTENT / "sub/events.json").write_text("{}\n")

    result = after(work, change)
    assert refusals(result) == {f"{CONTENT}/sub/.git": "git"}
    assert list(result.changes) == [f"{CONTENT}/sub/events.json"]


def test_a_link_is_refused_and_never_read(work: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("CANARY")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inner").write_text("CANARY")

    def change(work: Path) -> None:
        (work / CONTENT / "new.json").symlink_to(tmp_path / "secret")
        (work / CONTENT / "flows.json").unlink()
        (work / CONTENT / "flows.json").symlink_to(tmp_path / "secret")
        shutil.rmtree(work / CONTENT / "login")
        (work / CONTENT / "login").symlink_to(tmp_path / "folder")

    result = after(work, change)
    assert refusals(result) == {
        f"{CONTENT}/flows.json": "link",
        f"{CONTENT}/login": "link",
        f"{CONTENT}/new.json": "link",
    }
    # The folder's own files are gone, which is a change like any other.
    assert result.changes == {f"{CONTENT}/login/events.json": None, f"{CONTENT}/login/flow-diagrams.md": None}


def test_a_content_folder_that_became_a_link_gives_nothing_of_its_target(work: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/flows.json").write_text("CANARY")

    def change(work: Path) -> None:
        shutil.rmtree(work / CONTENT)
        (work / CONTENT).symlink_to(tmp_path / "elsewhere")

    result = after(work, change)
    assert refusals(result) == {CONTENT: "outside"}
    assert set(result.changes.values()) == {None}


def test_a_work_tree_that_became_a_link_is_an_error(work: Path, tmp_path: Path) -> None:
    before = snapshot(work)
    work.rename(tmp_path / "moved")
    work.symlink_to(tmp_path / "moved")
    with pytest.raises(OSError):
        harvest(work, before, allow_prefix=CONTENT)


def test_a_hard_link_is_refused(work: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("CANARY")
    result = after(work, lambda w: (w / CONTENT / "x.json").hardlink_to(tmp_path / "secret"))
    assert (refusals(result), result.changes) == ({f"{CONTENT}/x.json": "hard_link"}, {})


def test_modes_other_than_100644_are_refused(work: Path) -> None:
    def change(work: Path) -> None:
        (work / CONTENT / "new.sh").write_text("#!/bin/sh\n")
        (work / CONTENT / "new.sh").chmod(0o755)
        (work / CONTENT / "flows.json").chmod(0o755)
        (work / CONTENT / "login/events.json").chmod(0o600)

    result = after(work, change)
    assert refusals(result) == {f"{CONTENT}/new.sh": "executable", f"{CONTENT}/flows.json": "mode"}
    assert result.changes == {}, "a mode that git does not know is no change"


def test_what_was_not_plain_before_is_a_persons_to_change(work: Path) -> None:
    tool, link = work / CONTENT / "tool.sh", work / CONTENT / "link.json"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    link.symlink_to("flows.json")

    def change(work: Path) -> None:
        tool.write_text("#!/bin/sh\nrm\n")
        link.unlink()
        link.write_text("{}\n")

    assert refusals(after(work, change)) == {f"{CONTENT}/tool.sh": "not_plain", f"{CONTENT}/link.json": "not_plain"}


def test_pipes_and_sockets_are_refused_without_waiting_for_them(work: Path) -> None:
    # A socket's address is bounded to 108 bytes (unix(7)), pytest's folder is not.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")

        def change(work: Path) -> None:
            os.mkfifo(work / CONTENT / "pipe")
            Path(f"{short}/s").rename(work / CONTENT / "socket")

        result = after(work, change)
    assert refusals(result) == {f"{CONTENT}/pipe": "special", f"{CONTENT}/socket": "special"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("login/Events.json", None),
        ("LOGIN/other.json", None),
        ("Straße.json", "STRASSE.json"),
        (unicodedata.normalize("NFC", "é.json"), unicodedata.normalize("NFD", "é.json")),
    ],
)
def test_twins_by_case_or_unicode_form_are_refused(work: Path, first: str, second: str | None) -> None:
    def change(work: Path) -> None:
        for name in filter(None, (first, second)):
            (work / CONTENT / name).parent.mkdir(exist_ok=True)
            (work / CONTENT / name).write_text("{}\n")

    result = after(work, change)
    assert set(refusals(result).values()) == {"twin"}
    assert f"{CONTENT}/{first}" in refusals(result)
    assert result.changes == {}


def test_a_file_renamed_to_another_case_is_no_twin_of_itself(work: Path) -> None:
    result = after(work, lambda w: (w / CONTENT / "flows.json").rename(w / CONTENT / "Flows.json"))
    assert result == Harvest({f"{CONTENT}/Flows.json": b"{}\n", f"{CONTENT}/flows.json": None}, ())


@pytest.mark.parametrize("name", [b"a\\b.json", b"a\nb.json", b"a\x1b[2Jb", "a\u202eb".encode(), b"\xff\xfe.json"])
def test_deceptive_names_are_refused(work: Path, name: bytes) -> None:
    result = after(work, lambda w: (w / CONTENT / os.fsdecode(name)).write_text("{}\n"))
    (refusal,) = result.refused
    assert (refusal.reason, result.changes) == ("name", {})
    refusal.path.encode()  # can be printed and stored


def test_a_large_file_is_refused_alone(work: Path) -> None:
    def change(work: Path) -> None:
        (work / CONTENT / "big.json").write_bytes(b" " * 101)
        (work / CONTENT / "small.json").write_bytes(b" " * 100)

    result = after(work, change, Limits(file_bytes=100))
    assert (refusals(result), list(result.changes)) == (
        {f"{CONTENT}/big.json": "oversized"},
        [f"{CONTENT}/small.json"],
    )


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(changes=4), "too_many"),
        (Limits(entries=11), "too_many"),
        (Limits(total_bytes=14), "too_large"),
    ],
)
def test_past_a_limit_of_the_whole_nothing_is_taken(work: Path, limits: Limits, reason: str) -> None:
    before = snapshot(work)
    for number in range(5):
        (work / CONTENT / f"{number}.json").write_text("{}\n")
    result = harvest(work, before, allow_prefix=CONTENT, limits=limits)
    assert (refusals(result), result.changes) == ({".": reason}, {})


def test_a_folder_without_end_is_one_refusal(work: Path) -> None:
    def change(work: Path) -> None:
        (work / CONTENT / "/".join("d" * 60)).mkdir(parents=True)

    result = after(work, change, Limits(depth=5))
    assert refusals(result) == {f"{CONTENT}/d/d/d/d": "deep"}


def test_what_cannot_be_read_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        fill(work, {"file": b"1", "folder/inner": b"2"})
        before = snapshot(work)
        Path(folder).chmod(0o755)
        (work / "file").chmod(0)
        (work / "folder").chmod(0)
        with as_nobody():
            result = harvest(work, before, allow_prefix="")
        (work / "folder").chmod(0o755)
    assert refusals(result) == {"file": "unreadable", "folder": "unreadable", "folder/inner": "unreadable"}
    assert result.changes == {}, "what an unreadable folder held is not deleted"


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root reads everything, so as root the effective user is another one meanwhile."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_the_whole_tree_may_be_allowed(work: Path) -> None:
    before = snapshot(work)
    (work / "README.md").write_text("new\n")
    assert harvest(work, before, allow_prefix="").changes == {"README.md": b"new\n"}


NAMES = st.sampled_from(["a", "A", "b.json", ".git", "é", "e\u0301", "x"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    old=st.dictionaries(PATHS, st.binary(max_size=4), max_size=4),
    new=st.dictionaries(PATHS, st.binary(max_size=4), max_size=4),
)
def test_every_change_is_either_taken_as_it_is_or_refused(old: dict[str, bytes], new: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        held = fill(work, old)
        before = snapshot(work)
        shutil.rmtree(work)
        wanted = fill(work, new)
        result = harvest(work, before, allow_prefix="")
        assert before.keys() >= {path for path in held if ".git" not in path}
        for path, data in result.changes.items():
            assert wanted.get(path) == data
            assert ".git" not in path.split("/")
        missed = {path for path in held.keys() | wanted.keys() if held.get(path) != wanted.get(path)}
        refused = refusals(result)
        for path in missed - result.changes.keys():
            assert path in refused or any(path.startswith(f"{other}/") for other in refused) or ".git" in path


def fill(work: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    """Write what fits (a name may be a file in one path and a folder in another); return what was written."""
    work.mkdir()
    written = {}
    for path, data in files.items():
        target = work / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
        written[path] = data
    return written


def test_an_entry_does_not_show_its_content() -> None:
    assert "CANARY" not in repr(Entry("file", "digest", b"CANARY"))
