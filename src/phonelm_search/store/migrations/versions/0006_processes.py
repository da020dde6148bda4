"""Which process measured a round, and where its session stood in it."""

from sqlalchemy import Column, Integer, String

from phonelm_search.store.migrations.steps import add_columns

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add two columns, empty in older rows."""
    add_columns("phonelm_measurements", Column("process", String(32)), Column("place", Integer))
