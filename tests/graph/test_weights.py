"""Generated weights: known vectors, and what the traps of measuring demand of them."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import small_shape
from phonelm_search.core.errors import UnsupportedShapeError
from phonelm_search.core.precision import get_precision
from phonelm_search.graph import TensorSpec, WeightPool, build_graph, fnv1a64
from phonelm_search.graph.quantise import dequantise_blocks, quantise_blocks
from phonelm_search.graph.weights import POOL_WORDS, splitmix64


def test_generators_match_published_vectors() -> None:
    # SplitMix64 of seed 1234567, as Vigna's reference code prints it.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert splitmix64(1234567, 3).tolist() == expected
    # FNV-1a of "a" and "foobar", from the authors' test suite.
    assert fnv1a64("a") == 0xAF63DC4C8601EC8C
    assert fnv1a64("foobar") == 0x85944171F73967E8


def spec(kind: str, shape: tuple[int, ...], **changes: object) -> TensorSpec:
    types = {"int4": "uint8", "int8": "uint8"}
    base = {
        "name": "w",
        "shape": shape,
        "kind": kind,
        "type": types.get(kind, "float32"),
        "scale": 0.5,
    }
    return TensorSpec(**{**base, **changes})  # type: ignore[arg-type]


def test_nibbles_are_one_to_fifteen_and_zero_mean() -> None:
    packed = WeightPool(1).fill(spec("int4", (512, 8, 16)))
    nibbles = np.stack((packed & 15, packed >> 4)).astype(int)
    assert (nibbles.min(), nibbles.max()) == (1, 15)
    assert abs(nibbles.mean() - 8) < 0.1
    assert nibbles.std() == pytest.approx(4.32, abs=0.05)


def test_bytes_are_zero_mean_signed_and_unsigned() -> None:
    pool = WeightPool(1)
    unsigned = pool.fill(spec("int8", (256, 256))).astype(int)
    signed = pool.fill(spec("int8", (256, 256), type="int8")).astype(int)
    assert (unsigned.min(), unsigned.max()) == (1, 255)
    assert (signed == unsigned - 128).all()
    assert abs(signed.mean()) < 2
    assert signed.std() == pytest.approx(73.6, abs=1)


def test_floats_have_the_wished_deviation_and_are_exact_multiples() -> None:
    pool = WeightPool(1)
    uniform = pool.fill(spec("uniform", (400, 400), scale=0.02))
    assert uniform.dtype == np.float32
    assert uniform.std() == pytest.approx(0.02, rel=0.01)
    assert abs(uniform.mean()) < 2e-4
    positive = pool.fill(spec("positive", (400, 400), scale=2.0))
    assert 1.5 <= positive.min() < 1.51
    assert 2.49 < positive.max() <= 2.5


def test_tensors_wrap_around_the_pool_from_the_offset_of_their_name() -> None:
    values = WeightPool(7).fill(spec("uniform", (POOL_WORDS + 3,), scale=1.0))
    assert (values[:3] == values[POOL_WORDS:]).all()
    start = fnv1a64("w") % POOL_WORDS
    word = int(splitmix64(7, start + 1)[-1])
    expected = np.float32((word >> 40) - 2**23) * np.float32(np.sqrt(3) / 2**23)
    assert values[0] == expected


def test_no_two_tensors_or_copies_hold_equal_bytes() -> None:
    shape = small_shape(hidden_size=128, num_hidden_layers=4)
    graph = build_graph(shape, get_precision("int4-b32"))
    seen = set()
    for seed in (1, 2):
        pool = WeightPool(seed)
        for tensor in graph.tensors:
            if tensor.kind in ("rotary_cos", "rotary_sin"):
                continue
            filled = pool.fill(tensor)
            assert (filled.shape, filled.dtype) == (tensor.shape, np.dtype(tensor.type))
            seen.add(filled.tobytes())
    assert len(seen) == 2 * (len(graph.tensors) - 2)


def test_token_ids_lie_in_the_vocabulary() -> None:
    ids = WeightPool(1).integers("input_ids", 1000, 320)
    assert 0 <= ids.min() <= ids.max() < 320
    assert len(set(ids.tolist())) > 200


@given(st.sampled_from(["int4-b32", "int4-b128", "int8-b32"]), st.integers(1, 300))
def test_quantisation_error_is_below_a_step(name: str, inputs: int) -> None:
    precision = get_precision(name)
    weight = np.random.default_rng(inputs).normal(size=(5, inputs)).astype(np.float32)
    packed, scales = quantise_blocks(weight, precision)
    back = dequantise_blocks(packed, scales, precision, inputs)
    step = np.repeat(np.abs(scales), precision.block_size, axis=1)[:, :inputs]
    assert (np.abs(back - weight) <= step * 1.001).all()
    assert packed.shape == (5, precision.blocks(inputs), precision.block_size * precision.bits // 8)


def test_zero_weights_stay_zero() -> None:
    precision = get_precision("int4-b32")
    packed, scales = quantise_blocks(np.zeros((2, 32), np.float32), precision)
    assert not dequantise_blocks(packed, scales, precision, 32).any()


@pytest.mark.parametrize("precision", ["fp32", "int8-dynamic", "int8-b32", "int4-b32"])
def test_graphs_are_valid_onnx_of_the_agreed_versions(precision: str) -> None:
    graph = build_graph(small_shape(), get_precision(precision))
    model = onnx.load_from_string(graph.model)
    assert model.ir_version == 10
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 22), ("com.microsoft", 1)}
    assert len(graph.model) < 1_000_000
    names = [i.name for i in model.graph.input]
    assert names[:4] == [
        "input_ids",
        "attention_mask",
        "past_key_values.0.key",
        "past_key_values.0.value",
    ]
    assert [o.name for o in model.graph.output][:2] == ["logits", "present.0.key"]
    assert not graph.separate_rotary
    assert build_graph(small_shape(head_dim=8), get_precision(precision)).separate_rotary


def test_what_the_kernels_refuse_is_refused_with_the_nearest_sizes() -> None:
    shape = small_shape(hidden_size=576)
    with pytest.raises(
        UnsupportedShapeError, match=r"multiple of 128 .* got 576; nearest: 512 or 640"
    ):
        build_graph(shape, get_precision("int4-b128"))
    build_graph(shape, get_precision("int4-b32"))
    # The kernel takes a feed-forward width that the block does not divide.
    build_graph(small_shape(intermediate_size=150), get_precision("int4-b32"))
