"""Tables made, or brought up from an older schema; old rows stay readable."""

import threading
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, inspect, select

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
    """Bring tables up to the present schema, in the transaction of the connection.

    Args:
        connection: Where nobody else changes the schema: one that holds SQLite's write lock.

    Returns:
        The version then: a larger one than ours where another process has been here meanwhile.

    Raises:
        StoreError: If revisions were applied that this release does not know.
    """
    from alembic import command  # only here, for it is slow to import
    from alembic.util import CommandError

    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    version = stored_version(connection)
    if version is not None and version >= t.SCHEMA_VERSION:
        return version
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


def alembic_config(connection: Connection) -> "Config":
    """What alembic's commands take to work on a connection, within its transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.attributes["connection"] = connection
    return config
