"""Requests on their way through the rounds, and who shares the next process with whom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from phonelm_search.core.errors import (
    ChildError,
    MeasurementError,
    TransportError,
    UnsupportedShapeError,
)
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.records import Measurement
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.work import MOST_TRIES, given_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A shape and what to time of it."""

    shape: ModelShape
    """The decoder."""
    workloads: tuple[Workload, ...]
    """What to time."""
    rounds: int | None = None
    """Rounds that it shall have in all; None: the protocol's."""
    more: int = 0
    """In place of that, rounds beyond those that it has."""
    twin: bool = False
    """Whether it is measured as the second of an A/A pair: see `Measurement.twin`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request."""

    latencies: Mapping[Workload, LatencySummary]
    """Of each workload; empty where the request failed."""
    error: MeasurementError | UnsupportedShapeError | None
    """Why it failed."""
    unit_ms: float = 1.0
    """What its times are compared in: a millisecond, for they are of one device."""


@dataclass(kw_only=True)
class Task:
    """A request on its way through the rounds."""

    request: Request
    rounds: dict[Workload, list[Measurement]]
    """Rounds by workload, those of earlier runs among them."""
    made: int
    """Number of the next round."""
    wanted: int
    """Good rounds that each workload shall have."""
    error: MeasurementError | UnsupportedShapeError | None = None
    failures: int = 0
    """Processes that were killed with it, and devices that were lost with it."""

    def wanting(self, settings: MeasureSettings) -> tuple[Workload, ...]:
        """Workloads that need another round; one whose rounds are rejected again gives up."""
        if self.error is not None:
            return ()
        spare = settings.most_rounds - settings.rounds
        return tuple(
            w
            for w, found in self.rounds.items()
            if len(found) < self.wanted + spare and self._good(w) < self.wanted
        )

    @property
    def least_good(self) -> int:
        """Rounds that count, of the workload that has fewest."""
        return min(map(self._good, self.rounds))

    def _good(self, workload: Workload) -> int:
        return sum(m.verdict != "rejected" for m in self.rounds[workload])


@dataclass(kw_only=True)
class Schedule:
    """Hands out tasks for the next process; one at a time each, to several devices at once.

    Who comes next has fewest rounds, and among equals it is drawn: companions change from round
    to round, so that shapes are joined by more than the reference.
    """

    tasks: Sequence[Task]
    settings: MeasureSettings
    random: np.random.Generator
    _out: set[int] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def take(self, most: int) -> list[Task]:
        """Up to so many tasks of the same workloads; none where no round is wanted."""
        with self._lock:
            free = [
                i
                for i, t in enumerate(self.tasks)
                if i not in self._out and t.wanting(self.settings)
            ]
            drawn = [free[i] for i in self.random.permutation(len(free))]
            drawn.sort(key=lambda i: self.tasks[i].least_good)
            if not drawn:
                return []
            workloads = self.tasks[drawn[0]].request.workloads
            alike = [i for i in drawn if self.tasks[i].request.workloads == workloads][:most]
            self._out.update(alike)
            return [self.tasks[i] for i in alike]

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Tasks whose process has ended, or that did not fit into it."""
        with self._lock:
            numbers = {id(t): i for i, t in enumerate(self.tasks)}
            self._out.difference_update(numbers[id(t)] for t in tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Tasks of a schedule as jobs: those of one process are one; see `work.share_from`."""

    schedule: Schedule
    """Hands them out."""
    most: int
    """Tasks of one process."""
    has_time: Callable[[], bool]
    """Whether another process may begin."""

    def take(self) -> Sequence[Task] | None:
        """The next process's tasks."""
        return (self.schedule.take(self.most) if self.has_time() else None) or None

    def finish(self, job: Sequence[Task]) -> None:
        """The process has ended."""
        self.schedule.give_back(job)

    def give_back(self, job: Sequence[Task], error: ChildError | TransportError) -> None:
        """It was killed, or its device lost; what that happens to too often is left out."""
        for task in job:
            task.failures += 1
            if task.failures >= MOST_TRIES:
                task.error = given_up(task.failures, error)
        self.schedule.give_back(job)
