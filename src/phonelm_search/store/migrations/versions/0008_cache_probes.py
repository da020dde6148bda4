"""How fast environments read buffers of many sizes."""

from sqlalchemy import JSON, Column, String

from phonelm_search.store.migrations.steps import add_table

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add a table."""
    add_table(
        "phonelm_cache_probes",
        Column("environment_id", String(12), primary_key=True),
        Column("buffer_bytes", JSON, nullable=False),
        Column("bytes_per_s", JSON, nullable=False),
        Column("created_at", String(40), nullable=False),
    )
