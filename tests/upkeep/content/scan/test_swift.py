"""Swift: labelled arguments, raw values, implicit members, dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Found = Callable[..., list[tuple[int, str | None, tuple[str, ...]]]]
SWIFT: dict[str, Any] = {"swift": {"calls": ["track"]}}


def one(body: str) -> str:
    return f"class Screen: UIViewController {{\n  func show(_ given: String) {{\n{body}\n  }}\n}}\n"


def names(found: Found, body: str, swift: Any = None, **others: Any) -> list[str | None]:
    return [name for _, name, _ in found("App/Screen.swift", one(body), swift=swift or SWIFT["swift"], **others)]


def test_any_receiver_and_none_is_a_call(found: Found) -> None:
    assert names(found, 'track("a")\ntracker?.track("b")\ntracker!.track("c")\nA.shared\n  .track("d")') == list("abcd")


def test_comments_and_strings_are_no_calls(found: Found) -> None:
    assert names(found, '// track("no")\n/* track("no") /* nested */ */\nlet s = "track(\\"no\\")"') == []


def test_escapes_and_raw_strings_are_decoded(found: Found) -> None:
    assert names(found, r'track("caf\u{e9} \"x\"")') == ['café "x"']
    assert names(found, 'track(#"raw \\n "x""#)') == ['raw \\n "x"']
    assert names(found, 'track("""\n    two\n    lines\n    """)') == ["two\nlines"]


def test_labels_find_event_and_properties(found: Found) -> None:
    setting = {"calls": [{"method": "log", "event": "name", "properties": "with"}]}
    result = found("S.swift", one('log(level: 1, name: "a", with: ["k": 1, "l": 2])'), swift=setting)
    assert result == [(3, "a", ("k", "l"))]


def test_static_lets_are_followed_across_files(found: Found) -> None:
    constants = (
        'struct Names {\n  static let prefix = "tab_"\n  static let opened = prefix + "opened"\n}\nlet top = "top"\n'
    )
    body = 'track(Names.opened)\ntrack("\\(Names.prefix)x")\ntrack("\\(given)x")'
    assert names(found, body, others={"App/Names.swift": constants}) == ["tab_opened", "tab_x", None]


def test_raw_values_are_given_or_implied(found: Found) -> None:
    enum = 'enum Event: String {\n  case opened, closed = "was_closed"\n  case failed\n}\n'
    body = "track(Event.opened.rawValue)\ntrack(Event.closed.rawValue)\ntrack(Event.failed)"
    assert names(found, body, others={"App/Event.swift": enum}) == ["opened", "was_closed", "failed"]


def test_implicit_members_need_a_type_where_they_are_ambiguous(found: Found) -> None:
    others = {
        "A.swift": 'enum Event: String {\n  case opened = "e"\n}\n',
        "B.swift": 'enum Door: String {\n  case opened = "d"\n}\n',
    }
    assert names(found, "track(.opened)", others=others) == [None]
    typed = {"calls": [{"method": "track", "type": "Event"}]}
    assert names(found, "track(.opened)", swift=typed, others=others) == ["e"]


def test_a_computed_name_is_chosen_by_case(found: Found) -> None:
    enum = "enum Event {\n  case opened\n  case closed(String)\n}\n"
    extension = (
        'extension Event {\n  var eventName: String {\n    switch self {\n    case .opened: return "o"\n'
        '    case .closed: return "c"\n    }\n  }\n}\n'
    )
    body = "track(Event.opened.eventName)\ntrack(Event.closed(given))"
    assert names(found, body, others={"E.swift": enum, "X.swift": extension}) == ["o", "c"]


def test_constructed_events_and_closures_carry_properties(found: Found) -> None:
    body = 'track(AnalyticsEvent(name: "made", props: ["k": 1]))\ntrack("b") { $0.put("z", 1) }'
    result = found("S.swift", one(body), **SWIFT)
    assert [(name, properties) for _, name, properties in result] == [("made", ("k",)), ("b", ("z",))]


def test_branches_give_every_name(found: Found) -> None:
    body = 'track(given == "" ? "a" : "b")\nlet n: String\nif given == "" { n = "c" } else { n = "d" }\ntrack(n)'
    assert names(found, body) == ["a", "b", "c", "d"]


def test_optional_binding_hides_an_outer_name(found: Found) -> None:
    body = 'let n = "outer"\nif let n = find() {\n  track(n)\n}'
    assert names(found, body) == [None]


def test_a_wrapper_is_followed_to_its_callers(found: Found) -> None:
    source = (
        'class A {\n  func log(_ name: String, extra: [String: Any] = [:]) {\n    track("pre_" + name, extra)\n  }\n'
        '  func b() {\n    log("x", extra: ["k": 1])\n  }\n}\n'
    )
    assert found("A.swift", source, **SWIFT) == [(6, "pre_x", ("k",))]


def test_implicit_members_have_their_type_in_branches_and_through_wrappers(found: Found) -> None:
    setting = {"calls": [{"method": "track", "type": "Event"}], "names": {"of": "rawValue", "case": "snake"}}
    event = (
        "enum Event: String { case cartOpened, cartClosed, listShown\n  var name: String { rawValue.snakeCased() } }\n"
    )
    others = {
        "Event.swift": event + 'enum Other: String { case cartOpened = "other" }\n',
        "Helper.swift": (
            "extension Settings {\n  static func trackToggle(_ event: Event, on: Bool) {\n"
            '    track(event, properties: ["on": on])\n  }\n}\n'
        ),
    }
    body = "track(given.isEmpty ? .cartOpened : .cartClosed)\nSettings.trackToggle(.listShown, on: true)"
    assert found("S.swift", one(body), others=others, swift=setting) == [
        (3, "cart_closed", ()),
        (3, "cart_opened", ()),
        (4, "list_shown", ("on",)),
    ]
