"""Tables made at once, or brought up from an older schema; old rows stay readable."""

import threading
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, insert, inspect, select

from phonelm_search.core.errors import StoreError
from phonelm_search.store import schema as t

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS = "phonelm_search.store:migrations"
_ADVISORY_LOCK = 0x70686F6E  # "phon": any number of ours
_one_at_a_time = threading.Lock()
"""Alembic keeps what it is at in module globals."""


def stored_version(connection: Connection) -> int | None:
    """The schema's version; 0 where making the tables was cut off, None where there are none."""
    if not inspect(connection).has_table(t.schema.name):
        return None
    return connection.execute(select(t.schema.c.version)).scalar() or 0


def upgrade(connection: Connection) -> int:
    """Make the tables, or bring them up, in the transaction of the connection.

    Args:
        connection: Where nobody else changes the schema: one that holds SQLite's write lock.

    Returns:
        The version then: a larger one than ours where another process has been here meanwhile.

    Raises:
        StoreError: If revisions were applied that this release does not know.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    version = stored_version(connection)
    if version is not None and version >= t.SCHEMA_VERSION:
        return version
    if version is None and not _has_any(connection):
        return _make(connection)
    from alembic import command  # only here, for it is slow to import
    from alembic.util import CommandError

    config = alembic_config(connection)
    try:
        with _one_at_a_time:
            if version and not inspect(connection).has_table(t.VERSION_TABLE):
                command.stamp(config, f"{version:04}")  # made before there were revisions
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"the database's tables must be made by this release or an older one: {error}; "
            "update phonelm-search"
        ) from error
    return t.SCHEMA_VERSION


def _has_any(connection: Connection) -> bool:
    """Whether there is a table of ours: an older release may have been cut off among them."""
    names = {*t.metadata.tables, t.VERSION_TABLE}
    return not names.isdisjoint(inspect(connection).get_table_names())


def _make(connection: Connection) -> int:
    """Make the tables as the revisions, one after another, would; the version then."""
    t.metadata.create_all(connection)
    t.revision.create(connection)
    connection.execute(insert(t.schema).values(version=t.SCHEMA_VERSION))
    connection.execute(insert(t.revision).values(version_num=f"{t.SCHEMA_VERSION:04}"))
    return t.SCHEMA_VERSION


def alembic_config(connection: Connection) -> "Config":
    """What alembic's commands take to work on a connection, within its transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.attributes["connection"] = connection
    return config
