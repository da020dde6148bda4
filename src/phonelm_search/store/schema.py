"""Tables beside Optuna's own, in the same database."""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect

SCHEMA_VERSION = 9
"""Number of the last revision in `migrations/versions`."""
VERSION_TABLE = "phonelm_alembic_version"
"""Of our revisions; Optuna keeps those of its own tables in another one."""

metadata = MetaData()
revision = Table(  # as alembic makes it
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)


class _Message(TypeDecorator[str]):
    """What programs say: a server's text has room for every character but one."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Put the mark of what cannot be shown in place of a null character."""
        if value is None or dialect.name == "sqlite":
            return value
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _name(length: int) -> String:
    """What people call something, however long: SQLite holds nobody to the length."""
    return String(length).with_variant(String(), "postgresql")


_SEED = Integer().with_variant(BigInteger(), "postgresql")

schema = Table("phonelm_schema", metadata, Column("version", Integer, primary_key=True))

shapes = Table(
    "phonelm_shapes",
    metadata,
    Column("shape_id", String(80), primary_key=True),
    Column("config", JSON, nullable=False),
    Column("parameters", BigInteger, nullable=False),
    Column("decoder_parameters", BigInteger, nullable=False),
)


def _work() -> list[Column[Any]]:
    """What was done where, in columns: the same in all tables of latencies and compilations."""
    return [
        Column("device", _name(80), nullable=False),
        Column("precision", String(32), nullable=False),
        Column("phase", String(16), nullable=False),
        Column("tokens", Integer, nullable=False),
        Column("past_tokens", Integer, nullable=False),
        Column("logits", String(8), nullable=False),
    ]


measurements = Table(
    "phonelm_measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(12), nullable=False, index=True),
    Column("shape_id", ForeignKey("phonelm_shapes.shape_id"), nullable=False, index=True),
    *_work(),
    Column("cache_mode", String(8), nullable=False),
    Column("copies", Integer, nullable=False),
    Column("weights_source", String(8), nullable=False),
    Column("environment_id", String(12), nullable=False, index=True),
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
    # Since schema 2, empty in older rows.
    Column("settled", Boolean),
    Column("disturbance", JSON),
    Column("drift", Float),
    Column("bandwidth_bytes_per_s", Float),
    Column("bandwidth_drift", Float),
    Column("protocol", JSON),
    Column("coverage", Float),  # since schema 4
    Column("process", String(32)),  # since schema 6
    Column("place", Integer),
    Column("twin", Boolean),  # since schema 7
    Column("paired_ns", Float),
    Column("serial", _name(80)),
)

numerics = Table(
    "phonelm_numerics",
    metadata,
    Column("shape_id", String(80), primary_key=True),
    Column("precision", String(32), primary_key=True),
    Column("environment_id", String(12), primary_key=True),
    Column("graph_version", Integer, primary_key=True),
    Column("prefill_error", Float),
    Column("decode_error", Float),
    Column("limit", Float, nullable=False),
    Column("created_at", String(40), nullable=False),
)

cache_probes = Table(  # since schema 8
    "phonelm_cache_probes",
    metadata,
    Column("environment_id", String(12), primary_key=True),
    Column("buffer_bytes", JSON, nullable=False),
    Column("bytes_per_s", JSON, nullable=False),
    Column("created_at", String(40), nullable=False),
)

compilations = Table(  # since schema 4
    "phonelm_compilations",
    metadata,
    Column("key", String(12), primary_key=True),
    Column("shape_id", ForeignKey("phonelm_shapes.shape_id"), nullable=False, index=True),
    Column("layers", Integer, nullable=False),
    *_work(),
    Column("provider_options", JSON, nullable=False),
    Column("versions", JSON, nullable=False),
    Column("graph_version", Integer, nullable=False),
    Column("coverage", JSON, nullable=False),
    Column("errors", JSON, nullable=False),
    Column("compile_seconds", Float, nullable=False),
    Column("context_bytes", BigInteger, nullable=False),
    Column("package_version", String(32), nullable=False),
    Column("created_at", String(40), nullable=False),
)

estimates = Table(
    "phonelm_estimates",
    metadata,
    Column("key", String(12), primary_key=True),
    Column("shape_id", ForeignKey("phonelm_shapes.shape_id"), nullable=False, index=True),
    *_work(),
    Column("cache_mode", String(8), nullable=False),
    Column("environment_id", String(12), nullable=False, index=True),
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
)

scores = Table(
    "phonelm_scores",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("shape_id", ForeignKey("phonelm_shapes.shape_id"), nullable=False, index=True),
    Column("settings_id", String(12), nullable=False, index=True),
    Column("settings", JSON, nullable=False),
    Column("trained", JSON, nullable=False),
    Column("miniature", Boolean, nullable=False),
    Column("notes", JSON, nullable=False),
    Column("seed", _SEED, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("tokens_per_parameter", Float, nullable=False),
    Column("bits_per_byte", Float),
    Column("chunk_bits", JSON, nullable=False),
    Column("chunk_bytes", JSON, nullable=False),
    Column("curve", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("reason", _Message),
    Column("package_version", String(32), nullable=False),
    Column("created_at", String(40), nullable=False),
    Column("transient", Boolean),  # since schema 2
    # Since schema 3, empty in older rows.
    Column("rungs", JSON),
    Column("quantised", JSON),
    Column("stopped", Boolean),
    UniqueConstraint("shape_id", "settings_id", "seed"),
)

leases = Table(  # since schema 9, of servers
    "phonelm_leases",
    metadata,
    Column("study", String(200), primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("token", String(32), nullable=False),
    Column("acquired", DateTime(timezone=True), nullable=False),
    Column("heartbeat", DateTime(timezone=True), nullable=False),
    Column("expiry", DateTime(timezone=True), nullable=False),
)

studies = Table(
    "phonelm_studies",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("config", JSON, nullable=False),
    Column("environment_id", String(12), nullable=False),
    Column("environment", JSON, nullable=False),
)

study_shapes = Table(
    "phonelm_study_shapes",
    metadata,
    Column("study", ForeignKey("phonelm_studies.name"), primary_key=True),
    Column("shape_id", ForeignKey("phonelm_shapes.shape_id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("name", _name(200)),
    Column("reason", _Message),
    Column("transient", Boolean),  # since schema 2
)
