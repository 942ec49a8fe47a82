"""Secrets in what is about to be published.

What belongs here: the formats of known credentials, values that we hold ourselves in any usual encoding, and strings
that look random. What does not: redaction of our own output (`upkeep.process.Redactor`).

A format is anchored by the issuer's own prefix (their documentation, or the secret-scanning patterns that they
register), so a match blocks. A random-looking string blocks only beside a word such as "password": a name, a hash or an
id looks random too, and a warning is enough for those. A finding never repeats the value.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from upkeep.guardrails.patch import Patch, Policy
from upkeep.guardrails.report import GuardrailFinding, Severity
from upkeep.process import OWN_TOKEN, Redactor


@dataclass(frozen=True)
class Rule:
    """One credential's format. `keywords`: one of them is in every match, so that most texts need no regular
    expression at all. `found` has the secret in its last group, or as a whole."""

    name: str
    keywords: tuple[str, ...]
    found: re.Pattern[str]


def _rule(name: str, keywords: str, pattern: str) -> Rule:
    return Rule(name, tuple(keywords.split()), re.compile(pattern))


_END = r"(?![A-Za-z0-9_-])"
_START = r"(?<![A-Za-z0-9_-])"

RULES: tuple[Rule, ...] = (
    _rule("private key", "PRIVATE", r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    _rule("AWS access key", "AKIA ASIA", rf"{_START}(?:AKIA|ASIA)[A-Z2-7]{{16}}{_END}"),
    _rule("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", rf"{_START}gh[pousr]_[A-Za-z0-9]{{36,251}}{_END}"),
    _rule("GitHub token", "github_pat_", rf"{_START}github_pat_[A-Za-z0-9]{{22}}_[A-Za-z0-9]{{59}}{_END}"),
    _rule("GitLab token", "glpat- gldt- glrt- glptt-", rf"{_START}gl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{{20,64}}"),
    _rule("Slack token", "xox", rf"{_START}xox[abeoprs]-(?:[A-Za-z0-9]+-)*[A-Za-z0-9]{{10,}}"),
    _rule("Slack token", "xapp-", rf"{_START}xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]{{32,}}"),
    _rule("Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{40,}"),
    _rule("Discord webhook", "discord", r"discord(?:app)?\.com/api/webhooks/\d{17,20}/[A-Za-z0-9_-]{60,}"),
    _rule("Stripe key", "sk_live_ rk_live_ sk_test_ rk_test_", rf"{_START}[sr]k_(?:live|test)_[A-Za-z0-9]{{20,247}}"),
    _rule("Stripe webhook secret", "whsec_", rf"{_START}whsec_[A-Za-z0-9+/=]{{24,}}"),
    _rule("Anthropic key", "sk-ant-", rf"{_START}sk-ant-[a-z0-9]+-[A-Za-z0-9_-]{{40,}}"),
    _rule("OpenAI key", "T3BlbkFJ", rf"{_START}sk-[A-Za-z0-9_-]{{20,}}T3BlbkFJ[A-Za-z0-9_-]{{20,}}"),
    _rule("OpenAI key", "sk-proj- sk-svcacct- sk-admin-", rf"{_START}sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{{40,}}"),
    _rule("Google API key", "AIza", rf"{_START}AIza[A-Za-z0-9_-]{{35}}{_END}"),
    _rule("Google OAuth token", "ya29.", rf"{_START}ya29\.[A-Za-z0-9_-]{{30,}}"),
    _rule("Google OAuth secret", "GOCSPX-", rf"{_START}GOCSPX-[A-Za-z0-9_-]{{28}}{_END}"),
    _rule("Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _rule("Azure client secret", "8Q~ 7Q~", rf"{_START}[A-Za-z0-9_~.-]{{3}}[78]Q~[A-Za-z0-9_~.-]{{31,34}}{_END}"),
    _rule("npm token", "npm_", rf"{_START}npm_[A-Za-z0-9]{{36}}{_END}"),
    _rule("PyPI token", "pypi-AgE", rf"{_START}pypi-AgE[A-Za-z0-9_-]{{50,}}"),
    _rule("RubyGems key", "rubygems_", rf"{_START}rubygems_[a-f0-9]{{48}}{_END}"),
    _rule("Docker token", "dckr_", rf"{_START}dckr_(?:pat|oat)_[A-Za-z0-9_-]{{27,}}"),
    _rule("Hugging Face token", "hf_", rf"{_START}hf_[A-Za-z]{{34}}{_END}"),
    _rule("SendGrid key", "SG.", rf"{_START}SG\.[A-Za-z0-9_-]{{22}}\.[A-Za-z0-9_-]{{43}}{_END}"),
    _rule("Twilio key", "SK", rf"{_START}SK[0-9a-f]{{32}}{_END}"),
    _rule("Mailgun key", "key-", rf"{_START}key-[0-9a-f]{{32}}{_END}"),
    _rule("Telegram token", ":AA", rf"{_START}\d{{8,10}}:AA[A-Za-z0-9_-]{{33}}{_END}"),
    _rule("Shopify token", "shp", rf"{_START}shp(?:at|ca|pa|ss)_[a-fA-F0-9]{{32}}{_END}"),
    _rule(
        "Square token", "sq0 EAAA", rf"{_START}(?:sq0[a-z]{{3}}-[A-Za-z0-9_-]{{22,43}}|EAAA[A-Za-z0-9_-]{{60}}){_END}"
    ),
    _rule("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", rf"{_START}do[opr]_v1_[a-f0-9]{{64}}{_END}"),
    _rule(
        "HashiCorp token",
        "hvs. hvb. .atlasv1.",
        r"(?:\bhv[sb]\.[A-Za-z0-9_-]{24,}|\b[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,})",
    ),
    _rule("Databricks token", "dapi", rf"{_START}dapi[0-9a-f]{{32}}(?:-\d)?{_END}"),
    _rule("Atlassian token", "ATATT3 ATCTT3", rf"{_START}AT[AC]TT3[A-Za-z0-9_=-]{{60,}}"),
    _rule("Linear key", "lin_api_", rf"{_START}lin_api_[A-Za-z0-9]{{40}}{_END}"),
    _rule("Notion token", "ntn_", rf"{_START}ntn_[A-Za-z0-9]{{40,}}{_END}"),
    _rule("Asana token", "0/ 1/ 2/", rf"{_START}[012]/\d{{10,}}(?:/\d{{10,}})?:[0-9a-f]{{32}}{_END}"),
    _rule(
        "Grafana token", "glsa_ glc_", rf"{_START}(?:glsa_[A-Za-z0-9]{{32}}_[0-9a-f]{{8}}|glc_[A-Za-z0-9+/=]{{32,}})"
    ),
    _rule("Sentry token", "sntrys_ sntryu_", rf"{_START}sntry(?:s_[A-Za-z0-9+/=_]{{60,}}|u_[0-9a-f]{{64}})"),
    _rule("Upkeep token", "upkeep_", rf"{_START}{OWN_TOKEN}{_END}"),
    _rule("age key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _rule("JSON Web Token", "eyJ", rf"{_START}eyJ[A-Za-z0-9_-]{{8,}}\.eyJ[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]{{16,}}"),
    _rule(
        "credentials in a URL",
        "://",
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>{}$*]{0,100}:([^\s/:@\"'<>{}$*]{4,200})@",
    ),
    _rule(
        "authorization header",
        "Basic Bearer",
        r"[Aa]uthorization[\"']?\s*[:=]\s*[\"']?(?:Basic|Bearer) ([A-Za-z0-9+/._=-]{16,})",
    ),
)

_PLACEHOLDER = re.compile(
    r"(?i)^(?:pass|password|passwd|secret|token)$|example|placeholder|change-?me|redacted|your[_-]|dummy|sample"
    r"|x{6,}|\.{3}|0{8,}|12345678"
)

# A name that announces a secret, then an assignment, and the value: `"api_key": "…"`, `PASSWORD=…`, `token: …`.
_TELLING = ("password", "passwd", "passphrase", "secret", "token", "credential", "key")
_TELLING_KEY = re.compile(r"(?:api|access|auth|private)[_-]?$", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""[A-Za-z0-9_.-]{0,20}["']?\s{0,8}(?::=|=>|[:=])\s{0,8}["'`]?([A-Za-z0-9+/_=.!@#$%^&*~-]{12,200})"""
)
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
    for rule, start in _known_formats(text):
        taken.add(text.count("\n", 0, start))
        yield finding("secrets.format", f"it looks like a {rule.name}", start)
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


