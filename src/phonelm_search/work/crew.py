"""Devices that share jobs: one job at a time each, and a lost device gives its job back."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Generic, TypeVar

from phonelm_search.core.errors import TransportError

Worker = TypeVar("Worker")
Job = TypeVar("Job")
_LOOK_SECONDS = 0.5  # the main thread wakes so often, for Ctrl-C


class _Sharing(Generic[Worker, Job]):
    """One sharing of jobs, guarded by its condition."""

    def __init__(self, jobs: Sequence[Job], act: Callable[[Worker, Job], None]) -> None:
        self._left, self._unfinished = deque(jobs), len(jobs)
        self._act = act
        self._changed = Condition()
        self.failure: BaseException | None = None
        self.lost: list[tuple[Worker, TransportError]] = []
        self._told = 0

    def work(self, worker: Worker) -> None:
        """Take jobs until all are finished, one fails, or the worker is lost."""
        while (job := self._take()) is not None:
            try:
                self._act(worker, job[0])
            except TransportError as error:
                with self._changed:
                    self._left.appendleft(job[0])
                    self.lost.append((worker, error))
                    self._changed.notify_all()
                return
            except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                with self._changed:
                    self.failure = self.failure or error
                    self._changed.notify_all()
                return
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()

    def _take(self) -> tuple[Job] | None:
        """The next job; waits while others may still give theirs back."""
        with self._changed:
            self._changed.wait_for(lambda: self._left or self._over())
            return None if self._over() else (self._left.popleft(),)

    def _over(self) -> bool:
        return self.failure is not None or not self._unfinished

    def next_lost(self) -> tuple[Worker, TransportError] | None:
        """Wait for a worker to be lost; None once all is finished or something failed."""
        with self._changed:
            while not self._over() and len(self.lost) == self._told:
                self._changed.wait(_LOOK_SECONDS)
            if len(self.lost) == self._told:
                return None
            self._told += 1
            return self.lost[self._told - 1]


def share(
    workers: Sequence[Worker],
    jobs: Sequence[Job],
    act: Callable[[Worker, Job], None],
    *,
    on_lost: Callable[[Worker, TransportError], object],
) -> None:
    """Do all jobs, each by one worker, every worker one at a time.

    Args:
        workers: At least one; more than one work in threads of their own.
        jobs: What is to be done.
        act: Does a job; a `TransportError` loses the worker, and the job is another's.
        on_lost: Called for each lost worker while others go on.

    Raises:
        TransportError: If no worker is left.
        BaseException: What else ``act`` raised; jobs under way are finished first.
    """
    if len(workers) == 1:
        for job in jobs:
            act(workers[0], job)
        return
    sharing = _Sharing(jobs, act)
    threads = [Thread(target=sharing.work, args=(w,), daemon=True) for w in workers]
    for thread in threads:
        thread.start()
    while (lost := sharing.next_lost()) is not None:
        if len(sharing.lost) == len(workers):
            raise lost[1]
        on_lost(*lost)
    for thread in threads:
        thread.join()
    if sharing.failure is not None:
        raise sharing.failure
