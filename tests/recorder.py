"""A fake runtime that keeps the jobs of rounds and can spoil their results."""

from collections.abc import Mapping
from typing import Any

from helpers import fake_device
from phonelm_search.backends import Job, ModelJob, Placement, Result, WeightsJob
from phonelm_search.backends.fake import FakeRuntime
from phonelm_search.measure import REFERENCE, Profiler
from phonelm_search.store import Store


class Recorder(FakeRuntime):
    """Keeps jobs apart from those of the gate and of peak memory."""

    def __init__(self) -> None:
        super().__init__(placement=Placement(threads=2), execution_provider="CPUExecutionProvider")
        self.jobs: list[Job] = []
        self.order: list[str] = []

    def run(self, job: Job, files: Mapping[str, bytes]) -> Result:
        result = super().run(job, files)
        if len(job.bandwidth_bytes) > 1:
            self.order.append("probe")
            return result
        if job.warmup.most == 0:
            self.order.append("gate" if job.weights.source == "memory" else "peak")
            return result
        self.order.append("round")
        self.jobs.append(job)
        return self.spoil(result)

    def spoil(self, result: Result) -> Result:
        return result


def is_reference(model: ModelJob) -> bool:
    """The reference stands anywhere among a job's models; its width tells it."""
    return any(t.shape == (REFERENCE.hidden_size,) for t in model.weights.tensors)


def slower(result: Result, factor: float, *models: int) -> Result:
    """Multiply the samples of some models, by their numbers; of all where none is given."""
    phases = tuple(
        p.model_copy(update={"samples_ns": tuple(round(factor * s) for s in p.samples_ns)})
        if p.model in models or not models
        else p
        for p in result.phases
    )
    return result.model_copy(update={"phases": phases})


class Throttled(Recorder):
    """The device throttles within some processes, counted from 1."""

    def __init__(self, *processes: int) -> None:
        super().__init__()
        self.processes = processes

    def spoil(self, result: Result) -> Result:
        if len(self.jobs) not in self.processes:
            return result
        before, after = ({"frequency_limits_khz": n} for n in (8e6, 6e6))
        return result.model_copy(update={"conditions": {"before": before, "after": after}})


def measured_depths(job: Job) -> list[int]:
    """Depths of a job's models without the reference, ascending."""
    return sorted(depth(m.weights) for m in job.models if not is_reference(m))


def depth(weights: WeightsJob) -> int:
    return sum("down_proj.weight_q4" in t.name for t in weights.tensors)


def profiler_with(store: Store, runtime: FakeRuntime, **device: Any) -> Profiler:
    return Profiler(store, fake_device(**device), runtimes=[runtime])
