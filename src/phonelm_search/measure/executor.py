"""One device's jobs: run them and turn their results into records."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from phonelm_search.backends import PhaseJob, Result, Runtime
from phonelm_search.backends.qnn import Context, Contexts, check_accelerated
from phonelm_search.core.cache_probe import CacheProbe, probe_sizes
from phonelm_search.core.errors import ConfigurationError, MeasurementError
from phonelm_search.core.records import Measurement, NumericsCheck
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.workload import Workload
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import jobs, numerics
from phonelm_search.measure.bench import Bench, Model, Round
from phonelm_search.measure.recording import paired, record_of
from phonelm_search.measure.reference import REFERENCE, TINY
from phonelm_search.measure.settings import MeasureSettings
from phonelm_search.measure.static_jobs import prepare_static
from phonelm_search.measure.verdict import judge_round

_LEAST_BANDWIDTH_BYTES = 128 * 2**20
_AGAIN = 2  # times that a job is run again, by accident


class Executor(Bench):
    """Runs jobs on one device, through its runtime.

    Args:
        device: The profile.
        runtime: Its runtime.
        settings: The protocol's parameters.
        clock: Present time, for the records.
        contexts: Compiles shapes for an accelerator, where a phase runs on one.
    """

    def __init__(
        self,
        device: DeviceProfile,
        runtime: Runtime,
        settings: MeasureSettings,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        contexts: Contexts | None = None,
    ) -> None:
        self._contexts = contexts
        self._placement = runtime.placement()
        super().__init__(
            device,
            settings,
            environment=runtime.environment(),
            told_cache_bytes=runtime.cache_bytes(),
        )
        self._runtime, self._clock = runtime, clock

    def capabilities(self) -> str:
        """See `Bench.capabilities`."""
        return self._runtime.capabilities()

    def round(
        self,
        models: Sequence[Model],
        workloads: Sequence[Workload],
        *,
        with_controls: bool = False,
    ) -> Round:
        """One round of models in one process, the reference in turn with them.

        Sessions are made and stepped in an order that is drawn for each process.

        Raises:
            UnsupportedShapeError: If the kernels refuse the shape.
            MeasurementError: If no complete result came back.
        """
        company = [*models, Model(shape=REFERENCE)]
        found: list[list[Measurement]] = [[] for _ in company]
        for device, part in self._parts(workloads):
            for some in [[w] for w in part] if device.accelerated else [part]:
                tag = jobs.new_tag()
                order = jobs.drawn_order(tag, len(company))
                drawn = [company[i] for i in order]
                if device.accelerated:
                    made = self._accelerated(tag, drawn, device, some[0])
                else:
                    made = self._run(
                        drawn, self._prepared(tag, drawn, device, some, with_controls=with_controls)
                    )
                for i, new in zip(order, made, strict=True):
                    found[i] += new
        *found, reference = found
        return Round(models=tuple(found), reference=reference)

    def _parts(
        self, workloads: Sequence[Workload]
    ) -> Iterator[tuple[DeviceProfile, list[Workload]]]:
        """Workloads by provider and precision: a process runs one of each."""
        for device in self.device.parts:
            alike = [w for w in workloads if self.device.for_phase(w.phase) == device]
            if alike:
                yield device, alike

    def _prepared(
        self,
        tag: str,
        company: Sequence[Model],
        device: DeviceProfile,
        workloads: Sequence[Workload],
        *,
        with_controls: bool,
    ) -> jobs.Prepared:
        shapes = [m.shape for m in company]
        cache = jobs.plan_cache(
            shapes,
            device,
            workloads,
            turn_bytes=self.turn_bytes,
            available_bytes=self._runtime.available_bytes(),
        )
        controls = jobs.controls(workloads, cache) if with_controls else ()
        return jobs.prepare(
            shapes,
            device,
            [*map(jobs.phase_of, workloads), *controls],
            cache,
            self._placement,
            self.settings,
            repetitions=self.settings.repetitions,
            tag=tag,
            bandwidth_bytes=[max(_LEAST_BANDWIDTH_BYTES, self.turn_bytes)],
        )

    def _accelerated(
        self, tag: str, company: Sequence[Model], device: DeviceProfile, workload: Workload
    ) -> list[list[Measurement]]:
        """A phase on compiled graphs; nothing is kept where the logits are not theirs."""
        if self._contexts is None:
            raise ConfigurationError(
                f"{self.device.name} runs compiled graphs, which are calibrated on text; "
                "give the profiler some"
            )
        contexts = [self._contexts.of(m.shape, workload) for m in company]
        prepared = prepare_static(
            [m.shape for m in company],
            contexts,
            device,
            workload,
            self._placement,
            self.settings,
            repetitions=self.settings.repetitions,
            tag=tag,
        )
        return self._run(company, prepared, contexts=contexts)

    def fitting(self, shapes: Sequence[ModelShape], workloads: Sequence[Workload]) -> int:
        """See `Bench.fitting`."""
        return fitting(shapes, workloads, self.device, self._runtime.available_bytes())

    def peak(self, shape: ModelShape, workload: Workload, *, number: int) -> Measurement:
        """One run of a session that loads its weights from a file.

        Raises:
            MeasurementError: If the phase runs on an accelerator.
        """
        device = self.device.for_phase(workload.phase)
        if device.accelerated:
            raise MeasurementError(
                f"{workload.phase} runs on {device.execution_provider}, whose memory the runner "
                "cannot see",
                stage="memory",
            )
        prepared = jobs.prepare(
            [shape],
            device,
            [jobs.phase_of(workload)],
            jobs.ONE_COPY,
            self._placement,
            self.settings,
            repetitions=0,
            from_file=True,
        )
        ((found,),) = self._run([Model(shape=shape, number=number)], prepared)
        return found

    def check_numerics(
        self, gates: Sequence[ModelShape], device: DeviceProfile
    ) -> list[NumericsCheck]:
        """Run `numerics.gate_shape`s and compare their logits with the dequantised reference.

        Args:
            gates: The shapes.
            device: One of `processors`.
        """
        prepared = jobs.prepare(
            gates,
            device,
            numerics.PHASES,
            jobs.ONE_COPY,
            self._placement,
            self.settings,
            repetitions=0,
        )
        result = self._answer(prepared)
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
                    device.scheme,
                    (prefill, decode),
                    environment_id=self.environment_id,
                    seed=model.weights.seed,
                    clock=self._clock,
                )
            )
        return checks

    def probe_cache(self) -> CacheProbe:
        """Read buffers from small to far larger than the cache.

        Raises:
            MeasurementError: If no complete result came back.
        """
        available = self._runtime.available_bytes()
        sizes = probe_sizes(self.told_cache_bytes, available)
        further = probe_sizes(self.told_cache_bytes, available, further=True)
        probe = self._read(sizes)
        return self._read(further) if probe.cold_bytes is None and further != sizes else probe

    def _read(self, sizes: Sequence[int]) -> CacheProbe:
        prepared = jobs.prepare(
            [TINY],
            self.device.for_phase("decode"),
            [PhaseJob(kind="decode", tokens=1, past_tokens=0)],
            jobs.ONE_COPY,
            self._placement,
            self.settings,
            repetitions=0,
            bandwidth_bytes=[*sizes, *sizes],  # twice, some time apart
        )
        result = self._answer(prepared)
        # Whatever else runs makes a pass slower, never faster.
        best = [max(samples) for samples in result.bandwidth_bytes_per_s]
        return CacheProbe(
            environment_id=self.environment_id,
            buffer_bytes=tuple(sizes),
            bytes_per_s=tuple(map(max, best[: len(sizes)], best[len(sizes) :])),
            created_at=self._clock().isoformat(timespec="seconds"),
        )

    def _answer(self, prepared: jobs.Prepared) -> Result:
        """What a job gives; one whose process others ended is run again, some times.

        One that was killed is not: most likely it is too large, and is made smaller first.
        """
        for tries in range(_AGAIN + 1):
            try:
                return self._runtime.run(prepared.job, prepared.files)
            except MeasurementError as error:
                if error.stage != "stopped" or tries == _AGAIN:
                    raise
        raise AssertionError("the last try returns or raises")

    def _run(
        self,
        models: Sequence[Model],
        prepared: jobs.Prepared,
        *,
        contexts: Sequence[Context] = (),
    ) -> list[list[Measurement]]:
        result = self._answer(prepared)
        if contexts:
            check_accelerated(result, contexts)
        if differs := self.differences(result.environment):
            raise MeasurementError(
                f"the environment must stay the same while measuring, {differs}", stage="protocol"
            )
        found: list[list[Measurement]] = [[] for _ in models]
        for phase, paired_ns in zip(result.phases, paired(prepared.job, result), strict=True):
            record = record_of(
                models[phase.model].shape,
                prepared,
                result,
                phase,
                device=self.device,
                settings=self.settings,
                number=models[phase.model].number,
                now=self._clock(),
            )
            verdict, reasons = judge_round(record)
            twin = models[phase.model].twin
            found[phase.model].append(
                replace(record, twin=twin, paired_ns=paired_ns, verdict=verdict, reasons=reasons)
            )
        return found


def fitting(
    shapes: Sequence[ModelShape],
    workloads: Sequence[Workload],
    device: DeviceProfile,
    available_bytes: int | None,
) -> int:
    """How many of ``shapes``, from the first on, half of so much memory holds."""
    if available_bytes is None:
        return len(shapes)
    needed = (
        jobs.memory_bytes([*shapes[:n], REFERENCE], device, workloads, copies=1)
        for n in range(1, len(shapes) + 1)
    )
    return max(1, sum(n <= available_bytes / 2 for n in needed))
