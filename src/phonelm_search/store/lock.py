"""One process at a time works on a study."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phonelm_search.core.errors import StoreError


@contextmanager
def study_lock(results: Path, study: str) -> Iterator[None]:
    """Hold a study for this process; the system lets go of it however the process ends.

    Two searches of one study would end each other's trials and disturb each other's timings.

    Raises:
        StoreError: If another process holds it, or the folder cannot be written.
    """
    path = results / f".{study}.lock"
    try:
        results.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} must be writable: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StoreError(
                f"study '{study}' must be run by one process at a time, process "
                f"{file.read().strip() or 'unknown'} is at it; wait for it or use another --study"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
