"""The timing loop of the Python runner: warm-up windows, then samples, without a pause between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from phonelm_search.backends.base import SystemWindow, WarmupJob

_LEAST_SAMPLES = 3


class Observer(Protocol):
    """What watches the samples; `watch.Watch` is one."""

    cpu_ns: list[int]
    switches: list[int]
    windows: list[SystemWindow]

    def begin(self) -> None:
        """A sample begins."""
        ...

    def end(self) -> None:
        """A sample has ended."""
        ...

    def close(self) -> None:
        """The last sample has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How long a loop runs."""

    warmup: WarmupJob
    """Untimed runs."""
    repetitions: int
    """Samples of a model at most."""
    max_seconds: float
    """Time for a model's samples, and for its warm-up; 3 samples are taken all the same."""
    models: int = 1
    """Models that the runs belong to; run i belongs to model i modulo this number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What a loop gave."""

    warmup_ns: Sequence[int]
    """Untimed runs."""
    settled: bool
    """Whether the last two warm-up windows agreed."""
    samples_ns: Sequence[int]
    """Timed runs."""
    cpu_ns: Sequence[int]
    """Processor time during each sample."""
    switches: Sequence[int]
    """Involuntary context switches during each sample."""
    windows: Sequence[SystemWindow]
    """What the system did."""

    def by_model(self, models: int) -> list["Timed"]:
        """The runs of each of several models; what the system did is told of all together."""
        return [
            Timed(
                warmup_ns=self.warmup_ns[model::models],
                settled=self.settled,
                samples_ns=self.samples_ns[model::models],
                cpu_ns=self.cpu_ns[model::models],
                switches=self.switches[model::models],
                windows=self.windows,
            )
            for model in range(models)
        ]


def settled(before: Sequence[int], window: Sequence[int], *, models: int, tolerance: float) -> bool:
    """Whether two windows of a warm-up agree.

    Each model's medians are held against each other, and the median of those ratios counts: one
    model's burst does not keep all others waiting, and models of different speed do not mix.

    Args:
        before: Nanoseconds of the earlier window; empty where there was none.
        window: Of the later one.
        models: Models that the runs belong to in turn; both windows hold whole turns.
        tolerance: Largest relative difference.
    """
    if not before:
        return False
    medians = [(median(before[m::models]), median(window[m::models])) for m in range(models)]
    ratios = [last / first for first, last in medians if first > 0]
    return bool(ratios) and abs(median(ratios) - 1) <= tolerance


def time_loop(
    runs: Sequence[Callable[[], object]],
    settings: LoopSettings,
    clock: Callable[[], int],
    observe: Callable[[], Observer],
    *,
    before: Callable[[], object] | None = None,
) -> Timed:
    """Call ``runs`` in turn, over and over, and time every call.

    Args:
        runs: One call for each copy of the weights.
        settings: When to stop; warm-up and samples are whole turns over the models.
        clock: Monotonic nanoseconds.
        observe: Makes the observer when warm-up is over.
        before: Called untimed before each run: a cache flush, or a pause.

    Returns:
        Nanoseconds of the warm-up runs and of the samples, and what the observer saw.
    """
    loop = _Loop(runs, settings, clock, before)
    warmups, agreed = loop.warm_up()
    watch = observe()
    samples = loop.sample(watch)
    watch.close()
    return Timed(
        warmup_ns=warmups,
        settled=agreed,
        samples_ns=samples,
        cpu_ns=watch.cpu_ns,
        switches=watch.switches,
        windows=watch.windows,
    )


class _Loop:
    """Runs that are called in turn."""

    def __init__(
        self,
        runs: Sequence[Callable[[], object]],
        settings: LoopSettings,
        clock: Callable[[], int],
        before: Callable[[], object] | None,
    ) -> None:
        self._runs, self._settings, self._clock, self._before = runs, settings, clock, before
        self._allowed_ns = int(settings.models * settings.max_seconds * 1e9)
        self._turn = 0

    def warm_up(self) -> tuple[list[int], bool]:
        """Nanoseconds of the warm-up runs, and whether the last two windows agreed."""
        warmup, clock = self._settings.warmup, self._clock
        warmups: list[int] = []
        agreed = warmup.most == 0
        previous: list[int] = []
        limit = clock() + self._allowed_ns
        for _ in range(warmup.most):
            window: list[int] = []
            opened = clock()
            while not window or clock() - opened < warmup.window_seconds * 1e9:
                window += [self._step() for _ in self._runs]
            warmups += window
            agreed = settled(
                previous, window, models=self._settings.models, tolerance=warmup.tolerance
            )
            if agreed or (previous and clock() > limit):
                break
            previous = window
        return warmups, agreed

    def sample(self, watch: Observer) -> list[int]:
        """Nanoseconds of the samples, in whole turns over the models."""
        models = self._settings.models
        samples: list[int] = []
        limit = self._clock() + self._allowed_ns
        while len(samples) < models * self._settings.repetitions:
            for _ in range(models):
                watch.begin()
                samples.append(self._step())
                watch.end()
            if self._clock() > limit and len(samples) >= models * _LEAST_SAMPLES:
                break
        return samples

    def _step(self) -> int:
        run, clock = self._runs[self._turn % len(self._runs)], self._clock
        self._turn += 1
        if self._before is not None:
            self._before()
        begin = clock()
        run()
        return clock() - begin
