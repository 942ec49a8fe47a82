"""No line of this file holds a secret in one piece: samples are put together from a fixed seed."""

from __future__ import annotations

import base64
import random
import string
import uuid
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from upkeep.guardrails.formats import RULES, TOKENS
from upkeep.guardrails.patch import FileChange, Patch, Policy
from upkeep.guardrails.report import GuardrailFinding
from upkeep.guardrails.secrets import check_secrets

ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + "234567"
HEX = "0123456789abcdef"
CAPS = string.ascii_uppercase + string.digits
SMALL = string.ascii_lowercase + string.digits
HELD = "Tr0ub4dor&3/+horse"


def chars(alphabet: str, count: int, seed: int = 7) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=count))


SAMPLES: dict[str, Callable[[int], str]] = {
    "private key": lambda s: "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "AWS access key": lambda s: "AK" + "IA" + chars(UPPER, 16, s),
    "GitHub token": lambda s: ("gh" + "p_" + chars(ALNUM, 36, s))
    if s % 2
    else "github" + "_pat_" + chars(ALNUM, 22, s) + "_" + chars(ALNUM, 59, s),
    "GitLab token": lambda s: "gl" + "pat-" + chars(ALNUM, 20, s),
    "Slack token": lambda s: "xo" + "xb-" + chars(string.digits, 12, s) + "-" + chars(ALNUM, 24, s),
    "Slack webhook": lambda s: "https://hooks.slack" + ".com/services/T" + chars(UPPER, 8) + "/B" + chars(ALNUM, 34, s),
    "Discord webhook": lambda s: "https://discord" + ".com/api/webhooks/" + "123" * 6 + "/" + chars(ALNUM, 68, s),
    "Stripe key": lambda s: "sk" + "_live_" + chars(ALNUM, 24, s),
    "Stripe webhook secret": lambda s: "wh" + "sec_" + chars(ALNUM, 32, s),
    "Anthropic key": lambda s: "sk-" + "ant-api03-" + chars(ALNUM, 90, s),
    "OpenAI key": lambda s: ("sk-" + "proj-" + chars(ALNUM, 60, s))
    if s % 2
    else "sk-" + chars(ALNUM, 20, s) + "T3Blbk" + "FJ" + chars(ALNUM, 20, s),
    "Google API key": lambda s: "AI" + "za" + chars(ALNUM, 35, s),
    "Google OAuth token": lambda s: "ya" + "29." + chars(ALNUM, 60, s),
    "Google OAuth secret": lambda s: "GOC" + "SPX-" + chars(ALNUM, 28, s),
    "Azure storage key": lambda s: "Account" + "Key=" + chars(ALNUM, 86, s) + "==",
    "Azure client secret": lambda s: chars(ALNUM, 3, s) + "8Q" + "~" + chars(ALNUM, 34, s),
    "npm token": lambda s: "np" + "m_" + chars(ALNUM, 36, s),
    "PyPI token": lambda s: "pypi" + "-AgEIcHlwaS5vcmc" + chars(ALNUM, 60, s),
    "RubyGems key": lambda s: "ruby" + "gems_" + chars(HEX, 48, s),
    "Docker token": lambda s: "dc" + "kr_pat_" + chars(ALNUM, 27, s),
    "Hugging Face token": lambda s: "h" + "f_" + chars(string.ascii_letters, 34, s),
    "SendGrid key": lambda s: "S" + "G." + chars(ALNUM, 22, s) + "." + chars(ALNUM, 43, s),
    "Twilio key": lambda s: "S" + "K" + chars(HEX, 32, s),
    "Mailgun key": lambda s: "ke" + "y-" + chars(HEX, 32, s),
    "Telegram token": lambda s: chars("123456789", 10, s) + ":A" + "A" + chars(ALNUM, 33, s),
    "Shopify token": lambda s: "shp" + "at_" + chars(HEX, 32, s),
    "Square token": lambda s: "sq0" + "atp-" + chars(ALNUM, 22, s),
    "DigitalOcean token": lambda s: "do" + "p_v1_" + chars(HEX, 64, s),
    "HashiCorp token": lambda s: "hv" + "s." + chars(ALNUM, 90, s),
    "Databricks token": lambda s: "da" + "pi" + chars(HEX, 32, s),
    "Atlassian token": lambda s: "ATA" + "TT3" + chars(ALNUM, 180, s),
    "Linear key": lambda s: "lin" + "_api_" + chars(ALNUM, 40, s),
    "Notion token": lambda s: "nt" + "n_" + chars(ALNUM, 46, s),
    "Asana token": lambda s: "1/" + chars("123456789", 16, s) + ":" + chars(HEX, 32, s),
    "Grafana token": lambda s: "gl" + "sa_" + chars(ALNUM, 32, s) + "_" + chars(HEX, 8, s),
    "Sentry token": lambda s: "sntry" + "u_" + chars(HEX, 64, s),
    "Upkeep token": lambda s: "up" + "keep_" + chars(HEX, 12, s) + "_" + chars(HEX, 64, s),
    "age key": lambda s: "AGE-SECRET" + "-KEY-1" + chars(string.ascii_uppercase, 58, s),
    "JSON Web Token": lambda s: "ey" + "J" + chars(ALNUM, 20) + ".ey" + "J" + chars(ALNUM, 30) + "." + chars(ALNUM, 43),
    "credentials in a URL": lambda s: "https://bob:" + chars(ALNUM, 12, s) + "@git.internal/x.git",
    "authorization header": lambda s: "Authorization: Bea" + "rer " + chars(ALNUM, 32, s),
    "AWS Bedrock key": lambda s: "AB" + "SK" + chars(ALNUM, 60, s),
    "Alibaba access key": lambda s: "LT" + "AI" + chars(ALNUM, 20, s),
    "Yandex key": lambda s: "AQ" + "VN" + chars(ALNUM, 36, s),
    "Cloudflare origin key": lambda s: "v1" + ".0-" + chars(HEX, 24, s) + "-" + chars(HEX, 146, s),
    "Fly.io token": lambda s: "fo" + "1_" + chars(ALNUM, 43, s),
    "Heroku key": lambda s: "HR" + "KU-" + chars(ALNUM, 60, s),
    "Netlify token": lambda s: "nf" + "p_" + chars(ALNUM, 36, s),
    "Scalingo token": lambda s: "tk-" + "us-" + chars(ALNUM, 48, s),
    "Supabase key": lambda s: "sb" + "p_" + chars(HEX, 40, s),
    "PlanetScale token": lambda s: "psc" + "ale_tkn_" + chars(ALNUM, 43, s),
    "ClickHouse Cloud key": lambda s: "4b" + "1d" + chars(ALNUM, 38, s),
    "Doppler token": lambda s: "dp" + ".pt." + chars(ALNUM, 43, s),
    "Pulumi token": lambda s: "pu" + "l-" + chars(HEX, 40, s),
    "Prefect key": lambda s: "pn" + "u_" + chars(ALNUM, 36, s),
    "Infracost key": lambda s: "ic" + "o-" + chars(ALNUM, 32, s),
    "OpenShift token": lambda s: "sha" + "256~" + chars(ALNUM, 43, s),
    "Octopus Deploy key": lambda s: "AP" + "I-" + chars(CAPS, 26, s),
    "1Password token": lambda s: "op" + "s_eyJ" + chars(ALNUM, 250, s),
    "1Password secret key": lambda s: "A3" + f"-{chars(CAPS, 6, s)}-{chars(CAPS, 11, s)}" + f"-{chars(CAPS, 5, s)}" * 3,
    "crates.io token": lambda s: "ci" + "o" + chars(ALNUM, 32, s),
    "NuGet key": lambda s: "oy" + "2" + chars(SMALL, 43, s),
    "Clojars token": lambda s: "CLO" + "JARS_" + chars(SMALL, 60, s),
    "Artifactory key": lambda s: "AK" + "Cp" + chars(ALNUM, 69, s),
    "CircleCI token": lambda s: "CCI" + "PAT_" + chars(ALNUM, 22, s) + "_" + chars(HEX, 40, s),
    "Buildkite token": lambda s: "bk" + "ua_" + chars(HEX, 40, s),
    "Harness key": lambda s: "pa" + "t." + chars(ALNUM, 22, s) + "." + chars(HEX, 24, s) + "." + chars(ALNUM, 20, s),
    "Sourcegraph token": lambda s: "sg" + "p_" + chars(HEX, 40, s),
    "OpenRouter key": lambda s: "sk-" + "or-v1-" + chars(HEX, 64, s),
    "Groq key": lambda s: "gs" + "k_" + chars(ALNUM, 52, s),
    "xAI key": lambda s: "xa" + "i-" + chars(ALNUM, 80, s),
    "Perplexity key": lambda s: "pp" + "lx-" + chars(ALNUM, 48, s),
    "Replicate token": lambda s: "r8" + "_" + chars(ALNUM, 37, s),
    "NVIDIA key": lambda s: "nv" + "api-" + chars(ALNUM, 64, s),
    "LangSmith key": lambda s: "ls" + "v2_pt_" + chars(HEX, 32, s) + "_" + chars(HEX, 10, s),
    "Pinecone key": lambda s: "pc" + "sk_" + chars(ALNUM, 70, s),
    "EasyPost key": lambda s: "EZ" + "AK" + chars(ALNUM, 54, s),
    "Flutterwave key": lambda s: "FLW" + "SECK-" + chars(HEX, 32, s) + "-X",
    "Duffel token": lambda s: "duf" + "fel_live_" + chars(ALNUM, 43, s),
    "Shippo token": lambda s: "shi" + "ppo_live_" + chars(HEX, 40, s),
    "Discord token": lambda s: "M" + chars(ALNUM, 24, s) + "." + chars(ALNUM, 6, s) + "." + chars(ALNUM, 38, s),
    "Facebook token": lambda s: "EA" + "AG" + chars(ALNUM, 170, s),
    "Brevo key": lambda s: "xkey" + "sib-" + chars(HEX, 64, s) + "-" + chars(ALNUM, 16, s),
    "Dropbox token": lambda s: "s" + "l." + chars(ALNUM, 138, s),
    "Airtable token": lambda s: "pa" + "t" + chars(ALNUM, 14, s) + "." + chars(HEX, 64, s),
    "Mapbox token": lambda s: "sk" + ".eyJ" + chars(ALNUM, 80, s) + "." + chars(ALNUM, 22, s),
    "Figma token": lambda s: "fi" + "gd_" + chars(ALNUM, 43, s),
    "Postman key": lambda s: "PM" + "AK-" + chars(HEX, 24, s) + "-" + chars(HEX, 34, s),
    "ReadMe key": lambda s: "rd" + "me_" + chars(SMALL, 70, s),
    "Typeform token": lambda s: "tf" + "p_" + chars(ALNUM, 59, s),
    "Frame.io token": lambda s: "fi" + "o-u-" + chars(ALNUM, 64, s),
    "New Relic key": lambda s: "NR" + "AK-" + chars(CAPS, 27, s),
    "Dynatrace token": lambda s: "dt0" + "c01." + chars(CAPS, 24, s) + "." + chars(CAPS, 64, s),
    "PostHog key": lambda s: "ph" + "x_" + chars(ALNUM, 47, s),
    "Mailchimp key": lambda s: chars(HEX, 32, s) + "-u" + "s14",
    "PuTTY key": lambda s: "PuTTY-User-" + "Key-File-3: ssh-ed25519",
    "Teams webhook": lambda s: "https://x.webhook" + ".office.com/webhookb2/" + chars(ALNUM, 72, s)
    + "/IncomingWebhook/" + chars(HEX, 32, s),
    "netrc entry": lambda s: "mach" + "ine git.test login bot password " + chars(ALNUM, 14, s),
    "password of a command": lambda s: "cu" + "rl -s -u admin:" + chars(ALNUM, 12, s) + " https://host.test",
}  # fmt: skip


