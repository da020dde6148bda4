"""Places where tasks are done: a child process here, or whatever an engine offers elsewhere."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from phonelm_search.work.childprocess import Child, Report

Files = Mapping[str, Path]
_NO_FILES: Files = MappingProxyType({})
_LOOK_SECONDS = 0.5  # a short wait keeps Ctrl-C quick
_CHILD = "phonelm_search.work.tasks"


class Place(Protocol):
    """Does one task at a time."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def offered(self) -> bool:
        """Whether something offers now what its tasks need."""
        ...

    def call(
        self,
        task: str,
        document: Mapping[str, Any],
        *,
        files: Files = _NO_FILES,
        folders: Files = _NO_FILES,
        report: Report = lambda progress: None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Have a task done, see `tasks.perform`.

        Args:
            task: Module and function.
            document: What it takes, as JSON.
            files: Files that it reads, by name.
            folders: Folders that it works in, by name: files in them are there for it, and what it
                leaves there is here afterwards.
            report: Called with what it tells on its way, one at a time.
            seconds: Time within which it must tell something.

        Raises:
            ChildError: If it refused, failed, or its process was killed; see `ChildError.killed`.
            TransportError: If the place is lost.
        """
        ...

    def stop(self) -> None:
        """End what is under way, now and for good."""
        ...


class Engine(Protocol):
    """Offers places that need not be of this machine."""

    def devices(self, profile: str, *, alone: bool) -> Sequence[Place]:
        """Places of all devices that are announced for a profile.

        Args:
            profile: Its name.
            alone: Whether a task takes all processors of its machine, so that nothing trains beside
                it.

        Raises:
            EngineError: If there is none.
        """
        ...

    def trainers(self) -> Sequence[Place]:
        """Places that train.

        Raises:
            EngineError: If there is none.
        """
        ...


class LocalPlace:
    """A child process of this one, which is started when there is something to do.

    Args:
        name: What messages call it.
        variables: Environment variables beside those of this process.
    """

    def __init__(self, name: str, *, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        self.name = name
        self._child = Child(_CHILD, what=name, variables=variables)
        self._thread: _Thread | None = None

    @property
    def offered(self) -> bool:
        """See `Place.offered`."""
        return True

    def call(
        self,
        task: str,
        document: Mapping[str, Any],
        *,
        files: Files = _NO_FILES,
        folders: Files = _NO_FILES,
        report: Report = lambda progress: None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """See `Place.call`."""
        paths = {name: str(path.resolve()) for name, path in {**files, **folders}.items()}
        request = {"task": task, "document": dict(document), "files": paths}
        if self._thread is None:  # a child ends with the thread that started it
            self._thread = _Thread()
        return self._thread.call(lambda: self._child.do(request, seconds=seconds, report=report))

    def stop(self) -> None:
        """See `Place.stop`."""
        self._child.stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()


class _Thread:
    """One thread for all calls of a place."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def call(self, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        future: Future[dict[str, Any]] = Future()
        self._calls.put((act, future))
        while True:
            try:
                return future.result(_LOOK_SECONDS)
            except TimeoutError:
                if future.done():
                    raise

    def end(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            act, future = call
            try:
                future.set_result(act())
            except BaseException as error:  # noqa: BLE001 - raised again where it was called
                future.set_exception(error)


_Call = tuple[Callable[[], dict[str, Any]], "Future[dict[str, Any]]"]
