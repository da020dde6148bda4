"""Who works on a study of a server's database; names and seeds as long as they may be given."""

from alembic import op
from sqlalchemy import BigInteger, Column, DateTime, String

from phonelm_search.store.migrations.steps import add_table

revision = "0009"
down_revision = "0008"
_NAMES = (
    ("phonelm_measurements", "device"),
    ("phonelm_measurements", "serial"),
    ("phonelm_estimates", "device"),
    ("phonelm_compilations", "device"),
    ("phonelm_study_shapes", "name"),
)


def upgrade() -> None:
    """Add a table, and widen columns that SQLite does not bound."""
    add_table(
        "phonelm_leases",
        Column("study", String(200), primary_key=True),
        Column("owner", String(200), nullable=False),
        Column("token", String(32), nullable=False),
        Column("acquired", DateTime(timezone=True), nullable=False),
        Column("heartbeat", DateTime(timezone=True), nullable=False),
        Column("expiry", DateTime(timezone=True), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("phonelm_scores", "seed", type_=BigInteger())
        for table, column in _NAMES:
            op.alter_column(table, column, type_=String())
