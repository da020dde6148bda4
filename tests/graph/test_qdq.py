"""Integers stand for what they should, and the quantised decoder is near the fp32 one."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu.chip import A16W8, shape, text
from phonelm_search.backends.qnn.calibration import Quantised, quantised
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.workload import Workload, decode, prefill
from phonelm_search.graph import Affine, run_graph, write_columns

pytestmark = pytest.mark.xdist_group("qdq")


@given(
    scale=st.floats(1e-6, 10),
    zero=st.integers(0, 65535),
    codes=st.lists(st.integers(0, 65535), min_size=1),
)
def test_codes_come_back_as_they_were(scale: float, zero: int, codes: list[int]) -> None:
    affine = Affine(scale=scale, zero_point=zero, dtype="uint16")
    given_codes = np.asarray(codes, np.uint16)
    back = affine.quantise(affine.dequantise(given_codes))
    # float32 holds 24 bits, so that 16 of a code always survive
    np.testing.assert_array_equal(back, given_codes)


@given(
    values=st.lists(st.floats(-1e4, 1e4), min_size=1), scale=st.floats(1e-3, 10),
    zero=st.integers(0, 255),
)  # fmt: skip
def test_values_are_rounded_to_the_next_step_or_saturate(
    values: list[float], scale: float, zero: int
) -> None:
    affine = Affine(scale=scale, zero_point=zero, dtype="uint8")
    given_values = np.asarray(values)
    back = affine.dequantise(affine.quantise(given_values)).astype(np.float64)
    low, high = -zero * scale, (255 - zero) * scale
    near = np.clip(given_values, low, high)
    assert np.all(np.abs(back - near) <= 0.5 * scale * (1 + 1e-5) + 1e-6 * np.abs(near))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Workload, str], Quantised]:
    """Quantises the shape for a workload in a precision, once."""

    @cache
    def of(work: Workload, precision: str) -> Quantised:
        return quantised(shape(), work, precision, text(), tmp_path_factory.mktemp("quantised"))

    return of


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - expected).sum() / np.square(expected).sum()))


@pytest.mark.parametrize(("precision", "limit"), [("qdq-a16w8", 0.10), ("qdq-a8w8", 0.25)])
@pytest.mark.parametrize("work", [prefill(16), decode(24)], ids=["prefill", "decode"])
def test_the_quantised_decoder_is_near_the_fp32_one(
    precision: str, limit: float, work: Workload, made: Callable[[Workload, str], Quantised]
) -> None:
    graph = made(work, precision)
    expected = graph.expected
    raw = run_graph(graph.quantised.path, [graph.quantised.feed(graph.test)])[0]
    found = graph.quantised.read(raw)
    assert found.keys() == expected.keys()
    errors = {k: relative_rms(found[k], expected[k]) for k in expected}
    assert max(errors.values()) < limit, errors
    assert max(errors.values()) > 1e-4  # something was quantised


@pytest.mark.parametrize("precision", ["qdq-a16w8", "qdq-a8w8"])
def test_inputs_and_outputs_are_integers_and_weights_have_eight_bits(
    precision: str, made: Callable[[Workload, str], Quantised]
) -> None:
    model = onnx.load(made(decode(24), precision).quantised.path)
    kinds = {
        onnx.TensorProto.DataType.Name(v.type.tensor_type.elem_type)
        for v in (*model.graph.input, *model.graph.output)
    }
    assert kinds == {"INT32", "UINT16" if precision == "qdq-a16w8" else "UINT8"}
    matrices = [i for i in model.graph.initializer if len(i.dims) == 2 and "rotary" not in i.name]
    assert len(matrices) == 1 + 7 * shape().num_hidden_layers
    for matrix in matrices:
        assert matrix.data_type == onnx.TensorProto.UINT8, matrix.name


def test_a_column_goes_into_the_cache_as_the_integers_that_it_is(
    made: Callable[[Workload, str], Quantised],
) -> None:
    borders = made(decode(24), A16W8).quantised.borders
    for layer in range(shape().num_hidden_layers):
        for part in ("key", "value"):
            assert borders[f"past_key_values.{layer}.{part}"] == borders[f"present.{layer}.{part}"]


def test_prefill_and_decode_of_any_length_agree_on_the_integers_of_the_cache(
    made: Callable[[Workload, str], Quantised],
) -> None:
    """What the prompt's graph writes, the step's graph reads: the same ranges."""
    first, step = made(prefill(16), A16W8), made(decode(40), A16W8)
    outputs = run_graph(first.quantised.path, [first.quantised.feed(first.test)])[0]
    cache = {
        name: np.zeros_like(array)
        for name, array in step.quantised.feed(step.test).items()
        if name.startswith("past")
    }
    write_columns(cache, outputs, past=0)
    for name, array in cache.items():
        ours = first.quantised.borders[name.replace("past_key_values", "present")]
        assert step.quantised.borders[name] == ours
        assert array.any()


def test_text_that_is_too_short_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="must have more than 200 tokens, it has 150") as no:
        quantised(shape(), prefill(200), A16W8, text()[:150], tmp_path)
    assert no.value.stage == "compile"
