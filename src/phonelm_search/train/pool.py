"""Training candidates: in child processes, where an engine has places, or in this process."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

from phonelm_search.core.errors import ChildError, TrainingError, TransportError, first_line
from phonelm_search.core.shape import ModelShape
from phonelm_search.train.jobs import TrainingJob, cut_off, job_document, outcome_of
from phonelm_search.train.settings import Acceleration, Outcome, TrainingSettings
from phonelm_search.work import LocalPlace, Place, Report, memory_limit, share, usable_threads

OnProgress = Callable[[int, int, float], None]
"""Takes the index of a job, its tokens so far and its training bits per byte."""
OnDone = Callable[[int, Outcome], None]
"""Takes the index of a job and what came of it."""
_PARENT_BYTES, _CHILD_BYTES = 0.6e9, 0.6e9
_TASK = "phonelm_search.train.worker:train_job"


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


class PlacePool:
    """Places that train, each one job at a time, until it is closed.

    Args:
        places: At least one.
        threads: Of one training.
    """

    def __init__(self, places: Sequence[Place], *, threads: int = 1) -> None:
        self._places = list(places)
        self.threads = threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def workers(self) -> int:
        """See `Pool.workers`."""
        return len(self._places)

    def run(self, jobs: Sequence[TrainingJob], *, on_progress: OnProgress, on_done: OnDone) -> None:
        """See `Pool.run`; a job whose process is killed is tried again, a few times."""
        calls = threading.Lock()

        def done(index: int, outcome: Outcome) -> None:
            with calls:
                on_done(index, outcome)

        def train(place: Place, index: int) -> None:
            def report(progress: Mapping[str, Any]) -> None:
                with calls:
                    on_progress(index, progress["tokens"], progress["bits_per_byte"])

            try:
                done(index, self._trained(place, jobs[index], report))
            except (ChildError, TransportError):
                raise
            except BaseException:  # of who listens, or Ctrl-C: nobody wants the others' outcomes
                self.close()
                raise

        try:
            share(
                self._places,
                range(len(jobs)),
                train,
                on_lost=lambda place, _: self._places.remove(place),
                on_given_up=lambda index, error: done(index, cut_off(str(error))),
            )
        except BaseException:
            self.close()
            raise

    def _trained(self, place: Place, job: TrainingJob, report: Report) -> Outcome:
        """What comes of a job; what ended by itself would end so again.

        Raises:
            ChildError: If its process was killed.
            TransportError: If the place is lost.
        """
        try:
            answer = place.call(
                _TASK,
                {"job": job_document(job), "threads": self.threads},
                files={"tokens": job.tokens_file},
                folders={"checkpoints": job.checkpoints},
                report=report,
            )
        except ChildError as error:
            if error.killed:
                raise
            return cut_off(str(error))
        return outcome_of(answer)

    def fastest(
        self, shape: ModelShape, settings: TrainingSettings, tokens_file: Path
    ) -> Acceleration:
        """See `Pool.fastest`."""
        from phonelm_search.train.probe import choose_acceleration

        return choose_acceleration(
            shape, settings, tokens_file, threads=self.threads, place=self._places[0]
        )

    def close(self) -> None:
        """See `Pool.close`."""
        for place in self._places:
            place.stop()


class ChildPool(PlacePool):
    """Child processes, which do one job after another until it is closed.

    Args:
        workers: Jobs at once; by default one per GPU, where there is none one per core that
            this process may use, as far as a container's memory holds them.
    """

    def __init__(self, workers: int | None = None) -> None:
        import torch  # here: commands that only read a study need not wait for it

        gpus = torch.cuda.device_count()
        count = workers or gpus or usual_workers()
        super().__init__(
            [LocalPlace("the training", variables=_variables(n, gpus)) for n in range(count)],
            threads=1 if count > 1 else usable_threads(),
        )

    def fastest(
        self, shape: ModelShape, settings: TrainingSettings, tokens_file: Path
    ) -> Acceleration:
        """See `Pool.fastest`; in a process of its own, whose memory is given back."""
        from phonelm_search.train.probe import choose_acceleration

        return choose_acceleration(shape, settings, tokens_file, threads=self.threads)


def _variables(slot: int, gpus: int) -> dict[str, str]:
    """Environment of a child: which GPU it sees."""
    return {"CUDA_VISIBLE_DEVICES": str(slot % gpus)} if gpus else {}


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
