"""Measuring shapes in rounds; what is in the database is never measured again."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Lock

import numpy as np

from phonelm_search.backends import Runtime, get_runtime
from phonelm_search.backends.qnn import Contexts, Tokens
from phonelm_search.core.deadline import NEVER, Deadline
from phonelm_search.core.errors import MeasurementError, TransportError, UnsupportedShapeError
from phonelm_search.core.records import Measurement
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure.bench import Bench, Model, Round
from phonelm_search.measure.executor import Executor
from phonelm_search.measure.gate import Gate
from phonelm_search.measure.latency_comparison import LatencyComparison
from phonelm_search.measure.reference import REFERENCE
from phonelm_search.measure.round_columns import RoundColumns
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.measure.summary import summarise
from phonelm_search.measure.tasks import Groups, Outcome, Request, Schedule, Task
from phonelm_search.store import Store
from phonelm_search.work import share_from

_USUAL_SECONDS = 10.0
"""Of a process, before the first one has told."""


class Profiler:
    """Measures shapes on one device and remembers everything.

    Args:
        store: Where measurements are kept and looked up.
        device: The profile.
        settings: The protocol's parameters.
        serials: Phones to measure on, all of one kind: each one process at a time.
        runtimes: Those of the device, or of each phone; by default the one that the profile names.
        benches: Devices of the profile wherever they are, in place of the runtimes.
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
        benches: Sequence[Bench] = (),
        note: Callable[[str], object] = lambda text: None,
        calibration: Callable[[], Tokens] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self.device = device
        self.settings = settings or MeasureSettings()
        self._executors = list(benches)
        self._lost: list[Bench] = []
        if not benches:
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
        self._gates = {e: Gate(store, e) for e in self._executors}
        self._note, self._telling = note, Lock()
        self._random = np.random.default_rng()
        self._controlled: bool | None = None
        self._probed: set[Bench] = set()
        self.process_seconds = _USUAL_SECONDS

    @property
    def _executor(self) -> Bench:
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
        remeasure: bool = False,
        deadline: Deadline = NEVER,
        on_round: Callable[[ModelShape], None] = lambda shape: None,
    ) -> list[Outcome]:
        """Measure several shapes in rounds, the reference shape in turn with them.

        A round is a process of its own. A few shapes and the reference share it as far as memory
        allows: their steps take turns, so that each finds the others' weights in the cache and
        what disturbs one disturbs all. Who shares it is drawn for every process. A round whose
        comparison is broken is made again, up to a limit. Every round is kept as soon as it is
        finished, so a stop loses at most the one under way.

        Args:
            requests: Shapes, each once, or once more as a twin.
            remeasure: Measure even what is known, and forget what was known.
            deadline: When no process is started any more.
            on_round: Called after each round.

        Returns:
            An outcome for each request, in order.

        Raises:
            StoreError: If the database cannot be read or written.
            TransportError: If the device, or the last of several, is lost for good.
            EngineError: If the engine that places rounds fails.
        """
        self._take_back()
        tasks = [self._task(r, afresh=remeasure) for r in requests]
        first = [t.made for t in tasks]
        schedule = Schedule(tasks=tasks, settings=self.settings, random=self._random)
        most = max(1, min(self.settings.models, -(-len(tasks) // self.workers)))

        groups = Groups(
            schedule=schedule, most=most, has_time=lambda: deadline.left > self.process_seconds
        )

        def work(executor: Bench, group: Sequence[Task]) -> None:
            self._process(executor, group, on_round)

        share_from(list(self._executors), groups, work, on_lost=self._lose)
        if remeasure:
            for task, made in zip(tasks, first, strict=True):
                self._forget(task, below_round=made)
        return self._outcomes(tasks)

    def _lose(self, executor: Bench, error: TransportError) -> None:
        """Go on without a phone until it is back."""
        self._note(f"{error}; the other phones go on")
        self._executors.remove(executor)
        self._lost.append(executor)

    def _take_back(self) -> None:
        """Use phones again that were lost and are back."""
        for executor in [e for e in self._lost if e.returned()]:
            self._lost.remove(executor)
            self._executors.append(executor)

    def _forget(self, task: Task, *, below_round: int) -> None:
        """Drop what was known where new rounds are complete, and not all of them rejected."""
        if task.error is not None:
            return
        replaced = [
            self._key(task.request, w)
            for w, found in task.rounds.items()
            if any(m.verdict != "rejected" for m in found)
        ]
        self._store.forget_measurements(replaced, below_round=below_round)

    def _key(self, request: Request, workload: Workload) -> str:
        return self._executor.key(request.shape, workload, twin=request.twin)

    def _task(self, request: Request, *, afresh: bool) -> Task:
        keys = {w: self._key(request, w) for w in request.workloads}
        known = self._store.measurements(keys=list(keys.values()))
        rounds = {w: [m for m in known if m.key == k and not afresh] for w, k in keys.items()}
        # Rejected rounds alone tell nothing: they count towards no limit of a later call.
        rounds = {
            w: f if any(m.verdict != "rejected" for m in f) else [] for w, f in rounds.items()
        }
        task = Task(
            request=request,
            rounds=rounds,
            made=max((m.round + 1 for m in known), default=0),
            wanted=request.rounds or self.settings.rounds,
        )
        if request.more:
            task.wanted = task.least_good + request.more
        return task

    def _process(
        self,
        executor: Bench,
        tasks: Sequence[Task],
        on_round: Callable[[ModelShape], None],
    ) -> None:
        """One round of as many tasks as fit in a process, where their numbers are right."""
        refusals = self._gates[executor].refusals([t.request.shape for t in tasks])
        for task, refusal in zip(tasks, refusals, strict=True):
            task.error = refusal
        ready = [t for t in tasks if t.error is None]
        if not ready:
            return
        workloads = ready[0].request.workloads
        self._know_cache(executor, workloads)
        size = executor.fitting([t.request.shape for t in ready], workloads)
        self._round(executor, ready[:size], on_round)

    def _know_cache(self, executor: Bench, workloads: Sequence[Workload]) -> None:
        """Let turns of cold decode stream what reading says; an environment is read once."""
        cold = any(self.device.cache_mode(w) == "cold" for w in workloads)
        if executor in self._probed or not cold or executor.turn_bytes == 0:
            return
        with self._telling:  # phones of one kind don't each ask
            probe = self._store.cache_probe(self.environment_id)
            if probe is None:
                try:
                    probe = executor.probe_cache()
                except TransportError:
                    raise
                except MeasurementError as error:
                    self._note(f"the cache could not be probed ({error}); what is told is taken")
                else:
                    self._store.set_cache_probe(probe)
        if probe is not None:
            executor.turn_bytes = self.settings.turn_bytes(
                executor.told_cache_bytes, probe.cold_bytes
            )
        self._probed.add(executor)

    def _round(
        self,
        executor: Bench,
        tasks: Sequence[Task],
        on_round: Callable[[ModelShape], None],
    ) -> None:
        """One round of tasks in one process; where it fails, in a process for each."""
        wanted = {w for t in tasks for w in t.wanting(self.settings)}
        workloads = [w for w in tasks[0].request.workloads if w in wanted]
        models = [Model(shape=t.request.shape, number=t.made, twin=t.request.twin) for t in tasks]
        begin = time.monotonic()
        try:
            made = executor.round(models, workloads, with_controls=not self._has_controls())
        except TransportError:
            raise
        except (MeasurementError, UnsupportedShapeError) as error:
            if len(tasks) > 1:
                for task in tasks:
                    self._round(executor, [task], on_round)
                return
            tasks[0].error = error
            return
        with self._telling:
            self.process_seconds = time.monotonic() - begin
            self._keep(tasks, made, on_round)

    def _has_controls(self) -> bool:
        """Whether what the loop itself does was ever measured here."""
        if self._controlled is None:
            known = self._store.measurements(
                shape_ids=[REFERENCE.shape_id], environment_id=self.environment_id
            )
            self._controlled = any(m.is_control for m in known)
        return self._controlled

    def _keep(
        self, tasks: Sequence[Task], made: Round, on_round: Callable[[ModelShape], None]
    ) -> None:
        """Write a process's rounds down."""
        self._store.add_measurements(REFERENCE, made.reference)
        self._controlled = self._controlled or any(m.is_control for m in made.reference)
        for task, found in zip(tasks, made.models, strict=True):
            self._store.add_measurements(task.request.shape, found)
            task.made += 1
            for m in found:
                if not m.is_control:
                    task.rounds[m.workload].append(m)
            on_round(task.request.shape)

    def _outcomes(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Answers; an error counts only where some workload has no round at all."""
        comparisons = {
            w: self._comparison(w, [t.request.shape.shape_id for t in tasks])
            for w in dict.fromkeys(w for t in tasks for w in t.request.workloads)
        }
        return [
            Outcome(
                latencies={w: summarise(f, comparisons[w]) for w, f in t.rounds.items()},
                error=None,
            )
            if all(t.rounds.values())
            else Outcome(latencies={}, error=t.error or _NO_TIME)
            for t in tasks
        ]

    def _comparison(self, workload: Workload, shape_ids: Sequence[str]) -> LatencyComparison | None:
        """Of shapes and all that shared a process with them; None where no round counts."""
        rounds = self._store.companion_rounds(shape_ids, workload, self.common(workload))
        return LatencyComparison(RoundColumns.of(rounds)) if rounds else None

    def common(self, workload: Workload) -> dict[str, str | int]:
        """What keys of measurements have in common here and now, but for the shape."""
        return self._executor.common(workload)

    def peak_bytes(self, shape: ModelShape, workload: Workload, *, remeasure: bool = False) -> int:
        """Peak resident memory of a session that loads its weights from a file, in bytes.

        Raises:
            UnsupportedShapeError, MeasurementError, StoreError: As `measure`.
        """
        key = self._executor.key(shape, workload, source="file")
        known: list[Measurement] = self._store.measurements(keys=[] if remeasure else [key])
        if not known:
            number = 1 + max((m.round for m in self._store.measurements(keys=[key])), default=-1)
            known = [self._executor.peak(shape, workload, number=number)]
            self._store.add_measurements(shape, known)
            self._store.forget_measurements([key], below_round=number)
        peak = known[-1].peak_bytes
        if peak is None:
            raise MeasurementError("the device does not tell its peak memory", stage="run")
        return peak


_NO_TIME = MeasurementError("the time was used up before it was measured", stage="timeout")
