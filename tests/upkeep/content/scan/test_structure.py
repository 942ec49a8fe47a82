"""What an event is made of: elements of sets, parts of pairs, branches that a flag decides, format strings."""

from __future__ import annotations

from typing import Any

import pytest

KOTLIN: dict[str, Any] = {"kotlin": {"calls": ["fire"], "names": {"of": "text"}}}
NAMES = """package a
interface Named { val text: String }
enum class Pixel(override val text: String) : Named { A("a_sent"), B("b_sent"), C("c_%s_sent") }
object Keys { const val MODE = "mode" }
"""
VARIANTS = """package a
enum class Pixel(val base: String, private val kinds: Set<Kind>, private val suffixed: Boolean = true) {
    BOTH(base = "both", kinds = setOf(Kind.Count, Kind.Daily())),
    ONE(base = "one", kind = Kind.Count),
    BARE(base = "bare", kind = Kind.Daily(), suffixed = false),
    ;
    constructor(base: String, kind: Kind, suffixed: Boolean = true) : this(base, setOf(kind), suffixed)
    fun names(): Map<Kind, String> = kinds.associateWith { kind -> if (suffixed) "${base}_${kind.suffix}" else base }
}
internal val Kind.suffix: String
    get() = when (this) {
        is Kind.Count -> "c"
        is Kind.Daily -> "d"
    }
sealed class Kind {
    data object Count : Kind()
    data class Daily(val tag: String? = null) : Kind()
}
"""
SENDER = """package a
import a.Pixel.*
class Sender(private val client: Client) {
    fun both() = fire(BOTH, mapOf("k" to 1))
    fun one() { fire(ONE) }
    fun bare() { fire(Pixel.BARE) }
    private fun fire(pixel: Pixel, extra: Map<String, Any> = emptyMap()) {
        pixel.names().forEach { (kind, text) ->
            client.fire(text, extra)
        }
    }
}
"""


def rows(result: Any) -> list[tuple[str, int, str | None, tuple[str, ...]]]:
    return [(call.path, call.line, call.name, call.properties) for call in result.calls]


def in_function(body: str, more: str = "") -> str:
    return f"package a\nclass S(val p: Client, val mode: Mode) {{\n  fun f(x: String) {{ {body} }}\n{more}\n}}\n"


@pytest.fixture
def names_of(scan_files: Any) -> Any:
    def found(source: str) -> list[str | None]:
        return [call.name for call in scan_files({"N.kt": NAMES, "S.kt": source}, **KOTLIN).calls]

    return found


def test_an_event_that_is_sent_once_for_each_element_of_its_set_has_all_names(scan_files: Any) -> None:
    result = scan_files({"P.kt": VARIANTS, "S.kt": SENDER}, kotlin={"calls": ["fire"]})
    assert rows(result) == [
        ("S.kt", 4, "both_c", ("k",)),
        ("S.kt", 4, "both_d", ("k",)),
        ("S.kt", 5, "one_c", ()),
        ("S.kt", 6, "bare", ()),
    ]


def test_a_private_function_called_like_the_trackers_method_comes_first(scan_files: Any) -> None:
    own = (
        "class A(val client: Client) {\n"
        '  private fun fire(name: String) { client.fire("a_$name") }\n'
        '  fun f() { fire("x") }\n}\n'
    )
    other = 'fun Client.twice() {\n  fire("plain")\n}\nclass B(val c: Client) { fun g() { c.fire("direct") } }\n'
    assert rows(scan_files({"A.kt": own, "B.kt": other}, kotlin={"calls": ["fire"]})) == [
        ("A.kt", 3, "a_x", ()),
        ("B.kt", 2, "plain", ()),
        ("B.kt", 4, "direct", ()),
    ]


def test_a_namesake_that_sends_something_else_makes_no_event_of_what_it_is_given(scan_files: Any) -> None:
    source = (
        "class A(val client: Client) {\n"
        '  private fun fire(action: String) { client.fire("list", mapOf(action to 1)) }\n'
        '  fun f() { fire("added") }\n}\n'
    )
    assert rows(scan_files({"A.kt": source}, kotlin={"calls": ["fire"]})) == [("A.kt", 2, "list", ())]


