"""The ledger in PostgreSQL: atomic across processes, honest about the dead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from upkeep.agents.base import Usage
from upkeep.agents.budget import Account, Limits, Reservation
from upkeep.agents.ledger import DatabaseLedger, presume_dead
from upkeep.database.server import Database
from upkeep.errors import BudgetExhausted, DatabaseUnavailable

ROOT = Path(__file__).resolve().parents[3]
USAGE = Usage(engine="", requests=1, input_uncached=10, output=3)
CENT = Decimal("0.01")

OpenLedger = Callable[..., DatabaseLedger]

RESERVE = """
import sys
from decimal import Decimal
from upkeep.agents.budget import Account, Limits
from upkeep.agents.ledger import DatabaseLedger
from upkeep.errors import BudgetExhausted
ledger = DatabaseLedger(Account.model_validate_json(sys.stdin.readline()))
granted = 0
for _ in range(int(sys.argv[1])):
    try:
        reservation = ledger.reserve(Decimal("0.01"), Decimal("0.01"), model="m")
    except BudgetExhausted:
        continue
    granted += 1
    if sys.argv[2] == "settle":
        ledger.settle(reservation, Decimal("0.01"), None)
    if sys.argv[2] == "mix":
        ledger.release(reservation) if granted % 3 else ledger.settle(reservation, Decimal("0.004"), None)
print(granted, flush=True)
if sys.argv[2] == "hold":
    sys.stdin.readline()
