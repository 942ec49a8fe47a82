"""Text for pull requests: whatever somebody else wrote is shown as plain words, and nothing grows past what fits.

What belongs here: escaping for GitHub-flavoured Markdown (other forges understand the same), and cutting. What does
not: what a pull request says (each system's own template).

Text by a model, an upstream author or a file is hostile until escaped: a mention notifies people, `#1` links and with
"fixes" closes an issue, an image loads from a stranger's server, HTML hides things, `/merge` commands a bot. Rules:
CommonMark 0.31, GFM's extended autolinks, Gitea's `!1`, and GitHub's own references (mentions, issue numbers, `GH-1`),
which GitHub finds in the *rendered* text: a backslash or an entity does not stop those. They are broken with a
zero-width space, written as the entity `&#8203;` so that it stays visible in the source.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

BODY_LIMIT = 65_536
"""Characters that GitHub takes as the body of a pull request; counted here in UTF-16 units, the stricter reading."""

TITLE_LIMIT = 256

BREAK = "&#8203;"

_PUNCTUATION = re.compile(r"[\\`*_\[\]|~$]")
_REFERENCE = re.compile(r"@|#(?=\w)|!(?=\d)|\bGH(?=-\d)|:(?=//)|\bwww(?=\.)", re.IGNORECASE)
_LINE_START = re.compile(r"^(?:([#+\-=/:])|(\d+)([.)]))")


def visible(text: str) -> str:
    """Show what cannot be seen: control, bidi, zero-width and other format characters become `\\u{202e}`; line ends
    become `\\n`, tabs a blank."""
    text = re.sub(r"\r\n?|\u2028|\u2029|\x85", "\n", text).replace("\t", " ")
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else f"\\u{{{ord(c):x}}}" for c in text)


def cut(text: str, limit: int, *, mark: str = "… (cut, {left} more characters)") -> str:
    """At most about `limit` characters, and a mark that says how much is missing."""
    if len(text) <= limit:
        return text
    return text[:limit].rstrip() + " " + mark.format(left=len(text) - len(text[:limit].rstrip()))


def prose(text: str, *, limit: int = 4_000) -> str:
    """Several lines of somebody else's words, as Markdown that renders as exactly these words in plain paragraphs."""
    lines = (_escape_line(line.strip()) for line in visible(cut(text, limit)).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def inline(text: str, *, limit: int = 300) -> str:
    """The same on one line, fit for a list item or a table cell."""
    return _escape_line(" ".join(visible(cut(text, limit)).split()))


def code(text: str, *, limit: int = 200, in_table: bool = False) -> str:
    """A code span with exactly this text on one line. In a table a `|` would end the cell even inside a code span, and
    only there a backslash takes that away."""
    shown = visible(cut(text, limit)).replace("\n", " ")
    if not shown.strip():
        return "(empty)" if not shown else "(blank)"
    if in_table:
        shown = shown.replace("|", "\\|")
    ticks = "`" * (_longest_run("`", shown) + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def fenced(text: str, language: str = "", *, limit: int = 20_000) -> str:
    """A fenced block with exactly these lines. `language` is ours, never somebody else's."""
    shown = visible(cut(text, limit)).rstrip("\n")
    fence = "`" * max(3, _longest_run("`", shown) + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def json_block(value: Any) -> str:
    """JSON for machines in a fenced block. ASCII only: nothing in it can hide, and every reader decodes it."""
    shown = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True)
    fence = "`" * max(3, _longest_run("`", shown) + 1)
    return f"{fence}json\n{shown}\n{fence}"


def title(text: str) -> str:
    """One line within GitHub's limit. A title is not Markdown; mentions in it notify nobody."""
    return cut(" ".join(visible(text).split()), TITLE_LIMIT - 1, mark="…")[:TITLE_LIMIT]


def on_top(note: str, body: str) -> str:
    """`body` with `note` before it, once."""
    return body if body.startswith(note) else f"{note}\n\n{body}"


def size(text: str) -> int:
    """Length in UTF-16 units."""
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def fit(body: str, limit: int = BODY_LIMIT) -> str:
    """`body`, or as many of its first lines as GitHub takes, with a mark that says so. A fenced block or a `<details>`
    that the cut leaves open is closed first. The last resort: a template cuts its own long parts."""
    body = body.replace("\r\n", "\n")
    if size(body) <= limit:
        return body
    room = limit - 300
    kept: list[str] = []
    for line in body.split("\n"):
        room -= size(line) + 1
        if room < 0:
            break
        kept.append(line)
    left = body.count("\n") + 1 - len(kept)
    mark = f"**Cut here:** {left} more lines would pass the {limit:,} characters that a pull request can hold."
    return "\n".join([*kept, *_closing(kept), "", mark])


def _closing(lines: list[str]) -> list[str]:
    """The lines that close what `lines` leave open."""
    fence = ""
    details = 0
    for line in lines:
        marker = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line.rstrip() == fence else fence
        elif marker:
            fence = marker[0]
        else:
            details += line.count("<details>") - line.count("</details>")
    return ([fence] if fence else []) + ["", "</details>"] * max(details, 0)


def _escape_line(line: str) -> str:
    line = _LINE_START.sub(lambda found: f"{found[2] or ''}\0{found[3] or found[1]}", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _PUNCTUATION.sub(lambda found: "\\" + found[0], line).replace("\0", "\\")
    return _REFERENCE.sub(lambda found: found[0] + BREAK, line)


def _longest_run(character: str, text: str) -> int:
    return max((len(run[0]) for run in re.finditer(re.escape(character) + "+", text)), default=0)
