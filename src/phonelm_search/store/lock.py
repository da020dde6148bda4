"""One process at a time works on a study."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from phonelm_search.core.errors import StoreError
from phonelm_search.core.study_name import folder_name

_USUAL = "phonelm.db"
_OURS = 0x70686F6E  # apart from locks of other programs


@contextmanager
def study_lock(results: Path, study: str, *, url: URL | str | None = None) -> Iterator[None]:
    """Hold a study of a database for this process; it is let go of however the process ends.

    Two searches of one study would end each other's trials and disturb each other's timings.

    Args:
        results: Folder of the results, which has the database unless ``url`` names another.
        study: Name of the study.
        url: The database's URL: whatever their folder of results, who shares it shares the lock.

    Raises:
        StoreError: If another process holds it, or the lock cannot be written.
    """
    file = results / _USUAL
    if url is not None:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            with _server_lock(url, study):
                yield
            return
        file = Path(parsed.database or file)
    with suppress(OSError):  # who came by a link, and who did not
        file = file.resolve()
    name = folder_name(study)
    name = name if file.name == _USUAL else f"{file.name}.{name}"
    with _file_lock(file.parent, name, study):
        yield


def _refusal(study: str, owner: str) -> StoreError:
    return StoreError(
        f"study '{study}' must be run by one process at a time, {owner} is at it; wait for it or "
        "use another --study"
    )


@contextmanager
def _file_lock(folder: Path, name: str, study: str) -> Iterator[None]:
    path = folder / f".{name}.lock"
    holder = folder / f".{name}.pid"  # beside it: Windows lets nobody read a locked file
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise _refusal(study, _owner(holder)) from error
    except OSError as error:
        lock.release()
        raise StoreError(f"{path} must be writable: {error.strerror}") from error
    try:
        with suppress(OSError):  # it only tells others: a full disk may have no room for it
            holder.write_text(_me(), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # another process may be reading it
            holder.unlink()
        lock.release()


def _me() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"


def _owner(holder: Path) -> str:
    with suppress(OSError):
        if told := holder.read_text(encoding="utf-8", errors="replace").strip():
            pid, _, host = told.partition(" on ")
            return f"process {pid}" if host in ("", socket.gethostname()) else f"process {told}"
    return "process unknown"


@contextmanager
def _server_lock(url: URL | str, study: str) -> Iterator[None]:
    """A lock of PostgreSQL's own, which ends with the connection."""
    number = int.from_bytes(hashlib.sha256(study.encode()).digest()[:4]) >> 1
    keys = {"ours": _OURS, "study": number}
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        raise _unlockable(error) from error
    try:
        try:
            taken = _try(connection, keys)
            owner = "" if taken else _server_owner(connection, keys)
        except SQLAlchemyError as error:
            raise _unlockable(error) from error
        if not taken:
            raise _refusal(study, owner)
        yield
    finally:
        with suppress(SQLAlchemyError):  # the server has gone, and the lock with it
            connection.close()
        engine.dispose()


def _unlockable(error: SQLAlchemyError) -> StoreError:
    cause = str(getattr(error, "orig", None) or error).splitlines()[0]
    return StoreError(f"cannot lock the study in its database: {cause}")


def _try(connection: Connection, keys: dict[str, int]) -> bool:
    name = f"phonelm-search: process {_me()}"[:63]
    connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": name})
    query = text("SELECT pg_try_advisory_lock(CAST(:ours AS int), CAST(:study AS int))")
    return bool(connection.execute(query, keys).scalar())


def _server_owner(connection: Connection, keys: dict[str, int]) -> str:
    query = text(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
        "JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory' AND l.granted "
        "AND d.datname = current_database() AND l.classid = :ours AND l.objid = :study"
    )
    told = connection.execute(query, keys).scalar()
    return str(told or "process unknown").removeprefix("phonelm-search: ")
