"""What changed between two scans."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.content.scan.delta import delta
from upkeep.content.scan.model import Call, Resolution, ScanResult


def call(name: str | None, path: str = "A.kt", line: int = 1, symbol: str = "f", **others: Any) -> Call:
    resolution = others.pop("resolution", "literal" if name is not None else "unresolved")
    expression = others.pop("expression", f'"{name}"' if name is not None else "given")
    return Call(
        name=name,
        resolution=resolution,
        expression=expression,
        method="track",
        path=path,
        line=line,
        symbol=symbol,
        **others,
    )


def scanned(*calls: Call, commit: str = "1") -> ScanResult:
    return ScanResult(commit=commit, calls=calls)


def names(calls: Any) -> list[str | None]:
    return [each.name for each in calls]


def test_without_a_base_everything_is_added() -> None:
    result = delta(None, scanned(call("a"), call(None)))
    assert (result.base, names(result.added), result.removed) == (None, ["a", None], ())


def test_shifted_lines_are_no_change() -> None:
    assert delta(scanned(call("a", line=3)), scanned(call("a", line=40))).empty


def test_renamed_files_are_no_change() -> None:
    base, head = scanned(call("a"), call(None)), scanned(call("a", path="B.kt"), call(None, path="B.kt"))
    assert delta(base, head, {"A.kt": "B.kt"}).empty
    assert names(delta(base, head).moved) == ["a"]


def test_added_and_removed_names_are_told_apart() -> None:
    result = delta(scanned(call("a"), call("b", symbol="g")), scanned(call("a"), call("c", symbol="h")))
    assert (names(result.added), names(result.removed), result.renamed) == (["c"], ["b"], ())


def test_another_string_in_the_same_seat_is_a_rename() -> None:
    result = delta(scanned(call("a"), call("k", line=2)), scanned(call("b"), call("k", line=2)))
    assert [(each.before.name, each.after.name) for each in result.renamed] == [("a", "b")]
    assert (result.added, result.removed, result.moved) == ((), (), ())


def test_several_renames_in_one_function_keep_their_order() -> None:
    base = scanned(call("a", line=1), call("b", line=2))
    head = scanned(call("x", line=5), call("y", line=6))
    assert [(each.before.name, each.after.name) for each in delta(base, head).renamed] == [("a", "x"), ("b", "y")]


def test_a_constant_with_another_value_is_a_rename_even_where_calls_were_added() -> None:
    def of(name: str) -> Call:
        return call(name, resolution="constant", expression="Names.OPENED")

    result = delta(scanned(of("a")), scanned(of("b"), call("new", line=2)))
    assert [(each.before.name, each.after.name) for each in result.renamed] == [("a", "b")]
    assert names(result.added) == ["new"]


def test_a_name_that_became_two_is_renamed_once() -> None:
    base = scanned(call("a", symbol="f"), call("a", symbol="g"))
    head = scanned(call("x", symbol="f"), call("y", symbol="g"))
    result = delta(base, head)
    assert [(each.before.name, each.after.name) for each in result.renamed] == [("a", "x")]
    assert names(result.added) == ["y"]
    assert names(result.moved) == ["x"]


def test_a_call_in_another_function_is_moved() -> None:
    result = delta(scanned(call("a", symbol="f")), scanned(call("a", symbol="g")))
    assert (names(result.moved), result.added, result.removed) == (["a"], (), ())


def test_one_more_place_of_a_known_name_is_a_move() -> None:
    result = delta(scanned(call("a")), scanned(call("a"), call("a", path="B.kt")))
    assert names(result.moved) == ["a", "a"]


def test_changed_properties_are_told_with_what_they_were() -> None:
    base = scanned(call("a", properties=("x", "y")), call("b", symbol="g", properties=("x",)))
    head = scanned(call("a", properties=("y", "z")), call("b", symbol="g", properties=("x",)))
    result = delta(base, head)
    assert (names(result.properties), result.before) == (["a"], {"a": ("x", "y")})


def test_the_order_of_properties_does_not_count() -> None:
    assert delta(scanned(call("a", properties=("x", "y"))), scanned(call("a", properties=("y", "x")))).empty


def test_a_new_call_without_a_name_is_added_and_one_that_stays_is_not() -> None:
    base, head = scanned(call(None)), scanned(call(None, line=9), call(None, expression="other"))
    result = delta(base, head)
    assert [each.expression for each in result.added] == ["other"]
    assert [each.expression for each in delta(head, base).removed] == ["other"]


RESOLUTIONS: st.SearchStrategy[Resolution] = st.sampled_from(["literal", "constant", "enum"])
CALLS = st.builds(
    lambda name, resolution, expression, path, line, symbol, properties: Call(
        name=name,
        resolution="unresolved" if name is None else resolution,
        expression=expression,
        method="track",
        path=path,
        line=line,
        symbol=symbol,
        properties=tuple(properties),
    ),
    st.sampled_from(["a", "b", "c", "d", None]),
    RESOLUTIONS,
    st.sampled_from(["A", "B", "c"]),
    st.sampled_from(["A.kt", "B.kt"]),
    st.integers(1, 9),
    st.sampled_from(["f", "g"]),
    st.lists(st.sampled_from(["x", "y"]), unique=True, max_size=2),
)
SCANS = st.lists(CALLS, max_size=8).map(lambda calls: scanned(*sorted(calls, key=lambda call: (call.path, call.line))))


@given(SCANS)
@settings(max_examples=100, deadline=None)
def test_nothing_changed_between_a_scan_and_itself(scan: ScanResult) -> None:
    assert delta(scan, scan).empty


@given(SCANS, SCANS)
@settings(max_examples=200, deadline=None)
def test_names_are_in_one_place_only_and_none_is_lost(base: ScanResult, head: ScanResult) -> None:
    result = delta(base, head)
    before, after = set(base.by_name()), set(head.by_name())
    added, removed = set(names(result.added)) - {None}, set(names(result.removed)) - {None}
    old = {each.before.name for each in result.renamed}
    new = {each.after.name for each in result.renamed}
    assert added | new == after - before
    assert removed | old == before - after
    assert not added & new
    assert not removed & old
    assert len(old) == len(new) == len({(each.before.name, each.after.name) for each in result.renamed})
    assert set(names(result.moved)) <= (before & after) | new
    assert set(names(result.properties)) == set(result.before) <= (before & after) | new
    assert set(result.added) | set(result.moved) | set(result.properties) <= set(head.calls)
    assert set(result.removed) <= set(base.calls)
