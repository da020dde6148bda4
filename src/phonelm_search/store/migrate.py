"""Tables made, or brought up from an older schema; old rows stay readable."""

from sqlalchemy import Connection, Table, insert, inspect, select, text

from phonelm_search.store import schema as t


def prepare_schema(connection: Connection) -> int:
    """Make missing tables and columns.

    Returns:
        The schema version that was found; a larger one than ours is left untouched.
    """
    names = set(inspect(connection).get_table_names())
    found = None
    if t.schema.name in names:
        found = connection.execute(select(t.schema.c.version)).scalar()
    if found is None:
        # SQLite commits each table by itself: after a kill in between some are there already. The
        # version comes last, so that it tells of a complete schema.
        t.metadata.create_all(connection)
        connection.execute(insert(t.schema).values(version=t.SCHEMA_VERSION))
        return t.SCHEMA_VERSION
    if found < t.SCHEMA_VERSION:
        t.metadata.create_all(connection)
        for table in t.metadata.sorted_tables:
            if table.name in names:
                _add_columns(connection, table)
        connection.execute(t.schema.update().values(version=t.SCHEMA_VERSION))
    return int(found)


def _add_columns(connection: Connection, table: Table) -> None:
    present = {c["name"] for c in inspect(connection).get_columns(table.name)}
    for column in table.columns:
        if column.name not in present:
            kind = column.type.compile(connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}"))
