"""The C++ runner on compiled contexts, and what is made of its results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npu.chip import CHIP, QNN, chip, quantised_here, shape, text, with_asinh
from phonelm_search.backends import Files, Job, Placement, Result, get_runtime
from phonelm_search.backends.native import LocalPlace, NativeRuntime
from phonelm_search.backends.qnn import Contexts, calibration
from phonelm_search.core.errors import ConfigurationError, MeasurementError
from phonelm_search.core.workload import Workload, decode, prefill
from phonelm_search.devices import DeviceProfile
from phonelm_search.measure import MeasureSettings, Profiler, Request
from phonelm_search.measure.static_jobs import prepare_static
from phonelm_search.store import Store

pytestmark = [pytest.mark.xdist_group("native"), pytest.mark.usefixtures("native_runner")]

HERE = Placement(threads=1)
FEW = replace(
    MeasureSettings(), rounds=1, most_rounds=1, max_seconds=0.05, warmup_window_seconds=0.05
)
PREFILL_ALONE = {
    "execution_provider": {"prefill": QNN, "decode": "CPUExecutionProvider"},
    "precision": {"prefill": "qdq-a16w8", "decode": "int4-b32"},
    "runtime": "onnxruntime-native",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was compiled once for all tests here."""
    return tmp_path_factory.mktemp("contexts")


@pytest.fixture(scope="module")
def contexts(folder: Path) -> Contexts:
    return Contexts(chip(), text(), folder)


@pytest.mark.parametrize("work", [prefill(16), decode(24)], ids=["prefill", "decode"])
def test_the_runner_computes_what_was_computed_when_compiling(
    contexts: Contexts, work: Workload
) -> None:
    found = contexts.of(shape(), work)
    prepared = prepare_static([shape()], [found], chip(), work, HERE, FEW, repetitions=5)
    result = NativeRuntime(LocalPlace(HERE), chip()).run(prepared.job, prepared.files)
    (phase,) = result.phases
    assert len(phase.samples_ns) == 3
    assert phase.logits
    np.testing.assert_allclose(phase.logits.first, found.expected.first, rtol=1e-4, atol=1e-4)
    assert phase.logits.l2 == pytest.approx(found.expected.l2, rel=1e-4)
    assert "libQnnHtp.so" in result.backends


def test_contexts_are_compiled_once_for_a_chip(contexts: Contexts) -> None:
    first = contexts.of(shape(), prefill(16))
    times = [f.stat().st_mtime_ns for f in first.files]
    again = contexts.of(shape(), prefill(16))
    assert [f.stat().st_mtime_ns for f in again.files] == times
    assert again == first
    assert first.static.context_bytes == sum(f.stat().st_size for f in first.files) > 100_000


def test_contexts_of_releases_that_kept_a_sum_of_the_logits_are_read(contexts: Contexts) -> None:
    first = contexts.of(shape(), prefill(16))
    manifest = first.files[0].parent / "manifest.json"
    document = json.loads(manifest.read_text())
    for digest in document["digests"].values():
        digest["sum"] = 1.0
    manifest.write_text(json.dumps(document))
    assert contexts.of(shape(), prefill(16)) == first


def test_who_reads_the_cache_is_the_profiles_business_not_the_contexts(
    contexts: Contexts, tmp_path: Path
) -> None:
    both = contexts.of(shape(), prefill(16))
    mixed = Contexts(chip(**PREFILL_ALONE), text(), both.files[0].parents[1])
    alone = mixed.of(shape(), prefill(16))
    assert alone.files == both.files
    assert (both.static.hand_over, alone.static.hand_over) == ("copy", "convert")
    for found in (both, alone):
        prepared = prepare_static([shape()], [found], chip(), prefill(16), HERE, FEW, repetitions=1)
        (phase,) = NativeRuntime(LocalPlace(HERE), chip()).run(prepared.job, prepared.files).phases
        assert phase.handed_over
        np.testing.assert_allclose(phase.handed_over.first, found.handed_over.first, rtol=1e-5)
        assert phase.handed_over.l2 == pytest.approx(found.handed_over.l2, rel=1e-5)
    assert both.handed_over.l2 > 1000 * alone.handed_over.l2  # integers, and what they stand for


