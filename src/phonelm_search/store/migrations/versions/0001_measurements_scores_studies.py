"""Shapes, their measurements and scores, and studies of them."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    String,
    UniqueConstraint,
)

from phonelm_search.store.migrations.steps import add_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of the first release."""
    add_table("phonelm_schema", Column("version", Integer, primary_key=True))
    add_table(
        "phonelm_shapes",
        Column("shape_id", String(80), primary_key=True),
        Column("config", JSON, nullable=False),
        Column("parameters", BigInteger, nullable=False),
        Column("decoder_parameters", BigInteger, nullable=False),
    )
    add_table(
        "phonelm_measurements",
        Column("id", Integer, primary_key=True),
        Column("key", String(12), nullable=False),
        Column("shape_id", String(80), ForeignKey("phonelm_shapes.shape_id"), nullable=False),
        Column("device", String(80), nullable=False),
        Column("precision", String(32), nullable=False),
        Column("phase", String(16), nullable=False),
        Column("tokens", Integer, nullable=False),
        Column("past_tokens", Integer, nullable=False),
        Column("logits", String(8), nullable=False),
        Column("cache_mode", String(8), nullable=False),
        Column("copies", Integer, nullable=False),
        Column("weights_source", String(8), nullable=False),
        Column("environment_id", String(12), nullable=False),
        Column("environment", JSON, nullable=False),
        Column("graph_version", Integer, nullable=False),
        Column("protocol_version", Integer, nullable=False),
        Column("round", Integer, nullable=False),
        Column("warmup_ns", JSON, nullable=False),
        Column("samples_ns", JSON, nullable=False),
        Column("peak_bytes", BigInteger),
        Column("verdict", String(16), nullable=False),
        Column("reasons", JSON, nullable=False),
        Column("notes", JSON, nullable=False),
        Column("conditions", JSON, nullable=False),
        Column("package_version", String(32), nullable=False),
        Column("created_at", String(40), nullable=False),
        indexed=("key", "shape_id", "environment_id"),
    )
    add_table(
        "phonelm_scores",
        Column("id", Integer, primary_key=True),
        Column("shape_id", String(80), ForeignKey("phonelm_shapes.shape_id"), nullable=False),
        Column("settings_id", String(12), nullable=False),
        Column("settings", JSON, nullable=False),
        Column("trained", JSON, nullable=False),
        Column("miniature", Boolean, nullable=False),
        Column("notes", JSON, nullable=False),
        Column("seed", Integer, nullable=False),
        Column("tokens", BigInteger, nullable=False),
        Column("tokens_per_parameter", Float, nullable=False),
        Column("bits_per_byte", Float),
        Column("chunk_bits", JSON, nullable=False),
        Column("chunk_bytes", JSON, nullable=False),
        Column("curve", JSON, nullable=False),
        Column("seconds", Float, nullable=False),
        Column("reason", String),
        Column("package_version", String(32), nullable=False),
        Column("created_at", String(40), nullable=False),
        UniqueConstraint("shape_id", "settings_id", "seed"),
        indexed=("shape_id", "settings_id"),
    )
    add_table(
        "phonelm_studies",
        Column("name", String(200), primary_key=True),
        Column("config", JSON, nullable=False),
        Column("environment_id", String(12), nullable=False),
        Column("environment", JSON, nullable=False),
    )
    add_table(
        "phonelm_study_shapes",
        Column("study", String(200), ForeignKey("phonelm_studies.name"), primary_key=True),
        Column("shape_id", String(80), ForeignKey("phonelm_shapes.shape_id"), primary_key=True),
        Column("role", String(16), primary_key=True),
        Column("name", String(200)),
        Column("reason", String),
    )
