"""Opening the database: found, ours, of the present schema; and transactions on it."""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from json import JSONDecodeError
from pathlib import Path
from typing import Literal, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from phonelm_search.core.errors import StoreError, StoreMissingError, StoreVersionError, unwritable
from phonelm_search.core.study_name import folder_name
from phonelm_search.store import schema as t
from phonelm_search.store.address import address_name, file_address, parse_address, sqlite_file
from phonelm_search.store.engine import for_writing, open_engine, private_copy
from phonelm_search.store.faults import store_error
from phonelm_search.store.migrate import stored_version, upgrade
from phonelm_search.store.setup import alone, check_ours, keep_copy
from phonelm_search.store.steady import ServerLostError, Steadiness

R = TypeVar("R")
Fence = Callable[[Connection], object]
"""Raises where what was written may not be committed."""


def check_writable(results: Path, url: str | None = None) -> None:
    """Refuse a place where a run could make or write no database and no results; writes nothing.

    Raises:
        StoreError: If it is none.
    """
    try:
        _check_folder(results)
    except OSError as error:
        raise StoreError(unwritable(f"the results folder {results}", error)) from error
    file = sqlite_file(parse_address(url)) if url else results / "phonelm.db"
    if file is None:
        return
    try:
        if not file.parent.exists() and url:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        _check_folder(file.parent)
        if file.exists() and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise StoreError(
            f"the database {file} must be writable, its folder, too: {error.strerror}; give this "
            "user the rights, or another --results or --storage"
        ) from error


