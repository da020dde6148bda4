"""A deterministic runtime for contract tests: no clock, latencies from a formula.

It times nothing; its environment says so, and no shipped device profile names it. Its logits are
those of ONNX Runtime, so that it passes the numerics gate as a device does.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from phonelm_search.backends.base import (
    Files,
    Job,
    LogitsResult,
    ModelJob,
    PhaseJob,
    PhaseResult,
    Placement,
    Result,
    put_files,
)
from phonelm_search.core.errors import MeasurementError
from phonelm_search.graph import fnv1a64
from phonelm_search.work import folder_under_way


class FakeRuntime:
    """The runtime ``fake``: 10 GB/s and 100 GFLOP/s, 20 µs a matrix, ± 1 % by repetition.

    Args:
        placement: Its threads are recorded in the environment.
        provider_options: Recorded in the environment.
        execution_provider: Recorded in the environment; ``FailingExecutionProvider`` fails.
    """

    def __init__(
        self,
        *,
        placement: Placement,
        execution_provider: str,
        provider_options: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._placement = placement
        self._provider, self._options = execution_provider, provider_options

    def placement(self) -> Placement:
        """See `Runtime.placement`."""
        return self._placement

    def environment(self) -> dict[str, str]:
        """See `Runtime.environment`."""
        return {
            "device_model": "fake",
            "runtime": "fake",
            "runtime_version": "1",
            "execution_provider": self._provider,
            "provider_options": json.dumps(dict(self._options), sort_keys=True),
            "threads": str(self._placement.threads),
        }

    def cache_bytes(self) -> int:
        """See `Runtime.cache_bytes`."""
        return 2 * 2**20

    def available_bytes(self) -> int | None:
        """See `Runtime.available_bytes`."""
        return 2 * 2**30

    def capabilities(self) -> str:
        """See `Runtime.capabilities`."""
        return "fake"

    def run(self, job: Job, files: Files) -> Result:
        """See `Runtime.run`."""
        if self._provider == "FailingExecutionProvider":
            raise MeasurementError("the fake provider fails on purpose", stage="load")
        phases = [
            self._phase(job, i, model, phase, files[model.graph])
            for i, model in enumerate(job.models)
            for phase in job.phases
        ]
        return Result(
            tag=job.tag,
            ok=True,
            error=None,
            phases=tuple(phases),
            logits=next((p.logits for p in reversed(phases) if p.logits), None),
            bandwidth_bytes_per_s=((10e9,) * 3,) * len(job.bandwidth_bytes),
            environment=self.environment(),
            conditions={"before": {}, "after": {}},
        )

    @staticmethod
    def _phase(
        job: Job, index: int, model: ModelJob, phase: PhaseJob, graph: bytes | Path
    ) -> PhaseResult:
        matrices = [t for t in model.weights.tensors if len(t.shape) > 1 and "cache" not in t.name]
        stored = sum(math.prod(t.shape) for t in matrices)
        work_ns = stored / 10 + 2 * stored * phase.tokens / 100 + 20_000 * len(matrices)
        work_ns += 50 * phase.past_tokens * len(matrices)
        wobble = [
            (fnv1a64(f"{phase.kind}{i}") % 2001 - 1000) / 100_000 for i in range(job.repetitions)
        ]
        return PhaseResult(
            model=index,
            kind=phase.kind,
            tokens=phase.tokens,
            past_tokens=phase.past_tokens,
            control=phase.control,
            warmup_ns=(round(2 * work_ns),) * job.warmup.most,
            settled=True,
            samples_ns=tuple(round(work_ns * (1 + w)) for w in wobble),
            peak_bytes=stored if model.weights.source == "file" else None,
            logits=None if phase.control else _logits(job, model, phase, graph),
        )


_KNOWN: dict[tuple[bytes | Path, int, PhaseJob], LogitsResult] = {}


def _logits(job: Job, model: ModelJob, phase: PhaseJob, graph: bytes | Path) -> LogitsResult:
    """True logits where a job is one run without warm-up, as the gate's are; else zeros."""
    if job.warmup.most or job.repetitions > 1 or model.weights.source == "file":
        return LogitsResult(first=(0.0,) * 16, l2=0.0)
    key = (graph, model.weights.seed, phase)
    if key not in _KNOWN:
        from phonelm_search.backends.onnxruntime import Copy

        provider = ("CPUExecutionProvider", dict[str, str]())
        with folder_under_way("phonelm-job-") as path:
            put_files({model.graph: graph}, path)
            copy = Copy(model, 0, provider, folder=path, shared_pool=False)
            copy.bind(phase)
            copy.run()
            _KNOWN[key] = copy.digest()
    return _KNOWN[key]
