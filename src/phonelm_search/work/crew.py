"""Workers that share jobs: one job at a time each, and who fails at one gives it back."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Generic, Protocol, TypeVar

from phonelm_search.core.errors import ChildError, MeasurementError, TransportError

Worker = TypeVar("Worker")
Job = TypeVar("Job")
Answer = TypeVar("Answer")
MOST_TRIES = 4
"""Of one job: what ended so many processes or lost so many workers is most likely its own fault."""
_LOOK_SECONDS = 0.5  # the main thread wakes so often, for Ctrl-C


class Source(Protocol[Job]):
    """Where jobs come from; `share_from` calls it from one thread at a time."""

    def take(self) -> Job | None:
        """The next job; None where there is none now."""
        ...

    def finish(self, job: Job) -> None:
        """A job was done."""
        ...

    def give_back(self, job: Job, error: ChildError | TransportError) -> None:
        """A job's process was killed, or its worker lost; it is for another try or given up."""
        ...


class Queue(Generic[Job]):
    """Jobs in their order, each tried a bounded number of times.

    Args:
        jobs: What is to be done.
        tries: Of each job.
        on_given_up: Told of a job that was tried so often, in place of an error that ends all.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        tries: int = MOST_TRIES,
        on_given_up: Callable[[Job, MeasurementError], object] | None = None,
    ) -> None:
        self._left = deque(enumerate(jobs))
        self._out: list[tuple[int, Job]] = []
        self._failures = [0] * len(jobs)
        self._tries, self._on_given_up = tries, on_given_up

    def take(self) -> Job | None:
        """See `Source.take`."""
        if not self._left:
            return None
        self._out.append(self._left.popleft())
        return self._out[-1][1]

    def finish(self, job: Job) -> None:
        """See `Source.finish`."""
        self._returned(job)

    def give_back(self, job: Job, error: ChildError | TransportError) -> None:
        """See `Source.give_back`.

        Raises:
            MeasurementError: If it was tried so often, and nobody wants to be told of it.
        """
        number = self._returned(job)
        self._failures[number] += 1
        if self._failures[number] < self._tries:
            self._left.appendleft((number, job))
            return
        final = given_up(self._tries, error)
        if self._on_given_up is None:
            raise final from error
        self._on_given_up(job, final)

    def _returned(self, job: Job) -> int:
        place = next(i for i, (_, out) in enumerate(self._out) if out is job)
        return self._out.pop(place)[0]


def given_up(tries: int, error: Exception) -> MeasurementError:
    """The named failure of a job that was tried so often."""
    return MeasurementError(
        f"a job must not end its process or lose its worker {tries} times, this one did: "
        f"{error}; run again to try it anew",
        stage="transport",
    )


class _Sharing(Generic[Worker, Job]):
    """One sharing of jobs, guarded by its condition."""

    def __init__(self, source: Source[Job], act: Callable[[Worker, Job], object]) -> None:
        self._source, self._act = source, act
        self._changed = Condition()
        self._out = 0
        self.failure: BaseException | None = None
        self.lost: list[tuple[Worker, TransportError]] = []
        self._told = 0
        self._working = 0

    def begin(self, workers: int) -> None:
        """So many will work."""
        self._working = workers

    def work(self, worker: Worker) -> None:
        """Take jobs until all are finished, one fails, or the worker is lost."""
        try:
            while (job := self._take()) is not None:
                if not self._try(worker, job[0]):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self.failure = self.failure or error
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def _try(self, worker: Worker, job: Job) -> bool:
        """Do a job; whether the worker goes on."""
        lost: TransportError | None = None
        killed: ChildError | None = None
        try:
            self._act(worker, job)
        except TransportError as error:
            lost = error
        except ChildError as error:
            if not error.killed:
                raise
            killed = error
        with self._changed:
            self._out -= 1
            if lost is not None:
                self.lost.append((worker, lost))
            if (failed := lost or killed) is None:
                self._source.finish(job)
            else:
                self._source.give_back(job, failed)
            self._changed.notify_all()
        return lost is None

    def _take(self) -> tuple[Job] | None:
        """The next job; waits while others may still give theirs back."""
        with self._changed:
            while self.failure is None:
                if (job := self._source.take()) is not None:
                    self._out += 1
                    return (job,)
                if not self._out:
                    return None
                self._changed.wait()
            return None

    def next_lost(self) -> tuple[Worker, TransportError] | None:
        """Wait for a worker to be lost; None once nobody works, or something failed."""
        with self._changed:
            while self._working and self.failure is None and len(self.lost) == self._told:
                self._changed.wait(_LOOK_SECONDS)
            if len(self.lost) == self._told:
                return None
            self._told += 1
            return self.lost[self._told - 1]


def share_from(
    workers: Sequence[Worker],
    source: Source[Job],
    act: Callable[[Worker, Job], object],
    *,
    on_lost: Callable[[Worker, TransportError], object],
) -> None:
    """Do all jobs of a source, each by one worker, every worker one at a time.

    Args:
        workers: At least one; more than one work in threads of their own.
        source: Gives jobs, and takes back those that were not done.
        act: Does a job. A `TransportError` loses the worker, and the job is another's. A
            `ChildError` of a process that was killed gives the job back; the worker goes on.
        on_lost: Called for each lost worker while others go on.

    Raises:
        TransportError: If no worker is left.
        BaseException: What else ``act`` raised; jobs under way are finished first.
    """
    sharing = _Sharing(source, act)
    sharing.begin(len(workers))
    threads = [Thread(target=sharing.work, args=(w,), daemon=True) for w in workers[1:]]
    if threads:
        threads.append(Thread(target=sharing.work, args=(workers[0],), daemon=True))
    else:
        sharing.work(workers[0])
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


def share(
    workers: Sequence[Worker],
    jobs: Sequence[Job],
    act: Callable[[Worker, Job], object],
    *,
    on_lost: Callable[[Worker, TransportError], object],
    on_given_up: Callable[[Job, MeasurementError], object] | None = None,
) -> None:
    """Do all jobs of a list, as `share_from` does; each is tried `MOST_TRIES` times at most.

    Args:
        workers: See `share_from`.
        jobs: What is to be done.
        act: See `share_from`.
        on_lost: See `share_from`.
        on_given_up: Told of a job that was tried so often; others go on.

    Raises:
        MeasurementError: If a job was tried so often and there is no ``on_given_up``.
        BaseException: As `share_from`.
    """
    # Each in an object of its own: equal jobs are several.
    queue = Queue([(job,) for job in jobs], on_given_up=_unpacked(on_given_up))
    share_from(workers, queue, lambda worker, job: act(worker, job[0]), on_lost=on_lost)


def _unpacked(
    told: Callable[[Job, MeasurementError], object] | None,
) -> Callable[[tuple[Job], MeasurementError], object] | None:
    return None if told is None else lambda job, error: told(job[0], error)


def retried(act: Callable[[], Answer]) -> Answer:
    """What a call answers, tried again where its process was killed.

    Raises:
        MeasurementError: If that happens `MOST_TRIES` times.
        TransportError: If the worker is lost.
    """
    answers: list[Answer] = []
    share([None], [None], lambda *_: answers.append(act()), on_lost=lambda *_: None)
    return answers[0]