def _check_folder(folder: Path) -> None:
    """Raise what making a folder, and a file in it, would."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


class Database:
    """The database of a results folder: opened, its tables made or brought up.

    Args:
        results: Folder of the results; the default database is ``phonelm.db`` in it.
        url: An SQLAlchemy URL instead of that file.
        create: Whether a missing database is made; else it is an error.
        upgrade: Whether a database of an older schema is brought up, a copy of its file kept
            beside it; else it stays as it is and is read from a copy of its own. Default: as
            ``create``.

    Raises:
        StoreError: If it cannot be opened, or is another program's.
        StoreMissingError: If there is none, and none is made.
        StoreVersionError: If a newer release wrote it.
    """

    def __init__(
        self,
        results: Path,
        *,
        url: str | None = None,
        create: bool = True,
        upgrade: bool | None = None,
    ) -> None:
        address = parse_address(url) if url else file_address(results / "phonelm.db")
        there = sqlite_file(address)
        if not create and there is not None and not there.exists():
            raise StoreMissingError(
                f"there is no database {there}; run `phonelm-search run` first, or give --results"
            )
        if url is None and create:
            try:
                results.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(unwritable(f"the results folder {results}", error)) from error
        self.results = results
        self.url = address.render_as_string(hide_password=False)
        self.kept_copy: Path | None = None
        """The file as it was, where this object has brought it up from an older schema."""
        self._engine = open_engine(address)
        self._name = address_name(address)
        self._writer: Engine | None = for_writing(self._engine)
        self._revision = 0
        self._counting = threading.Lock()
        self._fences: list[Fence] = []
        self._steadiness: Steadiness | None = None
        if self._engine.dialect.name == "postgresql":
            self._steadiness = Steadiness(self._engine, self._name)
            self._steadiness.watch_losses(self._engine)
            self._steadiness.watch_commits(self._writer, self._check)
        upgrade = create if upgrade is None else upgrade
        prepare = partial(self._prepare, create=create, upgrade=upgrade)
        self.again(prepare, prepare)

    @property
    def engine(self) -> Engine:
        """Connections to the database itself, for what keeps tables of its own in it."""
        return self._engine

    @property
    def name(self) -> str:
        """What messages call it: its file, or its URL without the password."""
        return self._name

    @property
    def revision(self) -> int:
        """How often something was written through this object; other processes do not count.

        Who reads it before the database may keep what was read for as long as it stays the same.
        """
        return self._revision

    def watch(self, engine: Engine) -> None:
        """Let other connections to the same database be lost and fenced as this object's own."""
        if self._steadiness is not None:
            self._steadiness.watch_losses(engine)
            self._steadiness.watch_commits(engine, self._check)

    def again(self, work: Callable[[], R], committed: Callable[[], R]) -> R:
        """Do the work of one transaction, again where the server went away: `Steadiness.call`."""
        if self._steadiness is None:
            return work()

        def kept() -> R:
            self._count_write()
            return committed()

        return self._steadiness.call(work, committed=kept)

    def wait_for_server(self, error: ServerLostError) -> None:
        """Wait until the server is back that was lost in reading.

        Raises:
            StoreError: If it stays away too long.
        """
        assert self._steadiness is not None
        self._steadiness.wait(error)

    @contextmanager
    def fenced(self, fence: Fence) -> Iterator[None]:
        """Ask before each commit of something written, of this object and of what it watches."""
        self._fences.append(fence)
        try:
            yield
        finally:
            self._fences.remove(fence)

    @contextmanager
    def noting(self, note: Callable[[str], object]) -> Iterator[None]:
        """Let somebody be told meanwhile when the server is away and is back; else it is logged."""
        if self._steadiness is None:
            yield
            return
        before, self._steadiness.note = self._steadiness.note, note
        try:
            yield
        finally:
            self._steadiness.note = before

    def _check(self, connection: Connection) -> None:
        for fence in tuple(self._fences):
            fence(connection)

    def folder(self, study: str) -> Path:
        """Where a study's files lie, whatever it is called."""
        return self.results / folder_name(study)

    def _prepare(self, *, create: bool, upgrade: bool) -> None:
        with self._transaction("open") as connection:
            check_ours(connection)
            version = stored_version(connection)
        if version is None and not create:
            raise StoreMissingError(
                f"there is no study in {self._name}; run `phonelm-search run` first"
            )
        if version is None or version < t.SCHEMA_VERSION:
            version = self._bring_up() if upgrade else self._read_copy(version or 0)
        if version > t.SCHEMA_VERSION:
            raise StoreVersionError(
                f"the database {self._name} must be of schema {t.SCHEMA_VERSION} or older, "
                f"it is {version}; update phonelm-search"
            )

    def _bring_up(self) -> int:
        """Make the tables, or bring them up; the version then."""
        try:
            with alone(self._engine), self._transaction("set up") as connection:
                check_ours(connection)
                before = stored_version(connection)  # another process may have been here
                if before and before < t.SCHEMA_VERSION:
                    self.kept_copy = keep_copy(self._engine, before)
                return upgrade(connection)
        except SQLAlchemyError as error:  # of the lock
            raise store_error(f"set up the database {self._name}", error) from error

    def _read_copy(self, version: int) -> int:
        """Read tables of an older schema from a copy that is brought up; the version then."""
        if self._engine.dialect.name != "sqlite":
            raise StoreVersionError(
                f"the database {self._name} must be of schema {t.SCHEMA_VERSION} to be read, it is "
                f"{version}; `phonelm-search studies upgrade --storage URL` brings it up"
            )
        try:
            self._engine = private_copy(self._engine)
            with for_writing(self._engine).begin() as connection:
                version = upgrade(connection)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise store_error(f"read the database {self._name}", error) from error
        self._writer = None
        return version

    @contextmanager
    def _transaction(
        self, action: Literal["open", "set up", "read", "write"]
    ) -> Iterator[Connection]:
        engine = self._writer if action in ("set up", "write") else self._engine
        assert engine is not None, "what is read from a copy is not written"
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise store_error(f"{action} the database {self._name}", error) from error
        except JSONDecodeError as error:
            raise StoreError(
                f"rows of the database {self._name} must hold JSON where they should: {error}; it "
                "is damaged: bring back a copy of it"
            ) from error
        if action == "write":
            self._count_write()

    def _count_write(self) -> None:
        with self._counting:
            self._revision += 1
