"""One contract for every runtime; and what the child process makes of failures."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contract import FILES, RuntimeContract, job
from helpers import outlives
from phonelm_search.backends import CacheJob, Placement, Runtime, get_runtime, host
from phonelm_search.backends.base import parse_result
from phonelm_search.backends.onnxruntime import OnnxRuntime
from phonelm_search.core.errors import MeasurementError, UnknownNameError
from phonelm_search.devices import DeviceProfile


def runtime_of(name: str, provider: str = "CPUExecutionProvider") -> Runtime:
    return get_runtime(
        DeviceProfile(name="here", runtime=name, threads=1, execution_provider=provider)
    )


class TestOnnxRuntime(RuntimeContract):
    name = "onnxruntime"


@pytest.mark.usefixtures("native_runner")
class TestNativeRuntime(RuntimeContract):
    name = "onnxruntime-native"


class TestFakeRuntime(RuntimeContract):
    name = "fake"


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
    monkeypatch.setattr("phonelm_search.backends.limits._START_SECONDS", 0.5)
    runtime = child_that(tmp_path, monkeypatch, "import time; time.sleep(600)")
    with pytest.raises(MeasurementError, match="must finish within") as caught:
        runtime.run(job(max_seconds=0.01), FILES)
    assert caught.value.stage == "timeout"


def test_a_child_does_not_outlive_its_parent() -> None:
    grandchild = (
        "from phonelm_search.work.serving import die_with_parent as d; d();"
        "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert not outlives(pid)


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