@pytest.mark.usefixtures("small_reference")
def test_operators_that_may_fall_back_run_on_the_processor_and_are_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "build_static_graph", with_asinh)
    monkeypatch.setattr("phonelm_search.backends.qnn.contexts.quantised_apart", quantised_here)
    strays = ("Asinh", "DequantizeLinear", "QuantizeLinear")
    device = chip(**PREFILL_ALONE, allow_fallback=strays)
    profiler = Profiler(store, device, settings=FEW, runtimes=[Phone(device)], calibration=text)
    request = Request(shape=shape(hidden_act="relu"), workloads=(prefill(16),))
    (outcome,) = profiler.measure([request])
    assert outcome.error is None
    assert 0.9 < (outcome.latencies[prefill(16)].coverage or 0) < 1
    # Without leave it is another place: nothing that was measured with it counts.
    strict = chip(**PREFILL_ALONE)
    profiler = Profiler(store, strict, settings=FEW, runtimes=[Phone(strict)], calibration=text)
    (outcome,) = profiler.measure([request])
    assert outcome.latencies == {}
    assert "Asinh ×2" in str(outcome.error)


def test_what_a_killed_compilation_left_is_swept_away(tmp_path: Path) -> None:
    folder = tmp_path / "contexts"
    left = folder / ".compiling-abcdefgh" / "prompt"
    left.mkdir(parents=True)
    (left / "model.onnx.data").write_bytes(b"half")
    found = Contexts(chip(), text(), folder).of(shape(num_hidden_layers=1), prefill(8))
    assert [p.name for p in folder.iterdir() if p.is_dir()] == [found.files[0].parent.name]


def test_where_contexts_cannot_be_kept_the_shape_fails_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "contexts").write_text("a file")
    with pytest.raises(MeasurementError, match=r"contexts must take compiled shapes: ") as caught:
        Contexts(chip(), text(), tmp_path / "contexts").of(shape(), prefill(8))
    assert caught.value.stage == "storage"
    assert "\n" not in str(caught.value)


