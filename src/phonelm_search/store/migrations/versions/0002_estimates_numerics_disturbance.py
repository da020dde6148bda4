"""Estimates from blocks, checks of numerics, and what disturbed a round."""

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Integer, String

from phonelm_search.store.migrations.steps import add_columns, add_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add two tables, and columns that are empty in older rows."""
    add_table(
        "phonelm_numerics",
        Column("shape_id", String(80), primary_key=True),
        Column("precision", String(32), primary_key=True),
        Column("environment_id", String(12), primary_key=True),
        Column("graph_version", Integer, primary_key=True),
        Column("prefill_error", Float),
        Column("decode_error", Float),
        Column("limit", Float, nullable=False),
        Column("created_at", String(40), nullable=False),
    )
    add_table(
        "phonelm_estimates",
        Column("key", String(12), primary_key=True),
        Column("shape_id", String(80), ForeignKey("phonelm_shapes.shape_id"), nullable=False),
        Column("device", String(80), nullable=False),
        Column("precision", String(32), nullable=False),
        Column("phase", String(16), nullable=False),
        Column("tokens", Integer, nullable=False),
        Column("past_tokens", Integer, nullable=False),
        Column("logits", String(8), nullable=False),
        Column("cache_mode", String(8), nullable=False),
        Column("environment_id", String(12), nullable=False),
        Column("graph_version", Integer, nullable=False),
        Column("protocol_version", Integer, nullable=False),
        Column("latency_ms", Float, nullable=False),
        Column("ci_low_ms", Float, nullable=False),
        Column("ci_high_ms", Float, nullable=False),
        Column("intercept_ms", Float, nullable=False),
        Column("slope_ms", Float, nullable=False),
        Column("depths", JSON, nullable=False),
        Column("verdict", String(16), nullable=False),
        Column("reasons", JSON, nullable=False),
        Column("created_at", String(40), nullable=False),
        indexed=("shape_id", "environment_id"),
    )
    add_columns(
        "phonelm_measurements",
        Column("settled", Boolean),
        Column("disturbance", JSON),
        Column("drift", Float),
        Column("bandwidth_bytes_per_s", Float),
        Column("bandwidth_drift", Float),
        Column("protocol", JSON),
    )
    add_columns("phonelm_scores", Column("transient", Boolean))
    add_columns("phonelm_study_shapes", Column("transient", Boolean))
