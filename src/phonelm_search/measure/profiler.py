"""Measuring a shape: what is in the database is read, the rest becomes one job."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from phonelm_search import __version__
from phonelm_search.devices import DeviceProfile
from phonelm_search.errors import MeasurementError
from phonelm_search.graph import GRAPH_VERSION, Graph, build_graph
from phonelm_search.measure.statistics import LatencySummary, summarise
from phonelm_search.measure.verdict import judge
from phonelm_search.records import Measurement, identity, measurement_key
from phonelm_search.runtimes import Runtime, get_runtime
from phonelm_search.runtimes.base import (
    PROTOCOL_VERSION,
    CacheJob,
    Job,
    PhaseJob,
    Result,
    TensorJob,
    WeightsJob,
)
from phonelm_search.shape import ModelShape
from phonelm_search.store import Store
from phonelm_search.workload import Workload

_POSITIONS = 4096
_MOST_COPIES = 256
SEPARATE_ROTARY = "separate rotary operator: head dimension {} is not a multiple of 16"
_SEED = 20241105  # arXiv 2411.05046


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSettings:
    """How long a round is."""

    repetitions: int = 200
    """Timed runs at most."""
    warmups: int = 3
    """Untimed runs before; in a rotation, rounds over all copies."""
    max_seconds: float = 2.0
    """Time for the timed runs of a phase."""


class Profiler:
    """Measures shapes on one device and remembers everything.

    Args:
        store: Where measurements are kept and looked up.
        device: The profile.
        settings: Length of a round.
        runtime: The device's runtime; by default the one that the profile names.
        clock: Present time, for the records.
    """

    def __init__(
        self,
        store: Store,
        device: DeviceProfile,
        *,
        settings: MeasureSettings | None = None,
        runtime: Runtime | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self.device = device
        self.settings = settings or MeasureSettings()
        self._clock = clock
        self._runtime = runtime or get_runtime(
            device.runtime,
            threads=device.thread_count,
            execution_provider=device.execution_provider,
        )
        self.environment = self._runtime.environment()

    def latencies(
        self, shape: ModelShape, workloads: Sequence[Workload], *, remeasure: bool = False
    ) -> dict[Workload, LatencySummary]:
        """Latency of each workload, measured where it is not in the database.

        Args:
            shape: The decoder.
            workloads: What to time.
            remeasure: Measure even what is known, and forget what was known.

        Raises:
            UnsupportedShapeError: If the kernels refuse the shape.
            MeasurementError: If the runtime failed; what it had finished before is kept.
            StoreError: If the database cannot be read or written.
        """
        keys = {w: self._key(shape, w, "memory") for w in workloads}
        known = self._store.measurements(keys=[] if remeasure else list(keys.values()))
        missing = [w for w in workloads if keys[w] not in {m.key for m in known}]
        if missing:
            fresh = self._run(shape, missing)
            if any(m.verdict == "rejected" for m in fresh):  # one more try
                fresh += self._run(shape, missing, number=1)
            if remeasure:
                self._store.forget_measurements(list(keys.values()))
            self._store.add_measurements(shape, fresh)
            known = [*known, *fresh]
        return {w: summarise([m for m in known if m.key == keys[w]]) for w in workloads}

    def peak_bytes(self, shape: ModelShape, workload: Workload, *, remeasure: bool = False) -> int:
        """Peak resident memory of a session that loads its weights from a file, in bytes.

        Raises:
            UnsupportedShapeError, MeasurementError, StoreError: As `latencies`.
        """
        key = self._key(shape, workload, "file")
        known = self._store.measurements(keys=[] if remeasure else [key])
        if not known:
            known = self._run(shape, [workload], from_file=True)
            if remeasure:
                self._store.forget_measurements([key])
            self._store.add_measurements(shape, known)
        peak = known[-1].peak_bytes
        if peak is None:
            raise MeasurementError("the device does not tell its peak memory", stage="run")
        return peak

    def _key(self, shape: ModelShape, workload: Workload, source: str) -> str:
        return measurement_key(
            shape_id=shape.shape_id,
            workload=workload,
            precision=self.device.precision,
            environment_id=identity(self.environment),
            cache_mode=self.device.cache,
            weights_source=source,
            graph_version=GRAPH_VERSION,
            protocol_version=PROTOCOL_VERSION,
        )

    def _copies(self, shape: ModelShape) -> int:
        """Copies that together stream twice the last-level cache; 1 when warm."""
        if self.device.cache == "warm":
            return 1
        streamed = shape.weight_bytes(self.device.scheme).streamed
        return min(_MOST_COPIES, -(-2 * self._runtime.cache_bytes() // streamed))

    def _job(
        self, shape: ModelShape, graph: Graph, workloads: Sequence[Workload], *, from_file: bool
    ) -> Job:
        copies = 1 if from_file else self._copies(shape)
        s = self.settings
        return Job(
            tag=secrets.token_hex(8),
            graph="model.onnx",
            vocab_size=shape.vocab_size,
            weights=WeightsJob(
                seed=_SEED,
                tensors=tuple(TensorJob(**asdict(spec)) for spec in graph.tensors),
                source="file" if from_file else "memory",
            ),
            phases=tuple(
                PhaseJob(kind=w.phase, tokens=w.tokens, past_tokens=w.past_tokens)
                for w in workloads
            ),
            logits=workloads[0].logits,
            repetitions=1 if from_file else s.repetitions,
            warmups=0 if from_file else s.warmups,
            max_seconds=s.max_seconds,
            cache=CacheJob(mode="rotate" if copies > 1 else "warm", copies=copies),
            threads=self.device.thread_count,
            execution_provider=self.device.execution_provider,
            provider_options=self.device.provider_options,
        )

    def _run(
        self,
        shape: ModelShape,
        workloads: Sequence[Workload],
        *,
        number: int = 0,
        from_file: bool = False,
    ) -> list[Measurement]:
        longest = max(w.tokens + w.past_tokens for w in workloads)
        graph = build_graph(
            shape,
            self.device.scheme,
            logits=workloads[0].logits,
            max_positions=max(_POSITIONS, longest),
        )
        job = self._job(shape, graph, workloads, from_file=from_file)
        result = self._runtime.run(job, graph.model)
        notes = (SEPARATE_ROTARY.format(shape.head_dim),) if graph.separate_rotary else ()
        return self._records(shape, workloads, job, result, number, notes)

    def _records(
        self,
        shape: ModelShape,
        workloads: Sequence[Workload],
        job: Job,
        result: Result,
        number: int,
        notes: tuple[str, ...],
    ) -> list[Measurement]:
        if result.environment != self.environment:
            differs = [
                f"{k}: {self.environment.get(k)} → {result.environment.get(k)}"
                for k in sorted({*self.environment, *result.environment})
                if self.environment.get(k) != result.environment.get(k)
            ]
            raise MeasurementError(
                f"the environment must stay the same while measuring, {'; '.join(differs)}",
                stage="protocol",
            )
        streamed = shape.weight_bytes(self.device.scheme).streamed * job.cache.copies
        records = []
        for workload, phase in zip(workloads, result.phases, strict=True):
            verdict, reasons = judge(
                phase.samples_ns,
                rounds=number + 1,
                cold=self.device.cache == "cold" and workload.phase == "decode",
                streamed_bytes=streamed,
                cache_bytes=self._runtime.cache_bytes(),
            )
            records.append(
                Measurement(
                    shape_id=shape.shape_id,
                    device=self.device.name,
                    precision=self.device.precision,
                    workload=workload,
                    cache_mode=self.device.cache,
                    copies=job.cache.copies if workload.phase == "decode" else 1,
                    weights_source=job.weights.source,
                    environment=result.environment,
                    graph_version=GRAPH_VERSION,
                    protocol_version=PROTOCOL_VERSION,
                    round=number,
                    warmup_ns=phase.warmup_ns,
                    samples_ns=phase.samples_ns,
                    peak_bytes=phase.peak_bytes,
                    verdict=verdict,
                    reasons=reasons,
                    notes=notes,
                    conditions=result.conditions,
                    package_version=__version__,
                    created_at=self._clock().isoformat(timespec="seconds"),
                )
            )
        return records
