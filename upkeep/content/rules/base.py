"""What rules share: what they see, what they return, and how they speak.

What belongs here: `Context`, `Hit`, `Rule`, and wording helpers. What does not: any rule.
"""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from upkeep.content.folder import Content, ContentFiles, Flow, Refusal
from upkeep.content.mermaid import Verdict
from upkeep.content.report import Severity

if TYPE_CHECKING:
    from upkeep.content.evidence import Source

MAX_SHOWN = 120
MAX_LISTED = 40
MAX_SUGGESTIONS = 200
"""So often a near name is looked for in a run: it costs milliseconds, and a folder can be wrong throughout."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing that a rule found. `pointer` or `line` says where in the file; neither: the whole file.

    `entry` is what the error hangs on (the event, the node, the block: its content, not its place): the same code, file
    and entry in the base means that the error was there before and its entry did not change.
    """

    file: str
    message: str
    pointer: str | None = None
    line: int | None = None
    column: int | None = None
    entry: str = ""


@dataclass
class Context:
    """What rules see. `verdicts` are Mermaid's own, by block text (None: it was not asked), `evidence` gives the
    upstream's texts at the commit that the evidence names."""

    content: Content
    base: Content | None = None
    evidence: Source | None = None
    verdicts: Mapping[str, Verdict] | None = None
    _suggestions_left: int = field(default=MAX_SUGGESTIONS, repr=False)

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Entries of the folder that were not read."""
        files = self.content.files
        return files.refused if isinstance(files, ContentFiles) else ()

    @property
    def flows(self) -> Iterable[Flow]:
        return self.content.flows.values()

    @cached_property
    def flows_of(self) -> dict[str, list[str]]:
        """Slugs of the flows that have an event, by the event's name without outer blanks."""
        found: dict[str, list[str]] = {}
        for flow in self.flows:
            for name in flow.trimmed_names:
                found.setdefault(name, []).append(flow.slug)
        return found

    def nearest(self, wanted: str, known: Iterable[str]) -> str | None:
        """Return the known name that looks most like a wanted one, None where none is near."""
        if self._suggestions_left <= 0:
            return None
        self._suggestions_left -= 1
        folded = {_fold(name): name for name in known}
        found = difflib.get_close_matches(_fold(wanted), folded, n=1, cutoff=0.75)
        return folded[found[0]] if found else None


@dataclass(frozen=True, slots=True)
class Rule:
    """One code: its severity, a title for documentation, and the function that finds it."""

    code: str
    severity: Severity
    title: str
    find: Callable[[Context], Iterator[Hit]]


def shown(value: Any) -> str:
    """Return a value for a sentence: quoted, escaped where it could change how the sentence reads, and cut."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(char if _harmless(char) else f"\\u{ord(char):04x}" for char in text[: MAX_SHOWN + 1])
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "…"
    return f"“{text}”" if isinstance(value, str) else text


def listed(names: Iterable[str], limit: int = MAX_LISTED) -> str:
    """Return names for a sentence, at most `limit` of them."""
    everything = list(names)
    text = ", ".join(shown(name) for name in everything[:limit])
    return text if len(everything) <= limit else f"{text} and {len(everything) - limit} more"


def is_text(value: Any) -> bool:
    """Whether a value is a text that says something."""
    return isinstance(value, str) and bool(value.strip())


def key_of(*parts: Any) -> str:
    """Return an entry's content as one text."""
    return json.dumps(parts, ensure_ascii=True, sort_keys=True, default=str)


def kind_of(value: Any) -> str:
    """Return what JSON calls a value."""
    names = {bool: "true or false", type(None): "null", str: "a text", dict: "an object", list: "an array"}
    return names.get(type(value), "a number")


def _fold(name: str) -> str:
    return " ".join(name.replace("->", "→").casefold().split())


def _harmless(char: str) -> bool:
    return char == " " or unicodedata.category(char)[0] not in "CZ"
