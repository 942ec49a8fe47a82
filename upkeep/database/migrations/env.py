"""Alembic's entry: runs the migrations on the connection of `upkeep.database.schema`, inside its transaction.

There is no alembic.ini: nobody runs the `alembic` command here, `upkeep db upgrade` does.
"""

from __future__ import annotations

from alembic import context

from upkeep.database.tables import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="schema_version",
    version_table_schema=SCHEMA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
