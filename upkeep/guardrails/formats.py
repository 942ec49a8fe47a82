"""The formats of known credentials: by their issuers' own marks.

What belongs here: the formats, and finding them in a text. What does not: strings that merely look random, values that
we hold ourselves, and how bad a finding is (`secrets.py`).

A format is anchored by the mark that its issuer puts into it (their documentation, or the secret-scanning patterns that
they register with forges), so a match is no accident. Most marks begin a token, a run of letters, digits and `_.~-`;
what does not is looked for in the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from upkeep.redaction import OWN_TOKEN


@dataclass(frozen=True)
class Token:
    """A credential that is one token. `heads`: what it begins with, one of them; `found` matches all of it."""

    name: str
    heads: tuple[str, ...]
    found: re.Pattern[str]


@dataclass(frozen=True)
class Rule:
    """A credential that is no token of its own. `keywords`: one of them is in every match, so that most texts need no
    regular expression at all. `found` has the secret in its last group, or as a whole."""

    name: str
    keywords: tuple[str, ...]
    found: re.Pattern[str]


_START = r"(?<![A-Za-z0-9_-])"
_END = r"(?![A-Za-z0-9_-])"


def _token(name: str, heads: str, rest: str) -> Token:
    """`rest`: what follows one of the heads."""
    marks = heads.split()
    return Token(name, tuple(marks), re.compile(rf"(?:{'|'.join(map(re.escape, marks))})(?:{rest}){_END}"))


def _rule(name: str, keywords: str, pattern: str) -> Rule:
    return Rule(name, tuple(keywords.split()), re.compile(pattern))


_HEX = "[0-9a-f]"
_ANY = "[A-Za-z0-9]"
_WIDE = "[A-Za-z0-9_-]"

TOKENS: tuple[Token, ...] = (
    # Clouds and hosting.
    _token("AWS access key", "AKIA ASIA ABIA ACCA", "[A-Z2-7]{16}"),
    _token("AWS Bedrock key", "ABSK", f"{_ANY}{{40,}}.*"),
    _token("AWS Bedrock key", "bedrock-api-key-", f"{_ANY}{{20,}}.*"),
    _token("Google API key", "AIza", f"{_WIDE}{{35}}"),
    _token("Google OAuth token", "ya29.", f"{_WIDE}{{30,}}"),
    _token("Google OAuth secret", "GOCSPX-", f"{_WIDE}{{28}}"),
    _token("Alibaba access key", "LTAI", f"{_ANY}{{16,20}}"),
    _token("Yandex key", "AQVN", f"{_WIDE}{{35,38}}"),
    _token("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", f"{_HEX}{{64}}"),
    _token("Cloudflare origin key", "v1.0-", f"{_HEX}{{24}}-{_HEX}{{146}}"),
    _token("Fly.io token", "fo1_", f"{_WIDE}{{43}}"),
    _token("Fly.io token", "fm1_ fm1a_ fm1r_ fm2_", f"{_ANY}{{20,}}.*"),
    _token("Heroku key", "HRKU-", f"{_WIDE}{{36,64}}"),
    _token("Netlify token", "nfp_", f"{_ANY}{{36}}"),
    _token("Scalingo token", "tk-us-", f"{_WIDE}{{48}}"),
    _token("Supabase key", "sbp_", f"{_HEX}{{40}}"),
    _token("Supabase key", "sb_secret_", f"{_WIDE}{{31}}"),
    _token("PlanetScale token", "pscale_tkn_ pscale_pw_ pscale_oauth_", r"[\w.-]{32,64}"),
    _token("ClickHouse Cloud key", "4b1d", f"{_ANY}{{38}}"),
    _token("Databricks token", "dapi", f"{_HEX}{{32}}(?:-\\d)?"),
    _token("HashiCorp token", "hvs. hvb. hvr.", f"{_WIDE}{{24,}}"),
    _token("Doppler token", "dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.", r"[A-Za-z0-9._-]{40,}"),
    _token("Pulumi token", "pul-", f"{_HEX}{{40}}"),
    _token("Prefect key", "pnu_", f"{_ANY}{{36}}"),
    _token("Infracost key", "ico-", f"{_ANY}{{32}}"),
    _token("OpenShift token", "sha256~", f"{_WIDE}{{43}}"),
    _token("Octopus Deploy key", "API-", "[A-Z0-9]{26}"),
    _token("1Password token", "ops_eyJ", f"{_ANY}{{40,}}.*"),
    _token("1Password secret key", "A3-", "[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}"),
    # Forges, registries, builds.
    _token("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", f"{_ANY}{{36,251}}"),
    _token("GitHub token", "github_pat_", f"{_ANY}{{22}}_{_ANY}{{59}}"),
    _token(
        "GitLab token",
        "glpat- gldt- glrt- glptt- glcbt- glft- glimt- glagent- gloas- glsoat- glffct-",
        r"[A-Za-z0-9_.-]{20,70}",
    ),
    _token("GitLab token", "GR1348941", f"{_WIDE}{{20}}"),
    _token("npm token", "npm_", f"{_ANY}{{36}}"),
    _token("PyPI token", "pypi-AgE", f"{_WIDE}{{50,}}"),
    _token("RubyGems key", "rubygems_", f"{_HEX}{{48}}"),
    _token("crates.io token", "cio", f"{_ANY}{{32}}"),
    _token("NuGet key", "oy2", "[a-z0-9]{43}"),
    _token("Clojars token", "CLOJARS_", "[a-z0-9]{60}"),
    _token("Docker token", "dckr_pat_ dckr_oat_", f"{_WIDE}{{27,}}"),
    _token("Artifactory key", "AKCp", f"{_ANY}{{60,80}}"),
    _token("Artifactory key", "cmVmdGtu", f"{_ANY}{{50,60}}"),
    _token("CircleCI token", "CCIPAT_", f"{_ANY}{{22}}_{_HEX}{{40}}"),
    _token("Buildkite token", "bkua_", f"{_HEX}{{40}}"),
    _token("Harness key", "pat. sat.", rf"{_WIDE}{{22}}\.{_ANY}{{24}}\.{_ANY}{{20}}"),
    _token("Sourcegraph token", "sgp_ slk_", "[A-Za-z0-9_]{40,90}"),
    # Models.
    _token("Anthropic key", "sk-ant-", f"[a-z0-9]+-{_WIDE}{{40,}}"),
    _token("OpenAI key", "sk-proj- sk-svcacct- sk-admin-", f"{_WIDE}{{40,}}"),
    _token("OpenRouter key", "sk-or-v1-", f"{_HEX}{{64}}"),
    _token("Groq key", "gsk_", f"{_ANY}{{52}}"),
    _token("xAI key", "xai-", f"{_ANY}{{80}}"),
    _token("Perplexity key", "pplx-", f"{_ANY}{{48}}"),
    _token("Replicate token", "r8_", f"{_ANY}{{37}}"),
    _token("NVIDIA key", "nvapi-", f"{_WIDE}{{60,}}"),
    _token("Hugging Face token", "hf_ api_org_", "[A-Za-z]{34}"),
    _token("LangSmith key", "lsv2_pt_ lsv2_sk_", f"{_HEX}{{32}}_{_HEX}{{10}}"),
    _token("Pinecone key", "pcsk_", "[A-Za-z0-9_]{60,80}"),
    # Money.
    _token("Stripe key", "sk_live_ rk_live_ sk_test_ rk_test_ sk_prod_ rk_prod_", f"{_ANY}{{20,247}}"),
    _token("Stripe webhook secret", "whsec_", f"{_ANY}{{16,}}.*"),
    _token("Square token", "sq0atp- sq0csp- sq0idp-", f"{_WIDE}{{22,43}}"),
    _token("Square token", "EAAA", f"{_WIDE}{{60}}"),
    _token("Shopify token", "shpat_ shpca_ shppa_ shpss_", "[a-fA-F0-9]{32}"),
    _token("EasyPost key", "EZAK EZTK", f"{_ANY}{{54}}"),
    _token("Flutterwave key", "FLWSECK- FLWSECK_TEST-", r"[A-Za-z0-9]{32}-X"),
    _token("Duffel token", "duffel_test_ duffel_live_", f"{_WIDE}{{43}}"),
    _token("Shippo token", "shippo_live_ shippo_test_", "[a-fA-F0-9]{40}"),
    # Words, mail, people.
    _token("Slack token", "xoxa- xoxb- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs-", rf"[A-Za-z0-9.-]*{_ANY}{{10,}}"),
    _token("Slack token", "xapp-", r"\d-[A-Z0-9]+-\d+-[a-z0-9]{32,}"),
    _token("Discord token", "M N O", rf"{_WIDE}{{23,25}}\.{_WIDE}{{6}}\.{_WIDE}{{27,38}}"),
    _token("Facebook token", "EAAC EAAM EAAG EAAB", f"{_ANY}{{100,}}"),
    _token("SendGrid key", "SG.", rf"{_WIDE}{{22}}\.{_WIDE}{{43}}"),
    _token("Brevo key", "xkeysib-", f"{_HEX}{{64}}-{_ANY}{{16}}"),
    _token("Mailgun key", "key-", f"{_HEX}{{32}}"),
    _token("Twilio key", "SK", f"{_HEX}{{32}}"),
    _token("Dropbox token", "sl.", f"{_WIDE}{{130,}}"),
    # Tools.
    _token("Atlassian token", "ATATT3 ATCTT3", f"{_WIDE}{{60,}}"),
    _token("Linear key", "lin_api_", f"{_ANY}{{40}}"),
    _token("Linear key", "lin_oauth_", f"{_HEX}{{64}}"),
    _token("Notion token", "ntn_", f"{_ANY}{{40,}}"),
    _token("Airtable token", "pat", rf"{_ANY}{{14}}\.{_HEX}{{64}}"),
    _token("Mapbox token", "sk.eyJ", rf"{_WIDE}{{40,}}\.{_WIDE}{{20,}}"),
    _token("Figma token", "figd_ figo_", f"{_WIDE}{{40,}}"),
    _token("Postman key", "PMAK-", f"{_HEX}{{24}}-{_HEX}{{34}}"),
    _token("ReadMe key", "rdme_", "[a-z0-9]{70}"),
    _token("Typeform token", "tfp_", r"[\w.-]{40,}"),
    _token("Frame.io token", "fio-u-", f"{_WIDE}{{64}}"),
    _token("Grafana token", "glsa_", f"{_ANY}{{32}}_[0-9a-fA-F]{{8}}"),
    _token("Grafana token", "glc_", f"{_ANY}{{32,}}.*"),
    _token("Grafana token", "eyJrIjoi", f"{_ANY}{{60,}}"),
    _token("Sentry token", "sntrys_", f"{_ANY}{{40,}}.*"),
    _token("Sentry token", "sntryu_", f"{_HEX}{{64}}"),
    _token("New Relic key", "NRAK-", "[A-Z0-9]{27}"),
    _token("New Relic key", "NRII-", f"{_WIDE}{{32}}"),
    _token("Dynatrace token", "dt0c01. dt0s01. dt0s16.", rf"{_ANY}{{8,24}}\.{_ANY}{{64}}"),
    _token("PostHog key", "phx_", f"{_ANY}{{40,}}"),
    _token("Upkeep token", "upkeep_", OWN_TOKEN.removeprefix("upkeep_")),
    _token("JSON Web Token", "eyJ", rf"{_WIDE}{{8,}}\.eyJ{_WIDE}{{8,}}\.{_WIDE}{{16,}}"),
)

RULES: tuple[Rule, ...] = (
    _rule("private key", "PRIVATE", r"-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    _rule("PuTTY key", "PuTTY-User-Key-File-", r"PuTTY-User-Key-File-\d: \S+"),
    _rule("age key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _rule("OpenAI key", "T3BlbkFJ", rf"{_START}sk-[A-Za-z0-9_-]{{20,}}T3BlbkFJ[A-Za-z0-9_-]{{20,}}"),
    _rule("Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{40,}"),
    _rule("Discord webhook", "discord", r"discord(?:app)?\.com/api/webhooks/\d{17,20}/[A-Za-z0-9_-]{60,}"),
    _rule("Teams webhook", "webhook.office.com", r"webhook\.office\.com/webhookb2/[\w@-]{40,}/IncomingWebhook/\w{20,}"),
    _rule("Azure storage key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _rule("Azure client secret", "Q~", rf"{_START}[A-Za-z0-9_~.-]{{3}}\dQ~[A-Za-z0-9_~.-]{{31,34}}{_END}"),
    _rule("Telegram token", ":AA", rf"{_START}\d{{8,10}}:AA[A-Za-z0-9_-]{{33}}{_END}"),
    _rule("HashiCorp token", ".atlasv1.", r"\b[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,}"),
    _rule("Asana token", "0/ 1/ 2/", rf"{_START}[012]/\d{{10,}}(?:/\d{{10,}})?:[0-9a-f]{{32}}{_END}"),
    _rule("Mailchimp key", "-us", rf"{_START}[0-9a-f]{{32}}-us\d{{1,2}}{_END}"),
    _rule(
        "credentials in a URL",
        "://",
        # The name again, as documentation writes it, is no password.
        r"\b[a-z][a-z0-9+.-]{1,20}://(?P<name>[^\s/:@\"'<>{}$*\[]{0,100}):(?!(?P=name)@)([^\s/:@\"'<>{}$*\]]{4,200})@",
    ),
    _rule("netrc entry", "machine ", r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+(\S{6,200})"),
    _rule(
        "password of a command",
        "curl wget",
        r"\b(?:curl|wget)\b.*\s(?:-u|--user)[ =]?[\"']?[^\s:\"']+:([^\s\"'$]{6,200})",
    ),
    _rule("password of a command", "mysql", r"\bmysql(?:dump|admin|import)?\b.*\s-p([^\s\"'$]{6,200})"),
    _rule(
        "authorization header",
        "Basic Bearer",
        r"[Aa]uthorization[\"']?\s*[:=]\s*[\"']?(?:Basic|Bearer) ([A-Za-z0-9+/._=-]{16,})",
    ),
)

PLACEHOLDER = re.compile(
    r"(?i)^(?:my|user|some|the)?(?:pass|password|passwd|secret|token)$|^tiger$|example|placeholder|change-?me|redacted|your[_-]|dummy|sample"
    r"|x{6,}|\.{3}|0{8,}|12345678"
)
"""What documentation writes where a secret would stand."""

SHORTEST = 20
_BREAKS = bytes(byte if byte < 128 and (chr(byte).isalnum() or chr(byte) in "_.~-") else 32 for byte in range(256))
"""Turns everything that is no part of a token into a blank."""

_HEADS = tuple(head.encode() for token in TOKENS for head in token.heads)


def known_formats(text: str) -> Iterator[tuple[str, int]]:
    """The name and the offset of every known credential."""
    for rule in RULES:
        for start, end in _lines_with(text, rule.keywords):
            for found in rule.found.finditer(text, start, end):
                if not PLACEHOLDER.search(found[found.lastindex or 0]):
                    yield rule.name, found.start()
    for token, name in _known_tokens(text).items():
        offset = text.find(token)
        while offset >= 0:
            yield name, offset
            offset = text.find(token, offset + len(token))


def _known_tokens(text: str) -> dict[str, str]:
    """Token → name. Splitting first: a text has few different tokens of such a length, and most begin otherwise."""
    parts = {part for part in text.encode(errors="replace").translate(_BREAKS).split() if len(part) >= SHORTEST}
    known = {}
    for part in parts:
        # A head may follow a dot: `user.ghp_…`.
        at = 0
        while at >= 0:
            if part.startswith(_HEADS, at) and (found := _credential(part[at:].decode())) is not None:
                known[found[1]] = found[0]
                break
            at = part.find(b".", at) + 1 or -1
    return known


def _credential(part: str) -> tuple[str, str] | None:
    for token in TOKENS:
        if part.startswith(token.heads) and (found := token.found.match(part)) and not PLACEHOLDER.search(found[0]):
            return token.name, found[0]
    return None


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
