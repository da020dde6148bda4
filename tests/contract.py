"""One contract for every runtime: what a job gives back."""

import json
import os
from dataclasses import asdict
from typing import Any

import pytest

from helpers import small_shape
from phonelm_search.backends import (
    PROTOCOL_VERSION,
    CacheJob,
    Job,
    ModelJob,
    PhaseJob,
    Placement,
    Runtime,
    TensorJob,
    WarmupJob,
    WeightsJob,
    get_runtime,
)
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.precision import get_precision
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import Graph, build_graph
from phonelm_search.measure.reference import TINY

SHAPE = small_shape()
GRAPH = build_graph(SHAPE, get_precision("int4-b32"))
FILES = {"model.onnx": GRAPH.model}
TINY_GRAPH = build_graph(TINY, get_precision("int4-b32"))


def tensors(graph: Graph) -> WeightsJob:
    return WeightsJob(seed=1, tensors=tuple(TensorJob(**asdict(t)) for t in graph.tensors))


def job(**changes: Any) -> Job:
    base: dict[str, Any] = {
        "tag": "t1",
        "graph": "model.onnx",
        "vocab_size": SHAPE.vocab_size,
        "weights": tensors(GRAPH),
        "phases": (
            PhaseJob(kind="decode", tokens=1, past_tokens=8),
            PhaseJob(kind="prefill", tokens=8, past_tokens=0),
        ),
        "repetitions": 7,
        "warmup": WarmupJob(window_seconds=0.0, tolerance=1e9, most=2),
        "max_seconds": 5.0,
        "cache": CacheJob(mode="rotate", copies=3),
        "threads": 1,
    }
    return Job(**{**base, **changes})


class RuntimeContract:
    """What every runtime must do; a subclass says which one."""

    name = ""

    def runtime(self, **changes: Any) -> Runtime:
        base = {"name": "here", "runtime": self.name, "threads": 1}
        return get_runtime(DeviceProfile(**{**base, **changes}))

    def test_every_phase_has_its_samples_in_the_order_asked(self) -> None:
        asked = job()
        result = self.runtime().run(asked, FILES)
        assert [(p.kind, p.tokens, p.past_tokens) for p in result.phases] == [
            ("decode", 1, 8),
            ("prefill", 8, 0),
        ]
        for phase in result.phases:
            assert len(phase.samples_ns) == asked.repetitions
            assert len(phase.warmup_ns) >= asked.warmup.most
            assert phase.settled
            assert phase.logits is not None
            assert all(isinstance(s, int) and s > 0 for s in phase.samples_ns)
            assert phase.peak_bytes is None
        assert result.logits == result.phases[-1].logits
        assert len(result.logits.first) == 16

    def test_the_environment_is_told_beforehand(self) -> None:
        runtime = self.runtime()
        assert runtime.run(job(), FILES).environment == runtime.environment()
        assert runtime.environment()["threads"] == "1"
        assert runtime.cache_bytes() > 0

    def test_peak_memory_only_of_weights_from_a_file(self) -> None:
        weights = job().weights.model_copy(update={"source": "file"})
        asked = job(weights=weights, cache=CacheJob(mode="warm", copies=1))
        result = self.runtime().run(asked, FILES)
        assert all((p.peak_bytes or 0) > 10_000 for p in result.phases)

    def test_controls_flush_and_bandwidth(self) -> None:
        step = PhaseJob(kind="decode", tokens=1, past_tokens=8)
        asked = job(
            phases=(
                step,
                *(step.model_copy(update={"control": c}) for c in ("warm", "tiny", "pause")),
            ),
            cache=CacheJob(mode="flush", copies=1, flush_bytes=2**20),
            tiny=ModelJob(
                graph="tiny.onnx", vocab_size=TINY.vocab_size, weights=tensors(TINY_GRAPH)
            ),
            bandwidth_bytes=(2**22, 2**24),
        )
        result = self.runtime().run(asked, {**FILES, "tiny.onnx": TINY_GRAPH.model})
        assert [p.control for p in result.phases] == [None, "warm", "tiny", "pause"]
        assert all(len(p.samples_ns) == 7 for p in result.phases)
        assert result.phases[0].logits == result.logits
        assert all(p.logits is None for p in result.phases[1:])
        small, large = result.bandwidth_bytes_per_s
        assert min(len(small), len(large)) >= 2
        assert all(b > 1e8 for b in (*small, *large))
        assert self.runtime().run(job(), FILES).bandwidth_bytes_per_s == ()

    def test_models_beside_the_first_have_samples_of_their_own(self) -> None:
        beside = ModelJob(
            graph="tiny.onnx", vocab_size=TINY.vocab_size, weights=tensors(TINY_GRAPH)
        )
        asked = job(beside=(beside,))
        result = self.runtime().run(asked, {**FILES, "tiny.onnx": TINY_GRAPH.model})
        assert [(p.model, p.kind) for p in result.phases] == [
            (0, "decode"),
            (0, "prefill"),
            (1, "decode"),
            (1, "prefill"),
        ]
        assert all(len(p.samples_ns) == asked.repetitions for p in result.phases)
        assert result.phases[0].logits != result.phases[2].logits or self.name == "fake"
        # A model's logits do not depend on its company.
        alone = self.runtime().run(job(), FILES)
        assert [p.logits for p in result.phases[:2]] == [p.logits for p in alone.phases]

    def test_threads_and_cores_are_the_profiles(self) -> None:
        core = min(os.sched_getaffinity(0))
        runtime = self.runtime(cores=(core,), threads="all")
        placement = runtime.placement()
        assert placement == Placement(threads=1, cpus=(core,))
        result = runtime.run(job(threads=placement.threads, cpus=placement.cpus), FILES)
        assert result.environment == runtime.environment()
        assert result.environment.get("affinity", str(core)) == str(core)

    def test_a_failure_names_its_stage(self) -> None:
        runtime = self.runtime(execution_provider="FailingExecutionProvider")
        asked = job(execution_provider="FailingExecutionProvider")
        with pytest.raises(MeasurementError, match=r"stage: load") as caught:
            runtime.run(asked, FILES)
        assert caught.value.stage == "load"

    def test_jobs_survive_json(self) -> None:
        document = json.loads(job().model_dump_json(by_alias=True))
        assert document["schema"] == PROTOCOL_VERSION
        assert Job.model_validate(document) == job()