def test_a_namesake_that_hands_on_what_it_is_given_is_like_the_tracker(scan_files: Any) -> None:
    source = (
        "class A(val client: Client) {\n  private fun fire(name: String) { client.fire(name) }\n"
        "  private fun twice(name: String) { fire(name) }\n"
        '  fun f() { fire("x") }\n  fun g() { twice("y") }\n}\n'
    )
    assert rows(scan_files({"A.kt": source}, kotlin={"calls": ["fire"]})) == [
        ("A.kt", 4, "x", ()),
        ("A.kt", 5, "y", ()),
    ]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("p.fire(String.format(Locale.US, Pixel.C.text, Keys.MODE))", ["c_mode_sent"]),
        ("p.fire(Pixel.C.text.format(Keys.MODE))", ["c_mode_sent"]),
        ('p.fire("100%% of %2\\$s, %1\\$s".format("b", "a"))', ["100% of a, b"]),
        ("p.fire(Pixel.C.text.format(x.length))", [None]),
        ('p.fire("%03d".format(Keys.MODE))', [None]),
        ('p.fire("%s %s".format(Keys.MODE))', [None]),
    ],
)
def test_format_strings_are_filled_in_where_all_is_known(names_of: Any, body: str, names: list[str | None]) -> None:
    assert names_of(in_function(body)) == names


@pytest.mark.parametrize(
    "value",
    [
        "when (mode) { Mode.ON -> Pixel.A to Pixel.B else -> Pixel.A to Pixel.A }",
        "both()",
        "if (x == mode.name) Pair(Pixel.A, Pixel.B) else Pair(Pixel.A, Pixel.A)",
    ],
)
def test_variables_that_a_pair_is_taken_apart_into(names_of: Any, value: str) -> None:
    more = "  private fun both() = when (mode) { Mode.ON -> Pixel.A to Pixel.B else -> Pixel.A to Pixel.A }"
    body = f"val (first, second) = {value}\n p.fire(first)\n p.fire(second)"
    assert names_of(in_function(body, more)) == ["a_sent", "a_sent", "b_sent"]


def test_properties_of_a_pair_are_taken_apart_too(scan_files: Any) -> None:
    body = 'val (name, extra) = Pixel.A to mapOf("k" to 1)\n p.fire(name, extra)'
    assert rows(scan_files({"N.kt": NAMES, "S.kt": in_function(body)}, **KOTLIN)) == [("S.kt", 4, "a_sent", ("k",))]


def test_what_cannot_be_taken_apart_stays_unknown(names_of: Any) -> None:
    assert names_of(in_function("val (first, second) = load(x)\n p.fire(second)")) == [None]


def test_it_is_that_of_the_lambda_which_has_one(names_of: Any) -> None:
    more = "  private fun event(m: Mode): Pixel? { return when (m) { Mode.ON -> Pixel.A else -> null } }"
    assert names_of(in_function("event(mode)?.let { scope.launch { p.fire(it) } }", more)) == ["a_sent"]
    assert names_of(in_function("Pixel.A.let { load(x).collect { p.fire(it) } }")) == [None]


def test_a_flag_decides_a_branch_only_where_it_is_known(names_of: Any) -> None:
    more = "  private val on = true\n  fun g(flag: Boolean) { p.fire(if (flag) Pixel.A else Pixel.B) }"
    assert names_of(in_function("p.fire(if (on) Pixel.A else Pixel.B)", more)) == ["a_sent", "a_sent", "b_sent"]


def test_the_object_itself_is_what_its_type_says(scan_files: Any) -> None:
    files = {
        "I.kt": "package a\ninterface Metric { fun label(): String }\n",
        "M.kt": ("package a\nclass Client(val p: Tracker) { fun emit(metric: Metric) { p.fire(metric.label()) } }\n"),
        "H.kt": (
            "package a\nclass Home(val c: Client) : Metric {\n"
            '  override fun label(): String = "home_metric"\n  fun f() { c.emit(this) }\n'
            "  fun g() { run { c.emit(this@Home) } }\n}\n"
        ),
    }
    assert rows(scan_files(files, kotlin={"calls": ["fire"]})) == [
        ("H.kt", 4, "home_metric", ()),
        ("H.kt", 5, "home_metric", ()),
    ]
