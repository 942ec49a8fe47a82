"""Every error says what it is, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator

from upkeep import errors
from upkeep.errors import UpkeepError


def kinds(kind: type[UpkeepError] = UpkeepError) -> Iterator[type[UpkeepError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from kinds(below)


def test_no_error_leaves_a_person_without_a_next_step() -> None:
    for kind in kinds():
        assert kind("It failed.").remedy.endswith("."), kind.__name__
        assert kind("It failed.", remedy="Do this.").remedy == "Do this."


def test_codes_are_distinct_and_the_tree_in_the_docstring_is_the_tree() -> None:
    found = list(kinds())
    assert len({kind.code for kind in found}) == len(found)
    drawn = dict(re.findall(r"(\w+) +(\d+)   ", errors.__doc__ or ""))
    assert drawn == {kind.__name__: str(kind.exit_code) for kind in found}
