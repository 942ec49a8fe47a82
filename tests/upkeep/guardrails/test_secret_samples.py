"""The labelled samples: what the scan is worth, as numbers that may only get better."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from upkeep.guardrails.patch import FileChange, Patch, Policy
from upkeep.guardrails.secrets import check_secrets

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "secrets" / "samples.jsonl"
ROWS = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
# Plain words, and eight letters, are nobody's format and no chance; one issuer's mark is too short to be one.
KNOWN_MISSES = {"words as password", "short password", "no prefix token"}


def blocked(row: dict[str, object], parts: str) -> bool:
    patch = Patch(files=(FileChange(path=str(row["file"]), new=parts.encode()),))
    return any(finding.severity == "error" for finding in check_secrets(patch, Policy()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["kind"].replace(" ", "_"))
def test_a_sample_is_blocked_exactly_when_it_holds_a_secret(row: dict[str, object]) -> None:
    text = "".join(row["parts"])  # type: ignore[arg-type]
    assert blocked(row, text) == (row["secret"] and row["kind"] not in KNOWN_MISSES)
    if row["secret"] and row["kind"] not in KNOWN_MISSES:
        assert blocked(row, f"a line before\n{text}\nand one after\n" * 3)


def test_the_samples_are_many_and_no_part_of_one_is_blocked_by_itself() -> None:
    secrets = [row for row in ROWS if row["secret"]]
    assert len(secrets) >= 130
    assert len(ROWS) - len(secrets) >= 120
    assert max(len(part) for row in ROWS for part in row["parts"]) <= 7
    lines = Patch(files=(FileChange(path="samples.jsonl", new=SAMPLES.read_bytes()),))
    assert [finding for finding in check_secrets(lines, Policy()) if finding.severity == "error"] == []