ANCHORED_BY_PUNCTUATION = {
    *("private key", "Slack webhook", "Discord webhook", "credentials in a URL", "authorization header"),
    *("Azure storage key", "age key", "PuTTY key", "Teams webhook", "netrc entry", "password of a command"),
    # A prefix makes a letter more of what comes before it.
    "Azure client secret",
}


def scan(
    text: str, *, old: str | None = None, path: str = "a.json", held: tuple[str, ...] = ()
) -> list[GuardrailFinding]:
    change = FileChange(path=path, old=None if old is None else old.encode(), new=text.encode())
    policy = Policy(secrets=tuple(SecretStr(value) for value in held))
    return list(check_secrets(Patch(files=(change,)), policy))


def test_every_rule_has_a_sample() -> None:
    assert {rule.name for rule in (*RULES, *TOKENS)} == SAMPLES.keys()


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_known_format_blocks_where_it_stands_and_is_not_repeated(name: str, seed: int) -> None:
    secret = SAMPLES[name](seed)
    findings = scan(f'{{\n  "note": "{secret}"\n}}\n')
    assert [(finding.rule, finding.severity, finding.line) for finding in findings] == [("secrets.format", "error", 2)]
    assert findings[0].message == f"it looks like a {name}"
    assert secret not in findings[0].model_dump_json()


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - ANCHORED_BY_PUNCTUATION))
def test_a_format_inside_a_longer_word_is_none(name: str) -> None:
    assert [finding for finding in scan(f"prefix{SAMPLES[name](1)}") if finding.message.endswith(name)] == []


