"""A Kotlin app of any size: what its files look like to a scanner, not what it does.

What belongs here: generating sources, the same for the same arguments. What does not: repositories (`repositories.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator

WORDS = (
    *("order", "payment", "refund", "shipping", "label", "coupon", "product"),
    *("review", "customer", "store", "theme", "login", "search", "settings"),
)
VERBS = ("opened", "tapped", "failed", "loaded", "dismissed", "submitted", "cancelled")


def kotlin_app(files: int, *, calling: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Yield `files` paths with sources of 2 to 10 kB; `calling` of them call the tracker.

    Events are literals, constants of `Events`, and members of the enum `Event`.
    """
    chosen = random.Random(seed)
    yield "app/src/main/kotlin/com/shop/analytics/Event.kt", _enum()
    yield "app/src/main/kotlin/com/shop/analytics/Events.kt", _constants()
    callers = set(chosen.sample(range(files - 2), calling))
    for number in range(files - 2):
        word = WORDS[number % len(WORDS)]
        path = f"{word}/src/main/kotlin/com/shop/{word}/part{number % 37}/{word.title()}Screen{number}.kt"
        yield path, _screen(chosen, number, word, calls=chosen.randint(1, 5) if number in callers else 0)


def _enum() -> str:
    members = [f"{word}_{verb}".upper() for word in WORDS for verb in VERBS]
    lines = ",\n".join(f'    {member}("{member.lower()}")' for member in members)
    return f"package com.shop.analytics\n\nenum class Event(val label: String) {{\n{lines}\n}}\n"


def _constants() -> str:
    lines = "\n".join(
        f'    const val {word.upper()}_{verb.upper()} = "{word} {verb}"' for word in WORDS for verb in VERBS
    )
    return f'package com.shop.analytics\n\nobject Events {{\n{lines}\n    const val SOURCE = "source"\n}}\n'


def _screen(chosen: random.Random, number: int, word: str, *, calls: int) -> str:
    imports = [f"import com.shop.{other}.{other.title()}Repository" for other in chosen.sample(WORDS, 6)]
    functions = [_function(chosen, number, index) for index in range(chosen.randint(3, 22))]
    for index in range(calls):
        functions.insert(chosen.randint(0, len(functions)), _tracked(chosen, word, index))
    return "\n".join(
        [
            f"package com.shop.{word}",
            "",
            *sorted({*imports, "import com.shop.analytics.Event", "import com.shop.analytics.Events"}),
            "",
            f"class {word.title()}Screen{number}(",
            f"    private val repository: {word.title()}Repository,",
            *(["    private val tracker: AnalyticsTracker?,"] if calls else []),
            ") : BaseScreen() {",
            *functions,
            "    companion object {",
            f'        private const val TAG = "{word.title()}Screen{number}"',
            "    }",
            "}",
            "",
        ]
    )


def _tracked(chosen: random.Random, word: str, index: int) -> str:
    verb = chosen.choice(VERBS)
    event = chosen.choice(
        [
            f'"{word} {verb} {chosen.randint(1, 40)}"',
            f"Events.{word.upper()}_{verb.upper()}",
            f"Event.{word.upper()}_{verb.upper()}.label",
            f'if (first) "{word} first" else Events.{word.upper()}_{verb.upper()}',
        ]
    )
    receiver = chosen.choice(["tracker?.", "Tracker.", ""])
    return (
        f"    private fun track{index}(first: Boolean, id: Long) {{\n"
        f'        {receiver}track({event}, mapOf(Events.SOURCE to TAG, "id" to id))\n    }}\n'
    )


def _function(chosen: random.Random, number: int, index: int) -> str:
    return (
        f"    /** Loads page {index} of screen {number}. */\n"
        f"    suspend fun load{index}(page: Int, query: String?): Result<List<Item>> {{\n"
        f'        val key = "page-$page-${{query.orEmpty()}}"\n'
        f"        return runCatching {{ repository.fetch(key, limit = {chosen.randint(5, 50)}) }}\n"
        f"            .map {{ items -> items.filter {{ it.visible && it.index > {index} }}.sortedBy {{ it.title }} }}\n"
        f'            .onFailure {{ error -> log(TAG, "load{index} failed: ${{error.message}}") }}\n    }}\n'
    )
