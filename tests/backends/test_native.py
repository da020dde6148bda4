"""The C++ runner against numpy, the in-process runtime, and Python's own JSON."""

import json
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers import outlives, small_shape
from phonelm_search.backends import Job, Placement, Result, get_runtime
from phonelm_search.backends.native import Finished, NativeRuntime, toolchain
from phonelm_search.backends.onnxruntime.watch import parse_stat
from phonelm_search.core.errors import MeasurementError
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import TensorSpec, WeightPool, build_graph
from phonelm_search.measure import MeasureSettings, jobs, numerics

pytestmark = [pytest.mark.xdist_group("native"), pytest.mark.usefixtures("native_runner")]

PRECISIONS = ("fp32", "int8-b32", "int4-b32", "int4-b128")


@pytest.fixture(scope="session")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tool") / "runner_tool"
    source = Path(__file__).with_name("runner_tool.cpp")
    command = ["c++", "-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, f"-I{toolchain.SOURCES}", source, "-o", made], check=True)
    return made


def spec(kind: str, **changes: Any) -> TensorSpec:
    base = {"name": "w", "shape": (37, 5), "kind": kind, "type": "float32", "scale": 0.3}
    return TensorSpec(**{**base, **changes})


def asdict(s: TensorSpec) -> dict[str, Any]:
    return {"name": s.name, "shape": s.shape, "type": s.type, "kind": s.kind, "scale": s.scale}


SPECS = (
    spec("uniform"),
    spec("uniform", name="a.b.0", scale=0.0123, shape=(700_001,)),  # wraps around the pool
    spec("positive", scale=1.7),
    spec("int4", type="uint8", shape=(9, 3, 16)),
    spec("int8", type="uint8", shape=(13, 11)),
    spec("int8", type="int8", shape=(4_300_000,), name="ü"),
)


@pytest.mark.parametrize("seed", [1, 20241105, 2**63 - 1])
def test_weights_are_numpys_bit_for_bit(tool: Path, seed: int) -> None:
    job = {"seed": seed, "tensors": [asdict(s) for s in SPECS]}
    made = subprocess.run(
        [tool, "weights"], input=json.dumps(job).encode(), capture_output=True, check=True
    ).stdout
    pool = WeightPool(seed)
    assert made == b"".join(pool.fill(s).tobytes() for s in SPECS)


def test_rotary_tables_are_numpys_to_the_last_bit_or_the_one_before(tool: Path) -> None:
    tables = [spec(f"rotary_{k}", shape=(512, 32), scale=10_000.0) for k in ("cos", "sin")]
    job = {"seed": 1, "tensors": [asdict(s) for s in tables]}
    made = subprocess.run(
        [tool, "weights"], input=json.dumps(job).encode(), capture_output=True, check=True
    ).stdout
    expected = np.concatenate([WeightPool(1).fill(s).ravel() for s in tables])
    np.testing.assert_allclose(np.frombuffer(made, np.float32), expected, rtol=2e-7, atol=1e-8)


DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def reread(tool: Path, lines: list[str]) -> list[str]:
    done = subprocess.run(
        [tool, "json"], input="\n".join(lines).encode(), capture_output=True, check=True, timeout=60
    )
    return done.stdout.decode("ascii").splitlines()


@settings(max_examples=150, deadline=None)
@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=8))
def test_json_is_read_as_python_writes_it(tool: Path, documents: list[Any]) -> None:
    for ascii_only in (True, False):
        lines = [json.dumps(d, ensure_ascii=ascii_only) for d in documents]
        assert [json.loads(t) for t in reread(tool, lines)] == documents


@settings(max_examples=200, deadline=None)
@given(document=DOCUMENTS, cut=st.integers(0, 10_000), junk=st.sampled_from(['"', "}", "]", "\\"]))
def test_truncated_or_spoilt_json_is_refused_or_read_right(
    tool: Path, document: Any, cut: int, junk: str
) -> None:
    text = json.dumps(document)
    for spoilt in (text[: cut % (len(text) + 1)], text + junk, junk + text):
        (answer,) = reread(tool, [spoilt]) or ["error"]
        try:
            json.loads(spoilt)
        except ValueError:
            assert answer == "error", spoilt


@pytest.mark.parametrize("text", ["0.", ".5", "01", "-", "1e", "+1", "1e+", "0x1", "--1", "1.e2"])
def test_numbers_are_only_what_json_calls_so(tool: Path, text: str) -> None:
    assert reread(tool, [text, f"[{text}]"]) == ["error", "error"]


def test_json_that_is_nested_too_deep_ends_in_an_error(tool: Path) -> None:
    deep, too_deep, right = "[" * 100_000, "[" * 100_000 + "]" * 100_000, "[" * 40 + "]" * 40
    assert reread(tool, [deep, too_deep, right]) == ["error", "error", right]


