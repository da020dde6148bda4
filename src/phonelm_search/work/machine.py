"""One command at a time measures on this machine's processors; the next one waits for it."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOOK_SECONDS = 0.5  # a short wait keeps Ctrl-C quick
_SHARED = Path("/tmp")  # noqa: S108 - of all users of the machine, whatever TMPDIR says
LOCK = (_SHARED if _SHARED.is_dir() else Path(tempfile.gettempdir())) / ".phonelm-measuring"
"""Locked by who measures; says who that is. It is never removed: another would lock another one."""
_TURN = threading.RLock()  # a file's lock knows no threads
_depth = 0


@contextmanager
def machine_held(what: str, *, note: Callable[[str], object]) -> Iterator[None]:
    """Hold this machine's processors for measuring, once no other process does.

    Where the machine has no place for a lock that all may use, nobody waits.

    Args:
        what: What is measured, for those who wait.
        note: Told for whom this process waits.
    """
    global _depth
    while not _TURN.acquire(timeout=_LOOK_SECONDS):
        pass
    try:
        descriptor = None if _depth else _wait(what, note)
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            if descriptor is not None:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                os.close(descriptor)
    finally:
        _TURN.release()


def _wait(what: str, note: Callable[[str], object]) -> int | None:
    """The locked file; None where there can be none."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return None
    if (descriptor := _opened()) is None:
        return None
    told = False
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace")
                    note(
                        f"{holder or 'another process'} measures on this machine; waiting until "
                        "it has finished, Ctrl-C stops"
                    )
                    told = True
                time.sleep(_LOOK_SECONDS)
        with suppress(OSError):  # a full disk
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} ({what})".encode(), 0)
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _opened() -> int | None:
    """The file, made where it is missing; None where it can be neither made nor written."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    for extra in (0, os.O_CREAT):  # the kernel lets nobody "create" what another user has there
        with suppress(OSError):
            descriptor = os.open(LOCK, flags | extra, 0o666)
            with suppress(OSError):  # whatever the umask says, all users share it
                os.fchmod(descriptor, 0o666)
            return descriptor
    return None
