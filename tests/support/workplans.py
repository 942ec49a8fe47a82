"""Workplan files for tests: the example of the guide, and generated ones.

What belongs here: texts, and Hypothesis strategies for files as people write them and for hubs that have drifted from
them. What does not: reading them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

EXAMPLE = """\
---
id: CUST-WP-0014
type: workplan
title: Repo Sync Automation
domain: custodian
repo: the-custodian
status: active
state_hub_workstream_id: 27ea80bd-76bf-44a7-b0ed-e09748d5390b
created: 2026-03-16
updated: 2026-03-16
---
# Repo Sync Automation

## Task: Git post-commit hook installer
```task
id: CUST-WP-0014-T02
status: todo
priority: high
state_hub_task_id: "97c831d9-d915-4b77-9dd6-929ff24dfd5e"
```
Prose, with its own nested code blocks, up to the next heading.

````markdown
```task
id: NOT-A-TASK
status: nonsense
```
````
"""

STREAM = uuid.UUID("27ea80bd-76bf-44a7-b0ed-e09748d5390b")
TASK = uuid.UUID("97c831d9-d915-4b77-9dd6-929ff24dfd5e")


def task(name: str, status: str = "todo", *more: str, heading: str = "") -> str:
    """A heading and a task block; `more` are further lines of the block."""
    lines = [f"## Task: {heading or name}", "```task", f"id: {name}", f"status: {status}", *more, "```", ""]
    return "\n".join(lines)


def plan(name: str, status: str = "active", *tasks: str, front: tuple[str, ...] = ()) -> str:
    """A workplan with these tasks; `front` are further lines of its front matter."""
    head = ["---", f"id: {name}", "type: workplan", f"title: {name}", f"status: {status}", *front, "---", ""]
    return "\n".join([*head, *tasks])


@dataclass(frozen=True)
class Line:
    """A line of a block, as it is written. `key` is empty for comments and blank lines."""

    key: str
    text: str


_PROSE = st.sampled_from(
    [
        "Some prose.",
        "",
        "\tindented by a tab",
        "- a list\n\n  ```\n  with code\n  ```",
        "````markdown\n```task\nid: NESTED\nstatus: none\n```\n````",
        "~~~\n```task\nid: INSIDE\n~~~",
        "> a quote: `status: todo`",
        "status: done",
        "    state_hub_task_id: indented code",
        "Ünïcödé — 漢字 🎉",
        "## Another heading",
        "<!-- state_hub_workstream_id: null -->",
        "Setext\n======",
        "```python\nstatus = 'todo'\n```",
    ]
)
_COMMENT = st.sampled_from(["", "  # a comment: yes", " # é", "   "])
_QUOTE = st.sampled_from(["", "'", '"'])
_SPACE = st.sampled_from([" ", "  ", "    "])
_ID_VALUES = st.sampled_from([None, "", "null", "~", "Null", '""', "''"])
_EXTRA = st.sampled_from(
    ["owner: Ada  # on leave", "tags: [a, 'b', \"c\"]", "# only a comment", "", "notes: |\n  more\n\n  lines", "é: ü"]
)
_DATES = st.sampled_from(["", "2026-03-16", "2026-03-17", "2026-03-18T10:00:00Z"])


@st.composite
def _block(draw: Any, name: str, id_key: str, statuses: tuple[str, ...], extra: list[str]) -> list[str]:
    """The lines of a block: shuffled fields, each with its own quotes, blanks and comment."""

    def written(key: str, value: str) -> str:
        quote = draw(_QUOTE)
        return f"{key}:{draw(_SPACE)}{quote}{value}{quote}{draw(_COMMENT)}"

    lines = [written("id", name), written("status", draw(st.sampled_from(statuses)))]
    if (value := draw(_ID_VALUES)) is not None:
        lines.append(f"{id_key}:{draw(_SPACE) if value else ''}{value}{draw(_COMMENT)}")
    if date := draw(_DATES):
        lines.append(written("updated", date))
    lines += extra
    lines = draw(st.permutations(lines))
    more = dict.fromkeys(draw(st.lists(_EXTRA, max_size=2)))
    return [*lines, *more]


@st.composite
def files(draw: Any, *, task_statuses: tuple[str, ...], plan_statuses: tuple[str, ...]) -> dict[str, bytes]:
    """One to three workplan files of one repository: well-formed, and as untidy as people write them."""
    made = {}
    for number in range(draw(st.integers(1, 3))):
        name = f"WP-{number}"
        title = [f"title:{draw(_SPACE)}{draw(_QUOTE.map(lambda quote: f'{quote}A title{quote}'))}"]
        front = draw(_block(name, "state_hub_workstream_id", plan_statuses, title))
        parts = ["---", *front, "---", draw(_PROSE)]
        for task_number in range(draw(st.integers(0, 3))):
            indent = draw(st.sampled_from(["", "", " ", "   "]))
            fence = draw(st.sampled_from(["```", "````", "~~~"]))
            more = draw(st.sampled_from([[], ["priority: high"], ["needs_human: true", "question: 'Which?'"]]))
            block = draw(_block(f"{name}-T{task_number}", "state_hub_task_id", task_statuses, more))
            lines = [f"{fence}task", *(line for each in block for line in each.split("\n")), fence]
            parts += ["", f"## Task: number {task_number}", *(f"{indent}{line}" for line in lines), draw(_PROSE), ""]
        parts.append(draw(st.sampled_from(["", "the end", "the end\n"])))
        text = "\n".join(parts)
        ends = draw(st.sampled_from([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n"], ["\n", "\r\n", "\r"]]))
        pieces = text.split("\n")
        mixed = "".join(
            piece + (ends[index % len(ends)] if index < len(pieces) - 1 else "") for index, piece in enumerate(pieces)
        )
        bom = "\ufeff" if draw(st.booleans()) else ""
        made[f"workplans/{number}.md"] = (bom + mixed).encode()
    return made
