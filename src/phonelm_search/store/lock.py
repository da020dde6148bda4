"""One process at a time works on a study."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from phonelm_search.core.errors import StoreError
from phonelm_search.core.study_name import folder_name


@contextmanager
def study_lock(results: Path, study: str) -> Iterator[None]:
    """Hold a study for this process; the system lets go of it however the process ends.

    Two searches of one study would end each other's trials and disturb each other's timings.

    Raises:
        StoreError: If another process holds it, or the folder cannot be written.
    """
    name = folder_name(study)
    path = results / f".{name}.lock"
    holder = results / f".{name}.pid"  # beside it: Windows lets nobody read a locked file
    lock = FileLock(path)
    try:
        results.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        holder.write_text(str(os.getpid()), encoding="utf-8")
    except Timeout as error:
        raise StoreError(
            f"study '{study}' must be run by one process at a time, process {_pid(holder)} is at "
            "it; wait for it or use another --study"
        ) from error
    except OSError as error:
        lock.release()
        raise StoreError(f"{path} must be writable: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # another process may be reading it
            holder.unlink()
        lock.release()


def _pid(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"
