"""What a database driver says, in one line, with what to do about it."""

import re
import sqlite3

from phonelm_search.core.errors import StoreError, first_line

_KEPT = "what was finished before is kept"
_AGAIN = f"{_KEPT}, run again to continue"
_ROOM = f"{_KEPT}: make room on its disk, then run again to continue"
_BUSY = f"another process has held it for too long: wait for it or end it; {_AGAIN}"
_WRITABLE = (
    "its file and folder must be there and writable for this user; give it the rights, or "
    "--results of another folder"
)
_DAMAGED = (
    "it is damaged, or of another program: bring back a copy of it, or give another --results or "
    "--storage"
)
_SERVER = f"see that the server runs, and that host and port in --storage are its own; {_AGAIN}"

_SQLITE = {
    sqlite3.SQLITE_FULL: _ROOM,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_CANTOPEN: _WRITABLE,
    sqlite3.SQLITE_PERM: _WRITABLE,
    sqlite3.SQLITE_AUTH: _WRITABLE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_ERROR: _DAMAGED,  # a table or column that should be there is not
    sqlite3.SQLITE_IOERR: f"its disk or network share fails; {_KEPT}",
    sqlite3.SQLITE_NOMEM: f"free memory; {_AGAIN}",
}
"""By SQLite's primary codes."""
_ENDED = (
    r"terminating connection|server closed|shutting down|starting up|recovery mode"
    r"|accepting connections"
)
_UNRESOLVED = r"resolve host|translate host name|name or service not known|nodename nor servname"
_UNREACHED = (
    r"connection refused|could not connect|time(d )?out|timeout|unreachable|no route|on socket"
)
_CROWDED = r"too many clients|too many connections|connection slots"
_ABSENT = ("57P01", "57P02", "57P03", "53300")  # it ends, has crashed, begins, or is full
_SERVERS = (
    (
        r"authentication failed|no password supplied|role .* does not exist|pg_hba\.conf",
        "correct user and password in --storage; @ : / % in them are percent-encoded "
        "(%40 %3A %2F %25)",
    ),
    (r"database .* does not exist", "make it (`createdb NAME`), or correct it in --storage"),
    (
        _UNRESOLVED,
        "correct the host in --storage; a password's @ is written %40 there",
    ),
    (_ENDED, _AGAIN),
    (_CROWDED, _BUSY),
    (_UNREACHED, _SERVER),
    (r"read-only transaction", "give a server in --storage that takes writes"),
    (r"permission denied", "grant this user rights on the database's schema"),
    (r"no space left|disk full|could not extend", _ROOM),
    (r"deadlock|could not obtain lock|lock timeout|statement timeout", _BUSY),
    (r"connection .*(closed|lost|reset|broken)|ssl", _AGAIN),
    (r"(relation|column) .* does not exist", _DAMAGED),
)
"""By what PostgreSQL and its drivers say; some have no code."""


def store_error(what: str, error: Exception) -> StoreError:
    """The error of this package for one of SQLAlchemy's, of a driver's, or of Optuna's.

    Args:
        what: What was tried, as in "write the database results/phonelm.db".
        error: What was raised.
    """
    cause = driver_error(error)
    return StoreError(f"cannot {what}: {first_line(cause)}; {_advice(cause)}")


def driver_error(error: BaseException) -> Exception:
    """A driver's own exception, within those of SQLAlchemy and Optuna."""
    inner = getattr(error, "orig", None) or error.__cause__
    if isinstance(inner, Exception):
        return driver_error(inner)
    assert isinstance(error, Exception)
    return error


def _advice(cause: Exception) -> str:
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        return _KEPT if code is None else _SQLITE.get(code & 0xFF, _KEPT)
    text = str(cause).lower()
    return next((advice for pattern, advice in _SERVERS if re.search(pattern, text)), _KEPT)


def is_absence(error: Exception, *, unconnected: bool) -> bool:
    """Whether a driver says that its server does not answer now, and may do so again.

    Args:
        error: What it raised.
        unconnected: Whether no connection could be had: then there is no code, and its text says
            why.
    """
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    if code:
        return code in _ABSENT or code.startswith("08")
    said = re.search(f"{_ENDED}|{_UNREACHED}|{_UNRESOLVED}|{_CROWDED}", str(error).lower())
    return unconnected and said is not None
