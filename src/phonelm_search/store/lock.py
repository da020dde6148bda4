"""One process at a time works on a study."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy.engine import URL, make_url

from phonelm_search.core.errors import StoreError, unwritable
from phonelm_search.core.study_name import folder_name
from phonelm_search.store.lease import Lease
from phonelm_search.store.opening import Database

_USUAL = "phonelm.db"


@contextmanager
def study_held(store: Database, study: str, *, note: Callable[[str], object]) -> Iterator[None]:
    """Hold a study for this process: by a file beside an SQLite database, by a lease of a server's.

    Args:
        store: The database.
        study: Name of the study.
        note: Told whose lease had run out, and when the server is away and is back.

    Raises:
        StoreError: If another process holds it, or lock or lease cannot be written.
    """
    if store.engine.dialect.name != "postgresql":
        with study_lock(store.results, study, url=store.engine.url):
            yield
        return
    lease = Lease(store.engine, study, owner=_me())
    with store.noting(note):
        lease.acquire(note)
        try:
            with store.fenced(lease.check):
                yield
        finally:
            lease.release()


@contextmanager
def study_lock(results: Path, study: str, *, url: URL | str | None = None) -> Iterator[None]:
    """Hold a study of an SQLite file for this process; it is let go of however the process ends.

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
        file = Path(make_url(url).database or file)
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
        raise StoreError(unwritable(path, error)) from error
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
