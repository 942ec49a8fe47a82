"""Words out of names: of events, of types, of folders.

What belongs here: splitting and joining. What does not: what a name stands for in a flow (`entries.py`,
`placement.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_MANY = 10
"""Fewer names share a beginning by chance."""

_JOINERS = "\u200c\u200d"
_TYPE_ENDINGS = (
    "ViewModel", "Component", "Fragment", "Activity", "Controller", "Presenter", "AnalyticsHelper", "AnalyticsManager",
    "AnalyticsTracker", "Analytics", "Tracker", "Impl", "Kt",
)  # fmt: skip


def words(text: str) -> list[str]:
    """Return the words of a camel, snake, kebab or spaced name, as they are written."""
    return _WORD.findall(text)


def slug(text: str) -> str:
    """Return a folder name: lower-case words joined by hyphens, "app" where there is none."""
    return "-".join(word.lower() for word in words(text) if word.isascii()) or "app"


def title(text: str) -> str:
    """Return a heading: `order-history` is "Order History"."""
    return " ".join(word if word.isupper() else word.capitalize() for word in words(text)) or text


def phrase(name: str) -> str:
    """Return an event's name as the beginning of a sentence: `cart_item_added` is "Cart item added". A first word with
    capitals of its own stays as it is."""
    parts = words(name) if re.search(r"\s", name) is None else name.split()
    text = " ".join(part if part.isupper() or " " in name else part.lower() for part in parts) or name
    first = text.split()[0] if text.split() else ""
    return text[:1].upper() + text[1:] if first.islower() else text


def folded(name: str) -> str:
    """Return what two names have in common that differ only in case and blanks."""
    return "".join(name.split()).casefold()


def visible(text: str) -> str:
    """Return a text without characters that cannot be seen and can mislead: controls, line ends, bidirectional and
    zero-width ones. The joiners that Indic scripts and emoji need stay."""
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs") or char in _JOINERS)


def type_of(symbol: str) -> str:
    """Return the innermost type of a symbol (`CartScreen.Content.onPay` is "Content"), "" where it names none."""
    return next((part for part in reversed(symbol.split(".")) if part[:1].isupper()), "")


def screen_of(type_name: str) -> str:
    """Return a type as a place that a person knows: `CartViewModel` is "Cart", `CartScreen` "Cart Screen"."""
    for ending in _TYPE_ENDINGS:
        if type_name.endswith(ending) and type_name != ending:
            type_name = type_name.removesuffix(ending)
    return title(type_name)


def shared_beginning(names: Iterable[str]) -> tuple[str, ...]:
    """Return the words, in lower case, with which more than half of many names begin: what an app puts before each."""
    left = [[word.lower() for word in words(name)] for name in names]
    half = max(len(left) / 2, _MANY / 2)
    shared: list[str] = []
    while True:
        following = Counter(each[len(shared)] for each in left if len(each) > len(shared))
        word, count = following.most_common(1)[0] if following else ("", 0)
        if count <= half:
            return tuple(shared)
        shared.append(word)
        left = [each for each in left if each[len(shared) - 1 :][:1] == [word]]


def common_words(one: str, other: str) -> int:
    """Return with how many equal words two names begin."""
    count = 0
    for left, right in zip(words(one), words(other), strict=False):
        if left.lower() != right.lower():
            break
        count += 1
    return count
