"""What halving compared on its way, and scores of rounded weights."""

from sqlalchemy import JSON, Boolean, Column

from phonelm_search.store.migrations.steps import add_columns

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns that are empty in older rows."""
    add_columns(
        "phonelm_scores",
        Column("rungs", JSON),
        Column("quantised", JSON),
        Column("stopped", Boolean),
    )
