"""Statements that SQLite and PostgreSQL spell differently."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    String,
    Table,
    UniqueConstraint,
    cast,
    collate,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    replace: bool = True,
) -> None:
    """Insert rows; one that is there already is replaced, or else kept.

    Rows are the same by the table's unique constraint, else by its primary key; of several in
    ``rows`` the last one counts.
    """
    identity = _identity(table)
    distinct = {tuple(row[name] for name in identity): row for row in rows}
    if not distinct:
        return
    statement = _insert(connection.dialect, table)
    if replace:
        new = {name: statement.excluded[name] for name in rows[0] if name not in identity}
        statement = statement.on_conflict_do_update(index_elements=identity, set_=new)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=identity)
    connection.execute(statement, list(distinct.values()))


def _insert(dialect: Dialect, table: Table) -> "sqlite.Insert | postgresql.Insert":
    if dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # takes 50 ms to import

    return postgresql.insert(table)


def _identity(table: Table) -> list[str]:
    constraint = next((c for c in table.constraints if isinstance(c, UniqueConstraint)), None)
    return [c.name for c in (constraint or table.primary_key).columns]


def among(
    column: ColumnElement[str], values: Collection[str], dialect: Dialect
) -> ColumnElement[bool]:
    """Whether a column holds one of many values: they travel as one, for variables are limited."""
    text = literal(json.dumps(list(values)), String)
    if dialect.name == "sqlite":
        return column.in_(select(func.json_each(text).table_valued("value").c.value))
    from sqlalchemy.dialects import postgresql

    elements = func.jsonb_array_elements_text(cast(text, postgresql.JSONB))
    return column.in_(select(elements.column_valued()))


def by_code(column: ColumnElement[str], dialect: Dialect) -> ColumnElement[str]:
    """A column of text to order by: by characters' codes, whatever language a server sorts in."""
    return column if dialect.name == "sqlite" else collate(column, "C")
