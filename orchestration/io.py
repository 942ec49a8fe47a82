"""How assets hand values to each other: records as JSONB, data frames as tables.

What belongs here: storing what an asset returned under asset, partition and run, and loading it as the type that the
next asset's annotation says. What does not: clones and work trees, which are never values (ids and paths are), and the
models themselves (`upkeep/*/records.py`).

Never a pickle: a record is read years later, by SQL and by other code. An annotation is a pydantic model, `list[M]`,
`dict[str, M]`, `M | None`, `MaterializeResult[M]`, or any type that pydantic validates; Dagster itself refuses `A | B`,
`Annotated` and `tuple[M, ...]` when the definitions load (use a `RootModel` with a discriminator).

https://docs.dagster.io/guides/build/io-managers/defining-a-custom-io-manager
"""

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dagster import (
    AssetKey,
    ConfigurableIOManager,
    DagsterInvariantViolationError,
    InitResourceContext,
    InputContext,
    OutputContext,
    ResourceDependency,
)
from pydantic import BaseModel, PrivateAttr, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from upkeep.config import Settings
from upkeep.database import text
from upkeep.database.server import Database, connect
from upkeep.database.tables import METRICS, records
from upkeep.errors import DatabaseError, StateCorrupt

if TYPE_CHECKING:
    import pandas as pd

NO_PARTITION = ""
PARTITION_COLUMN = "partition_key"
RUN_COLUMN = "run_id"


class RecordIOManager(ConfigurableIOManager):
    """Values of a run, in the database of `settings`, which is open for as long as the run lasts."""

    settings: ResourceDependency[Settings]
    _database: Database | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: InitResourceContext) -> None:
        self._database = connect(self.settings.home, self.settings.database_url)

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Store a value. Once a run, asset and partition: a step that is repeated replaces what it stored before."""
        partition = context.asset_partition_key if context.has_asset_partitions else NO_PARTITION
        with self._open().session() as session:
            if _is_frame(type(obj)):
                _store_table(session, table_name(context.asset_key), obj, partition, context.run_id)
            else:
                _store_record(session, _name(context), partition, context.run_id, obj)

    def load_input(self, context: InputContext) -> Any:
        """Load a value for one partition; for several, a dict by partition of those that have one.

        Of the same run, else the newest. Raises DatabaseError `records.missing`, `records.untyped`, StateCorrupt
        `records.unreadable`.
        """
        wanted = context.dagster_type.typing_type
        partitions = list(context.asset_partition_keys) if context.has_asset_partitions else [NO_PARTITION]
        with self._open().session() as session:
            if _is_frame(wanted):
                return _load_table(session, table_name(context.asset_key), partitions)
            name = _name(context.upstream_output) if context.upstream_output else _asset_name(context.asset_key)
            found = _newest(session, name, partitions, _run_of(context))
        if len(partitions) > 1:
            return _parsed(found, wanted, name)
        if not found:
            where = f" of the partition {partitions[0]}" if partitions[0] else ""
            raise DatabaseError(
                f"there is no record of {name}{where}",
                code="records.missing",
                remedy=f"Materialize {name} first, in the same run or before.",
            )
        return _parsed(found[partitions[0]], wanted, name)

    def _open(self) -> Database:
        assert self._database is not None, "Dagster sets an I/O manager up before it is used"
        return self._database


def record_io_manager(settings: Settings) -> RecordIOManager:
    return RecordIOManager(settings=settings)


def _run_of(context: InputContext) -> str:
    """The run that loads. An input has no run of its own outside of one (`defs.load_asset_value`)."""
    try:
        return context.step_context.run_id
    except DagsterInvariantViolationError:
        return ""


def _name(context: OutputContext) -> str:
    """The asset's key with slashes; for what is no asset, job, step and output, which no asset is named like."""
    if context.has_asset_key:
        return _asset_name(context.asset_key)
    return f"{context.job_name}:{context.step_key}:{context.name}"


def _asset_name(key: AssetKey) -> str:
    return key.to_user_string()


def _store_record(session: Session, asset: str, partition: str, run_id: str, value: Any) -> None:
    """A new row each time, also for a step that is repeated: the newest row is the newest value."""
    body = text.escape(to_jsonable_python(value))
    old = (records.c.asset == asset) & (records.c.partition == partition) & (records.c.run_id == run_id)
    session.execute(sa.delete(records).where(old))
    session.execute(sa.insert(records).values(asset=asset, partition=partition, run_id=run_id, body=body))


