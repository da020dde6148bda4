"""One contract for every runtime; and what the child process makes of failures."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from helpers import small_shape
from phonelm_search.devices import DeviceProfile
from phonelm_search.errors import MeasurementError, UnknownNameError
from phonelm_search.graph import Graph, build_graph
from phonelm_search.measure.reference import TINY
from phonelm_search.precision import get_precision
from phonelm_search.runtimes import Runtime, get_runtime, host
from phonelm_search.runtimes.base import (
    PROTOCOL_VERSION,
    CacheJob,
    Job,
    ModelJob,
    PhaseJob,
    Placement,
    TensorJob,
    WarmupJob,
    WeightsJob,
    parse_result,
)
from phonelm_search.runtimes.onnxruntime import OnnxRuntime

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


def runtime_of(name: str, provider: str = "CPUExecutionProvider") -> Runtime:
    return get_runtime(
        DeviceProfile(name="here", runtime=name, threads=1, execution_provider=provider)
    )


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-native", "fake"])
class TestContract:
    """What every runtime must do."""

    def test_every_phase_has_its_samples_in_the_order_asked(self, name: str) -> None:
        asked = job()
        result = runtime_of(name).run(asked, FILES)
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

    def test_the_environment_is_told_beforehand(self, name: str) -> None:
        runtime = runtime_of(name)
        assert runtime.run(job(), FILES).environment == runtime.environment()
        assert runtime.environment()["threads"] == "1"
        assert runtime.cache_bytes() > 0

    def test_peak_memory_only_of_weights_from_a_file(self, name: str) -> None:
        weights = job().weights.model_copy(update={"source": "file"})
        asked = job(weights=weights, cache=CacheJob(mode="warm", copies=1))
        result = runtime_of(name).run(asked, FILES)
        assert all((p.peak_bytes or 0) > 10_000 for p in result.phases)

    def test_controls_flush_and_bandwidth(self, name: str) -> None:
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
            bandwidth_bytes=2**22,
        )
        result = runtime_of(name).run(asked, {**FILES, "tiny.onnx": TINY_GRAPH.model})
        assert [p.control for p in result.phases] == [None, "warm", "tiny", "pause"]
        assert all(len(p.samples_ns) == 7 for p in result.phases)
        assert result.phases[0].logits == result.logits
        assert all(p.logits is None for p in result.phases[1:])
        assert all(b > 1e8 for b in result.bandwidth_bytes_per_s)
        assert len(result.bandwidth_bytes_per_s) >= 3
        assert runtime_of(name).run(job(), FILES).bandwidth_bytes_per_s == ()

    def test_models_beside_the_first_have_samples_of_their_own(self, name: str) -> None:
        beside = ModelJob(
            graph="tiny.onnx", vocab_size=TINY.vocab_size, weights=tensors(TINY_GRAPH)
        )
        asked = job(beside=(beside,))
        result = runtime_of(name).run(asked, {**FILES, "tiny.onnx": TINY_GRAPH.model})
        assert [(p.model, p.kind) for p in result.phases] == [
            (0, "decode"),
            (0, "prefill"),
            (1, "decode"),
            (1, "prefill"),
        ]
        assert all(len(p.samples_ns) == asked.repetitions for p in result.phases)
        assert result.phases[0].logits != result.phases[2].logits or name == "fake"
        # A model's logits do not depend on its company.
        alone = runtime_of(name).run(job(), FILES)
        assert [p.logits for p in result.phases[:2]] == [p.logits for p in alone.phases]

    def test_threads_and_cores_are_the_profiles(self, name: str) -> None:
        core = min(os.sched_getaffinity(0))
        runtime = get_runtime(DeviceProfile(name="here", runtime=name, cores=(core,)))
        placement = runtime.placement()
        assert placement == Placement(threads=1, cpus=(core,))
        result = runtime.run(job(threads=placement.threads, cpus=placement.cpus), FILES)
        assert result.environment == runtime.environment()
        assert result.environment.get("affinity", str(core)) == str(core)

    def test_a_failure_names_its_stage(self, name: str) -> None:
        runtime = runtime_of(name, "FailingExecutionProvider")
        asked = job(execution_provider="FailingExecutionProvider")
        with pytest.raises(MeasurementError, match=r"stage: load") as caught:
            runtime.run(asked, FILES)
        assert caught.value.stage == "load"

    def test_jobs_survive_json(self, name: str) -> None:
        document = json.loads(job().model_dump_json(by_alias=True))
        assert document["schema"] == PROTOCOL_VERSION
        assert Job.model_validate(document) == job()


def test_weights_decide_the_logits_and_nothing_else_does() -> None:
    runtime = runtime_of("onnxruntime")
    first = runtime.run(job(), FILES).logits
    again = runtime.run(job(cache=CacheJob(mode="warm", copies=1)), FILES).logits
    file = runtime.run(
        job(weights=job().weights.model_copy(update={"source": "file"})), FILES
    ).logits
    other = runtime.run(job(weights=job().weights.model_copy(update={"seed": 2})), FILES).logits
    assert first == again == file
    assert first != other


def test_a_broken_graph_is_a_failed_load() -> None:
    runtime = OnnxRuntime(placement=Placement(threads=1), execution_provider="CPUExecutionProvider")
    with pytest.raises(MeasurementError, match="stage: load"):
        runtime.run(job(), {"model.onnx": b"no model"})


def child_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> OnnxRuntime:
    """A runtime whose child process runs given code instead."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}'\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return OnnxRuntime(placement=Placement(threads=1), execution_provider="CPUExecutionProvider")