def _known_formats(text: str) -> Iterator[tuple[Rule, int]]:
    for rule in RULES:
        for start, end in _lines_with(text, rule.keywords):
            for found in rule.found.finditer(text, start, end):
                if not _PLACEHOLDER.search(found[found.lastindex or 0]):
                    yield rule, found.start()


def _lines_with(text: str, keywords: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Where each line begins and ends that holds one of these. A plain search passes a thousand times as much text in
    the same time as a regular expression."""
    seen = set()
    for keyword in keywords:
        found = text.find(keyword)
        while found >= 0:
            start, end = text.rfind("\n", 0, found) + 1, text.find("\n", found)
            end = len(text) if end < 0 else end
            if start not in seen:
                seen.add(start)
                yield start, end
            found = text.find(keyword, end)


def _random(text: str) -> Iterator[tuple[int, bool]]:
    """Offsets of strings that look random, and whether a name announces them as a secret."""
    for start, value in _assigned(text):
        if _PLACEHOLDER.search(value):
            continue
        if _mixed(value, _ANNOUNCED_WORDED) and _bits(value) >= _ANNOUNCED_BITS:
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
            if telling and (found := _ASSIGNED.match(text, end)):
                yield start, found[1]
            start = lowered.find(word, end)


def _looks_random(token: str) -> bool:
    if _DIGIT.search(token) is None or token.startswith(_DIGESTS):
        return False
    if _HEX.fullmatch(token):
        return len(token) not in _DIGEST_LENGTHS and len(token) >= 32 and _bits(token) > 3.0
    if not _mixed(token, _WORDED) or _bits(token) < _RANDOM_BITS:
        return False
    return not (_UUID.search(token) or _INTEGRITY.search(token) or _PLACEHOLDER.search(token))


def _mixed(value: str, worded: float) -> bool:
    """Whether it has letters and digits, and words make up less than this share of it: names are words in a row."""
    if _DIGIT.search(value) is None or _LETTER.search(value) is None:
        return False
    return sum(map(len, _WORDS.findall(value))) < worded * len(value)


def _bits(value: str) -> float:
    """Shannon entropy in bits a character."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
