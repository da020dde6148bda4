"""Steps that may be there already: releases before revisions made tables outside a transaction.

Such a release, killed in between, has left some of the tables and columns of a version.
"""

from typing import Any

from alembic import op
from sqlalchemy import Column, inspect
from sqlalchemy.schema import SchemaItem


def add_table(name: str, *items: SchemaItem, indexed: tuple[str, ...] = ()) -> None:
    """Make a table, and an index for each of some columns."""
    op.create_table(name, *items, if_not_exists=True)
    for column in indexed:
        op.create_index(f"ix_{name}_{column}", name, [column], if_not_exists=True)


def add_columns(table: str, *columns: Column[Any]) -> None:
    """Add columns to a table."""
    present = {c["name"] for c in inspect(op.get_bind()).get_columns(table)}
    for column in columns:
        if column.name not in present:
            op.add_column(table, column)
