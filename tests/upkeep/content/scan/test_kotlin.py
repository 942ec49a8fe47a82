"""Kotlin: the language of the apps that the updater was made for, so the longest list of traps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Found = Callable[..., list[tuple[int, str | None, tuple[str, ...]]]]
KOTLIN: dict[str, Any] = {"kotlin": {"calls": ["track"]}}


def one(body: str, members: str = "", head: str = "package com.app") -> str:
    return (
        f"{head}\nclass Screen(private val tracker: Tracker) {{\n"
        f"  fun show(given: String) {{\n{body}\n  }}\n{members}\n}}\n"
    )


def names(found: Found, body: str, members: str = "", head: str = "package com.app", **others: Any) -> list[str | None]:
    languages = {"kotlin": others.pop("kotlin", KOTLIN["kotlin"])}
    return [name for _, name, _ in found("app/Screen.kt", one(body, members, head), **languages, **others)]


def properties(found: Found, body: str, members: str = "", **others: Any) -> list[tuple[str, ...]]:
    return [each for _, _, each in found("app/Screen.kt", one(body, members), **KOTLIN, **others)]


def test_any_receiver_and_none_and_any_arity_is_a_call(found: Found) -> None:
    body = (
        'track("a")\ntracker?.track("b", x)\ntracker!!.track("c", x, y, z)\n'
        'Tracker.get()\n  .track("d")\nwith(t) { track("e") }'
    )
    assert [(line, name) for line, name, _ in found("S.kt", one(body), **KOTLIN)] == [
        (4, "a"), (5, "b"), (6, "c"), (8, "d"), (9, "e"),
    ]  # fmt: skip


def test_calls_of_other_names_are_left_alone(found: Found) -> None:
    assert names(found, 'tracker("no")\nretrack("no")\ntrackAll("no")\nval track = "no"\ntrack') == []


def test_comments_and_strings_are_no_calls(found: Found) -> None:
    body = '// track("no")\n/* track("no") /* track("no") */ */\nval s = "track(\\"no\\")"\nval t = """track("no")"""'
    assert names(found, body) == []


def test_a_call_inside_a_template_is_a_call(found: Found) -> None:
    assert names(found, 'val s = "x ${track("yes")}"') == ["yes"]


def test_nested_calls_are_all_found(found: Found) -> None:
    assert names(found, 'track("outer", wrap { track("inner") })') == ["inner", "outer"]


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        (r'"say \"hi\""', 'say "hi"'),
        (r'"caf\u00e9"', "café"),
        ('"naïve 😀"', "naïve 😀"),
        (r'"a\tb\\c"', "a\tb\\c"),
        (r'"\$5 and $5 and 5$"', "$5 and $5 and 5$"),
        ('"""raw "quoted" \\n"""', 'raw "quoted" \\n'),
        ('"""${"$"}5"""', "$5"),
        ('""', ""),
        ('"eBill amount screen opend"', "eBill amount screen opend"),
    ],
)
def test_literals_are_decoded(found: Found, literal: str, text: str) -> None:
    assert names(found, f"track({literal})") == [text]


def test_the_line_of_a_call_over_several_lines_is_that_of_its_method(found: Found) -> None:
    body = 'tracker\n  .track(\n    "a",\n    mapOf(\n      "k" to 1,\n    ),\n  )'
    assert found("S.kt", one(body), **KOTLIN) == [(5, "a", ("k",))]


def test_named_arguments_may_stand_in_any_order(found: Found) -> None:
    declared = {
        "T.kt": "class Tracker {\n  fun track(event: String, level: Int = 0, properties: Map<String, Any>) {}\n}\n"
    }
    setting = {"calls": ["track"], "event": 0, "properties": 2}
    body = 'track(properties = mapOf("k" to 1), event = "a")\ntrack("b", properties = mapOf("l" to 1))'
    result = found("S.kt", one(body), others=declared, kotlin=setting)
    assert result == [(4, "a", ("k",)), (5, "b", ("l",))]


def test_positions_may_be_names_of_arguments_and_differ_by_method(found: Found) -> None:
    setting = {
        "calls": ["track", {"method": "raise", "event": 1, "properties": None}, {"method": "log", "event": "name"}]
    }
    body = 'track("a", mapOf("k" to 1))\nraise(3, "b", mapOf("k" to 1))\nlog(level = 3, name = "c")'
    assert found("S.kt", one(body), kotlin=setting) == [(4, "a", ("k",)), (5, "b", ()), (6, "c", ())]


def test_overloads_say_what_stands_at_a_position(found: Found) -> None:
    overloads = (
        "class Tracker {\n  fun track(event: String, properties: Map<String, Any>) {}\n"
        "  fun track(event: String, error: String?, kind: String?, properties: Map<String, Any>) {}\n}\n"
    )
    body = 'track("a", kind = "x", properties = mapOf("k" to 1))'
    assert found("S.kt", one(body), others={"T.kt": overloads}, **KOTLIN) == [(4, "a", ("k",))]


def test_receivers_may_be_limited(found: Found) -> None:
    setting = {"calls": [{"method": "track", "receivers": ["*Tracker", "analytics"]}]}
    body = 'Tracker.track("a")\nanalytics?.track("b")\nother.track("no")\ntrack("no")\na.myTracker().track("c")'
    assert names(found, body, kotlin=setting) == ["a", "b", "c"]


def test_constants_of_a_file_class_and_companion_are_followed(found: Found) -> None:
    members = (
        '  private val own = "own"\n  companion object {\n    const val C = "c"\n    const val D = C + "-" + TOP\n  }'
    )
    body = 'track(C)\ntrack(D)\ntrack("$D ${Screen.C}!")\ntrack(own)\ntrack(Screen.Companion.C)\ntrack(this.own)'
    source = one(body, members) + 'private const val TOP = "top"\n'
    assert [name for _, name, _ in found("S.kt", source, **KOTLIN)] == ["c", "c-top", "c-top c!", "own", "c", "own"]


def test_constants_are_followed_through_imports_packages_and_nesting(found: Found) -> None:
    others = {
        "n/Names.kt": (
            'package com.names\nobject Names {\n  const val A = "a"\n'
            '  object Inner { const val B = "b" }\n}\nconst val TOP = "t"\n'
        ),
        "n/Holder.kt": 'package com.names\nclass Holder {\n  companion object {\n    const val HELD = "held"\n  }\n}\n',
        "app/Same.kt": 'package com.app\nconst val SAME = "same"\n',
        "o/Other.kt": 'package com.other\nconst val TOP = "other"\nconst val SAME = "else"\n',
    }
    head = (
        "package com.app\nimport com.names.Names\nimport com.names.Holder.Companion.HELD\n"
        "import com.names.Names.Inner as In\nimport com.names.TOP"
    )
    body = (
        "track(Names.A)\ntrack(Names.Inner.B)\ntrack(In.B)\n"
        "track(TOP)\ntrack(SAME)\ntrack(com.names.Names.A)\ntrack(HELD)"
    )
    assert names(found, body, head=head, others=others) == ["a", "b", "b", "t", "same", "a", "held"]


def test_ambiguous_names_stay_unresolved(found: Found) -> None:
    others = {
        "a/A.kt": 'package com.a\nobject Names { const val X = "a" }\nconst val TOP = "a"\n',
        "b/B.kt": 'package com.b\nobject Names { const val X = "b" }\nconst val TOP = "b"\n',
    }
    assert names(found, "track(Names.X)\ntrack(TOP)", others=others) == [None, None]
    assert names(found, "track(Names.X)", head="package com.app\nimport com.b.*", others=others) == ["b"]


def test_build_variants_must_agree(found: Found) -> None:
    def variants(release: str) -> dict[str, str]:
        source = 'package com.app\nobject Names { const val X = "%s" }\n'
        return {"app/src/debug/N.kt": source % "a", "app/src/release/N.kt": source % release}

    assert names(found, "track(Names.X)", others=variants("a")) == ["a"]
    assert names(found, "track(Names.X)", others=variants("b")) == [None]


ENUM = """package com.app
interface Named { val shown: String }
enum class Event(val value: String, val level: Int = 1) : Named {
  OPENED("opened"),
  // a comment
  CLOSED(value = "was_closed", level = 2) {
    override fun z() = 1
  };

