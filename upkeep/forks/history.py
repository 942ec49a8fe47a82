"""What is remembered about a fork's patches from run to run: when each of them last conflicted.

What belongs here: the table `patch_conflicts`. What does not: what a person made of a conflict, and the reports, which
hold each run as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from upkeep.database.server import Database
from upkeep.database.tables import patch_conflicts
from upkeep.database.text import escape, unescape
from upkeep.forks.delta import LastConflict, key
from upkeep.forks.records import ConflictingPatch


def note_conflicts(database: Database, fork: str, run_id: str, conflicts: Sequence[ConflictingPatch]) -> None:
    """Remember the conflicts of a run as the last ones of their patches; more than once is once."""
    if not conflicts:
        return
    values = [
        {
            "fork": fork,
            "patch": key(conflict),
            "run_id": run_id,
            "conflict": escape(conflict.model_copy(update={"reproduce": ()}).model_dump(mode="json")),
        }
        for conflict in {key(each): each for each in conflicts}.values()
    ]
    new = insert(patch_conflicts).values(values)
    newer = {"at": sa.func.now(), "run_id": new.excluded.run_id, "conflict": new.excluded.conflict}
    again = patch_conflicts.c.run_id != new.excluded.run_id
    with database.session() as session:
        session.execute(new.on_conflict_do_update(index_elements=["fork", "patch"], set_=newer, where=again))


def last_conflicts(database: Database, fork: str) -> dict[str, LastConflict]:
    """The last conflict of every patch that ever had one, by `delta.key`."""
    rows = sa.select(patch_conflicts).where(patch_conflicts.c.fork == fork)
    with database.session() as session:
        return {
            row.patch: LastConflict(
                at=row.at.astimezone(UTC),
                run_id=row.run_id,
                conflict=ConflictingPatch.model_validate(unescape(row.conflict)),
            )
            for row in session.execute(rows)
        }
