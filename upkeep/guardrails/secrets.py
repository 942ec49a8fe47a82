"""Secrets in what is about to be published.

What belongs here: values that we hold ourselves in any usual encoding, and strings that look random. What does not:
the formats of known credentials (`formats.py`), and redaction of our own output (`upkeep.redaction.Redactor`).

A known format blocks. A random-looking string blocks only beside a word such as "password": a name, a hash or an id
looks random too, and a warning is enough for those. A finding never repeats the value.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from upkeep.guardrails.formats import PLACEHOLDER, known_formats
from upkeep.guardrails.patch import Patch, Policy
from upkeep.guardrails.report import GuardrailFinding, Severity
from upkeep.redaction import Redactor

# A name that announces a secret, then an assignment, and the value: `"api_key": "…"`, `PASSWORD=…`, `token: …`.
_TELLING = ("password", "passwd", "passphrase", "secret", "token", "credential", "key")
_TELLING_KEY = re.compile(r"(?:api|access|auth|private)[_-]?$", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""[A-Za-z0-9_.-]{0,20}(?:["']?\s{0,8}(?::=|=>|[:=])|["'],)\s{0,8}(["'`]?)([A-Za-z0-9+/_=.!@#$%^&*~-]{12,200})(?!\()"""
)
_OF_IT = re.compile(r"""[_-]?(?:name|id|ref|type|arn|path|file|version|hash)s?["']?\s*[:=]""", re.IGNORECASE)
"""What is assigned is the secret's name, not the secret: `secret_name: prod-db-v2`."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{1,16}")
_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
"""A value without quotes that is an expression, such as `settings.database.url2`."""

_TOKEN = re.compile(r"(?<![A-Za-z0-9_+/=-])[A-Za-z0-9_+/=-]{24,200}(?![A-Za-z0-9_+/=-])")
_BREAKS = bytes(
    byte if byte < 128 and (chr(byte).isalnum() or chr(byte) in "_+/=-") else ord(" ") for byte in range(256)
)
"""Turns everything that is no part of a `_TOKEN` into a blank."""

_BLANK = b" \t\n\r\x0b\x0c"
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[^\W\d_]")
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = re.compile(r"(?i)[0-9a-f]+")
_DIGEST_LENGTHS = {32, 40, 56, 64, 96, 128}
_INTEGRITY = re.compile(r"(?:sha(?:1|256|384|512)|md5|h1)[-:][A-Za-z0-9+/=]+")
_DIGESTS = ("sha1-", "sha256-", "sha384-", "sha512-")
_WORDS = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{4,}|\d{3,}|[_+/=-]")

_STRETCH = 12
_STRETCHES = re.compile(r"[A-Za-z0-9]+")
_TURNS = re.compile(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])")

# Measured on 1,500 random strings of 24 to 40 letters and digits: 99 % have this many bits a character, and in 96 %
# words make up less than this share. Of the long identifiers of a large Python package none is in both.
_RANDOM_BITS = 3.9
_WORDED = 0.55
# Beside a telling name less is enough.
_ANNOUNCED_BITS = 3.0
_ANNOUNCED_WORDED = 0.75


def check_secrets(patch: Patch, policy: Policy) -> Iterator[GuardrailFinding]:
    held = _held(policy)
    for change in patch.files:
        yield from _scan("\n".join(line for _, line in change.added), change.path, held, [n for n, _ in change.added])
        # The name itself is published too.
        yield from _scan(change.path, change.path, held, None)
    for name, text in patch.texts.items():
        yield from _scan(text, f"({name})", held, None)


def _scan(text: str, path: str, held: Redactor, numbers: list[int] | None) -> Iterator[GuardrailFinding]:
    """`numbers`: the line in the file of each line of `text`; None where they are the same."""
    if not text:
        return

    def finding(rule: str, message: str, offset: int | None, severity: Severity = "error") -> GuardrailFinding:
        line = None if offset is None else text.count("\n", 0, offset)
        number = None if line is None else line + 1 if numbers is None else numbers[line]
        return GuardrailFinding(rule=rule, severity=severity, path=path, line=number, message=message)

    for offset in _held_in(text, held):
        yield finding("secrets.held", "it holds a secret of this installation", offset)
    taken: set[int] = set()
    for name, start in known_formats(text):
        taken.add(text.count("\n", 0, start))
        yield finding("secrets.format", f"it looks like a {name}", start)
    for start, announced in _random(text):
        if (line := text.count("\n", 0, start)) in taken:
            continue
        taken.add(line)
        severity: Severity = "error" if announced else "warning"
        message = "a random string is assigned to a secret's name" if announced else "a string looks random"
        yield finding("secrets.random", message, start, severity)


def _held(policy: Policy) -> Redactor:
    """Finds our own secrets as they are, URL-encoded, in base64 at any offset, and in hexadecimal."""
    values = [secret.get_secret_value() for secret in policy.secrets]
    hexadecimal = [value.encode().hex() for value in values]
    return Redactor([*values, *hexadecimal, *(value.upper() for value in hexadecimal)])


def _held_in(text: str, held: Redactor) -> Iterator[int | None]:
    """Offsets of lines with a held secret; None for one that only shows where lines are joined."""
    if not held:
        return
    data = text.encode(errors="replace")
    if not held.finds(data):
        joined = data.translate(None, _BLANK) if text.isascii() else "".join(text.split()).encode(errors="replace")
        if held.finds(joined):
            yield None
        return
    offset = 0
    for line in text.split("\n"):
        if held.finds(line.encode(errors="replace")):
            yield offset
        offset += len(line) + 1


def _random(text: str) -> Iterator[tuple[int, bool]]:
    """Offsets of strings that look random, and whether a name announces them as a secret."""
    for start, value in _assigned(text):
        if PLACEHOLDER.search(value):
            continue
        if (_mixed(value, _ANNOUNCED_WORDED) or _interleaved(value)) and _bits(value) >= _ANNOUNCED_BITS:
            yield start, True
    # Splitting first: nearly every text has no such token, and most tokens stand in it more than once.
    tokens = {token for token in text.encode(errors="replace").translate(_BREAKS).split() if len(token) >= 24}
    random = {token.decode() for token in tokens if len(token) <= 200 and _looks_random(token.decode())}
    if random:
        yield from ((found.start(), False) for found in _TOKEN.finditer(text) if found[0] in random)


def _assigned(text: str) -> Iterator[tuple[int, str]]:
    """Offset of each telling name that something is assigned to, and the value. Plain searches for the few words are
    ten times faster than a regular expression over everything."""
    lowered = text.lower()
    if len(lowered) != len(text):  # İ and its like: offsets would be wrong.
        lowered = text
    for word in _TELLING:
        start = lowered.find(word)
        while start >= 0:
            end = start + len(word)
            telling = word != "key" or _TELLING_KEY.search(text, max(0, start - 8), start)
            if telling and not _public(lowered, start) and not _OF_IT.match(text, end):
                found = _ASSIGNED.match(text, end)
                if found and not _ADDRESS.fullmatch(found[2]) and (found[1] or not _CODE.fullmatch(found[2])):
                    yield start, found[2]
            start = lowered.find(word, end)


def _public(lowered: str, start: int) -> bool:
    """`publicKeyToken` of .NET: eight bytes of a public key's hash."""
    return lowered.endswith("publickey", 0, start)


def _looks_random(token: str) -> bool:
    if _DIGIT.search(token) is None or token.startswith(_DIGESTS):
        return False
    if _HEX.fullmatch(token):
        return len(token) not in _DIGEST_LENGTHS and len(token) >= 32 and _bits(token) > 3.0
    if not _mixed(token, _WORDED) or _bits(token) < _RANDOM_BITS:
        return False
    return not (_UUID.search(token) or _INTEGRITY.search(token) or PLACEHOLDER.search(token))


def _mixed(value: str, worded: float) -> bool:
    """Whether it has letters and digits, and words make up less than this share of it: names are words in a row."""
    if _DIGIT.search(value) is None or _LETTER.search(value) is None:
        return False
    return sum(map(len, _WORDS.findall(value))) < worded * len(value)


def _interleaved(value: str) -> bool:
    """Whether letters and digits take turns in one stretch of it, as they do by chance and in no name."""
    return any(
        len(part) >= _STRETCH and len(_TURNS.findall(part)) >= max(3, len(part) // 8)
        for part in _STRETCHES.findall(value)
    )


def _bits(value: str) -> float:
    """Shannon entropy in bits a character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
