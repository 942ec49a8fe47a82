"""Text that shows a person something else than a machine reads.

What belongs here: characters and markup that hide or reorder text, in added lines and in texts for the forge. What does
not: secrets (`secrets.py`), and rules of one format (that system's validator).

Bidirectional controls: "Trojan Source", CVE-2021-42574. Tag characters and variation selectors carry invisible text
that models read. Line breaks other than LF or CRLF hide what stands before them on a terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from upkeep.guardrails.patch import FileChange, Patch, Policy
from upkeep.guardrails.report import GuardrailFinding

_PROSE = {".md", ".markdown", ".mdx", ".html", ".htm"}

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
)
_SMUGGLED = "\U000e0000-\U000e0fff"
_JOINERS = "\u200c\u200d"
_SUSPECT = re.compile(
    f"(?P<control>[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029])|(?P<bidi>[{_BIDI}])"
    f"|(?P<invisible>[{_INVISIBLE}{_SMUGGLED}])|(?P<joiner>[{_JOINERS}])"
)
_WORDS: Mapping[str, str] = {
    "control": "a control character",
    "bidi": "a character that reorders text",
    "invisible": "an invisible character",
}

_PLAIN = bytes([*b"\t\n", *range(0x20, 0x7F)])

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CODE_SPAN = re.compile(r"(`+)(?:(?!`).)+?\1")
# Elements that format a few words, without attributes. Everything else may hide, load or run something.
_HARMLESS = re.compile(r"</?(?:br|b|i|em|strong|code|kbd|sub|sup|s|u)\s*/?>", re.IGNORECASE)
_HTML = re.compile(r"<!--|<[!?/]?[A-Za-z][^<>]*(?:>|$)")
_SCRIPT_URL = re.compile(r"(?:^|[\s(<\"'])(?:javascript|vbscript|data)\s*:[^\s)]", re.IGNORECASE)
_HIDDEN_REFERENCE = re.compile(r"^ {0,3}\[[^\]]*\]:\s*(?:#|<>)")


def check_text(patch: Patch, policy: Policy) -> Iterator[GuardrailFinding]:
    for change in patch.files:
        if change.new is None:
            continue
        yield from _encoding(change)
        # What is left of a file without its plain characters first: almost every file is clean.
        if _SUSPECT.search(_unusual("\n".join(line for _, line in change.added))):
            for number, line in change.added:
                yield from _characters(line, change.path, number)
        if PurePosixPath(change.path).suffix.lower() in _PROSE:
            yield from _markup(change)
    for name, text in patch.texts.items():
        for number, line in enumerate(text.split("\n"), 1):
            yield from _characters(line.removesuffix("\r"), f"({name})", number)
        if name in ("title", "branch") and "\n" in text:
            yield GuardrailFinding(rule="text.control", path=f"({name})", line=1, message="it has several lines")


def _unusual(text: str) -> str:
    """The text without printable ASCII and line ends. As bytes, because that is fifty times faster."""
    return text.encode(errors="surrogatepass").translate(None, _PLAIN).decode(errors="surrogatepass")


def _encoding(change: FileChange) -> Iterator[GuardrailFinding]:
    try:
        (change.new or b"").decode()
    except UnicodeDecodeError as error:
        if _is_text(change.old):
            line = error.object.count(b"\n", 0, error.start) + 1
            yield GuardrailFinding(rule="text.encoding", path=change.path, line=line, message="it is no UTF-8 text")


def _is_text(data: bytes | None) -> bool:
    """A binary file that was there before may change; a new one, or a text that becomes one, may not."""
    try:
        (data or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _characters(line: str, path: str, number: int) -> Iterator[GuardrailFinding]:
    """One finding a kind and line: a binary file would fill the report otherwise."""
    seen = set()
    for found in _SUSPECT.finditer(line):
        kind = found.lastgroup or ""
        if kind == "joiner":
            if _joins(line, found.start()):
                continue
            kind = "invisible"
        if kind in seen:
            continue
        seen.add(kind)
        name = f"U+{ord(found[0]):04X} {unicodedata.name(found[0], '')}".rstrip()
        column = found.start() + 1
        yield GuardrailFinding(
            rule=f"text.{kind}", path=path, line=number, message=f"{_WORDS[kind]} ({name}) in column {column}"
        )


def _joins(line: str, position: int) -> bool:
    """Joiners are part of emoji and of Indic, Arabic and Persian words; between Latin letters they only hide."""
    around = line[max(0, position - 1) : position] + line[position + 1 : position + 2]
    return len(around) == 2 and all(ord(char) > 0x5FF for char in around)


def _markup(change: FileChange) -> Iterator[GuardrailFinding]:
    """HTML and links in added prose. Code blocks and code spans show their content, so they are left out."""
    added = dict(change.added)
    fence = ""
    for number, line in enumerate((change.new or b"").decode(errors="replace").split("\n"), 1):
        mark = _FENCE.match(line)
        if mark is not None and (not fence or (mark[1].startswith(fence) and not line[mark.end() :].strip())):
            fence = "" if fence else mark[1]
        elif not fence and number in added:
            yield from _hidden(line, change.path, number)


def _hidden(line: str, path: str, number: int) -> Iterator[GuardrailFinding]:
    prose = _HARMLESS.sub("", _CODE_SPAN.sub("", line))
    if (found := _HTML.search(prose)) is not None:
        shown = found[0][:40]
        yield GuardrailFinding(rule="text.html", path=path, line=number, message=f"HTML in generated text: {shown}")
    if _SCRIPT_URL.search(prose):
        yield GuardrailFinding(rule="text.link", path=path, line=number, message="a link that carries code or data")
    if _HIDDEN_REFERENCE.match(prose):
        yield GuardrailFinding(rule="text.html", path=path, line=number, message="a link definition used as a comment")
