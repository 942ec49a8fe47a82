"""Functions that pass a parameter on as the event: their callers are the calls."""

from __future__ import annotations

from typing import Any

KOTLIN: dict[str, Any] = {"kotlin": {"calls": ["track"]}}
ANALYTICS = """package com.app
interface Analytics { fun opened(source: String) }
class AnalyticsImpl(private val tracker: Tracker) : Analytics {
  override fun opened(source: String) {
    tracker.track("opened_$source", mapOf("source" to source))
  }
  fun send(name: String, extra: Map<String, Any> = emptyMap()) = tracker.track(event = name, properties = extra)
}
"""


def rows(result: Any) -> list[tuple[str, int, str | None, str, tuple[str, ...]]]:
    return [(call.path, call.line, call.name, call.method, call.properties) for call in result.calls]


def test_callers_in_other_files_are_the_calls(scan_files: Any) -> None:
    screen = (
        'package com.app\nclass S(val a: Analytics) {\n  fun f() {\n    a.opened("home")\n'
        '    a.send(NAME, mapOf("k" to 1))\n  }\n}\nconst val NAME = "n"\n'
    )
    assert rows(scan_files({"A.kt": ANALYTICS, "S.kt": screen}, **KOTLIN)) == [
        ("S.kt", 4, "opened_home", "opened", ("source",)),
        ("S.kt", 5, "n", "send", ("k",)),
    ]


def test_a_wrapper_without_callers_is_an_unresolved_call(scan_files: Any) -> None:
    assert [row[:3] for row in rows(scan_files({"A.kt": ANALYTICS}, **KOTLIN))] == [
        ("A.kt", 5, None),
        ("A.kt", 7, None),
    ]


def test_wrappers_can_be_left_alone(scan_files: Any) -> None:
    screen = 'fun f(a: Analytics) {\n  a.opened("home")\n}\n'
    setting = {"kotlin": {"calls": ["track"], "wrappers": False}}
    assert [row[:3] for row in rows(scan_files({"A.kt": ANALYTICS, "S.kt": screen}, **setting))] == [
        ("A.kt", 5, None),
        ("A.kt", 7, None),
    ]


def test_a_function_of_the_same_name_that_does_something_else_stops_the_following_into_other_files(
    scan_files: Any,
) -> None:
    wrapper = 'class A {\n  fun log(name: String) { track(name) }\n  fun f() { log("here") }\n}\n'
    other = 'object Logger {\n  fun log(text: String) { println(text) }\n}\nfun g() { Logger.log("no event") }\n'
    assert [row[:3] for row in rows(scan_files({"A.kt": wrapper, "B.kt": other}, **KOTLIN))] == [("A.kt", 3, "here")]


def test_only_one_level_is_followed(scan_files: Any) -> None:
    source = (
        "class A {\n  private fun one(name: String) { track(name) }\n  private fun two(name: String) { one(name) }\n"
        '  fun f() {\n    one("a")\n    two("b")\n  }\n}\n'
    )
    assert [row[:3] for row in rows(scan_files({"A.kt": source}, **KOTLIN))] == [("A.kt", 3, None), ("A.kt", 5, "a")]


def test_defaults_and_named_arguments_of_a_wrapper_count(scan_files: Any) -> None:
    source = (
        'private fun log(level: Int, name: String = "plain") { track(name) }\n'
        'fun f() {\n  log(1)\n  log(name = "named", level = 2)\n}\n'
    )
    assert [row[:3] for row in rows(scan_files({"A.kt": source}, **KOTLIN))] == [("A.kt", 4, "named")]


def test_the_trackers_own_forwarding_is_no_call(scan_files: Any) -> None:
    source = 'class Tracker {\n  fun track(name: String) { client.track(name) }\n  fun f() { track("a") }\n}\n'
    assert [row[:3] for row in rows(scan_files({"T.kt": source}, **KOTLIN))] == [("T.kt", 3, "a")]


def test_kotlin_and_java_see_each_other(scan_files: Any) -> None:
    settings = {"kotlin": {"calls": ["track"]}, "java": {"calls": ["track"]}}
    files = {
        "a/Names.java": 'package a;\nclass Names {\n  static final String X = "x";\n}\n',
        "a/B.kt": (
            'package a\nobject B { const val Y = "y" }\n'
            'fun f() { track(Names.X) }\nfun log(n: String) { track("l_" + n) }\n'
        ),
        "a/C.java": 'package a;\nclass C {\n  void f() { track(B.Y); Kt.log("z"); }\n}\n',
    }
    assert [row[:3] for row in rows(scan_files(files, **settings))] == [
        ("a/B.kt", 3, "x"),
        ("a/C.java", 3, "l_z"),
        ("a/C.java", 3, "y"),
    ]


def test_a_constructor_that_keeps_the_event_is_a_wrapper(scan_files: Any) -> None:
    files = {
        "Timer.kt": (
            'open class Timer(private val event: String) {\n  fun end() { track(event, mapOf("time" to 1)) }\n}\n'
        ),
        "Uses.kt": 'class Home : Timer("home_loaded")\nfun f() { Timer(event = "list_loaded").end() }\n',
    }
    assert rows(scan_files(files, **KOTLIN)) == [
        ("Uses.kt", 1, "home_loaded", "Timer", ("time",)),
        ("Uses.kt", 2, "list_loaded", "Timer", ("time",)),
    ]


def test_a_wrapper_of_the_callers_own_file_comes_first(scan_files: Any) -> None:
    def screen(prefix: str) -> str:
        return (
            f'class {prefix} {{\n  private fun log(n: String) {{ track("{prefix}_$n") }}\n'
            f'  fun f() {{ log("x") }}\n}}\n'
        )

    files = {"A.kt": screen("a"), "B.kt": screen("b")}
    assert [row[:3] for row in rows(scan_files(files, **KOTLIN))] == [("A.kt", 3, "a_x"), ("B.kt", 3, "b_x")]
