"""Which files are read, raw rules, and that a rescan finds what a first scan finds."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.repositories import MakeRepository
from upkeep.content.scan.model import ScanResult
from upkeep.content.scan.scanner import MAXIMUM_BYTES, scan
from upkeep.errors import GitError
from upkeep.git import Repository
from upkeep.settings.scan import ScanSettings

KOTLIN = ScanSettings.model_validate({"kotlin": {"calls": ["track"]}})
FILES = {
    "a/A.kt": 'package a\nimport b.Names\nfun f() { track(Names.X) }\nfun log(n: String) { track("l_" + n) }\n',
    "b/B.kt": 'package b\nobject Names { const val X = "x" }\n',
    "c/C.kt": 'package c\nfun g() { log("c") }\n',
    "d/D.kt": "package d\nclass D\n",
}


def without_cost(result: ScanResult) -> dict[str, Any]:
    return result.model_dump(exclude={"seconds", "files_parsed"})


def test_only_files_that_matter_are_parsed(memory: Any) -> None:
    result = scan(memory(FILES), "HEAD", KOTLIN)
    assert [(call.path, call.name) for call in result.calls] == [("a/A.kt", "x"), ("c/C.kt", "l_c")]
    assert (result.files_seen, result.files_parsed, result.files_failed) == (4, 3, ())


def test_a_real_repository_is_scanned_at_any_commit(make_repository: MakeRepository, tmp_path: Path) -> None:
    builder = make_repository()
    first = builder.commit(FILES, "first")
    second = builder.commit({"c/C.kt": 'package c\nfun g() { log("\u00e9") }\n'}, "second")
    repository, cache = Repository.open(builder.path), tmp_path / "scan.sqlite"
    before, after = (scan(repository, rev, KOTLIN, cache=cache) for rev in (first, "HEAD"))
    assert (before.commit, after.commit) == (first, second)
    assert [call.name for call in before.calls] == ["x", "l_c"]
    assert [call.name for call in after.calls] == ["x", "l_\u00e9"]
    assert after.files_parsed == 1


def test_a_revision_that_is_not_there_is_an_error(memory: Any) -> None:
    with pytest.raises(GitError, match="nowhere") as error:
        scan(memory(FILES), "nowhere", KOTLIN)
    assert error.value.reason == "git.unknown_revision"


def test_files_that_cannot_be_read_are_listed_and_stop_nothing(memory: Any) -> None:
    files: dict[str, str | bytes] = {
        **FILES,
        "bad/Binary.kt": b'\x00\x01track("x")',
        "bad/Huge.kt": b'fun f() { track("x") }\n' + b" " * MAXIMUM_BYTES,
        "bad/Latin.kt": 'fun f() { track("caf\xe9") }\n'.encode("latin-1"),
        "bad/Nonsense.kt": b"<<<<<<< track(((((",
        "good/Bom.kt": '\ufefffun f() { track("bom") }\r\n'.encode(),
        "good/Empty.kt": b"",
    }
    result = scan(memory(files), "HEAD", KOTLIN)
    assert {call.name for call in result.calls} == {"x", "l_c", "bom"}
    assert set(result.files_failed) >= {"bad/Binary.kt", "bad/Huge.kt", "bad/Latin.kt"}
    assert all(path.startswith("bad/") for path in result.files_failed)


def test_links_are_not_followed(memory: Any) -> None:
    repository = memory({"a/A.kt": 'fun f() { track("a") }', "a/Link.kt": 'fun f() { track("b") }'})
    repository.modes["a/Link.kt"] = "120000"
    assert [call.name for call in scan(repository, "HEAD", KOTLIN).calls] == ["a"]


@pytest.mark.parametrize(
    ("path", "scanned"),
    [
        ("app/src/main/A.kt", True),
        ("app/src/test/A.kt", False),
        ("app/src/androidTest/A.kt", False),
        ("shared/src/commonTest/kotlin/A.kt", False),
        ("app/build/generated/A.kt", False),
        ("build/A.kt", False),
        ("builder/A.kt", True),
        ("A.kt", True),
        ("A.java", False),
    ],
)
def test_tests_and_build_output_are_left_out(memory: Any, path: str, scanned: bool) -> None:
    assert scan(memory({path: 'fun f() { track("a") }'}), "HEAD", KOTLIN).files_seen == scanned


def test_include_and_exclude_replace_the_defaults(memory: Any) -> None:
    settings = {"kotlin": {"calls": ["track"], "include": ["app/**", "lib/*.kt"], "exclude": ["**/skip/**"]}}
    paths = ["app/src/test/A.kt", "app/skip/B.kt", "lib/C.kt", "lib/x/D.kt", "E.kt"]
    repository = memory(dict.fromkeys(paths, 'fun f() { track("a") }'))
    result = scan(repository, "HEAD", ScanSettings.model_validate(settings))
    assert [call.path for call in result.calls] == ["app/src/test/A.kt", "lib/C.kt"]


def test_raw_rules_find_what_names_and_positions_cannot_say(scan_files: Any) -> None:
    rules = [
        "events += Event($EVENT, $$$PROPERTIES)",
        {"rule": {"pattern": "emit { name = $EVENT }"}, "contains": ["emit"], "names": {"prefix": "p_"}},
    ]
    source = 'fun f() {\n  events += Event("a", "k" to 1, "l" to 2)\n  emit { name = "b" }\n}\n'
    result = scan_files({"A.kt": source}, kotlin={"rules": rules})
    assert [(call.line, call.name, call.properties) for call in result.calls] == [(2, "a", ("k", "l")), (3, "p_b", ())]


def test_a_rescan_reads_what_changed_and_finds_the_same(memory: Any, tmp_path: Path) -> None:
    cache = tmp_path / "scan.sqlite"
    first = scan(memory(FILES), "HEAD", KOTLIN, cache=cache)
    again = memory(FILES)
    second = scan(again, "HEAD", KOTLIN, cache=cache)
    assert (again.read, second.files_parsed) == ([], 0)
    assert without_cost(second) == without_cost(first)
    changed = memory({**FILES, "b/B.kt": 'package b\nobject Names { const val X = "y" }\n'})
    third = scan(changed, "HEAD", KOTLIN, cache=cache)
    assert (len(changed.read), third.files_parsed) == (1, 1)
    assert [call.name for call in third.calls] == ["y", "l_c"]


def test_other_settings_do_not_see_old_entries(memory: Any, tmp_path: Path) -> None:
    cache = tmp_path / "scan.sqlite"
    scan(memory(FILES), "HEAD", KOTLIN, cache=cache)
    other = ScanSettings.model_validate({"kotlin": {"calls": ["log"]}})
    assert [call.name for call in scan(memory(FILES), "HEAD", other, cache=cache).calls] == ["c"]
    assert [call.name for call in scan(memory(FILES), "HEAD", KOTLIN, cache=cache).calls] == ["x", "l_c"]


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_cache_is_rebuilt(memory: Any, tmp_path: Path, damage: bytes) -> None:
    cache = tmp_path / "scan.sqlite"
    expected = scan(memory(FILES), "HEAD", KOTLIN, cache=cache)
    cache.write_bytes(damage)
    assert without_cost(scan(memory(FILES), "HEAD", KOTLIN, cache=cache)) == without_cost(expected)
    assert scan(memory(FILES), "HEAD", KOTLIN, cache=cache).files_parsed == 0


@pytest.mark.parametrize("column", ["facts", "callers"])
@pytest.mark.parametrize("value", ["not json", "[99]", "{}", "[[0]]", "[18,1,2,3,4,5,6,7]"])
def test_damaged_entries_are_read_again(memory: Any, tmp_path: Path, column: str, value: str) -> None:
    cache = tmp_path / "scan.sqlite"
    expected = scan(memory(FILES), "HEAD", KOTLIN, cache=cache)
    with sqlite3.connect(cache) as connection:
        connection.execute(f"update blobs set {column} = ? where {column} is not null", (value,))
    connection.close()
    assert without_cost(scan(memory(FILES), "HEAD", KOTLIN, cache=cache)) == without_cost(expected)


def test_a_cache_that_cannot_be_written_is_done_without(memory: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert len(scan(memory(FILES), "HEAD", KOTLIN, cache=blocked / "scan.sqlite").calls) == 2


def test_scans_of_one_watch_may_run_at_once(memory: Any, tmp_path: Path) -> None:
    cache = tmp_path / "scan.sqlite"
    results: list[ScanResult] = []
    threads = [
        threading.Thread(target=lambda: results.append(scan(memory(FILES), "HEAD", KOTLIN, cache=cache)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(without_cost(result) == without_cost(results[0]) for result in results)
    assert scan(memory(FILES), "HEAD", KOTLIN, cache=cache).files_parsed == 0


SOURCES = st.sampled_from(
    [
        "package a\nimport b.Names\nfun f() { track(Names.X) }\n",
        'package b\nobject Names { const val X = "x" }\n',
        'package b\nobject Names { const val X = "z" }\n',
        'package a\nfun log(n: String) { track("l_" + n) }\n',
        'package a\nfun log(n: Int) { println(n) }\nfun g() { log("other") }\n',
        'package c\nfun g() { log("c") }\nenum class E(val v: String) { A("a") }\n',
        "package c\nfun h() { track(E.A, mapOf(Names.X to 1)) }\n",
        "fun broken( {{ track(",
    ]
)
TREES = st.dictionaries(st.sampled_from(["A.kt", "B.kt", "C.kt", "d/D.kt", "d/E.kt"]), SOURCES, max_size=5)


@given(trees=st.lists(TREES, min_size=2, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_scan_finds_never_depends_on_what_was_scanned_before(
    memory: Any, tmp_path_factory: pytest.TempPathFactory, trees: list[dict[str, str]]
) -> None:
    cache = tmp_path_factory.mktemp("cache") / "scan.sqlite"
    for tree in trees:
        repository = memory(tree)
        warm = scan(repository, "HEAD", KOTLIN, cache=cache)
        assert without_cost(warm) == without_cost(scan(repository, "HEAD", KOTLIN))
