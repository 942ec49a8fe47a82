"""Java: literals, constants and enums across files, maps, constructors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Found = Callable[..., list[tuple[int, str | None, tuple[str, ...]]]]
JAVA: dict[str, Any] = {"java": {"calls": ["track"]}}


def one(body: str, members: str = "") -> str:
    return f"package com.app;\nclass Screen {{\n  void show(String given) {{\n{body}\n  }}\n{members}\n}}\n"


def names(found: Found, body: str, members: str = "", **others: Any) -> list[str | None]:
    return [name for _, name, _ in found("com/app/Screen.java", one(body, members), **JAVA, **others)]


def test_any_receiver_and_none_is_a_call(found: Found) -> None:
    body = 'track("a");\ntracker.track("b");\nthis.deps.tracker().track("c");\nTracker.get()\n  .track("d");'
    assert [line for line, _, _ in found("Screen.java", one(body), **JAVA)] == [4, 5, 6, 8]
    assert names(found, body) == ["a", "b", "c", "d"]


def test_comments_and_strings_are_no_calls(found: Found) -> None:
    assert names(found, '// track("no")\n/* track("no") */\nString s = "track(\\"no\\")";\nretrack("no");') == []


def test_escapes_are_decoded(found: Found) -> None:
    assert names(found, r'track("caf\u00e9 \"x\"\t\101");') == ['café "x"\tA']


def test_a_text_block_loses_its_indentation(found: Found) -> None:
    assert names(found, 'track("""\n      tab\n        two""");') == ["tab\n  two"]


def test_static_finals_are_followed_across_files(found: Found) -> None:
    names_file = (
        'package com.names;\npublic final class Names {\n  private static final String PREFIX = "tab_";\n'
        '  public static final String OPENED = PREFIX + "opened";\n  static String changing = "x";\n}\n'
    )
    source = one("track(Names.OPENED); track(CLOSED); track(Names.changing);", 'static final String CLOSED = "closed";')
    source = source.replace("class Screen", "import com.names.Names;\nclass Screen")
    result = found("com/app/Screen.java", source, others={"com/names/Names.java": names_file}, **JAVA)
    assert [name for _, name, _ in result] == ["closed", "tab_opened", None]


def test_a_static_import_is_followed(found: Found) -> None:
    source = one("track(OPENED);").replace("class Screen", "import static com.names.Names.OPENED;\nclass Screen")
    names_file = 'package com.names;\ninterface Names {\n  String OPENED = "opened";\n}\n'
    result = found("com/app/Screen.java", source, others={"com/names/Names.java": names_file}, **JAVA)
    assert [name for _, name, _ in result] == ["opened"]


def test_enum_members_carry_their_string(found: Found) -> None:
    enum = (
        'package com.app;\nenum Event {\n  OPENED("opened"), CLOSED("closed") { int z() { return 1; } };\n'
        "  private final String label;\n  Event(String label) { this.label = label; }\n"
        "  String getLabel() { return label; }\n  String upper() { return label.toUpperCase(); }\n}\n"
    )
    body = (
        "track(Event.OPENED.getLabel()); track(Event.CLOSED); track(Event.OPENED.upper()); track(Event.OPENED.name());"
    )
    assert names(found, body, others={"com/app/Event.java": enum}) == ["OPENED", "OPENED", "closed", "opened"]


def test_properties_come_from_maps(found: Found) -> None:
    body = (
        'track("a", Map.of("k", 1, KEY, 2));\n'
        'track("b", new HashMap<String, Object>() {{ put("z", 1); }});\n'
        'Map<String, Object> late = new HashMap<>();\nlate.put("p", 1);\ntrack("c", late);'
    )
    result = found("Screen.java", one(body, 'static final String KEY = "key";'), **JAVA)
    assert [properties for _, _, properties in result] == [("k", "key"), ("z",), ("p",)]


def test_constructed_events_are_read(found: Found) -> None:
    body = 'track(new AnalyticsEvent("made", Map.of("k", 1)));\ntrack(new Event.Builder("built").put("x", 1).build());'
    result = found("Screen.java", one(body), **JAVA)
    assert [(name, properties) for _, name, properties in result] == [("made", ("k",)), ("built", ("x",))]


def test_branches_give_every_name(found: Found) -> None:
    body = (
        'track(given.isEmpty() ? "a" : "b");\nString late;\nif (given == null) { late = "c"; } else { late = "d"; }\n'
        'track(late);\ntrack(switch (given) { case "x" -> "e"; default -> "f"; });'
    )
    assert names(found, body) == ["a", "b", "c", "d", "e", "f"]


def test_what_only_the_caller_knows_stays_unresolved(found: Found) -> None:
    assert names(found, "track(given);") == [None]


def test_a_variable_that_is_overwritten_is_not_guessed(found: Found) -> None:
    assert names(found, 'String name = "a";\nname = compute();\ntrack(name);') == [None]
