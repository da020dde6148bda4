"""Reasons of measurements and estimates become objects; they were sentences."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from phonelm_search.store.migrations.old_reasons import reason_of

revision = "0005"
down_revision = "0004"

_KEYS = {"phonelm_measurements": "id", "phonelm_estimates": "key"}


def upgrade() -> None:
    """Turn sentences into objects; what is an object already stays."""
    connection = op.get_bind()
    for name, key_name in _KEYS.items():
        key: sa.ColumnClause[Any] = sa.column(key_name)
        table = sa.table(name, key, sa.column("reasons", sa.JSON))
        changed = [
            {"row": row, "objects": [reason_of(r) if isinstance(r, str) else r for r in reasons]}
            for row, reasons in connection.execute(sa.select(key, table.c.reasons))
            if any(isinstance(r, str) for r in reasons)
        ]
        if changed:
            update = table.update().where(key == sa.bindparam("row"))
            connection.execute(update.values(reasons=sa.bindparam("objects")), changed)
