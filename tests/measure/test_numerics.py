"""Logits are compared with dequantised weights before anything is timed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphs import graph_tensors
from helpers import WORKLOADS, fake_device, latencies, small_shape
from phonelm_search.backends import Job, LogitsResult, Placement, Result, host
from phonelm_search.backends.fake import FakeRuntime
from phonelm_search.core.decoder import Decoder
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.precision import PRECISIONS, get_precision
from phonelm_search.devices import DeviceProfile
from phonelm_search.graph import WeightPool, build_graph, generated_state
from phonelm_search.measure import Profiler, gate_shape
from phonelm_search.measure.numerics import PHASES, expected_logits, relative_error
from phonelm_search.store import Store

SHAPES = {
    "tied": small_shape(),
    "untied": small_shape(tie_word_embeddings=False),
    "plain": small_shape(ffn="plain", hidden_act="gelu"),
    "bias-and-norm": small_shape(qkv_bias=True, qk_norm=True),
    "separate-rotary": small_shape(head_dim=24),
}


@pytest.mark.parametrize("precision", ["fp32", "int8-dynamic", "int8-b32", "int4-b32"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_this_machine_passes_for_every_kernel(tmp_path: Path, shape: Any, precision: str) -> None:
    store = Store(tmp_path)
    profiler = Profiler(store, DeviceProfile(name="here", threads=1, precision=precision))
    (refusal,) = profiler._gates[profiler._executor].refusals([shape])
    dot_products = any(f in host.capabilities() for f in ("vnni", "asimddp", "i8mm"))
    if precision == "int8-dynamic" and not dot_products:
        # AVX2 alone adds products of bytes in 16 bits, which saturate: the gate must say so.
        assert "so nothing is timed; avx2" in str(refusal)
        return
    assert refusal is None
    (check,) = store.numerics(environment_id=profiler.environment_id)
    assert check.passed
    assert check.shape_id == gate_shape(shape).shape_id
    if precision == "fp32":
        assert max(check.prefill_error, check.decode_error) < 1e-5
    else:  # activations in int8 must show, or nothing was compared
        assert min(check.prefill_error, check.decode_error) > 1e-5


@pytest.mark.parametrize("name", [p.name for p in PRECISIONS.values() if p.storage != "static"])
def test_dequantising_inverts_the_graphs_storage(name: str) -> None:
    shape = small_shape(hidden_size=128, head_dim=32, tie_word_embeddings=False)
    precision = get_precision(name)
    graph = build_graph(shape, precision)
    state = generated_state(graph, shape, precision, WeightPool(3))
    assert {k: v.shape for k, v in state.items()} == {
        k: tuple(v.shape) for k, v in Decoder(shape).state_dict().items()
    }
    again = graph_tensors(graph, shape, precision, state)
    pool = WeightPool(3)
    for spec in graph.tensors:
        if spec.type == "float32" and "scale" not in spec.name:
            np.testing.assert_array_equal(again[spec.name], pool.fill(spec))


def test_a_wrong_weight_is_noticed() -> None:
    shape, precision = gate_shape(small_shape()), get_precision("int4-b32")
    right, other = expected_logits(shape, precision, 1)[1], expected_logits(shape, precision, 2)[1]
    digest = LogitsResult(first=tuple(right[:16]), l2=float(np.linalg.norm(right)))
    assert relative_error(digest, right) < 1e-12
    assert relative_error(digest, other) > 0.5
    assert relative_error(digest.model_copy(update={"l2": float("nan")}), right) == np.inf
    assert relative_error(digest.model_copy(update={"l2": 1.2 * digest.l2}), right) == (
        pytest.approx(0.2)
    )


class WrongNumbers(FakeRuntime):
    """Computes a decode step wrongly, as an emulated instruction set once did."""

    def __init__(self) -> None:
        super().__init__(placement=Placement(threads=2), execution_provider="CPUExecutionProvider")
        self.jobs: list[Job] = []

    def run(self, job: Job, files: Any) -> Result:
        self.jobs.append(job)
        result = super().run(job, files)
        prefill, decode = result.phases
        assert decode.logits is not None
        wrong = decode.logits.model_copy(
            update={"first": tuple(1.5 * x for x in decode.logits.first)}
        )
        return result.model_copy(
            update={"phases": (prefill, decode.model_copy(update={"logits": wrong}))}
        )


def test_a_device_that_computes_wrongly_gets_no_timings(tmp_path: Path) -> None:
    runtime, store = WrongNumbers(), Store(tmp_path)
    profiler = Profiler(store, fake_device(), runtimes=[runtime])
    with pytest.raises(MeasurementError, match=r"within 0.05 of the dequantised reference") as e:
        latencies(profiler, small_shape(), WORKLOADS)
    assert e.value.stage == "numerics"
    assert "after a decode step, so nothing is timed; fake" in str(e.value)
    assert store.measurements() == []
    assert [j.phases for j in runtime.jobs] == [PHASES]
    # The refusal is remembered; the device is not asked again.
    with pytest.raises(MeasurementError, match="nothing is timed"):
        latencies(Profiler(store, fake_device(), runtimes=[runtime]), small_shape(), WORKLOADS)
    assert len(runtime.jobs) == 1


def test_the_reference_keeps_torchs_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        expected_logits(gate_shape(small_shape()), get_precision("fp32"), 1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
