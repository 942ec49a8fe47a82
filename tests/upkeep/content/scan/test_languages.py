"""What is told of a file without parsing it, and that no text makes a reader fail."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.content.scan.languages import declared_names, grammar_of, language_of, mentions, reader
from upkeep.content.scan.stored import load_facts, store_facts

SNIPPETS = {
    "kotlin": (
        'package a.b\nimport c.D as E\nclass A(val x: String = "y") : B("z") {\n'
        '  companion object {\n    const val K = "k$x"\n'
        '  }\n  fun f(p: String) = track(when (p) { "1" -> K\n else -> "${E.F}!" }, mapOf(K to 1) + q)\n}\n'
        'enum class G(val v: String) { H("h"), I("i") { val w get() = v } }\nval j by lazy { x?.let { track(it) } }\n'
    ),
    "java": (
        'package a.b;\nimport static c.D.*;\nenum A { B("b"); final String v; A(String v) { this.v = v; } }\n'
        'class C extends D {\n  static final String K = "k" + A.B;\n'
        "  void f(String p) { Map<String, Object> m = new HashMap<>();\n"
        '    m.put("a", 1); track(p == null ? K : """\n x""", m); }\n}\n'
    ),
    "swift": (
        'enum A: String { case b, c = "d"; var e: String {\n'
        '  switch self { case .b: return "f"; default: return #"g"# } } }\n'
        'extension A { static let h = "i\\(A.c)" }\n'
        'func j(_ k: String, l: Int = 1) { if let m = k { track(.b, ["n": m]) } }\n'
    ),
    "tsx": (
        "import a, { b as c } from './d';\n"
        "export const E = { F: 'f', g: { h: `i${c}` } } as const;\nenum J { K = 'k', L }\n"
        "class M extends N { static readonly o = 'p'; q = (r = 's') => track?.(r ?? E.F, { ...t, [E.F]: 1 }); }\n"
    ),
}


@pytest.mark.parametrize("grammar", SNIPPETS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_text_makes_a_reader_fail(grammar: str, data: st.DataObject) -> None:
    source = SNIPPETS[grammar]
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, len(source)))
    inserted = data.draw(
        st.sampled_from(["", "(", ")", "{", "}", '"', "'", "`", ".", ",", "$", "=", "->", "\n", "\u202e😀"])
    )
    facts = reader(source[:start] + inserted + source[end:], grammar).facts({"track", "put"}, {})
    assert load_facts(store_facts(facts)) == facts


@pytest.mark.parametrize("grammar", SNIPPETS)
def test_facts_survive_the_cache(grammar: str) -> None:
    facts = reader(SNIPPETS[grammar], grammar).facts({"track"}, {})
    assert facts.calls
    assert facts.constants
    assert load_facts(store_facts(facts)) == facts


@pytest.mark.parametrize(
    ("path", "language", "grammar"),
    [
        ("a/B.kt", "kotlin", "kotlin"),
        ("build.gradle.kts", "kotlin", "kotlin"),
        ("a/B.java", "java", "java"),
        ("a/B.swift", "swift", "swift"),
        ("a/b.ts", "typescript", "typescript"),
        ("a/b.tsx", "typescript", "tsx"),
        ("a/b.js", "typescript", "tsx"),
    ],
)
def test_a_files_name_tells_its_grammar(path: str, language: str, grammar: str) -> None:
    found = language_of(path)
    assert found == language
    assert found is not None
    assert grammar_of(path, found) == grammar


@pytest.mark.parametrize("path", ["README.md", "kt", "a.kt/README", ""])
def test_other_files_have_no_language(path: str) -> None:
    assert language_of(path) is None


def test_declared_names_hold_all_that_the_readers_find() -> None:
    for grammar, source in SNIPPETS.items():
        language = "typescript" if grammar == "tsx" else grammar
        facts = reader(source, grammar).facts((), {})
        declared = set(declared_names(source.encode(), language))  # type: ignore[arg-type]
        types = {each.path[-1] for each in facts.types if each.kind != "member"}
        top = {each.path[-1] for each in facts.constants if len(each.path) == 1 and each.path[-1] != "default"}
        assert types | top <= declared


@pytest.mark.parametrize(
    "text", [b"x.track(1)", b"track {", b"track<Int>(1)", b"track?.(1)", b"track!(1)", b"a\ntrack (1)"]
)
def test_what_may_be_a_call_is_noticed(text: bytes) -> None:
    assert mentions(["track", "log"])(text)


@pytest.mark.parametrize("text", [b"tracker(1)", b"retrack(1)", b"track = 1", b"", b"a.track"])
def test_what_cannot_be_a_call_is_left_alone(text: bytes) -> None:
    assert not mentions(["track"])(text)
    assert not mentions([])(text)
