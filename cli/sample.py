"""The demo's two repositories: a small Kotlin app, and a dashboard that documents its analytics.

What belongs here: making them, the same SHAs on every machine, and the app's second day. What does not: running updates
on them (`demo.py`). The files themselves lie in `samples/`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from upkeep.git import Repository

_FILES = Path(__file__).parent / "samples"
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_AUTHOR = "Ferry Developers <ferry@example.org>"
_FIRST_DAY = datetime(2026, 1, 12, 9, tzinfo=UTC)
_MODULE = "feature/{0}/src/main/kotlin/org/example/ferry/{0}"
_CHECKOUT = _MODULE.format("checkout") + "/CheckoutComponent.kt"
_SEARCH = _MODULE.format("search") + "/SearchEvents.kt"
_ONBOARDING = _MODULE.format("onboarding") + "/OnboardingScreen.kt"

MAIN = "refs/heads/main"


@dataclass(frozen=True)
class _Edit:
    path: str
    before: str
    after: str


_SECOND_DAY: tuple[tuple[str, _Edit | None], ...] = (
    (
        "Let people remove a coupon",
        _Edit(
            _CHECKOUT,
            '        analytics.track("checkout coupon applied", mapOf("couponCode" to code))\n    }\n',
            '        analytics.track("checkout coupon applied", mapOf("couponCode" to code))\n    }\n\n'
            "    fun removeCoupon(code: String) {\n"
            '        analytics.track("checkout coupon removed", mapOf("couponCode" to code))\n    }\n',
        ),
    ),
    ("Spell the search event right", _Edit(_SEARCH, '"search submited"', '"search submitted"')),
    (
        "Drop the tutorial",
        _Edit(
            _ONBOARDING,
            "    fun onTutorialSkipped(page: Int) {\n"
            '        analytics?.track("onboarding tutorial skipped", mapOf("page" to page))\n    }\n\n',
            "",
        ),
    ),
    ("Add the wallet", None),
    (
        "Report the currency of a payment",
        _Edit(
            _CHECKOUT,
            "    fun pay(method: String, amount: Long) {\n        analytics.track(\n"
            "            CheckoutEvent.PAYMENT_STARTED.eventName,\n"
            '            mapOf("paymentMethod" to method, "amount" to amount),\n',
            "    fun pay(method: String, amount: Long, currency: String) {\n        analytics.track(\n"
            "            CheckoutEvent.PAYMENT_STARTED.eventName,\n"
            '            mapOf("paymentMethod" to method, "amount" to amount, "currency" to currency),\n',
        ),
    ),
)


@dataclass(frozen=True)
class Sample:
    """Both are bare: clone them to work on them."""

    app: Repository
    dashboard: Repository

    @property
    def head(self) -> str:
        head = self.app.resolve(MAIN)
        assert head is not None
        return head

    def is_first_day(self) -> bool:
        return self.app.count(None, self.head) == 1

    def second_day(self) -> int:
        """Push the app's second day; return the number of its commits."""
        first = at = self.head
        for number, (subject, edit) in enumerate(_SECOND_DAY, start=1):
            changes = _read(_FILES / "later") if edit is None else _edited(self.app, at, edit)
            at = _commit(self.app, self.app.tree_with(at, changes), [at], subject, number)
        self.app.set_ref(MAIN, at, first)
        return len(_SECOND_DAY)


def open_sample(folder: Path) -> tuple[Sample, bool]:
    """The sample in `folder`, made if it is not there; and whether it was made. A half-made one is never used."""
    made = False
    for name in ("app", "dashboard"):
        bare = folder / f"{name}.git"
        if not bare.is_dir():
            _make(bare, _read(_FILES / name), f"Start the {name}")
            made = True
    return Sample(Repository.open(folder / "app.git"), Repository.open(folder / "dashboard.git")), made


def _make(bare: Path, files: Mapping[str, bytes | None], subject: str) -> None:
    bare.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".sample-", dir=bare.parent))
    try:
        repository = Repository.init_bare(draft)
        repository.set_ref(MAIN, _commit(repository, repository.tree_with(_EMPTY_TREE, files), [], subject, 0), None)
        draft.replace(bare)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _commit(repository: Repository, tree: str, parents: list[str], subject: str, hours: int) -> str:
    when = _FIRST_DAY + timedelta(days=1 if hours else 0, hours=hours)
    return repository.commit_tree(tree, parents, subject, author=_AUTHOR, when=when)


def _read(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _edited(repository: Repository, rev: str, edit: _Edit) -> dict[str, bytes | None]:
    data = repository.read(rev, edit.path)
    text = (data or b"").decode()
    if text.count(edit.before) != 1:
        raise AssertionError(f"the sample's {edit.path} does not hold what its second day changes")
    return {edit.path: text.replace(edit.before, edit.after).encode()}
