"""Where a database is: its URL, its file, and how messages call it."""

import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from phonelm_search.core.errors import StoreError

_BACKENDS = ("sqlite", "postgresql")
_SECRET = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)
_ONE_USER = re.compile(r"[^:/]+://[^:/?@]*(:[^/?@]*)?@[^@]*$")
FORM = "as postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE"


def file_address(file: Path) -> URL:
    """The URL of an SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(file))


def parse_address(text: str) -> URL:
    """A URL that a person gave.

    Raises:
        StoreError: If it is none of a database that we know, one in memory, or its password is
            ambiguous; no part of the password is repeated.
    """
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except ArgumentError as error:
        raise StoreError(
            f"--storage must be an SQLAlchemy URL, {FORM}, got {masked(text)}"
        ) from error
    except ValueError as error:  # where a port is expected may stand what was meant as a password
        scheme = text.partition("://")[0]
        raise StoreError(
            f"--storage must have a number after the host's colon, {FORM}, got {scheme}://***"
        ) from error
    if backend not in _BACKENDS:
        raise StoreError(
            f"--storage must be an SQLAlchemy URL of {' or '.join(_BACKENDS)}, got {backend}"
        )
    if backend == "sqlite":
        if url.host or url.port or url.username is not None:
            raise StoreError(
                "--storage of SQLite must have three slashes and a file, or four and an absolute "
                f"one (sqlite:///results/x.db, sqlite:////home/x.db), got {masked(text)}"
            )
        if sqlite_file(url) is None:
            raise StoreError(
                f"--storage must keep what is measured, {masked(text)} lies in memory and ends "
                "with the command; give a file (sqlite:///results/x.db), or leave it out"
            )
        return url
    if "@" in text and not _ONE_USER.match(text):
        raise StoreError(
            "user and password in --storage must be percent-encoded (@ as %40, / as %2F, : as "
            f"%3A), so that one @ is left, before the host; got {masked(text)}"
        )
    if url.drivername == "postgresql" and (find_spec("psycopg") or not find_spec("psycopg2")):
        return url.set(drivername="postgresql+psycopg")  # whatever SQLAlchemy's release takes
    return url


def masked(text: str) -> str:
    """A URL without its password, also where it cannot be parsed: nothing up to the last @."""
    scheme, divided, rest = text.partition("://")
    if scheme.startswith("sqlite") and rest[:1] in ("", "/"):
        return text
    if not re.fullmatch(r"[\w+.-]*", scheme) or not divided:
        scheme, divided, rest = "", "", text
    user, at, place = rest.rpartition("@")
    if at and _SECRET.search(user):
        return f"{scheme}{divided}***"
    place = _SECRET.sub(r"\1***", place)
    if not at:
        return f"{scheme}{divided}{place}"
    plain = re.fullmatch(r"([^:/?#@]*)(:[^@]*)?", user)
    name = f"{plain[1]}{':***' if plain[2] else ''}" if divided and plain else "***"
    return f"{scheme}{divided}{name}@{place}"


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite URL; None for one in memory and for other databases."""
    name = url.database
    if url.get_backend_name() != "sqlite" or name in (None, "", ":memory:"):
        return None
    if name.startswith("file:") and url.query.get("uri"):
        return None if url.query.get("mode") == "memory" else Path(unquote(urlsplit(name).path))
    return Path(name)


def address_name(url: URL) -> str:
    """How messages call a database: its file, or its URL without the password."""
    file = sqlite_file(url)
    return str(file) if file is not None else masked(url.render_as_string(hide_password=True))
