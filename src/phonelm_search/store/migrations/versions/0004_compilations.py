"""What compilers of accelerators made of shapes, and what accelerators took of graphs."""

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Integer, String

from phonelm_search.store.migrations.steps import add_columns, add_table

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add a table, and a column that is empty in older rows."""
    add_table(
        "phonelm_compilations",
        Column("key", String(12), primary_key=True),
        Column("shape_id", String(80), ForeignKey("phonelm_shapes.shape_id"), nullable=False),
        Column("layers", Integer, nullable=False),
        Column("device", String(80), nullable=False),
        Column("precision", String(32), nullable=False),
        Column("phase", String(16), nullable=False),
        Column("tokens", Integer, nullable=False),
        Column("past_tokens", Integer, nullable=False),
        Column("logits", String(8), nullable=False),
        Column("provider_options", JSON, nullable=False),
        Column("versions", JSON, nullable=False),
        Column("graph_version", Integer, nullable=False),
        Column("coverage", JSON, nullable=False),
        Column("errors", JSON, nullable=False),
        Column("compile_seconds", Float, nullable=False),
        Column("context_bytes", BigInteger, nullable=False),
        Column("package_version", String(32), nullable=False),
        Column("created_at", String(40), nullable=False),
        indexed=("shape_id",),
    )
    add_columns("phonelm_measurements", Column("coverage", Float))
