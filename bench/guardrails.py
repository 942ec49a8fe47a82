"""How quick and how good the guardrails' secret scan is, beside the tool that people would take for it.

- Speed: a patch of 10 MB (source, JSON, lock files, prose, a secret here and there), reviewed by all guardrails, its
  secret scan alone, and `detect-secrets` with its default plug-ins on the same text.
- Quality: recall and precision of both on the labelled samples in `tests/data/secrets/samples.jsonl`. A sample is one
  small file; a tool is right where it reports a secret in it exactly when it holds one. Ours counts what blocks.
- False alarms: the files of both in which something is found, among source files of installed Python packages, where
  nothing should be: what the samples' makers did not think of.

    python -P bench/guardrails.py [--json FILE] [--rounds N] [--mebibytes N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import string
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import SecretStr

from upkeep.guardrails.patch import FileChange, Patch, Policy
from upkeep.guardrails.review import review
from upkeep.guardrails.secrets import check_secrets

SAMPLES = Path(__file__).resolve().parent.parent / "tests" / "data" / "secrets" / "samples.jsonl"
FILE_BYTES = 256 << 10
HELD = tuple(SecretStr(f"held-{number}-{'Zq7' * 12}") for number in range(5))
POLICY = Policy(max_lines=None, max_files=10**6, secrets=HELD)

_PROSE = (
    "the user asks for a sailing and picks one of them while every other event keeps its name in the dashboard "
    "analytics track property value stage flow diagram result search booking payment passenger children harbour"
)
_WORDS = tuple(_PROSE.split())


@dataclass(frozen=True)
class Score:
    found: int
    missed: int
    false: int
    quiet: int

    @property
    def recall(self) -> float:
        return self.found / (self.found + self.missed)

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.false)


def line(rng: random.Random) -> str:
    """One line as a patch of a real project would hold it."""
    words = rng.choices(_WORDS, k=9)
    name = "".join(word.title() for word in words[:3])
    match rng.randrange(12):
        case 0:
            return f'  "{words[0]}_{words[1]}": {{"type": "string", "description": "{" ".join(words)}"}},'
        case 1:
            digest = "".join(rng.choices(string.hexdigits.lower()[:16], k=40))
            return f'    "commit": "{digest}",'
        case 2:
            return f"    private val {words[0]}{name}: {name}Repository = {name}RepositoryImpl({words[1]}, {words[2]})"
        case 3:
            integrity = "".join(rng.choices(string.ascii_letters + string.digits + "+/", k=86))
            return f'      "integrity": "sha512-{integrity}==",'
        case 4:
            return f'        analytics.track("{" ".join(words[:4])}", mapOf("{words[5]}" to {words[6]}.{words[7]}))'
        case 5:
            return f"# {' '.join(words)}, see https://example.org/{words[0]}/{words[1]}?{words[2]}={words[3]}"
        case 6:
            return f"password = settings.{words[0]}_password  # {' '.join(words[:5])}"
        case 7:
            return ""
        case _:
            return "    " * rng.randrange(4) + " ".join(words)


def patch_of(size: int) -> Patch:
    """New files of `FILE_BYTES` with `size` bytes in all, the same every time."""
    rng = random.Random(7)
    files = []
    total = 0
    while total < size:
        rows: list[str] = []
        held = 0
        while held < FILE_BYTES:
            rows.append(line(rng))
            held += len(rows[-1]) + 1
        data = "\n".join(rows).encode()
        total += len(data)
        files.append(FileChange(path=f"src/module{len(files)}/file.txt", new=data))
    return Patch(files=tuple(files))


def best(call: Callable[[], object], rounds: int) -> float:
    """Median seconds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def samples() -> list[tuple[str, str, bool]]:
    """File name, text, and whether it holds a secret. Texts are kept in pieces, so that no secret stands in a file."""
    rows = [json.loads(row) for row in SAMPLES.read_text().splitlines()]
    return [(row["file"], "".join(row["parts"]) + "\n", row["secret"]) for row in rows]


def ours(file: str, text: str) -> bool:
    found = check_secrets(Patch(files=(FileChange(path=file, new=text.encode()),)), POLICY)
    return any(finding.severity == "error" for finding in found)


def theirs(folder: Path, file: str, text: str) -> bool:
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import default_settings

    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with default_settings():
        return next(iter(scan_file(str(path))), None) is not None


def score(detects: Callable[[str, str], bool]) -> Score:
    rows = [(secret, detects(file, text)) for file, text, secret in samples()]
    return Score(
        rows.count((True, True)), rows.count((True, False)), rows.count((False, True)), rows.count((False, False))
    )


def published(count: int) -> list[Path]:
    """So many source files of installed packages, spread over all of them."""
    root = Path(json.__file__).parent.parent if sys.prefix == sys.base_prefix else Path(sys.prefix)
    found = sorted(path for path in root.rglob("*.py") if 1_000 < path.stat().st_size < 100_000)
    return random.Random(3).sample(found, min(count, len(found)))


def alarms(files: list[Path], folder: Path) -> dict[str, int]:
    texts = [(path.name, path.read_text(errors="replace")) for path in files]
    return {
        "files": len(files),
        "upkeep": sum(ours(name, text) for name, text in texts),
        "detect-secrets": sum(theirs(folder, name, text) for name, text in texts),
    }


def scan_with_theirs(folder: Path) -> int:
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import default_settings

    with default_settings():
        return sum(1 for path in sorted(folder.iterdir()) for _ in scan_file(str(path)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mebibytes", type=float, default=10)
    parser.add_argument("--files", type=int, default=300)
    options = parser.parse_args()
    patch = patch_of(int(options.mebibytes * (1 << 20)))
    size = sum(len(change.new or b"") for change in patch.files)
    secrets_only = best(lambda: list(check_secrets(fresh(patch), POLICY)), options.rounds)
    everything = best(lambda: review(fresh(patch), POLICY), options.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, change in enumerate(patch.files):
            (folder / f"{number}.txt").write_bytes(change.new or b"")
        detect_secrets = best(lambda: scan_with_theirs(folder), 1)
        false = alarms(published(options.files), folder / "p")
        quality = {"upkeep": score(ours), "detect-secrets": score(lambda file, text: theirs(folder / "s", file, text))}
    print(f"patch of {size / 1e6:.1f} MB: review {everything:.2f} s, its secret scan {secrets_only:.2f} s")
    print(
        f"detect-secrets {detect_secrets:.2f} s: {detect_secrets / secrets_only:.1f} times the secret scan, "
        f"{detect_secrets / everything:.1f} times the review"
    )
    for name, each in quality.items():
        print(f"{name:<16} recall {each.recall:.3f}  precision {each.precision:.3f}  {asdict(each)}")
    print(
        f"of {false['files']} published source files {false['upkeep']} are held for a secret, "
        f"{false['detect-secrets']} by detect-secrets"
    )
    if options.json:
        figures = {
            "bytes": size,
            "cpus": os.cpu_count(),
            "review_seconds": everything,
            "secrets_seconds": secrets_only,
            "detect_secrets_seconds": detect_secrets,
            "times_faster": detect_secrets / secrets_only,
            "false_alarms": false,
            "quality": {k: {**asdict(v), "recall": v.recall, "precision": v.precision} for k, v in quality.items()},
        }
        options.json.write_text(json.dumps(figures, indent=1))


def fresh(patch: Patch) -> Patch:
    """The same without what a review has remembered of it."""
    return Patch(files=tuple(FileChange(path=change.path, new=change.new) for change in patch.files))


if __name__ == "__main__":
    sys.exit(main())