@pytest.mark.parametrize(
    "text",
    [
        "AK" + "IAIOSFODNN7EXAMPLE",
        "postgres://user:password@localhost/db",
        "https://user:${TOKEN}@host",
        "password: your-password-here",
        '"api_key": "xxxxxxxxxxxxxxxxxxxxxxxx"',
        '"token": "changeme-changeme"',
    ],
)
def test_placeholders_pass(text: str) -> None:
    assert scan(text) == []


@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda s: quote(s, safe=""),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
        lambda s: base64.urlsafe_b64encode(f"x{s}".encode()).decode(),
        lambda s: s.encode().hex(),
        lambda s: s.encode().hex().upper(),
        lambda s: f"{s[:9]}\n  {s[9:]}",
    ],
)
def test_a_secret_that_we_hold_blocks_in_any_usual_encoding(encode: Callable[[str], str]) -> None:
    encoded = encode(HELD)
    findings = [finding for finding in scan(f"a\nb {encoded} c\n", held=(HELD,)) if finding.rule == "secrets.held"]
    assert len(findings) == 1
    assert findings[0].severity == "error"
    assert findings[0].line == (None if "\n" in encoded else 2)
    assert HELD not in findings[0].message


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40),
    before=st.text("ab {}\n", max_size=20),
    after=st.text("ab {}\n", max_size=20),
)
def test_a_held_secret_is_found_wherever_it_stands(secret: str, before: str, after: str) -> None:
    findings = scan(f"{before}{secret}{after}", held=(secret,))
    assert "secrets.held" in {finding.rule for finding in findings}
    assert "secrets.held" not in {finding.rule for finding in scan(f"{before}{after}", held=(secret,))}


