"""The child process: a job and the folder of its files, and a result for an answer."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from phonelm_search.backends import host
from phonelm_search.backends.base import Job, PhaseJob, PhaseResult, Placement, Result, RunnerError
from phonelm_search.backends.onnxruntime.bandwidth import read_bandwidth
from phonelm_search.backends.onnxruntime.loop import LoopSettings, Timed, time_loop
from phonelm_search.backends.onnxruntime.session import SEVERITY_ERROR, Copy, StageError
from phonelm_search.backends.onnxruntime.watch import Watch
from phonelm_search.core.errors import first_line
from phonelm_search.work import Report, serve, usable_cores

_WAKING_RUNS = 3  # of the tiny model after a flush; facts: agrees with rotation within 3 %
_TINY_STEP = PhaseJob(kind="decode", tokens=1, past_tokens=16)


class _JobSessions:
    """The sessions of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._provider = (job.execution_provider, dict(job.provider_options))
        self._copies = [Copy(m, 0, self._provider) for m in job.models]
        self._tiny: Copy | None = None
        self._flush = np.ones(0, np.int64)
        self._cores = usable_cores()
        self.conditions: dict[str, Any] | None = None

    def phase(self, phase: PhaseJob) -> list[PhaseResult]:
        """Time one phase of every model."""
        warm_step = phase.kind == "decode" and self._job.cache.mode == "warm"
        if phase.control is not None or warm_step:
            timed = self._apart(phase)
        else:
            timed = self._in_turn(phase).by_model(len(self._job.models))
        return [self._result(phase, i, t) for i, t in enumerate(timed)]

    def _apart(self, phase: PhaseJob) -> list[Timed]:
        """Loops on one copy, one model after another; the tiny model's is the same for all."""
        count = len(self._job.models)
        if phase.control == "tiny":
            tiny = self._wake_model()
            tiny.bind(_TINY_STEP)
            return [self._time([tiny])] * count
        before: Callable[[], object] | None = None
        if phase.control == "pause":
            seconds = self._flush_seconds()
            before = self._after_waking(lambda: time.sleep(seconds))
        found = []
        for copy in self._copies[:count]:
            copy.bind(phase)
            found.append(self._time([copy], before=before))
        return found

    def _in_turn(self, phase: PhaseJob) -> Timed:
        """One loop over all models, and in cold decode over all their copies."""
        models, cache = self._job.models, self._job.cache
        copies, before = self._copies[: len(models)], None
        if phase.kind == "decode" and cache.mode == "rotate":
            for i in range(len(self._copies) // len(models), cache.copies):
                self._copies += [Copy(m, i, self._provider) for m in models]
            copies = self._copies
        elif phase.kind == "decode" and cache.mode == "flush":
            before = self._after_waking(self._read_flush_buffer)
        for copy in copies:
            copy.bind(phase)
        return self._time(copies, models=len(models), before=before)

    def _time(
        self,
        copies: Sequence[Copy],
        *,
        models: int = 1,
        before: Callable[[], object] | None = None,
    ) -> Timed:
        settings = LoopSettings(
            warmup=self._job.warmup,
            repetitions=self._job.repetitions,
            max_seconds=self._job.max_seconds,
            models=models,
        )
        return time_loop(
            [c.run for c in copies],
            settings,
            time.perf_counter_ns,
            self._observe,
            before=before,
        )

    def _observe(self) -> Watch:
        """Called when a warm-up is over; the first one is where conditions count from."""
        if self.conditions is None:  # an idle processor's frequency and temperature tell nothing
            self.conditions = host.conditions()
        return Watch(self._cores)

    def _result(self, phase: PhaseJob, model: int, timed: Timed) -> PhaseResult:
        return PhaseResult(
            model=model,
            kind=phase.kind,
            tokens=phase.tokens,
            past_tokens=phase.past_tokens,
            control=phase.control,
            warmup_ns=tuple(timed.warmup_ns),
            settled=timed.settled,
            samples_ns=tuple(timed.samples_ns),
            cpu_ns=tuple(timed.cpu_ns),
            switches=tuple(timed.switches),
            windows=tuple(timed.windows),
            peak_bytes=self._peak_bytes(),
            logits=None if phase.control else self._copies[model].digest(),
        )

    def _peak_bytes(self) -> int | None:
        return host.peak_resident_bytes() if self._job.weights.source == "file" else None

    def _wake_model(self) -> Copy:
        if self._job.tiny is None:
            raise StageError("protocol", "flush and controls need a tiny model")
        if self._tiny is None:
            self._tiny = Copy(self._job.tiny, 0, self._provider)
        return self._tiny

    def _after_waking(self, act: Callable[[], object]) -> Callable[[], None]:
        tiny = self._wake_model()
        tiny.bind(_TINY_STEP)

        def before() -> None:
            act()
            for _ in range(_WAKING_RUNS):
                tiny.run()

        return before

    def _read_flush_buffer(self) -> None:
        if not self._flush.size:  # written once, or it would be the kernel's page of zeros
            self._flush = np.ones(max(1, self._job.cache.flush_bytes // 8), np.int64)
        self._flush.max()

    def _flush_seconds(self) -> float:
        self._read_flush_buffer()
        begin = time.perf_counter()
        self._read_flush_buffer()
        return time.perf_counter() - begin


def _measure(job: Job) -> tuple[list[PhaseResult], list[tuple[float, ...]], dict[str, Any]]:
    ort.set_global_thread_pool_sizes(job.threads, 1)
    sessions = _JobSessions(job)
    found: dict[int, list[PhaseResult]] = {}
    # Prefill before the other copies take memory; warm loops before a rotation.
    order = sorted(
        range(len(job.phases)),
        key=lambda i: (job.phases[i].kind == "decode", job.phases[i].control is None),
    )
    for i in order:
        try:
            found[i] = sessions.phase(job.phases[i])
        except (StageError, MemoryError):
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise StageError("run", first_line(error)) from error
    bandwidth = read_bandwidth(job.bandwidth_bytes, job.threads)
    by_model = [found[i][m] for m in range(len(job.models)) for i in range(len(job.phases))]
    return by_model, bandwidth, sessions.conditions or host.conditions()


def run(document: dict[str, Any], _: Report) -> dict[str, Any]:
    """Run one job, in its folder."""
    os.chdir(document["folder"])
    ort.set_default_logger_severity(SEVERITY_ERROR)
    job = Job.model_validate(document["job"])
    if job.cpus:
        os.sched_setaffinity(0, job.cpus)
    phases: list[PhaseResult] = []
    bandwidth: list[tuple[float, ...]] = []
    before: dict[str, Any] = {}
    error: RunnerError | None = None
    try:
        phases, bandwidth, before = _measure(job)
    except StageError as failure:
        error = RunnerError(stage=failure.stage, message=str(failure))
    except MemoryError:
        error = RunnerError(stage="memory", message="memory ran out")
    result = Result(
        tag=job.tag,
        ok=error is None,
        error=error,
        phases=tuple(phases),
        logits=next((p.logits for p in reversed(phases) if p.logits), None),
        bandwidth_bytes_per_s=tuple(bandwidth),
        environment=host.environment(
            Placement(threads=job.threads, cpus=job.cpus),
            execution_provider=job.execution_provider,
            provider_options=job.provider_options,
        ),
        conditions={"before": before, "after": host.conditions()},
    )
    return result.model_dump(by_alias=True)


if __name__ == "__main__":
    sys.exit(serve(run))
