"""Files and folders under way: locked while they are made, swept once their maker was killed.

The lock is the system's and ends with the process, so whatever bears a name of ours and lets itself
be locked has no owner. Where a file system knows no locks, nothing is swept.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PART = ".phonelm-part"
_RANDOM = "?" * 8  # what `tempfile` appends
_TEMPORARY = ("phonelm-job-", "phonelm-push-", "phonelm-npu-", "phonelm-build-")


@contextmanager
def folder_under_way(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder that is gone afterwards; those of killed processes are removed first.

    Args:
        prefix: What its name begins with; nobody else's may.
        parent: Where it lies, and must exist; None: the folder of temporary files.

    Raises:
        OSError: If it cannot be made; names the folder.
    """
    parent = parent or temporary_folder()
    sweep(parent, f"{prefix}{_RANDOM}")
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _locked(folder, wait=True)
        if folder.exists():
            break
        _release(lock)  # another process swept it before it was locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _release(lock)


@contextmanager
def file_under_way(target: Path) -> Iterator[Path]:
    """A file to write, which takes a target's place once it is complete, and is gone otherwise.

    Args:
        target: In a folder that exists; what killed processes left beside it is removed.

    Raises:
        OSError: If it cannot be written; names the file.
    """
    sweep(target.parent, f".*{_PART}")
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}{_PART}")
    lock: int | None = None
    try:
        part.touch()
        lock = _locked(part, wait=True)
        yield part
        part.replace(target)
    except OSError as error:
        error.filename = error.filename or str(target)
        raise
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        _release(lock)


def sweep(parent: Path, pattern: str) -> None:
    """Remove files and folders that killed processes left; those in use stay.

    Args:
        parent: Folder; it may be missing.
        pattern: Names, as `Path.glob` takes them; nobody else's may match.
    """
    with suppress(OSError):
        for path in sorted(parent.glob(pattern)):
            lock = _locked(path, wait=False)
            if lock is None:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
            _release(lock)


def sweep_temporary() -> None:
    """The same for folders of temporary files."""
    with suppress(OSError):  # who needs the folder says what is wrong with it
        for prefix in _TEMPORARY:
            sweep(temporary_folder(), prefix + _RANDOM)


def temporary_folder() -> Path:
    """Where temporary files go.

    Raises:
        OSError: If there is no folder that takes any; names TMPDIR.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        error.filename = os.environ.get("TMPDIR") or "TMPDIR"
        raise


def _locked(path: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock; None where another holds it, or there are no locks."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _release(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
