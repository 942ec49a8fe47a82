"""Secret values do not get through in any form that output takes."""

from __future__ import annotations

import base64
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.redaction import Redactor

SECRET = "s3cr3t/with+signs=="


def test_a_secret_is_hidden_as_it_is_url_encoded_and_in_base64() -> None:
    redact = Redactor([SECRET, "", "short"])
    basic = base64.b64encode(f"user:{SECRET}".encode()).decode()
    text = redact(f"{SECRET} {quote(SECRET, safe='')} Basic {basic} short")
    assert SECRET not in text
    assert quote(SECRET, safe="") not in text
    assert base64.b64encode(SECRET.encode()).decode().rstrip("=")[3:-3] not in text
    assert text.startswith("*** *** Basic ")
    assert text.endswith(" short")


@given(prefix=st.binary(max_size=5), suffix=st.binary(max_size=5))
@settings(max_examples=50, derandomize=True, deadline=None)
def test_no_neighbour_lets_a_secret_through_base64(prefix: bytes, suffix: bytes) -> None:
    encoded = base64.b64encode(prefix + SECRET.encode() + suffix)
    assert b"***" in Redactor([SECRET])(encoded)
