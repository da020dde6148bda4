"""Training candidates: in child processes, one per core or per GPU, or in this process."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from phonelm_search.core.errors import ChildError, TrainingError, first_line
from phonelm_search.core.shape import ModelShape
from phonelm_search.train.jobs import TrainingJob, cut_off, job_document, outcome_of
from phonelm_search.train.settings import Acceleration, Outcome, TrainingSettings
from phonelm_search.work import Child, memory_limit, usable_threads

OnProgress = Callable[[int, int, float], None]
"""Takes the index of a job, its tokens so far and its training bits per byte."""
OnDone = Callable[[int, Outcome], None]
"""Takes the index of a job and what came of it."""
_LOOK_SECONDS = 0.5  # a short wait keeps Ctrl-C quick
_PARENT_BYTES, _CHILD_BYTES = 0.6e9, 0.6e9
_WORKER = "phonelm_search.train.worker"


class Pool(Protocol):
    """Where trainings run."""

    @property
    def workers(self) -> int:
        """Trainings at once."""
        ...

    @property
    def threads(self) -> int:
        """Threads of one training; outcomes are the same to the bit for the same number."""
        ...

    def run(self, jobs: Sequence[TrainingJob], *, on_progress: OnProgress, on_done: OnDone) -> None:
        """Train all jobs; an accident of one is an outcome that may be tried again.

        Args:
            jobs: What to train.
            on_progress: Called on the way, in the calling thread or another, one at a time.
            on_done: The same, as soon as a job is finished.
        """
        ...

    def fastest(
        self, shape: ModelShape, settings: TrainingSettings, tokens_file: Path
    ) -> Acceleration:
        """How a training of a shape is fastest here, measured.

        Raises:
            TrainingError: If it cannot be measured.
        """
        ...

    def close(self) -> None:
        """End what is still running, and take no more."""
        ...


class ChildPool:
    """Child processes, which do one job after another until it is closed.

    Args:
        workers: Jobs at once; by default one per GPU, where there is none one per core that
            this process may use, as far as a container's memory holds them.
    """

    def __init__(self, workers: int | None = None) -> None:
        import torch  # here: commands that only read a study need not wait for it

        self._gpus = torch.cuda.device_count()
        self.workers = workers or self._gpus or usual_workers()
        self._children = [Child(_WORKER, variables=self._variables(n)) for n in range(self.workers)]
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
        for child in self._children:
            self._idle.put(child)
        # One for the pool's life: a child ends with the thread that started it.
        self._executor = ThreadPoolExecutor(self.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def threads(self) -> int:
        """See `Pool.threads`."""
        return 1 if self.workers > 1 else usable_threads()

    def run(self, jobs: Sequence[TrainingJob], *, on_progress: OnProgress, on_done: OnDone) -> None:
        """See `Pool.run`."""
        calls = threading.Lock()

        def train(index: int, job: TrainingJob) -> Outcome:
            def report(progress: Mapping[str, Any]) -> None:
                with calls:
                    on_progress(index, progress["tokens"], progress["bits_per_byte"])

            child = self._idle.get()
            try:
                document = {"job": job_document(_resolved(job)), "threads": self.threads}
                return outcome_of(child.do(document, report=report))
            except ChildError as error:
                return cut_off(str(error))
            finally:
                self._idle.put(child)

        futures = {self._executor.submit(train, i, job): i for i, job in enumerate(jobs)}
        pending: set[Future[Outcome]] = set(futures)
        try:
            while pending:
                done, pending = wait(pending, _LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    with calls:
                        on_done(futures[future], future.result())
        except BaseException:
            self.close()
            raise

    def fastest(
        self, shape: ModelShape, settings: TrainingSettings, tokens_file: Path
    ) -> Acceleration:
        """See `Pool.fastest`."""
        from phonelm_search.train.probe import choose_acceleration

        return choose_acceleration(shape, settings, tokens_file, threads=self.threads)

    def close(self) -> None:
        """See `Pool.close`."""
        for child in self._children:
            child.stop()
        self._executor.shutdown()

    def _variables(self, slot: int) -> dict[str, str]:
        """Environment of a child: which GPU it sees."""
        return {"CUDA_VISIBLE_DEVICES": str(slot % self._gpus)} if self._gpus else {}


class InlinePool:
    """This process, one training after another: where children cannot be started, and in tests.

    Args:
        threads: Of torch, while it trains; by default one per core that this process may use.
    """

    workers = 1

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or usable_threads()

    def run(self, jobs: Sequence[TrainingJob], *, on_progress: OnProgress, on_done: OnDone) -> None:
        """See `Pool.run`."""
        for index, job in enumerate(jobs):
            on_done(index, self._train(job, partial(on_progress, index)))

    def _train(self, job: TrainingJob, on_progress: Callable[[int, float], None]) -> Outcome:
        from phonelm_search.train.worker import perform

        foreign: list[BaseException] = []

        def report(tokens: int, bits_per_byte: float) -> None:
            try:
                on_progress(tokens, bits_per_byte)
            except BaseException as error:
                foreign.append(error)
                raise

        try:
            with self._torch_threads():
                return perform(job, report)
        except Exception as error:
            if error in foreign:
                raise
            # A child would end by it, and the search go on.
            known = isinstance(error, TrainingError)
            return cut_off(str(error) if known else f"the training failed: {first_line(error)}")

    def fastest(
        self, shape: ModelShape, settings: TrainingSettings, tokens_file: Path
    ) -> Acceleration:
        """See `Pool.fastest`."""
        from phonelm_search.train.corpus import load_tokens
        from phonelm_search.train.probe import compare_variants

        with self._torch_threads():
            return compare_variants(shape, load_tokens(tokens_file), settings)

    @contextmanager
    def _torch_threads(self) -> Iterator[None]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """See `Pool.close`."""


def usual_workers() -> int:
    """Trainings at once on processors; their number decides about threads.

    So it is made of what stays the same from run to run: not of the memory that is free.
    """
    limit = memory_limit()
    if limit is None:
        return usable_threads()
    fitting = int((limit.limit_bytes - _PARENT_BYTES) / _CHILD_BYTES)
    return max(1, min(usable_threads(), fitting))


def _resolved(job: TrainingJob) -> TrainingJob:
    """The same job for a process that may work elsewhere."""
    return replace(
        job,
        tokens_file=job.tokens_file.resolve(),
        checkpoints=job.checkpoints.resolve(),
    )
