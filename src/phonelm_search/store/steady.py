"""A server that goes away for a while: what was under way is done again, and never twice."""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    ExceptionContext,
    event,
    func,
    literal,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from phonelm_search.core.errors import StoreError, first_line
from phonelm_search.core.units import format_seconds
from phonelm_search.store.faults import is_absence, store_error

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
PATIENCE_SECONDS = 120.0
OPENING_SECONDS = 10.0  # of a server that this process has not reached yet: it may not be there
PAUSE_SECONDS = 1.0
MOST_LOSSES = 5  # of one call: it may itself be what the server does not bear
_TRANSACTION = "phonelm_transaction"
_LOG = logging.getLogger("phonelm_search")


class ServerLostError(StoreError):
    """The server of a database went away during a call.

    Args:
        name: The database.
        error: What the driver said.
        transaction: Number of the transaction whose commit had no answer; None: nothing of the
            call is in the database.
    """

    def __init__(self, name: str, error: Exception, transaction: int | None = None) -> None:
        super().__init__(str(store_error(f"reach the database {name}", error)))
        self.cause, self.transaction = error, transaction


class Steadiness:
    """Calls to a server's database that are made again when it comes back.

    The server knows what became of a transaction whose commit had no answer; it is asked.

    Args:
        engine: Connections to the database.
        name: What messages call it.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._lock = threading.Lock()
        self._away = self._given_up = self._reached = False
        self.note: Callable[[str], object] = _LOG.warning
        """Told of the server's absence and of its return, a line each."""

    def watch_losses(self, engine: Engine) -> None:
        """Raise `ServerLostError` where a connection of an engine is lost or cannot be had."""

        def on_begin(connection: Connection) -> None:
            connection.info.pop(_TRANSACTION, None)

        def on_error(context: ExceptionContext) -> None:
            error = context.original_exception
            if context.is_pre_ping or not isinstance(error, Exception):
                return
            if not (
                context.is_disconnect or is_absence(error, unconnected=context.connection is None)
            ):
                return
            context.is_disconnect = True  # also of those that a driver has not closed yet
            connection = context.connection
            at_end = connection is not None and context.statement is None
            number = connection.info.get(_TRANSACTION) if connection and at_end else None
            raise ServerLostError(self._name, error, number)

        event.listen(engine, "begin", on_begin)
        event.listen(engine, "handle_error", on_error)

    @staticmethod
    def watch_commits(engine: Engine, check: Callable[[Connection], object]) -> None:
        """Mark what an engine commits.

        Args:
            engine: One whose losses are watched.
            check: Asked before each commit of something that was written; it raises to forbid it.
        """

        def on_commit(connection: Connection) -> None:
            number = connection.scalar(select(func.txid_current_if_assigned()))
            if number is not None:
                check(connection)
                connection.info[_TRANSACTION] = number

        event.listen(engine, "commit", on_commit)

    def call(self, work: Callable[[], R], *, committed: Callable[[], R]) -> R:
        """Do work; where the server went away meanwhile, do it again as soon as it is back.

        Args:
            work: One transaction.
            committed: What the call gives where the transaction is in the database already.

        Raises:
            StoreError: If the server stays away too long, or goes away again and again.
        """
        for left in reversed(range(MOST_LOSSES)):
            try:
                done = work()
            except ServerLostError as error:
                if not left or self._given_up:
                    raise
                if self.wait(error):
                    return committed()
            else:
                self._given_up, self._reached = False, True
                return done
        raise AssertionError("the last one gives or raises")

    def wait(self, error: ServerLostError) -> bool:
        """Wait for a server that was lost; whether it kept the transaction that had no answer.

        Raises:
            StoreError: If it stays away for longer.
        """
        seconds = PATIENCE_SECONDS if self._reached else OPENING_SECONDS
        self._tell(
            away=True,
            text=f"the database {self._name} does not answer ({first_line(error.cause)}); it is "
            f"tried again for {format_seconds(seconds)}",
        )
        try:
            state = self._state_at_return(error, seconds)
        except BaseException:
            self._given_up = True  # whatever ends this, nobody waits once more while it ends
            raise
        self._tell(away=False, text=f"the database {self._name} answers again")
        return state == "committed"

    def _state_at_return(self, error: ServerLostError, seconds: float) -> str | None:
        """What became of the transaction that had no answer, as soon as the server tells."""
        number, end = error.transaction, time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(PAUSE_SECONDS)
            try:
                state = self._state(number)
            except ServerLostError as again:
                error = again
            else:
                if state != "in progress":
                    return state
        raise StoreError(
            f"the database {self._name} must answer within {format_seconds(seconds)}, it did not; "
            f"{error}"
        ) from error

    def _state(self, transaction: int | None) -> str | None:
        """What became of a transaction; None where there is none, or the server knows of none."""
        try:
            with self._engine.connect() as connection:
                if transaction is None:
                    connection.execute(select(1))
                    return None
                number = literal(transaction, BigInteger)
                state = connection.scalar(select(func.txid_status(number)))
                return None if state is None else str(state)
        except SQLAlchemyError as error:
            if "is in the future" in str(error):  # a crash has taken its number back
                return None
            raise store_error(f"read the database {self._name}", error) from error

    def _tell(self, *, away: bool, text: str) -> None:
        with self._lock:
            changed, self._away = away != self._away, away
        if changed:
            self.note(text)


class _Steady(Protocol):
    """What has a server that may go away."""

    def again(self, work: Callable[[], T], committed: Callable[[], T]) -> T:
        """See `Steadiness.call`."""
        ...

    def wait_for_server(self, error: ServerLostError) -> None:
        """Wait until the server is back that was lost in reading."""
        ...


S = TypeVar("S", bound=_Steady)


def steady(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let a method of one transaction be made again where the server went away meanwhile.

    Where the transaction is in the database already, it gives None: no method that writes gives
    anything else.
    """

    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        nothing: Any = None
        given: R = self.again(lambda: method(self, *args, **kwargs), lambda: nothing)
        return given

    return functools.update_wrapper(call, method)


def steady_rows(
    method: Callable[Concatenate[S, P], Iterator[R]],
) -> Callable[Concatenate[S, P], Iterator[R]]:
    """The same for a method that gives rows in an order that stays: the next ones follow."""

    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        given = 0
        for left in reversed(range(MOST_LOSSES)):
            try:
                for row in islice(method(self, *args, **kwargs), given, None):
                    given += 1
                    yield row
                return
            except ServerLostError as error:
                if not left:
                    raise
                self.wait_for_server(error)

    return functools.update_wrapper(call, method)
