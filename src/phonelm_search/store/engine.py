"""Connections to the database; our tables are made within a transaction on SQLite, too."""

import json
import math
import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, StaticPool, create_engine, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import ArgumentError

from phonelm_search.core.errors import StoreError, first_line
from phonelm_search.store.address import FORM, masked, parse_address

_BEGIN = "phonelm_begin"
_LOCK_SECONDS = 30
_WAITS = {
    "connect_timeout": 15,
    "keepalives_idle": 10,  # a network that swallows everything is noticed after half a minute
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
"""Of PostgreSQL's own client library, in seconds, the last one in milliseconds."""
_DRIVER = "`pip install 'phonelm-search[postgres]'` brings that of postgresql://"


def open_engine(url: URL | str) -> Engine:
    """An engine for reading.

    Raises:
        StoreError: If the URL is not one of a database that we know, or its driver is missing.
    """
    url = parse_address(url) if isinstance(url, str) else url
    try:
        engine = create_engine(url, connect_args=_connect_args(url), **_options(url))
    except ImportError as error:
        remedy = "write sqlite:///FILE" if url.get_backend_name() == "sqlite" else _DRIVER
        raise StoreError(
            f"the driver of --storage must be installed: {first_line(error)}; {remedy}"
        ) from error
    except ArgumentError as error:
        given = masked(url.render_as_string(hide_password=True))
        raise StoreError(
            f"--storage must be an SQLAlchemy URL with a known driver, {FORM}, got {given}"
        ) from error
    if engine.dialect.is_async:
        raise StoreError(
            f"the driver of --storage must not be an asynchronous one, got {url.drivername}; "
            "write postgresql:// or sqlite:///"
        )
    if engine.dialect.name == "sqlite":
        _begin_ourselves(engine)
    return engine


def in_place_of(engine: Engine) -> dict[str, Any]:
    """What `create_engine` takes for connections to the same database, but for the URL.

    A URL as text does not come back as it was for every path, nor in every release of SQLAlchemy.
    """
    dialect, url = engine.dialect, engine.url
    words, options = dialect.create_connect_args(url)
    given = {**options, **_connect_args(url)}
    connect = {"creator": lambda: dialect.connect(*words, **given), "poolclass": type(engine.pool)}
    return {**connect, **_options(url)}


def for_writing(engine: Engine) -> Engine:
    """The same engine for writing: a transaction waits at its start for others to finish theirs.

    One that read first and then wrote would fail instead of waiting.
    """
    return engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def private_copy(engine: Engine) -> Engine:
    """A copy of an SQLite database for this process alone, in memory and beyond it in TMPDIR.

    Raises:
        sqlite3.Error: If it cannot be made.
        SQLAlchemyError: If the database cannot be opened.
    """
    target = sqlite3.connect("", check_same_thread=False)
    copy_into(engine, target)
    copied = create_engine("sqlite://", creator=lambda: target, poolclass=StaticPool)
    _begin_ourselves(copied)
    return copied


def copy_into(engine: Engine, target: sqlite3.Connection) -> None:
    """Copy an SQLite database as it is committed."""
    with engine.connect() as connection:
        source = connection.connection.driver_connection
        assert isinstance(source, sqlite3.Connection)
        source.backup(target)


def _connect_args(url: URL) -> dict[str, Any]:
    """How long a driver waits, in seconds: for another process's lock, or for a server."""
    if url.get_backend_name() == "sqlite":
        return {} if "timeout" in url.query else {"timeout": _LOCK_SECONDS}
    if url.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    return {name: value for name, value in _WAITS.items() if name not in url.query}


def _options(url: URL) -> dict[str, Any]:
    """A server may have ended connections that lay idle: they are tried before use."""
    if url.get_backend_name() == "sqlite":
        return {}
    return {"pool_pre_ping": True, "json_serializer": _strict_json}


def _strict_json(value: Any) -> str:
    """JSON as a server takes it: what is no number is the text that Python reads as such."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def _begin_ourselves(engine: Engine) -> None:
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _on_connect(connection: Any, _record: Any) -> None:
    # Python's driver commits before it changes tables, and begins too late, unless it is told to
    # leave transactions alone.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