@pytest.mark.parametrize(
    ("code", "stage", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", "memory", "ended by SIGKILL; most likely memory"),
        ("import os; os.kill(os.getpid(), 11)", "run", "ended by SIGSEGV"),
        ('raise SystemExit("no such luck")', "start", "no such luck"),
        ('print("half a docum")', "protocol", "malformed"),
        ("pass", "protocol", "printed no result"),
    ],
)
def test_a_child_that_ends_badly_is_one_failed_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, stage: str, message: str
) -> None:
    runtime = child_that(tmp_path, monkeypatch, code)
    with pytest.raises(MeasurementError, match=message) as caught:
        runtime.run(job(), FILES)
    assert caught.value.stage == stage


def test_a_hanging_child_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonelm_search.runtimes.limits._START_SECONDS", 0.5)
    runtime = child_that(tmp_path, monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(MeasurementError, match="must finish within") as caught:
        runtime.run(job(max_seconds=0.01), FILES)
    assert caught.value.stage == "timeout"


def test_a_child_does_not_outlive_its_parent() -> None:
    grandchild = (
        "from phonelm_search.childprocess import die_with_parent as d; d();"
        "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    os.kill(pid, 9)
    pytest.fail("the child outlived its parent")


def test_too_little_memory_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "available_bytes", lambda: 1_000_000)
    runtime = OnnxRuntime(placement=Placement(threads=1), execution_provider="CPUExecutionProvider")
    with pytest.raises(MeasurementError, match=r"3 copies of the weights need about .* 1 MB are"):
        runtime.run(job(), FILES)


def result_document(**changes: Any) -> str:
    runtime = runtime_of("fake")
    document = json.loads(runtime.run(job(), FILES).model_dump_json(by_alias=True))
    return json.dumps({**document, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "printed no result"),
        ("[]", "malformed"),
        (result_document(tag="other"), "carry tag t1, got 4 and other"),
        (result_document(schema=9), "schema 4 .* got 9"),
        (result_document(phases=[]), r"must hold the phases .* got \[\]"),
        (result_document(ok=False, error={"stage": "load", "message": "too big"}), "too big"),
        (result_document(surprise=1), "surprise"),
    ],
)
def test_answers_that_are_no_result_of_the_job_are_refused(text: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        parse_result(text, job())
    assert parse_result(f"a log line\n{result_document()}\n\n", job()).ok


def test_an_unknown_runtime_is_named() -> None:
    with pytest.raises(UnknownNameError, match="unknown runtime 'tvm'; known: onnxruntime, onnx"):
        runtime_of("tvm")