def _newest(session: Session, asset: str, partitions: list[str], run_id: str) -> dict[str, Any]:
    """By partition, where there is one: the record of a run, else the newest. Only a step that succeeded left one."""
    query = (
        sa.select(records.c.partition, records.c.body)
        .where(records.c.asset == asset, records.c.partition.in_(partitions))
        .ext(distinct_on(records.c.partition))
        .order_by(records.c.partition, (records.c.run_id == run_id).desc(), records.c.id.desc())
    )
    return {partition: text.unescape(body) for partition, body in session.execute(query)}


def _parsed(body: Any, wanted: Any, name: str) -> Any:
    if wanted in (Any, None):
        raise DatabaseError(
            f"the input {name} has no type: its record would come as a plain dict",
            code="records.untyped",
            remedy="Annotate the argument with the model that the asset returns.",
        )
    try:
        return TypeAdapter(wanted).validate_python(body)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
        raise StateCorrupt(
            f"the record of {name} is no {_type_name(wanted)}: {faults}",
            code="records.unreadable",
            remedy=f"It is of an older version: materialize {name} again.",
        ) from error


def _type_name(wanted: Any) -> str:
    return wanted.__name__ if isinstance(wanted, type) and issubclass(wanted, BaseModel) else str(wanted)


# Tables


def table_name(key: AssetKey) -> str:
    """Where a data frame goes in the schema `metrics`: the parts of the key, joined by underscores.

    PostgreSQL cuts names after 63 bytes without a word; such a key is refused.
    """
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(key.path).lower()).strip("_")
    if len(name) > 63:
        raise DatabaseError(f"the asset key {key.to_user_string()} is too long for a table", code="records.name")
    return name


def _is_frame(kind: Any) -> bool:
    """Whether a type is pandas' data frame. pandas takes a third of a second to import, and a run that has no frame
    never does: without it in `sys.modules` nothing can be one."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(kind, type) and issubclass(kind, pandas.DataFrame)


def _store_table(session: Session, table: str, frame: "pd.DataFrame", partition: str, run_id: str) -> None:
    """Replace the rows of a partition. A column that is new is added, one that is gone stays and is empty."""
    if reserved := {PARTITION_COLUMN, RUN_COLUMN} & set(frame.columns):
        raise DatabaseError(f"the columns {sorted(reserved)} are ours", code="records.columns")
    connection = session.connection()
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"upkeep table {table}", 0))))
    rows = frame.assign(**{PARTITION_COLUMN: partition, RUN_COLUMN: run_id})
    known = _columns(connection, table)
    if not known:
        rows.head(0).to_sql(table, connection, schema=METRICS, index=False)
        known = _columns(connection, table)
    if missing := [column for column in rows.columns if column not in known]:
        # Let pandas choose the types: make them in a table that lasts for this transaction.
        rows[missing].head(0).to_sql("upkeep_new_columns", connection, schema="pg_temp", index=False)
        for column, kind in _columns(connection, "upkeep_new_columns").items():
            connection.execute(sa.text(f"ALTER TABLE {METRICS}.{_quoted(table)} ADD COLUMN {_quoted(column)} {kind}"))
        connection.execute(sa.text("DROP TABLE pg_temp.upkeep_new_columns"))
    target = sa.table(table, sa.column(PARTITION_COLUMN), schema=METRICS)
    connection.execute(sa.delete(target).where(target.c[PARTITION_COLUMN] == partition))
    rows.to_sql(table, connection, schema=METRICS, index=False, if_exists="append", method="multi", chunksize=500)


def _load_table(session: Session, table: str, partitions: list[str]) -> "pd.DataFrame":
    """The rows of some partitions, in no order that means anything."""
    columns = _columns(session.connection(), table)
    if not columns:
        raise DatabaseError(
            f"there is no table {METRICS}.{table}",
            code="records.missing",
            remedy="Materialize the asset that makes it first.",
        )
    kept: list[sa.ColumnClause[Any]] = [
        sa.column(name) for name in columns if name not in (PARTITION_COLUMN, RUN_COLUMN)
    ]
    target = sa.table(table, sa.column(PARTITION_COLUMN), *kept, schema=METRICS)
    query = sa.select(*kept).select_from(target).where(target.c[PARTITION_COLUMN].in_(partitions))
    import pandas as pd

    return pd.read_sql(query, session.connection())


def _columns(connection: sa.Connection, table: str) -> Mapping[str, str]:
    """Names and types of a table of ours; empty where there is none."""
    query = sa.text(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = coalesce(to_regclass('pg_temp.' || :name), to_regclass('metrics.' || :name)) "
        "AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    return {row[0]: row[1] for row in connection.execute(query, {"name": _quoted(table)})}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