class Phone(NativeRuntime):
    """This machine, saying that it is a phone: what follows cannot be shown without one."""

    def __init__(self, profile: DeviceProfile, **told: str) -> None:
        super().__init__(LocalPlace(HERE), profile)
        self.told = {"architecture": "aarch64", **told}
        self.jobs: list[Job] = []

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.told}

    def run(self, job: Job, files: Files) -> Result:
        self.jobs.append(job)
        found = super().run(job, files)
        return found.model_copy(update={"environment": {**found.environment, **self.told}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def compiled(store: Store, folder: Path, small_reference: None) -> Store:
    """A store that finds its contexts compiled."""
    (store.results / "cache").mkdir()
    (store.results / "cache/contexts").symlink_to(folder)
    return store


def measured(store: Store, device: DeviceProfile, runtime: NativeRuntime, *work: Workload) -> Any:
    profiler = Profiler(store, device, settings=FEW, runtimes=[runtime], calibration=text)
    (outcome,) = profiler.measure([Request(shape=shape(), workloads=work)])
    return outcome


@pytest.mark.usefixtures("small_reference")
def test_prefill_on_the_npu_and_decode_on_the_processor(store: Store) -> None:
    device = chip(**PREFILL_ALONE)
    phone = Phone(device)
    outcome = measured(store, device, phone, prefill(16), decode(24))
    assert outcome.error is None
    on_npu, on_cpu = outcome.latencies[prefill(16)], outcome.latencies[decode(24)]
    assert (on_npu.coverage, on_cpu.coverage) == (1.0, None)
    kept = store.measurements(shape_ids=[shape().shape_id])
    assert {(m.workload.phase, m.precision) for m in kept if not m.is_control} == {
        ("prefill", "qdq-a16w8"),
        ("decode", "int4-b32"),
    }
    assert len({m.environment_id for m in kept}) == 1
    assert "prefill QNN" in kept[0].environment["execution_provider"]
    static, dynamic = (
        [j for j in phone.jobs if (j.static is not None) == wanted] for wanted in (True, False)
    )
    assert {j.execution_provider for j in static} == {QNN}
    assert {j.execution_provider for j in dynamic} == {"CPUExecutionProvider"}
    assert all(j.provider_options == {} for j in dynamic)
    # The processor's decode reads float32: the columns become it within the phase's time.
    assert {j.static.hand_over for j in static if j.static} == {"convert"}


def test_both_phases_on_the_npu_copy_columns_of_integers(compiled: Store) -> None:
    device = chip(runtime="onnxruntime-native")
    phone = Phone(device)
    outcome = measured(compiled, device, phone, prefill(16), decode(24))
    assert outcome.error is None
    assert {x.coverage for x in outcome.latencies.values()} == {1.0}
    assert {j.static.hand_over for j in phone.jobs if j.static} == {"copy"}


def test_a_latency_that_was_simulated_is_never_kept(compiled: Store) -> None:
    device = chip(**PREFILL_ALONE)
    runtime = NativeRuntime(LocalPlace(HERE), device)
    outcome = measured(compiled, device, runtime, prefill(16), decode(24))
    assert outcome.latencies == {}
    assert outcome.error.stage == "simulated"
    assert "must come from its chip, this one was simulated on x86_64" in str(outcome.error)
    assert compiled.measurements(shape_ids=[shape().shape_id]) == []


@pytest.mark.parametrize("what", ["logits", "handed_over"])
def test_wrong_numbers_of_an_accelerator_are_not_kept(compiled: Store, what: str) -> None:
    device = chip(**PREFILL_ALONE)

    class Wrong(Phone):
        def run(self, job: Job, files: Files) -> Result:
            found = super().run(job, files)
            if not job.static:
                return found
            phases = []
            for p in found.phases:
                right = getattr(p, what)
                wrong = right.model_copy(update={"l2": 1.1 * right.l2})
                phases.append(p.model_copy(update={what: wrong}))
            return found.model_copy(update={"phases": tuple(phases)})

    outcome = measured(compiled, device, Wrong(device), prefill(16), decode(24))
    assert outcome.error.stage == "numerics"
    assert compiled.measurements(shape_ids=[shape().shape_id]) == []


def test_a_process_without_the_accelerators_libraries_is_refused(
    contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = contexts.of(shape(), prefill(16))
    prepared = prepare_static([shape()], [found], chip(), prefill(16), HERE, FEW, repetitions=1)

    class Without(LocalPlace):
        def start(self, *args: Any, **kwargs: Any) -> Any:
            done = super().start(*args, **kwargs)
            return replace(done, stdout=done.stdout.replace("libQnnHtp.so", "libother.so"))

    with pytest.raises(MeasurementError, match=r"must have loaded libQnnHtp.so, it had libother"):
        NativeRuntime(Without(HERE), chip()).run(prepared.job, prepared.files)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "has no latency: it computes here what the chip would"),
        ({"runtime": "onnxruntime-native"}, "must be a phone .connection: adb."),
        (PREFILL_ALONE, "must be a phone .connection: adb."),
        ({**PREFILL_ALONE, "runtime": "onnxruntime"}, "does not run compiled graphs, got prefill"),
        ({"runtime": "onnxruntime"}, "does not run compiled graphs, got qdq-a16w8 in chip"),
        ({"runtime": "fake"}, "does not run compiled graphs, got qdq-a16w8 in chip"),
    ],
)
def test_nothing_on_this_machine_measures_an_npu(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        get_runtime(chip(**changes))


def test_the_chip_is_part_of_a_contexts_key(contexts: Contexts, tmp_path: Path) -> None:
    from phonelm_search.backends.qnn.contexts import context_key

    keys = {
        context_key(s, w, d)
        for s in (shape(), shape(num_hidden_layers=3))
        for w in (prefill(16), prefill(32), decode(16))
        for d in (chip(), chip(precision="qdq-a8w8"),
                  chip(provider_options={**CHIP, "htp_arch": "79"}))
    }  # fmt: skip
    assert len(keys) == 18