  val lower: String get() = name.lowercase()
  override val shown: String
    get() = "shown_$value"
  fun key() = PREFIX + value

  companion object {
    private const val PREFIX = "pre_"
  }
}
enum class Plain { FIRST_TAPPED, SECOND }
"""


def test_enum_members_carry_their_string(found: Found) -> None:
    body = (
        "track(Event.OPENED.value)\ntrack(Event.CLOSED)\ntrack(Event.OPENED.lower)\ntrack(Event.CLOSED.shown)\n"
        "track(Event.OPENED.key())\ntrack(Event.OPENED.name)\ntrack(Plain.SECOND.name.lowercase())\ntrack(Plain.SECOND)"
    )
    assert names(found, body, others={"app/Event.kt": ENUM}) == [
        "opened", None, "opened", "shown_was_closed", "pre_opened", "OPENED", "second", None,
    ]  # fmt: skip


def test_settings_say_how_an_enum_member_is_written(found: Found) -> None:
    setting = {"calls": ["track"], "names": {"of": "name", "case": "lower", "prefix": "app_"}}
    head = "package com.app\nimport com.app.Plain.FIRST_TAPPED"
    result = names(
        found, "track(FIRST_TAPPED)\ntrack(Plain.SECOND)", head=head, kotlin=setting, others={"app/E.kt": ENUM}
    )
    assert result == ["app_first_tapped", "app_second"]


SEALED = """package com.app
sealed class Event(val name: String, val properties: Map<String, Any> = emptyMap()) {
  object Opened : Event("opened")
  data object Closed : Event(name = PREFIX + "closed")
  class Moved(from: String, id: Int) : Event("moved", mapOf("from" to from, "id" to id))
  class Free(name: String) : Event("free_$name")
  companion object { const val PREFIX = "pre_" }
}
sealed interface Other {
  val name: String
  data object One : Other { override val name: String = "one" }
  data class Two(val id: Int) : Other { override val name = "two" }
}
"""


def test_sealed_types_carry_their_string_and_properties(found: Found) -> None:
    body = (
        'track(Event.Opened)\ntrack(Event.Closed.name)\ntrack(Event.Moved("x", 1))\ntrack(Event.Free("y"))\n'
        "track(Other.One)\ntrack(Other.Two(1))\nval e = Event.Opened\ntrack(e.name)\ntrack(Event.Free(given))"
    )
    result = found("app/Screen.kt", one(body), others={"app/Event.kt": SEALED}, **KOTLIN)
    assert [(name, props) for _, name, props in result] == [
        ("opened", ()), ("pre_closed", ()), ("moved", ("from", "id")), ("free_y", ()),
        ("one", ()), ("two", ()), ("opened", ()), (None, ()),
    ]  # fmt: skip


def test_events_that_the_tree_does_not_declare_are_named_by_their_constructor(found: Found) -> None:
    body = (
        'track(AnalyticsEvent("a", mapOf("k" to 1)))\ntrack(Event.Foo(name = "b"))\n'
        'track(Event.Builder("c").with("x", 1).addProperty(KEY, 2).build())\n'
        'track(Event.builder().setName("d").build())'
    )
    result = found("S.kt", one(body, '  private val KEY = "key"'), **KOTLIN)
    assert [(name, props) for _, name, props in result] == [
        ("a", ("k",)), ("b", ()), ("c", ("x", "key")), ("d", ()),
    ]  # fmt: skip


def test_a_constructor_may_itself_be_the_call(found: Found) -> None:
    setting = {"calls": ["AnalyticsEvent"]}
    source = 'object Opened : AnalyticsEvent("a", mapOf("k" to 1))\nfun f() {\n  send(AnalyticsEvent("b"))\n}\n'
    assert found("S.kt", source, kotlin=setting) == [(1, "a", ("k",)), (3, "b", ())]


@pytest.mark.parametrize(
    "argument",
    [
        'mapOf("a" to 1, KEY to 2)',
        'hashMapOf<String, Any>("a" to 1, KEY to 2)',
        'bundleOf("a" to 1, KEY to x)',
        'buildMap { put("a", 1)\n put(KEY, 2) }',
        'mutableMapOf<String, Any>().apply { put("a", 1); this[KEY] = 2 }',
        'mapOf("a" to 1) + mapOf(KEY to 2)',
        'Bundle().apply { putString("a", "x"); putInt(KEY, 2) }',
        'mapOf(Pair("a", 1), Pair(KEY, 2))',
        '"a" to 1, KEY to 2',
        "BASE",
        'listOfNotNull("a" to 1, (KEY to 2).takeIf { true }).toMap()',
        'if (x) mapOf("a" to 1) else mapOf(KEY to 2)',
    ],
)
def test_properties_are_read_from_what_builds_them(found: Found, argument: str) -> None:
    members = '  private val KEY = "key"\n  private val BASE = mapOf("a" to 1, KEY to 2)'
    assert properties(found, f'track("x", {argument})', members) == [("a", "key")]


def test_properties_are_read_from_trailing_lambdas_locals_and_functions(found: Found) -> None:
    body = (
        'track("a") { put("k", 1) }\nval map = mutableMapOf("l" to 1)\nmap["m"] = 2\nmap.put("n", 3)\ntrack("b", map)\n'
        'map["late"] = 1\ntrack("c", extras(1))'
    )
    members = '  private fun extras(id: Int) = mapOf("o" to id)'
    assert properties(found, body, members) == [("k",), ("l", "m", "n"), ("o",)]


def test_branches_give_every_name(found: Found) -> None:
    body = (
        'track(if (x) "a" else "b")\ntrack(when (given) { "1" -> C\n else -> { "d" } })\n'
        'val e: String\nif (x) { e = "e" } else { e = "f" }\ntrack(e)\n'
        'var g = "g"\nif (x) g = "h"\ntrack(g)\ntrack(given ?: "i")'
    )
    assert names(found, body, '  private val C = "c"') == ["a", "b", "c", "d", "e", "f", "g", "h", "i", None]


def test_locals_are_followed_and_never_guessed(found: Found) -> None:
    body = (
        'val a = "a"\nval b = a + "b"\ntrack(b)\nvar c = "c"\nc = other()\ntrack(c)\nlist.forEach { a -> track(a) }\n'
        "for (a in list) { track(a) }\ntrack(given)\nlist.map { track(it) }"
    )
    assert names(found, body) == ["ab", None, None, None, None, None]


def test_locals_that_double_do_not_hang(found: Found) -> None:
    lines = ['val a0 = "x"', *(f"val a{n} = a{n - 1} + a{n - 1}" for n in range(1, 60)), "track(a59)"]
    assert names(found, "\n".join(lines)) == [None]


def test_constants_in_a_circle_do_not_hang(found: Found) -> None:
    source = 'object A { const val X = B.Y }\nobject B { const val Y = A.X + "y" }\nfun f() { track(A.X) }\n'
    assert found("S.kt", source, **KOTLIN) == [(3, None, ())]


def test_a_default_value_that_names_its_own_parameter_does_not_hang(found: Found) -> None:
    assert found("S.kt", "fun f(a: String = b, b: String = a) {\n  track(a)\n}\n", **KOTLIN) == [(2, None, ())]


def test_a_value_is_followed_through_let(found: Found) -> None:
    body = (
        'val e = when (given) { "1" -> "a"\n "2" -> "b"\n else -> null }\ne?.let { track(it) }\n'
        '"c".let { name -> track(name) }\ngiven?.let { track(it) }\nrun { track(it) }'
    )
    assert names(found, body) == ["a", "b", "c", None, None]


def test_branches_that_give_no_value_do_not_count(found: Found) -> None:
    body = (
        'val e = when (given) { "1" -> "a"\n "2" -> throw Error()\n'
        ' "3" -> return\n else -> null }\ntrack(e)\ntrack(null)'
    )
    assert names(found, body) == ["a", None]


def test_an_extension_function_gives_all_its_branches(found: Found) -> None:
    members = (
        '  private fun Kind.toName(): String = when (this) {\n    Kind.A -> "a"\n    Kind.B -> "b"\n  }\n'
        "  private fun plain(x: Int) = x"
    )
    assert names(found, "track(kind.toName())\ntrack(plain(1))", members) == ["a", "b", None]


def test_abstract_functions_give_what_the_types_below_return(found: Found) -> None:
    source = "abstract class Base {\n  abstract fun event(): String\n  fun f() { track(event()) }\n}\n"
    others = {
        "One.kt": 'class One : Base() { override fun event() = "one" }\n',
        "Two.kt": 'class Two : Base() { override fun event(): String { return "two" } }\n',
        "No.kt": 'class No { fun event() = "no" }\n',
    }
    assert found("Base.kt", source, others=others, **KOTLIN) == [(3, "one", ()), (3, "two", ())]


def test_templates_with_an_unknown_part_are_told_apart(scan_files: Any) -> None:
    result = scan_files({"S.kt": one('track("tab $given")\ntrack(given)')}, **KOTLIN)
    assert [(call.name, call.resolution, call.expression) for call in result.calls] == [
        (None, "template", '"tab $given"'),
        (None, "unresolved", "given"),
    ]


def test_symbols_name_types_and_functions(scan_files: Any) -> None:
    source = (
        'class A {\n  object B {\n    fun f() {\n      fun g() { track("a") }\n    }\n  }\n'
        '  companion object { fun h() = track("b") }\n  init { track("c") }\n}\nval x = track("d")\n'
    )
    result = scan_files({"S.kt": source}, **KOTLIN)
    assert [(call.name, call.symbol) for call in result.calls] == [
        ("a", "A.B.f.g"),
        ("b", "A.h"),
        ("c", "A"),
        ("d", ""),
    ]


def test_a_file_that_the_grammar_half_understands_is_read_as_far_as_it_goes(found: Found) -> None:
    source = 'fun f() {\n  track("a")\n}\nfun broken( {{{ ]\nfun g() {\n  track("b")\n}\n'
    assert [name for _, name, _ in found("S.kt", source, **KOTLIN)] == ["a", "b"]
