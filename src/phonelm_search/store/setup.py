"""Making tables and bringing them up, one process at a time; what is not ours is left alone."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select

from phonelm_search.core.errors import StoreError
from phonelm_search.store import schema as t
from phonelm_search.store.address import address_name, sqlite_file
from phonelm_search.store.engine import copy_into

_LOCK_SECONDS = 120
_ADVISORY_LOCK = 0x70686F6F  # another one than that of `migrate`, which is taken within
OPTUNAS = "version_info"
"""A table that tells Optuna's."""


@contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """Hold the database's set-up for this process, also against what Optuna commits meanwhile.

    Raises:
        StoreError: If the lock file cannot be written, or another process holds it too long.
    """
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            yield
        return
    file = sqlite_file(engine.url)
    if file is None:
        yield
        return
    from filelock import FileLock, Timeout  # loads asyncio; what only reads takes no lock

    path = file.with_name(f".{file.name}.lock")
    lock = FileLock(path, timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise StoreError(
            f"the tables of {file} must be made by one process at a time, another one has been at "
            f"it for {_LOCK_SECONDS} s; wait for it or end it"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{path} must be writable: {error.strerror}; give this user the rights, or --results "
            "of another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def check_ours(connection: Connection) -> None:
    """Refuse an SQLite file of another program, before anything is written to it.

    One that holds Optuna's tables alone may take ours beside them.

    Raises:
        StoreError: If it holds other tables, and none of ours.
    """
    if connection.dialect.name != "sqlite":
        return
    names = connection.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
    )
    present = set(names.scalars())
    if present & {t.schema.name, t.VERSION_TABLE, OPTUNAS} or not present:
        return
    shown = ", ".join(sorted(present)[:3])
    raise StoreError(
        f"the database {address_name(connection.engine.url)} must be empty or made by "
        f"phonelm-search, it is another program's (it holds {shown[:200]}); nothing was written; "
        "give another --results or --storage"
    )


def keep_copy(engine: Engine, version: int) -> Path | None:
    """Copy an SQLite file beside itself before it is brought up; nobody may write meanwhile.

    Returns:
        The copy; None where there is no file.

    Raises:
        StoreError: If it cannot be written.
    """
    file = sqlite_file(engine.url)
    if file is None:
        return None
    partial = file.with_name(f".{file.name}.part")
    try:
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as target:
            copy_into(engine, target)
        for path in _free_names(file, version):
            if not path.exists():
                partial.rename(path)
                return path
            if path.read_bytes() == partial.read_bytes():  # of an upgrade that was cut off
                partial.unlink()
                return path
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink()
        raise StoreError(
            f"{file} must be copied beside itself before it is brought up from schema {version}: "
            f"{os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error}; "
            "make room and let this user write there, or work on a copy of the folder"
        ) from error
    raise AssertionError("there is always a free name")


def _free_names(file: Path, version: int) -> Iterator[Path]:
    number = 1
    while True:
        tail = "" if number == 1 else f"-{number}"
        yield file.with_name(f"{file.stem}-schema{version}{tail}{file.suffix}")
        number += 1
