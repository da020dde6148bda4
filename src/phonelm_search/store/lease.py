"""A study of a server's database is one process's for as long as its heart beats."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import Connection, DateTime, Engine, delete, func, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from phonelm_search.core.errors import StoreError
from phonelm_search.core.units import format_seconds
from phonelm_search.store import schema as t
from phonelm_search.store.faults import store_error

LEASE_SECONDS = 60.0
"""A process that was not heard for so long has lost its study to the next one that wants it."""
_BEATS = 4  # in that time
_JOIN_SECONDS = 5.0
_row = t.leases.c


class Lease:
    """One study's lease; all of its times are by the server's clock.

    Whoever takes it over waits for what its owner commits at that moment, and from then on the
    owner commits nothing more: see `check`.

    Args:
        engine: Connections to the database.
        study: Name of the study.
        owner: What others are told of this process.
    """

    def __init__(self, engine: Engine, study: str, *, owner: str) -> None:
        self._engine, self._study, self._owner = engine, study, owner
        self._token = uuid4().hex
        self._duration = timedelta(seconds=LEASE_SECONDS)
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def acquire(self, note: Callable[[str], object]) -> None:
        """Take the lease, or take it over from a process that is heard no more.

        Args:
            note: Told from whom.

        Raises:
            StoreError: If another process holds it, or the database cannot be written.
        """
        try:
            with self._engine.begin() as connection:
                before = self._take(connection)
        except SQLAlchemyError as error:
            raise store_error(f"lease the study '{self._study}' in its database", error) from error
        if before:
            note(before)
        self._heart.start()

    def _take(self, connection: Connection) -> str | None:
        """Take it; from whom, where somebody has left it."""
        from sqlalchemy.dialects import postgresql  # takes 50 ms to import

        connection.execute(text("SET LOCAL lock_timeout = '15s'"))
        now = _now()
        fresh = {
            "owner": self._owner, "token": self._token, "acquired": now, "heartbeat": now,
            "expiry": now + self._duration,
        }  # fmt: skip
        insert = postgresql.insert(t.leases).values(study=self._study, **fresh)
        connection.execute(insert.on_conflict_do_nothing())
        ages = (
            (now - _row.acquired).label("age"),
            (now - _row.heartbeat).label("silence"),
            (_row.expiry - now).label("left"),
        )
        mine = _row.study == self._study
        query = select(_row.owner, _row.token, *ages).where(mine).with_for_update()
        present = connection.execute(query).one()
        if present.token == self._token:
            return None
        silence = format_seconds(present.silence.total_seconds())
        left = present.left.total_seconds()
        if left > 0:
            raise StoreError(
                f"study '{self._study}' must be run by one process at a time, process "
                f"{present.owner} has been at it for "
                f"{format_seconds(present.age.total_seconds())} and was heard {silence} ago; wait "
                f"for it or use another --study (if it was killed, wait {format_seconds(left)})"
            )
        connection.execute(update(t.leases).where(mine).values(**fresh))
        return (
            f"process {present.owner} was last heard {silence} ago: study '{self._study}' goes on "
            "here"
        )

    def check(self, connection: Connection) -> None:
        """Forbid a commit where another process has taken the lease over; none can before it.

        Raises:
            StoreError: Saying who.
        """
        # Heartbeats go on beside this lock, a change of the owner does not.
        query = select(_row.token).where(_row.study == self._study, _row.token == self._token)
        if connection.scalar(query.with_for_update(read=True, key_share=True)) is not None:
            return
        owner = connection.scalar(select(_row.owner).where(_row.study == self._study))
        raise StoreError(
            f"study '{self._study}' must be run by one process at a time, "
            f"{f'process {owner}' if owner else 'another one'} has taken it over, as this one was "
            f"not heard for {format_seconds(self._duration.total_seconds())}; what it finished "
            "before is kept, nothing more is written"
        )

    def release(self) -> None:
        """Give it back; of a server that is away, it runs out by itself."""
        self._ended.set()
        self._heart.join(_JOIN_SECONDS)
        with suppress(SQLAlchemyError, StoreError), self._engine.begin() as connection:
            connection.execute(delete(t.leases).where(_row.token == self._token))

    def _beat(self) -> None:
        while not self._ended.wait(self._duration.total_seconds() / _BEATS):
            with suppress(SQLAlchemyError, StoreError):  # the server is away; the next one tells
                if not self._renew():
                    return

    def _renew(self) -> bool:
        now = _now()
        renewal = (
            update(t.leases)
            .where(_row.study == self._study, _row.token == self._token)
            .values(heartbeat=now, expiry=now + self._duration)
        )
        with self._engine.begin() as connection:
            return connection.execute(renewal).rowcount == 1


def _now() -> ColumnElement[object]:
    """The moment by the server's clock, not that of the transaction's beginning."""
    return func.clock_timestamp(type_=DateTime(timezone=True))
