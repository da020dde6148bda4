"""Runs revisions on the connection that `phonelm_search.store.migrate` hands over."""

from collections.abc import Collection, Mapping
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import delete, insert

from phonelm_search.store import schema as t


def _tell_version(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[Any],
    run_args: Mapping[str, Any],
) -> None:
    """Write the schema's version where releases look that know nothing of alembic."""
    assert ctx.connection is not None
    assert step.up_revision_id is not None
    ctx.connection.execute(delete(t.schema))
    ctx.connection.execute(insert(t.schema).values(version=int(step.up_revision_id)))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=t.metadata,
    version_table=t.VERSION_TABLE,
    transactional_ddl=True,  # of SQLite, too: our connections begin transactions themselves
    on_version_apply=_tell_version,
)
context.run_migrations()
