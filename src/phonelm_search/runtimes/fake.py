"""A deterministic runtime for contract tests: no device, no clock, latencies from a formula.

It measures nothing; its environment says so, and no shipped device profile names it.
"""

import math

from phonelm_search.errors import MeasurementError
from phonelm_search.graph.weights import fnv1a64
from phonelm_search.runtimes.base import Job, LogitsResult, PhaseResult, Result


class FakeRuntime:
    """The runtime ``fake``: 10 GB/s and 100 GFLOP/s, 20 µs a matrix, ± 1 % by repetition.

    Args:
        threads: Recorded in the environment.
        execution_provider: Recorded in the environment; ``FailingExecutionProvider`` fails.
    """

    def __init__(self, *, threads: int, execution_provider: str) -> None:
        self._threads = threads
        self._provider = execution_provider

    def environment(self) -> dict[str, str]:
        """See `Runtime.environment`."""
        return {
            "device_model": "fake",
            "runtime": "fake",
            "runtime_version": "1",
            "execution_provider": self._provider,
            "threads": str(self._threads),
        }

    def cache_bytes(self) -> int:
        """See `Runtime.cache_bytes`."""
        return 4 * 2**20

    def run(self, job: Job, model: bytes) -> Result:
        """See `Runtime.run`."""
        if self._provider == "FailingExecutionProvider":
            raise MeasurementError("the fake provider fails on purpose", stage="load")
        matrices = [t for t in job.weights.tensors if len(t.shape) > 1 and "cache" not in t.name]
        stored = sum(math.prod(t.shape) for t in matrices)
        phases = []
        for phase in job.phases:
            work_ns = stored / 10 + 2 * stored * phase.tokens / 100 + 20_000 * len(matrices)
            work_ns += 50 * phase.past_tokens * len(matrices)
            wobble = [
                (fnv1a64(f"{phase.kind}{i}") % 2001 - 1000) / 100_000
                for i in range(job.repetitions)
            ]
            phases.append(
                PhaseResult(
                    kind=phase.kind,
                    tokens=phase.tokens,
                    past_tokens=phase.past_tokens,
                    warmup_ns=(round(2 * work_ns),) * job.warmups,
                    samples_ns=tuple(round(work_ns * (1 + w)) for w in wobble),
                    peak_bytes=stored if job.weights.source == "file" else None,
                )
            )
        return Result(
            tag=job.tag,
            ok=True,
            error=None,
            phases=tuple(phases),
            logits=LogitsResult(first=(0.0,) * 16, sum=0.0, l2=0.0),
            environment=self.environment(),
            conditions={"before": {}, "after": {}},
        )