STAT_LINES = st.lists(
    st.sampled_from(["cpu0", "cpu4095", "cpu", "intr", "cpu-0", "9", "12", "9" * 15, "9" * 17, "x"])
)


@settings(max_examples=20, deadline=None)
@given(lines=st.lists(STAT_LINES, max_size=4), end=st.sampled_from(["\n", ""]))
@example(lines=[["cpu0", "1", "2", "3", "4"], ["cpu4095", *"123456789"]], end="\n")
def test_the_systems_clock_is_read_as_python_reads_it(
    tool: Path, lines: list[list[str]], end: str
) -> None:
    text = "\n".join(" ".join(words) for words in lines) + end
    expected = parse_stat(text, frozenset({0, 4095})) or (-1, -1)
    assert written(tool, "stat", text.encode()) == " ".join(map(str, expected))


def written(tool: Path, word: str, text: bytes = b"") -> str:
    done = subprocess.run([tool, word], input=text, capture_output=True, check=True)
    return done.stdout.decode("ascii")


def test_a_message_in_no_known_encoding_is_written_all_the_same(tool: Path) -> None:
    assert json.loads(written(tool, "text", b"caf\xe9 \xc3\xbc\x07")) == "caf\ufffd ü\x07"


def test_numbers_that_are_not_finite_are_null(tool: Path) -> None:
    assert json.loads(written(tool, "odd")) == [None, None, None, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seed", 2**63, "seed must be an integer of 64 bits, got 9223372036854775808"),
        ("seed", 1.0, "seed must be an integer of 64 bits, got 1.0"),
        ("seed", True, "seed must be an integer of 64 bits, got true"),
        ("seed", None, "seed must be an integer of 64 bits, got null"),
        ("tensors", {}, "tensors must be an array, got object"),
        ("tensors", [{"name": 1}], "name must be a string, got 1"),
        (
            "tensors",
            [asdict(spec("uniform")) | {"scale": True}],
            "scale must be a number, got true",
        ),
        (
            "tensors",
            [asdict(spec("uniform")) | {"shape": [2.5]}],
            "shape must be an integer .* 2.5",
        ),
        ("tensors", [{}], "a job must have the field name"),
    ],
)
def test_a_value_of_another_type_is_refused(
    tool: Path, name: str, value: Any, message: str
) -> None:
    job = {"seed": 1, "tensors": [], name: value}
    done = subprocess.run([tool, "weights"], input=json.dumps(job).encode(), capture_output=True)
    assert done.returncode == 1
    assert re.search(message, done.stderr.decode())


def profile(**changes: Any) -> DeviceProfile:
    return DeviceProfile(**{"name": "here", "threads": 1, **changes})


