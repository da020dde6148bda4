"""One device's jobs: run them and turn their results into records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import numpy as np

from phonelm_search import __version__
from phonelm_search.devices import DeviceProfile
from phonelm_search.errors import ConfigurationError, MeasurementError
from phonelm_search.graph import GRAPH_VERSION
from phonelm_search.measure import jobs, numerics
from phonelm_search.measure.reference import REFERENCE
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.measure.verdict import judge_round
from phonelm_search.records import (
    CONTROL_MODES,
    Measurement,
    NumericsCheck,
    identity,
    measurement_key,
)
from phonelm_search.runtimes import Runtime
from phonelm_search.runtimes.base import (
    PROTOCOL_VERSION,
    PhaseResult,
    Result,
)
from phonelm_search.shape import ModelShape
from phonelm_search.workload import Workload

SEPARATE_ROTARY = "separate rotary operator: head dimension {} is not a multiple of 16"
TOGETHER = "stepped in turn with {} other models"
BY_FLUSH = "cold by flushing the cache: copies would be too many or too large"
_FLUSH_BIAS = "a flush's pause alone makes a step {:+.2f} ms slower than the warm loop"
_LEAST_BANDWIDTH_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one process measured; nothing is judged yet."""

    shapes: tuple[list[Measurement], ...]
    """Of each shape, a record by workload, then by control."""
    reference: list[Measurement]
    """Of the reference that stepped in turn with them, by workload."""


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
        self._placement = runtime.placement()
        self.environment = runtime.environment()
        self.environment_id = identity(self.environment)
        self.capabilities = runtime.capabilities
        self.cache_bytes = runtime.cache_bytes()
        self._turn_bytes = settings.turn_bytes(self.cache_bytes)
        self._runtime, self._clock = runtime, clock

    def check_same(self, environment: Mapping[str, str]) -> None:
        """Refuse a device of another environment beside this one.

        Raises:
            ConfigurationError: If it differs; says in what.
        """
        if differs := self._differences(environment):
            raise ConfigurationError(
                f"phones that share a search must be of one kind, {differs}; search on each by "
                "itself"
            )

    def _differences(self, environment: Mapping[str, str]) -> str:
        ours = self.environment
        return "; ".join(
            f"{k}: {ours.get(k)} → {environment.get(k)}"
            for k in sorted({*ours, *environment})
            if ours.get(k) != environment.get(k)
        )

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
        shapes: Sequence[ModelShape],
        workloads: Sequence[Workload],
        *,
        numbers: Sequence[int],
        repetitions: int,
        max_seconds: float,
        with_controls: bool,
    ) -> Round:
        """One round of shapes in one process, the reference in turn with them.

        Raises:
            UnsupportedShapeError: If the kernels refuse the shape.
            MeasurementError: If no complete result came back.
        """
        company = [*shapes, REFERENCE]
        cache = jobs.plan_cache(
            company,
            self.device,
            workloads,
            turn_bytes=self._turn_bytes,
            available_bytes=self._runtime.available_bytes(),
        )
        controls = jobs.controls(workloads, cache) if with_controls else ()
        prepared = jobs.prepare(
            company,
            self.device,
            [*map(jobs.phase_of, workloads), *controls],
            cache,
            self._placement,
            replace(self.settings, max_seconds=max_seconds),
            repetitions=repetitions,
            logits=workloads[0].logits,
            bandwidth_bytes=max(_LEAST_BANDWIDTH_BYTES, self._turn_bytes),
        )
        *found, reference = self._run(company, prepared, numbers=[*numbers, 0])
        return Round(shapes=tuple(found), reference=[m for m in reference if not m.is_control])

    def fitting(self, shapes: Sequence[ModelShape], workloads: Sequence[Workload]) -> int:
        """How many of ``shapes``, from the first on, half of the device's memory holds."""
        available = self._runtime.available_bytes()
        if available is None:
            return len(shapes)
        needed = (
            jobs.memory_bytes([*shapes[:n], REFERENCE], self.device, workloads, copies=1)
            for n in range(1, len(shapes) + 1)
        )
        return max(1, sum(n <= available / 2 for n in needed))

    def peak(self, shape: ModelShape, workload: Workload, *, number: int) -> Measurement:
        """One run of a session that loads its weights from a file."""
        prepared = jobs.prepare(
            [shape],
            self.device,
            [jobs.phase_of(workload)],
            jobs.ONE_COPY,
            self._placement,
            self.settings,
            repetitions=0,
            from_file=True,
        )
        ((found,),) = self._run([shape], prepared, numbers=[number])
        return found

    def check_numerics(self, gates: Sequence[ModelShape]) -> list[NumericsCheck]:
        """Run `numerics.gate_shape`s and compare their logits with the dequantised reference."""
        prepared = jobs.prepare(
            gates,
            self.device,
            numerics.PHASES,
            jobs.ONE_COPY,
            self._placement,
            self.settings,
            repetitions=0,
        )
        result = self._runtime.run(prepared.job, prepared.files)
        checks = []
        for i, (gate, model) in enumerate(zip(gates, prepared.job.models, strict=True)):
            prefill, decode = (p.logits for p in result.phases if p.model == i)
            if prefill is None or decode is None:
                raise MeasurementError(
                    "the runner must tell the logits of a phase", stage="numerics"
                )
            checks.append(
                numerics.check_numerics(
                    gate,
                    self.device.scheme,
                    (prefill, decode),
                    environment_id=self.environment_id,
                    seed=model.weights.seed,
                    clock=self._clock,
                )
            )
        return checks

    def judged(self, m: Measurement) -> Measurement:
        """The same round with its verdict."""
        verdict, reasons = judge_round(m, self.settings, cache_bytes=self.cache_bytes)
        return replace(m, verdict=verdict, reasons=reasons)

    def _run(
        self, shapes: Sequence[ModelShape], prepared: jobs.Prepared, *, numbers: Sequence[int]
    ) -> list[list[Measurement]]:
        result = self._runtime.run(prepared.job, prepared.files)
        if differs := self._differences(result.environment):
            raise MeasurementError(
                f"the environment must stay the same while measuring, {differs}", stage="protocol"
            )
        found: list[list[Measurement]] = [[] for _ in shapes]
        for phase in result.phases:
            i = phase.model
            found[i].append(self._record(shapes[i], prepared, result, phase, numbers[i]))
        return found

    def _record(
        self,
        shape: ModelShape,
        prepared: jobs.Prepared,
        result: Result,
        phase: PhaseResult,
        number: int,
    ) -> Measurement:
        job, bandwidth = prepared.job, result.bandwidth_bytes_per_s
        workload = Workload(
            phase=phase.kind,
            tokens=phase.tokens,
            past_tokens=phase.past_tokens,
            logits=job.logits,
        )
        cold = phase.kind == "decode" and not phase.control
        protocol = asdict(self.settings)
        protocol |= {"repetitions": job.repetitions, "max_seconds": job.max_seconds}
        protocol["rotation_bytes"] = prepared.rotation_bytes if cold else 0
        return Measurement(
            shape_id=shape.shape_id,
            device=self.device.name,
            precision=self.device.precision,
            workload=workload,
            cache_mode=CONTROL_MODES[phase.control]
            if phase.control
            else self.device.cache_mode(workload),
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
            protocol=protocol,
            peak_bytes=phase.peak_bytes,
            verdict="valid",
            reasons=(),
            notes=_notes(shape, prepared, result, phase),
            conditions=result.conditions,
            package_version=__version__,
            created_at=self._clock().isoformat(timespec="seconds"),
        )


def _notes(
    shape: ModelShape, prepared: jobs.Prepared, result: Result, phase: PhaseResult
) -> tuple[str, ...]:
    """What a reader of a phase's samples should know."""
    job = prepared.job
    notes: list[str] = []
    if phase.control:
        return ()
    if prepared.graphs[phase.model].separate_rotary:
        notes.append(SEPARATE_ROTARY.format(shape.head_dim))
    if len(job.beside) > 1:  # more than the reference
        notes.append(TOGETHER.format(len(job.beside) - 1))
    if phase.kind == "decode" and job.cache.mode == "flush":
        notes += [BY_FLUSH, *_flush_bias(result, phase.model)]
    return tuple(notes)


def _flush_bias(result: Result, model: int) -> tuple[str, ...]:
    medians = {
        p.control: float(np.median(p.samples_ns)) / 1e6
        for p in result.phases
        if p.control and p.model == model
    }
    if not {"pause", "warm"} <= medians.keys():
        return ()
    return (_FLUSH_BIAS.format(medians["pause"] - medians["warm"]),)