def test_names_of_files_and_every_text_are_looked_at() -> None:
    policy = Policy(secrets=(SecretStr(HELD),))
    token = SAMPLES["GitHub token"](1)
    patch = Patch(
        files=(FileChange(path=f"docs/{token}.md", new=b""),),
        texts={"title": HELD, "body": f"a\nb\n{token}", "branch": token, "commit message": f"x\n\n{HELD}"},
    )
    assert {(finding.where, finding.rule) for finding in check_secrets(patch, policy)} == {
        (f"docs/{token}.md:1", "secrets.format"),
        ("(title):1", "secrets.held"),
        ("(body):3", "secrets.format"),
        ("(branch):1", "secrets.format"),
        ("(commit message):3", "secrets.held"),
    }


def test_what_was_there_before_is_not_held_against_the_patch() -> None:
    token = SAMPLES["npm token"](1)
    assert scan(f"a\n{token}\nb\n", old=f"{token}\n") == []
    assert [finding.line for finding in scan(f"a\nb\nnew {token}\n", old=f"a\n{token}\n")] == [3]


class TestRandomStrings:
    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("text", ['"api_key": "{}"', "DB_PASSWORD={}", "client_secret: {}", 'val token = "{}"'])
    def test_beside_a_telling_name_they_block(self, text: str, seed: int) -> None:
        findings = scan(text.format(chars(ALNUM, 24, seed)))
        assert [(finding.rule, finding.severity) for finding in findings] == [("secrets.random", "error")]

    @pytest.mark.parametrize("seed", range(8))
    def test_alone_they_warn(self, seed: int) -> None:
        findings = scan(f'"value": "{chars(ALNUM, 32, seed)}"')
        assert [(finding.rule, finding.severity) for finding in findings] == [("secrets.random", "warning")]

    @pytest.mark.parametrize(
        "text",
        [
            "commit " + chars(HEX, 40),
            "sha256 " + chars(HEX, 64),
            str(uuid.UUID(int=random.Random(3).getrandbits(128))),
            "integrity: sha512-" + base64.b64encode(random.Random(3).randbytes(64)).decode(),
            "shared/src/commonMain/kotlin/app/checkout/CheckoutPaymentMethodsComponent.kt",
            "premiumBusActivationTrackingScreenOpenedFromNotification2024",
            "stop_based_trip_planner_results_screen_v2_opened",
            "ATTRIBUTE_IS_QUICK_PAY_ORDER_CONFIRMATION_SCREEN_V2",
            "eyebrow-and-long-hyphenated-event-name-of-2024-01-10",
            "https://example.com/2024/01/10/some-long-slug-with-words-and-7-numbers",
            '"token": "instant ticket purchase"',
            '"secretQuestion": "secretQuestionAnswerSubmitted"',
            "passwordFieldFocusedOnLoginScreen: boolean",
            "──────────────────────────────────────────",
            "=" * 60,
        ],
    )
    def test_names_hashes_and_ids_do_not(self, text: str) -> None:
        assert scan(text) == []
