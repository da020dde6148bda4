"""Connections to the database; our tables are made within a transaction on SQLite, too."""

from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError

from phonelm_search.core.errors import StoreError

_BACKENDS = ("sqlite", "postgresql")
_BEGIN = "phonelm_begin"


def open_engine(url: str, connect_args: dict[str, Any]) -> Engine:
    """An engine for reading.

    Raises:
        StoreError: If the URL is not one of a database that we know.
    """
    try:
        backend = make_url(url).get_backend_name()
        if backend not in _BACKENDS:
            raise StoreError(
                f"--storage must be an SQLAlchemy URL of {' or '.join(_BACKENDS)}, got {backend}"
            )
        engine = create_engine(url, connect_args=connect_args)
    except (ArgumentError, ImportError) as error:
        raise StoreError(
            f"--storage must be an SQLAlchemy URL with an installed driver: {error}"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def for_writing(engine: Engine) -> Engine:
    """The same engine for writing: a transaction waits at its start for others to finish theirs.

    One that read first and then wrote would fail instead of waiting.
    """
    return engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def _on_connect(connection: Any, _record: Any) -> None:
    # Python's driver commits before it changes tables, and begins too late, unless it is told to
    # leave transactions alone.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
