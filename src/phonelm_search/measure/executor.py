"""One device's jobs: run them and turn their results into records."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np

from phonelm_search import __version__
from phonelm_search.devices import DeviceProfile
from phonelm_search.errors import MeasurementError
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure import jobs, numerics
from phonelm_search.measure.reference import REFERENCE, REFERENCE_WORKLOADS
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.measure.verdict import judge_round
from phonelm_search.records import Measurement, NumericsCheck, identity, measurement_key
from phonelm_search.runtimes import Runtime
from phonelm_search.runtimes.base import (
    PROTOCOL_VERSION,
    CacheJob,
    PhaseResult,
    Result,
)
from phonelm_search.shape import ModelShape
from phonelm_search.workload import Workload

SEPARATE_ROTARY = "separate rotary operator: head dimension {} is not a multiple of 16"
BY_FLUSH = "cold by flushing the cache: copies would be too many or too large"
_FLUSH_BIAS = "a flush's pause alone makes a step {:+.2f} ms slower than the warm loop"
_LEAST_BANDWIDTH_BYTES = 128 * 2**20
_REFERENCE_SECONDS = 0.3


class Executor:
    """Runs jobs on one device.

    Args:
        device: The profile.
        runtime: Its runtime.
        settings: The protocol's parameters.
        clock: Present time, for the records.
    """

    def __init__(
        self,
        device: DeviceProfile,
        runtime: Runtime,
        settings: MeasureSettings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.device, self.settings = device, settings
        self.environment = runtime.environment()
        self.environment_id = identity(self.environment)
        self.capabilities = runtime.capabilities
        self.cache_bytes = runtime.cache_bytes()
        self._runtime, self._clock = runtime, clock

    def key(self, shape: ModelShape, workload: Workload, source: str = "memory") -> str:
        """Key of a measurement on this device."""
        return self.key_of(shape.shape_id, workload, source)

    def key_of(self, shape_id: str, workload: Workload, source: str = "memory") -> str:
        """The same by the shape's id."""
        return measurement_key(
            shape_id=shape_id,
            workload=workload,
            precision=self.device.precision,
            environment_id=self.environment_id,
            cache_mode=self.device.cache_mode(workload),
            weights_source=source,
            graph_version=GRAPH_VERSION,
            protocol_version=PROTOCOL_VERSION,
        )

    def round(
        self,
        shape: ModelShape,
        workloads: Sequence[Workload],
        *,
        number: int,
        repetitions: int,
        with_controls: bool,
    ) -> list[Measurement]:
        """One round of a shape: a record for each workload, then for each control.

        Raises:
            UnsupportedShapeError: If the kernels refuse the shape.
            MeasurementError: If no complete result came back.
        """
        cache = self._cache(shape, workloads)
        controls = jobs.controls(workloads, cache) if with_controls else ()
        prepared = jobs.prepare(
            shape,
            self.device,
            [*map(jobs.phase_of, workloads), *controls],
            cache,
            self.settings,
            repetitions=repetitions,
            logits=workloads[0].logits,
        )
        return self._run(shape, prepared, number=number)

    def reference(self) -> list[Measurement]:
        """A round of the reference shape, with the read bandwidth."""
        prepared = jobs.prepare(
            REFERENCE,
            self.device,
            [*map(jobs.phase_of, REFERENCE_WORKLOADS)],
            self._cache(REFERENCE, REFERENCE_WORKLOADS),
            replace(self.settings, max_seconds=_REFERENCE_SECONDS),
            repetitions=10 * self.settings.repetitions,
            bandwidth_bytes=max(_LEAST_BANDWIDTH_BYTES, 2 * self.cache_bytes),
        )
        return self._run(REFERENCE, prepared, number=0)

    def peak(self, shape: ModelShape, workload: Workload, *, number: int) -> Measurement:
        """One run of a session that loads its weights from a file."""
        prepared = jobs.prepare(
            shape,
            self.device,
            [jobs.phase_of(workload)],
            jobs.ONE_COPY,
            self.settings,
            repetitions=0,
            from_file=True,
        )
        (found,) = self._run(shape, prepared, number=number)
        return found

    def check_numerics(self, gate: ModelShape) -> NumericsCheck:
        """Run a `numerics.gate_shape` and compare its logits with the dequantised reference."""
        prepared = jobs.prepare(
            gate,
            self.device,
            numerics.PHASES,
            jobs.ONE_COPY,
            self.settings,
            repetitions=0,
        )
        result = self._runtime.run(prepared.job, prepared.files)
        prefill, decode = (p.logits for p in result.phases)
        if prefill is None or decode is None:
            raise MeasurementError("the runner must tell the logits of a phase", stage="numerics")
        return numerics.check_numerics(
            gate,
            self.device.scheme,
            (prefill, decode),
            environment_id=self.environment_id,
            seed=jobs.SEED,
            clock=self._clock,
        )

    def judged(self, shape: ModelShape, m: Measurement) -> Measurement:
        """The same round with its verdict."""
        streamed = shape.weight_bytes(self.device.scheme).streamed * m.copies
        flushed = BY_FLUSH in m.notes
        verdict, reasons = judge_round(
            m,
            self.settings,
            streamed_bytes=0 if flushed else streamed,
            cache_bytes=self.cache_bytes,
        )
        return replace(m, verdict=verdict, reasons=reasons)

    def _cache(self, shape: ModelShape, workloads: Sequence[Workload]) -> CacheJob:
        return jobs.plan_cache(
            shape,
            self.device,
            workloads,
            cache_bytes=self.cache_bytes,
            available_bytes=self._runtime.available_bytes(),
        )

    def _run(self, shape: ModelShape, prepared: jobs.Prepared, *, number: int) -> list[Measurement]:
        job = prepared.job
        result = self._runtime.run(job, prepared.files)
        self._check_environment(result)
        notes: tuple[str, ...] = ()
        if prepared.graph.separate_rotary:
            notes = (SEPARATE_ROTARY.format(shape.head_dim),)
        if job.cache.mode == "flush":
            notes = (*notes, BY_FLUSH, *_flush_bias(result.phases))
        bandwidth = result.bandwidth_bytes_per_s
        found = []
        for asked, phase in zip(job.phases, result.phases, strict=True):
            workload = Workload(
                phase=phase.kind,
                tokens=phase.tokens,
                past_tokens=phase.past_tokens,
                logits=job.logits,
            )
            cold = phase.kind == "decode" and not asked.control
            m = Measurement(
                shape_id=shape.shape_id,
                device=self.device.name,
                precision=self.device.precision,
                workload=workload,
                cache_mode=asked.control or self.device.cache_mode(workload),
                copies=job.cache.copies if cold else 1,
                weights_source=job.weights.source,
                environment=result.environment,
                graph_version=GRAPH_VERSION,
                protocol_version=PROTOCOL_VERSION,
                round=number,
                warmup_ns=phase.warmup_ns,
                settled=phase.settled,
                samples_ns=phase.samples_ns,
                disturbance={
                    "cpu_ns": list(phase.cpu_ns),
                    "switches": list(phase.switches),
                    "windows": [w.model_dump() for w in phase.windows],
                },
                bandwidth_bytes_per_s=float(np.median(bandwidth)) if bandwidth else None,
                protocol=asdict(self.settings),
                peak_bytes=phase.peak_bytes,
                verdict="valid",
                reasons=(),
                notes=notes if cold or phase.kind == "prefill" else (),
                conditions=result.conditions,
                package_version=__version__,
                created_at=self._clock().isoformat(timespec="seconds"),
            )
            found.append(self.judged(shape, m))
        return found

    def _check_environment(self, result: Result) -> None:
        if result.environment == self.environment:
            return
        names = sorted({*self.environment, *result.environment})
        differs = [
            f"{k}: {self.environment.get(k)} → {result.environment.get(k)}"
            for k in names
            if self.environment.get(k) != result.environment.get(k)
        ]
        raise MeasurementError(
            f"the environment must stay the same while measuring, {'; '.join(differs)}",
            stage="protocol",
        )


def _flush_bias(phases: Sequence[PhaseResult]) -> tuple[str, ...]:
    medians = {p.control: float(np.median(p.samples_ns)) / 1e6 for p in phases if p.control}
    if not {"pause", "warm"} <= medians.keys():
        return ()
    return (_FLUSH_BIAS.format(medians["pause"] - medians["warm"]),)
