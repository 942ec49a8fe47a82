"""TypeScript and JavaScript: modules, const objects, string enums, object literals, JSX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Found = Callable[..., list[tuple[int, str | None, tuple[str, ...]]]]
TS: dict[str, Any] = {"typescript": {"calls": ["track"]}}


def names(found: Found, source: str, path: str = "src/screen.ts", **others: Any) -> list[str | None]:
    return [name for _, name, _ in found(path, source, **TS, **others)]


def test_any_receiver_and_none_is_a_call(found: Found) -> None:
    source = "track('a');\ntracker?.track(\"b\");\nthis.tracker!.track(`c`);\nuse()\n  .track('d');\ntrack?.('e');"
    assert names(found, source) == list("abcde")


def test_comments_and_strings_are_no_calls(found: Found) -> None:
    assert names(found, "// track('no')\n/* track('no') */\nconst s = \"track('no')\"; const t = `track('no')`;") == []


def test_escapes_are_decoded(found: Found) -> None:
    assert names(found, r"track('caf\u00e9 \'x\' \x41\u{1F600}');") == ["café 'x' A😀"]


@pytest.mark.parametrize("path", ["a.tsx", "a.jsx", "a.js", "a.mjs"])
def test_calls_in_markup_are_found(found: Found, path: str) -> None:
    source = "export const B = () => <b onClick={() => track('tapped', { k: 1 })}>track('no')</b>;"
    assert found(path, source, **TS) == [(1, "tapped", ("k",))]


def test_constants_are_followed_through_imports(found: Found) -> None:
    events = (
        "export const PREFIX = 'tab_';\n"
        "export const EVENTS = { OPENED: `${PREFIX}opened`, inner: { A: 'a' } } as const;\n"
        "export enum Kind { One = 'one', Two = 'two' }\nexport let changing = 'x';\n"
    )
    source = (
        "import { EVENTS as E, Kind, changing } from './events';\nimport * as all from '../src/events';\n"
        "track(E.OPENED);\ntrack(E.inner.A);\ntrack(E['OPENED']);\ntrack(Kind.Two);\ntrack(all.PREFIX + 'x');\n"
        "track(changing);"
    )
    expected = ["tab_opened", "a", "tab_opened", "two", "tab_x", None]
    assert names(found, source, others={"src/events.ts": events}) == expected


def test_two_constants_of_one_name_are_kept_apart_by_the_import(found: Found) -> None:
    others = {"src/a.ts": "export const NAME = 'a';", "src/b.ts": "export const NAME = 'b';"}
    assert names(found, "import { NAME } from './b';\ntrack(NAME);", others=others) == ["b"]
    assert names(found, "track(NAME);", others=others) == [None]


def test_properties_come_from_object_literals(found: Found) -> None:
    source = "const K = 'key';\nconst base = { a: 1 };\ntrack('x', { 'l-m': 2, [K]: 3, short, ...base });"
    assert found("a.ts", source, **TS) == [(3, "x", ("l-m", "key", "short", "a"))]


def test_event_and_properties_may_be_keys_of_one_object(found: Found) -> None:
    setting = {"calls": [{"method": "send", "event": "name", "properties": "props"}]}
    source = "send({ name: 'a', props: { k: 1 } });\nsend({ other: 'b' });"
    assert found("a.ts", source, typescript=setting) == [(1, "a", ("k",))]


def test_branches_give_every_name(found: Found) -> None:
    assert names(found, "function f(p?: string) { track(p ? 'a' : 'b'); track(p ?? 'z'); }") == ["a", "b", "z", None]


def test_a_wrapper_is_followed_to_its_callers_in_other_files(found: Found) -> None:
    others = {"src/log.ts": "export const log = (name: string, props = {}) => track(`app_${name}`, props);"}
    source = "import { log } from './log';\nfunction f() {\n  log('x', { k: 1 });\n}"
    assert found("src/a.ts", source, others=others, **TS) == [(3, "app_x", ("k",))]


def test_class_constants_and_constructed_events_are_read(found: Found) -> None:
    source = (
        "class A {\n  static readonly X = 'x';\n  f() {\n    track(A.X);\n    track(new Event('n', { a: 1 }));\n  }\n}"
    )
    assert found("a.ts", source, **TS) == [(4, "x", ()), (5, "n", ("a",))]


def test_a_lambda_parameter_hides_a_constant(found: Found) -> None:
    assert names(
        found, "const NAME = 'x';\nlist.forEach((NAME) => track(NAME));\nlist.map(({ NAME }) => track(NAME));"
    ) == [
        None,
        None,
    ]


@pytest.mark.parametrize("broken", ["import a, { b as c( } from './d'", "import * as from './d'", "class A extends"])
def test_a_statement_that_is_not_finished_costs_nothing_else(found: Found, broken: str) -> None:
    assert names(found, f"{broken}\ntrack('x');") == ["x"]
