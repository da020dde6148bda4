"""Measuring shapes in rounds; what is in the database is never measured again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock

import numpy as np

from phonelm_search.backends import PROTOCOL_VERSION, Runtime, get_runtime
from phonelm_search.backends.qnn import Contexts, Tokens
from phonelm_search.core.errors import MeasurementError, TransportError, UnsupportedShapeError
from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.records import Measurement
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats, bootstrap_rounds, repetitions_for
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure.anchor import Anchor, Units
from phonelm_search.measure.executor import Executor, Round
from phonelm_search.measure.gate import Gate
from phonelm_search.measure.reference import REFERENCE
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.measure.summary import good_rounds, summarise
from phonelm_search.store import Store
from phonelm_search.work import share

_LEAST_REPETITIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A shape and what to time of it."""

    shape: ModelShape
    """The decoder."""
    workloads: tuple[Workload, ...]
    """What to time."""
    truncated: bool = False
    """Whether only an estimate is made from it, so that fewer samples do."""


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
class _Task:
    """A request on its way through the rounds."""

    request: Request
    rounds: dict[Workload, list[Measurement]]
    """Rounds by workload, those of earlier runs among them."""
    made: int
    """Number of the next round."""
    extra: int
    """Rounds wanted beyond the protocol's."""
    error: MeasurementError | UnsupportedShapeError | None = None

    def wanting(self, settings: MeasureSettings) -> tuple[Workload, ...]:
        """Workloads that need another round."""
        if self.error is not None:
            return ()
        s = replace(
            settings,
            rounds=settings.rounds + self.extra,
            most_rounds=settings.most_rounds + self.extra,
        )
        return tuple(w for w, found in self.rounds.items() if _wants_more(found, s))

    @property
    def lacks_controls(self) -> bool:
        """Whether no round that counts has made them: they belong to the first one."""
        return not any(m.verdict != "rejected" for found in self.rounds.values() for m in found)

    def repetitions(
        self, workloads: Sequence[Workload], settings: MeasureSettings, most: int
    ) -> int:
        """As many as the wished interval needs by the rounds before; the ceiling at first."""
        s = settings
        needed = [
            repetitions_for(self.rounds[w][-1].samples_ns, rounds=s.rounds, half_width=s.half_width)
            if self.rounds[w]
            else most
            for w in workloads
        ]
        return min(most, max(_LEAST_REPETITIONS, *needed))

    def outcome(self) -> Outcome:
        """The answer; an error counts only where some workload has no round at all."""
        if self.error is not None and not all(self.rounds.values()):
            return Outcome(latencies={}, error=self.error)
        return Outcome(latencies={w: summarise(r) for w, r in self.rounds.items()}, error=None)


def _wants_more(found: Sequence[Measurement], settings: MeasureSettings) -> bool:
    if len(found) >= settings.most_rounds:
        return False
    if sum(m.verdict == "valid" for m in found) < settings.rounds:
        return True
    summary = summarise(found)
    return summary.ci_high_ms - summary.ci_low_ms > 2 * settings.half_width * summary.latency_ms