"""


@pytest.fixture
def account(database: Database) -> Account:
    limits = Limits(per_run_usd=1, per_subject_day_usd=2, per_agent_month_usd=3)
    url = SecretStr(database.url)
    return Account(database_url=url, agent="writer", subject="watch:app", run_id="run-1", limits=limits)


@pytest.fixture
def open_ledger(account: Account) -> Iterator[OpenLedger]:
    opened: list[DatabaseLedger] = []

    def make(**fields: object) -> DatabaseLedger:
        opened.append(DatabaseLedger(account.model_copy(update=fields)))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def taken(ledger: DatabaseLedger) -> dict[str, tuple[float, float]]:
    return {row.scope.kind: (float(row.spent), float(row.reserved)) for row in ledger.spending()}


def states(database: Database) -> list[tuple[str, float]]:
    with database.session() as session:
        rows = session.execute(sa.text("SELECT state, cost_usd FROM upkeep.model_requests ORDER BY id"))
        return [(state, float(cost)) for state, cost in rows]


def spawn(account: Account, count: int, then: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", RESERVE, str(count), then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert child.stdin is not None
    child.stdin.write(account.model_dump_json() + "\n")
    child.stdin.flush()
    return child


def test_a_request_is_reserved_then_settled_at_its_cost(open_ledger: OpenLedger, database: Database) -> None:
    ledger = open_ledger()
    reservation = ledger.reserve(CENT, Decimal("0.5"), model="m")
    assert reservation.amount == Decimal("0.5")
    assert taken(ledger) == dict.fromkeys(("run", "subject_day", "agent_month"), (0.0, 0.5))
    ledger.settle(reservation, Decimal("0.125"), USAGE)
    assert taken(ledger) == dict.fromkeys(("run", "subject_day", "agent_month"), (0.125, 0.0))
    assert states(database) == [("settled", 0.125)]
    with database.session() as session:
        tokens = session.execute(sa.text("SELECT tokens FROM upkeep.model_requests")).scalar()
    assert tokens == {"input_uncached": 10, "cache_read": 0, "cache_write": 0, "output": 3, "reasoning": 0}


def test_what_was_released_cost_nothing_and_nothing_is_decided_twice(
    open_ledger: OpenLedger, database: Database
) -> None:
    ledger = open_ledger()
    reservation = ledger.reserve(CENT, CENT, model="m")
    ledger.release(reservation)
    ledger.settle(reservation, CENT, USAGE)
    ledger.release(Reservation(CENT, 10**9))
    assert taken(ledger) == dict.fromkeys(("run", "subject_day", "agent_month"), (0.0, 0.0))
    assert states(database) == [("released", 0.0)]


def test_each_limit_of_the_tree_holds_by_itself(open_ledger: OpenLedger) -> None:
    open_ledger().reserve(Decimal(1), Decimal(5), model="m")
    with pytest.raises(BudgetExhausted, match="the run is 1"):
        open_ledger().reserve(CENT, CENT, model="m")
    open_ledger(run_id="run-2").reserve(Decimal(1), Decimal(5), model="m")
    with pytest.raises(BudgetExhausted, match="watch:app today is 2"):
        open_ledger(run_id="run-3").reserve(CENT, CENT, model="m")
    open_ledger(run_id="run-4", subject="watch:other").reserve(Decimal(1), Decimal(5), model="m")
    with pytest.raises(BudgetExhausted, match="writer this month is 3"):
        open_ledger(run_id="run-5", subject="watch:third").reserve(CENT, CENT, model="m")
    assert open_ledger(run_id="run-5", subject="watch:third", agent="other").reserve(CENT, CENT, model="m")


def test_what_is_left_is_granted(open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    ledger.reserve(Decimal("0.7"), Decimal("0.7"), model="m")
    assert ledger.reserve(CENT, Decimal("0.7"), model="m").amount == Decimal("0.3")
    with pytest.raises(BudgetExhausted):
        ledger.check()


def test_processes_at_once_never_pass_a_limit_together(account: Account, open_ledger: OpenLedger) -> None:
    children = [spawn(account, 60, "settle") for _ in range(3)]
    granted = [int(child.communicate()[0]) for child in children]
    assert sum(granted) == 100
    assert taken(open_ledger())["run"] == (1.0, 0.0)


def test_the_sums_are_those_of_the_requests_whatever_happens_at_once(
    account: Account, open_ledger: OpenLedger, database: Database
) -> None:
    """Three processes book, one of them is killed in the middle; two more presume all the while."""
    children = [spawn(account.model_copy(update={"run_id": f"run-{n}"}), 40, "mix") for n in range(3)]
    ledger = open_ledger()
    while sum(1 for state, _ in states(database) if state != "reserved") < 10:
        ledger.presume()
    children[0].kill()
    while any(child.poll() is None for child in children):
        ledger.presume()
        presume_dead(database)
    for child in children:
        child.communicate()
    ledger.presume()
    assert {state for state, _ in states(database)} <= {"released", "presumed", "settled"}
    sums = """
        SELECT spent_usd, reserved_usd,
            (SELECT coalesce(sum(cost_usd), 0) FROM upkeep.model_requests WHERE agent = spending.name)
        FROM upkeep.spending WHERE scope = 'agent_month'
    """
    with database.session() as session:
        ((spent, reserved, booked),) = session.execute(sa.text(sums)).all()
    assert (spent, reserved) == (booked, 0)
    assert 0 < booked <= 3


def test_what_a_killed_process_had_reserved_is_presumed_spent(
    account: Account, open_ledger: OpenLedger, database: Database
) -> None:
    child = spawn(account, 3, "hold")
    assert child.stdout is not None
    assert child.stdout.readline() == "3\n"
    assert open_ledger().presume() == 0, "it lives"
    child.kill()
    child.communicate()
    ledger = open_ledger()
    assert ledger.presume() + presume_dead(database) == 3
    assert states(database) == [("presumed", 0.01)] * 3
    assert taken(ledger)["agent_month"] == (0.03, 0.0)
    assert ledger.presume() == 0


def test_one_that_was_taken_for_dead_corrects_the_books(open_ledger: OpenLedger, database: Database) -> None:
    ledger, other = open_ledger(), open_ledger()
    reservation = ledger.reserve(Decimal("0.5"), Decimal("0.5"), model="m")
    drop_connections(database)
    assert other.presume() == 1
    assert taken(other)["run"] == (0.5, 0.0)
    ledger.settle(reservation, Decimal("0.1"), USAGE)
    assert taken(other)["run"] == (0.1, 0.0)
    assert states(database) == [("settled", 0.1)]


def test_without_a_database_nothing_is_granted(account: Account) -> None:
    gone = SecretStr("postgresql://upkeep@127.0.0.1:9/none")
    with pytest.raises(DatabaseUnavailable):
        DatabaseLedger(account.model_copy(update={"database_url": gone})).reserve(CENT, CENT, model="m")


def drop_connections(database: Database) -> None:
    with database.session() as session:
        session.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name LIKE 'upkeep ledger%' AND datname = current_database()"
            )
        )
