"""A fake runtime that keeps the jobs of rounds and can spoil their results."""

from collections.abc import Mapping
from typing import Any

from helpers import fake_device
from phonelm_search.backends import Job, Placement, Result, WeightsJob
from phonelm_search.backends.fake import FakeRuntime
from phonelm_search.measure import Profiler
from phonelm_search.store import Store


class Recorder(FakeRuntime):
    """Keeps jobs apart from those of the gate and of peak memory."""

    def __init__(self) -> None:
        super().__init__(placement=Placement(threads=2), execution_provider="CPUExecutionProvider")
        self.jobs: list[Job] = []
        self.order: list[str] = []

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        result = super().run(job, files)
        if job.warmup.most == 0:
            self.order.append("gate" if job.weights.source == "memory" else "peak")
            return result
        self.order.append("round")
        self.jobs.append(job)
        return self.spoil(result)

    def spoil(self, result: Result) -> Result:
        return result


def slower(result: Result, factor: float, *, reference: bool = False) -> Result:
    """Multiply the samples of the measured models, or those of the reference, the last one."""
    last = max(p.model for p in result.phases)

    def samples(model: int, given: tuple[int, ...]) -> tuple[int, ...]:
        touched = (model == last) == reference
        return tuple(round(factor * s) for s in given) if touched else given

    phases = tuple(
        p.model_copy(update={"samples_ns": samples(p.model, p.samples_ns)}) for p in result.phases
    )
    return result.model_copy(update={"phases": phases})


class Restless(Recorder):
    """The reference is slower in every round than in all before."""

    def spoil(self, result: Result) -> Result:
        return slower(result, 1.3 ** len(self.jobs), reference=True)


def measured_depths(job: Job) -> list[int]:
    """Depths of a job's models without the reference."""
    return [depth(m.weights) for m in job.models[:-1]]


def depth(weights: WeightsJob) -> int:
    return sum("down_proj.weight_q4" in t.name for t in weights.tensors)


def profiler_with(store: Store, runtime: FakeRuntime, **device: Any) -> Profiler:
    return Profiler(store, fake_device(**device), runtimes=[runtime])