def gate_result(runtime: str, precision: str) -> tuple[Job, Result]:
    device = profile(runtime=runtime, precision=precision)
    shape = numerics.gate_shape(small_shape(hidden_size=256, head_dim=64, intermediate_size=512))
    prepared = jobs.prepare(
        [shape],
        device,
        numerics.PHASES,
        jobs.ONE_COPY,
        Placement(threads=1),
        MeasureSettings(),
        repetitions=0,
    )
    return prepared.job, get_runtime(device).run(prepared.job, prepared.files)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_agree_with_the_in_process_runtime(precision: str) -> None:
    _, native = gate_result("onnxruntime-native", precision)
    _, python = gate_result("onnxruntime", precision)
    for ours, theirs in zip(native.phases, python.phases, strict=True):
        assert ours.logits
        assert theirs.logits
        # The same library on the same weights; rotary tables may differ in their last bit.
        np.testing.assert_allclose(ours.logits.first, theirs.logits.first, rtol=1e-4, atol=1e-4)
        assert ours.logits.l2 == pytest.approx(theirs.logits.l2, rel=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_agree_with_the_dequantised_reference(precision: str) -> None:
    job, native = gate_result("onnxruntime-native", precision)
    shape = numerics.gate_shape(small_shape(hidden_size=256, head_dim=64, intermediate_size=512))
    scheme = profile(precision=precision).scheme
    expected = numerics.expected_logits(shape, scheme, job.weights.seed)
    limit = 1e-4 if precision == "fp32" else 0.05
    for phase, wanted in zip(native.phases, expected, strict=True):
        assert phase.logits
        assert numerics.relative_error(phase.logits, wanted) <= limit


class Answering:
    """A place where the runner ends as told."""

    def __init__(self, finished: Finished) -> None:
        self.finished = finished

    def placement(self) -> Placement:
        return Placement(threads=1)

    def machine(self) -> dict[str, str]:
        return {}

    def available_bytes(self) -> int | None:
        return None

    def memory_advice(self) -> str:
        return "close programs"

    def cache_bytes(self, told: int) -> int:
        return told

    def start(
        self, arguments: Any, files: Mapping[str, bytes], *, seconds: float, timed: bool = False
    ) -> Finished:
        return self.finished


@pytest.mark.parametrize(
    ("code", "stdout", "stage"),
    [
        (-9, "", "memory"),
        (137, "", "memory"),
        (-15, "", "stopped"),
        (143, "", "stopped"),
        (-2, "", "stopped"),
        (129, "", "stopped"),
        (-11, "", "run"),
        (139, "", "run"),
        (2, "", "protocol"),
        (0, '{"schema": 4, "tag"', "protocol"),
        (0, "", "protocol"),
    ],
)
def test_a_runner_that_ends_badly_is_one_failed_job(code: int, stdout: str, stage: str) -> None:
    place = Answering(Finished(returncode=code, stdout=stdout, stderr="last words"))
    runtime = NativeRuntime(place, profile())
    job, _ = gate_result("fake", "int4-b32")
    with pytest.raises(MeasurementError) as caught:
        runtime.run(job, {})
    assert caught.value.stage == stage


@pytest.mark.parametrize("text", ["", "no json", '{"schema": 4}', '{"schema": 4, "tag": "t"}'])
def test_a_malformed_job_is_exit_code_2_with_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    done = call_runner("run", str(tmp_path / "job.json"), "10")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "phonelm-runner:" in done.stderr


@pytest.mark.parametrize("words", [(), ("probe", "x,y"), ("run",), ("run", "job", "soon")])
def test_wrong_usage_is_exit_code_2(words: tuple[str, ...]) -> None:
    assert call_runner(*words).returncode == 2


def test_a_library_that_is_none_is_said() -> None:
    done = call_runner("probe", library="/nowhere.so")
    assert done.returncode == 2
    assert "ONNX Runtime cannot be loaded: /nowhere.so" in done.stderr


def call_runner(*words: str, library: str | None = None) -> subprocess.CompletedProcess[str]:
    runner = toolchain.build_runner(toolchain.HOST)
    command = [str(runner), library or str(toolchain.host_library()), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def long_job(tmp_path: Path) -> list[str]:
    """A job of minutes in a folder, and the command that runs it there for 2 s."""
    device = profile(runtime="onnxruntime-native")
    shape = small_shape()
    prepared = jobs.prepare(
        [shape],
        device,
        numerics.PHASES,
        jobs.ONE_COPY,
        Placement(threads=1),
        replace(MeasureSettings(), max_seconds=1000.0),
        repetitions=10**8,
    )
    for name, content in prepared.files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "job.json").write_text(prepared.job.model_dump_json(by_alias=True))
    runner = toolchain.build_runner(toolchain.HOST)
    return [str(runner), str(toolchain.host_library()), "run", "job.json", "2"]


def test_the_runner_ends_at_its_own_time_limit_and_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        long_job(tmp_path), capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert document["error"] == {
        "stage": "timeout",
        "message": "the runner must finish within 2 s and did not",
    }


def test_the_runner_does_not_outlive_its_parent(tmp_path: Path) -> None:
    command = long_job(tmp_path)
    parent = subprocess.Popen(
        ["sh", "-c", f"{' '.join(command[:-1])} 600 & echo $!; wait"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.kill()
    parent.wait()
    assert not outlives(pid)


def test_peak_memory_and_weights_from_a_file(tmp_path: Path) -> None:
    shape, device = small_shape(), profile(runtime="onnxruntime-native")
    graph = build_graph(shape, device.scheme)
    prepared = jobs.prepare(
        [shape],
        device,
        numerics.PHASES[:1],
        jobs.ONE_COPY,
        Placement(threads=1),
        MeasureSettings(),
        repetitions=0,
        from_file=True,
    )
    (phase,) = get_runtime(device).run(prepared.job, prepared.files).phases
    assert phase.peak_bytes
    assert phase.peak_bytes > sum(t.nbytes for t in graph.tensors)
    memory = prepared.job.model_copy(
        update={"weights": prepared.job.weights.model_copy(update={"source": "memory"})}
    )
    (same,) = get_runtime(device).run(memory, prepared.files).phases
    assert same.logits == phase.logits


def test_pages_of_memory_that_are_not_the_usual_ones_are_part_of_the_environment() -> None:
    told = {"environment": {"threads": "2"}, "cache_bytes": 0}

    def environment(page_bytes: int, huge_pages: str) -> dict[str, str]:
        probe = {**told, "page_bytes": page_bytes, "huge_pages": huge_pages}
        answer = Finished(returncode=0, stdout=json.dumps(probe), stderr="")
        return NativeRuntime(Answering(answer), profile()).environment()

    usual = environment(4096, "always [madvise] never")
    assert not {"page_bytes", "huge_pages"} & usual.keys()
    assert environment(16384, "") == {**usual, "page_bytes": "16384"}
    assert environment(4096, "[always] madvise never") == {**usual, "huge_pages": "always"}