class Profiler:
    """Measures shapes on one device and remembers everything.

    Args:
        store: Where measurements are kept and looked up.
        device: The profile.
        settings: The protocol's parameters.
        serials: Phones to measure on, all of one kind: each one shape at a time.
        runtimes: Those of the device, or of each phone; by default the one that the profile names.
        note: Told what a person should know meanwhile.
        calibration: Text as tokens, which graphs for an accelerator are calibrated on.
        clock: Present time, for the records.

    Raises:
        ConfigurationError: If the phones are not of one kind.
        MeasurementError: If the device cannot be asked what it is.
    """

    def __init__(
        self,
        store: Store,
        device: DeviceProfile,
        *,
        settings: MeasureSettings | None = None,
        serials: Sequence[str] = (),
        runtimes: Sequence[Runtime] = (),
        note: Callable[[str], object] = lambda text: None,
        calibration: Callable[[], Tokens] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self.device = device
        self.settings = settings or MeasureSettings()
        runtimes = runtimes or [
            get_runtime(device, serial=s, note=note) for s in serials or (None,)
        ]
        contexts = None
        if device.accelerated and calibration is not None:
            contexts = Contexts(device, calibration(), store.results / "cache/contexts")
        self._executors = [
            Executor(device, r, self.settings, clock, contexts=contexts) for r in runtimes
        ]
        first = self._executors[0]
        for other in self._executors[1:]:
            first.check_same(other.environment)
        self.environment = first.environment
        self.environment_id = first.environment_id
        self.cache_bytes = first.cache_bytes
        self._anchors: dict[str | None, Anchor] = {}
        self._units = Units(self.settings.drift_limit)
        self._gates = {e: Gate(store, e) for e in self._executors}
        self._note, self._telling = note, Lock()

    @property
    def _executor(self) -> Executor:
        """Any of them, for what is alike on all."""
        return self._executors[0]

    @property
    def workers(self) -> int:
        """How many devices measure at the same time."""
        return len(self._executors)

    def measure(
        self,
        requests: Sequence[Request],
        *,
        extra_rounds: int = 0,
        remeasure: bool = False,
        on_round: Callable[[ModelShape], None] = lambda shape: None,
    ) -> list[Outcome]:
        """Measure several shapes in rounds, the reference shape in turn with them.

        A round is a process of its own. A few shapes and the reference share it as far as memory
        allows: their steps take turns, so that each finds the others' weights in the cache and
        what disturbs one disturbs all. A round that was disturbed, or in which the reference was
        slower than usual, is made again, up to a limit. Every round is kept as soon as it is
        finished, so a stop loses at most the one under way.

        Args:
            requests: Shapes, each once.
            extra_rounds: Good rounds wanted beyond the protocol's, for a narrower interval.
            remeasure: Measure even what is known, and forget what was known.
            on_round: Called after each round.

        Returns:
            An outcome for each request, in order.

        Raises:
            StoreError: If the database cannot be read or written.
            TransportError: If the device, or the last of several, is lost for good.
        """
        tasks = [self._task(r, extra_rounds, afresh=remeasure) for r in requests]
        first = [t.made for t in tasks]

        def finish(executor: Executor, group: Sequence[_Task]) -> None:
            while todo := [t for t in group if t.wanting(self.settings)]:
                for part in self._fitting(executor, todo):
                    self._part(executor, part, on_round)

        share(list(self._executors), list(self._groups(tasks)), finish, on_lost=self._lose)
        if remeasure:
            for task, made in zip(tasks, first, strict=True):
                self._forget(task, below_round=made)
        return [t.outcome() for t in tasks]

    def _lose(self, executor: Executor, error: TransportError) -> None:
        """Go on without a phone, for as long as this process works."""
        self._note(f"{error}; the other phones go on")
        self._executors.remove(executor)

    def _forget(self, task: _Task, *, below_round: int) -> None:
        """Drop what was known where new rounds are complete, and not all of them rejected."""
        if task.error is not None:
            return
        replaced = [
            self._executor.key(task.request.shape, w)
            for w, found in task.rounds.items()
            if any(m.verdict != "rejected" for m in found)
        ]
        self._store.forget_measurements(replaced, below_round=below_round)

    def _task(self, request: Request, extra: int, *, afresh: bool) -> _Task:
        keys = {w: self._executor.key(request.shape, w) for w in request.workloads}
        known = self._store.measurements(keys=list(keys.values()))
        rounds = {w: [m for m in known if m.key == k and not afresh] for w, k in keys.items()}
        return _Task(
            request=request,
            # Rejected rounds alone tell nothing: they count towards no limit of a later call.
            rounds={
                w: f if any(m.verdict != "rejected" for m in f) else [] for w, f in rounds.items()
            },
            made=max((m.round + 1 for m in known), default=0),
            extra=extra,
        )

    def _groups(self, tasks: Sequence[_Task]) -> Iterator[Sequence[_Task]]:
        """Tasks that are measured together."""
        alike: dict[tuple[bool, tuple[Workload, ...]], list[_Task]] = {}
        for task in tasks:
            alike.setdefault((task.request.truncated, task.request.workloads), []).append(task)
        for (truncated, _), found in alike.items():
            most = self.settings.sampling(truncated=truncated).models
            size = min(most, -(-len(found) // self.workers))
            for start in range(0, len(found), size):
                yield found[start : start + size]

    def _fitting(self, executor: Executor, tasks: Sequence[_Task]) -> Iterator[Sequence[_Task]]:
        """The same in as few processes as memory allows."""
        left = list(tasks)
        while left:
            shapes = [t.request.shape for t in left]
            size = executor.fitting(shapes, left[0].request.workloads)
            yield left[:size]
            left = left[size:]

    def _part(
        self,
        executor: Executor,
        tasks: Sequence[_Task],
        on_round: Callable[[ModelShape], None],
    ) -> None:
        """One round of tasks that fit in a process, where their numbers are right."""
        refusals = self._gates[executor].refusals([t.request.shape for t in tasks])
        for task, refusal in zip(tasks, refusals, strict=True):
            task.error = refusal
        if ready := [t for t in tasks if t.error is None]:
            self._round(executor, ready, on_round)

    def _round(
        self,
        executor: Executor,
        tasks: Sequence[_Task],
        on_round: Callable[[ModelShape], None],
    ) -> None:
        """One round of tasks in one process; where it fails, in a process for each."""
        s = self.settings
        wanted = {w for t in tasks for w in t.wanting(s)}
        workloads = [w for w in tasks[0].request.workloads if w in wanted]
        _, most, seconds = s.sampling(truncated=tasks[0].request.truncated)
        try:
            made = executor.round(
                [t.request.shape for t in tasks],
                workloads,
                numbers=[t.made for t in tasks],
                repetitions=max(t.repetitions(workloads, s, most) for t in tasks),
                max_seconds=seconds,
                with_controls=any(t.lacks_controls for t in tasks),
            )
        except TransportError:
            raise
        except (MeasurementError, UnsupportedShapeError) as error:
            if len(tasks) > 1:
                for task in tasks:
                    self._round(executor, [task], on_round)
                return
            for task in tasks:
                task.error = error
            return
        with self._telling:
            self._keep(executor, tasks, made, on_round)

    def _keep(
        self,
        executor: Executor,
        tasks: Sequence[_Task],
        made: Round,
        on_round: Callable[[ModelShape], None],
    ) -> None:
        """Judge a round and write it down."""
        serial = _serial(made.reference)
        reading = self._reference(serial).read(made.reference)

        def judged(found: Sequence[Measurement]) -> list[Measurement]:
            complete = (executor.judged(reading.complete(m)) for m in found)
            return [self._units.judged(m, self._anchors, serial) for m in complete]

        self._store.add_measurements(REFERENCE, judged(made.reference))
        for task, unjudged in zip(tasks, made.shapes, strict=True):
            found = judged(unjudged)
            self._store.add_measurements(task.request.shape, found)
            task.made += 1
            for m in found:
                if not m.is_control:
                    task.rounds[m.workload].append(m)
            on_round(task.request.shape)

    def _reference(self, serial: str | None) -> Anchor:
        """The reference's readings on one device: two phones of a kind may differ in speed."""
        if serial not in self._anchors:
            known = self._store.measurements(
                shape_ids=[REFERENCE.shape_id], environment_id=self.environment_id
            )
            alike = (GRAPH_VERSION, PROTOCOL_VERSION, serial)
            self._anchors[serial] = Anchor(
                [
                    m
                    for m in known
                    if (m.graph_version, m.protocol_version, _serial([m])) == alike
                    and m.precision == self.device.precision.of(m.workload.phase)
                ]
            )
        return self._anchors[serial]

    def key_of(self, shape_id: str, workload: Workload) -> str:
        """The key that a measurement would have here and now."""
        return self._executor.key_of(shape_id, workload)

    def resampled_ms(self, shape: ModelShape, workload: Workload) -> Floats:
        """Resampled medians of a measurement, in ms; see `statistics.bootstrap_rounds`.

        Raises:
            ValueError: If it was not measured.
        """
        key = self._executor.key(shape, workload)
        counted = good_rounds(self._store.measurements(keys=[key]), enough=self.settings.rounds)
        # A seed of its own for each measurement: their errors are independent.
        return bootstrap_rounds(
            [np.asarray(m.samples_ns) / 1e6 for m in counted], seed=int(key, 16)
        )

    def peak_bytes(self, shape: ModelShape, workload: Workload, *, remeasure: bool = False) -> int:
        """Peak resident memory of a session that loads its weights from a file, in bytes.

        Raises:
            UnsupportedShapeError, MeasurementError, StoreError: As `latencies`.
        """
        key = self._executor.key(shape, workload, "file")
        known = self._store.measurements(keys=[] if remeasure else [key])
        if not known:
            number = 1 + max((m.round for m in self._store.measurements(keys=[key])), default=-1)
            known = [self._executor.peak(shape, workload, number=number)]
            self._store.add_measurements(shape, known)
            self._store.forget_measurements([key], below_round=number)
        peak = known[-1].peak_bytes
        if peak is None:
            raise MeasurementError("the device does not tell its peak memory", stage="run")
        return peak


def _serial(found: Sequence[Measurement]) -> str | None:
    """The phone that measurements were made on; None on a device without serial."""
    return found[0].conditions.get("before", {}).get("serial") if found else None
