"""What is measured is what is trained: torch decoder = ONNX graph = transformers."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
import transformers

from graphs import graph_tensors, with_accuracy
from phonelm_search.core.decoder import Decoder, Scales
from phonelm_search.core.hf_config import to_hf_config
from phonelm_search.core.precision import Precision, get_precision
from phonelm_search.core.rotary import RotaryScaling
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph import Graph, build_graph
from phonelm_search.train.parametrisation import build_decoder
from phonelm_search.train.quantised import quantised_copy

PROMPT, STEPS = 9, 10


def shape_of(**changes: Any) -> ModelShape:
    base: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 96,
        "rms_norm_eps": 1e-5,
    }
    return ModelShape(**{**base, **changes})


LLAMA3 = RotaryScaling(
    parameters={
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    max_positions=512,
).text  # fmt: skip
YARN = RotaryScaling(parameters={"rope_type": "yarn", "factor": 20.0}, max_positions=40).text
SHAPES = {
    **{f"gated-{a}": shape_of(hidden_act=a) for a in ("silu", "relu", "gelu", "relu2")},
    **{
        f"plain-{a}": shape_of(ffn="plain", hidden_act=a) for a in ("silu", "relu", "gelu", "relu2")
    },
    "multi-head": shape_of(num_key_value_heads=4),
    "multi-query": shape_of(num_key_value_heads=1),
    "untied": shape_of(tie_word_embeddings=False),
    "qkv-bias": shape_of(qkv_bias=True),
    "qk-norm": shape_of(qk_norm=True),
    "separate-rotary": shape_of(num_attention_heads=8, num_key_value_heads=2, head_dim=8),
    "wide-heads": shape_of(num_attention_heads=2, num_key_value_heads=2, head_dim=64, qk_norm=True),
    "theta": shape_of(rope_theta=500000.0),
    "llama3": shape_of(rope_scaling=LLAMA3),
    "separate-yarn": shape_of(num_attention_heads=8, head_dim=8, rope_scaling=YARN),
}


def trained_looking(shape: ModelShape) -> Decoder:
    torch.manual_seed(7)
    model = Decoder(shape).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if "embed" in name or "lm_head" in name:
                parameter.normal_(std=0.2)  # logits of unit size: differences are relative ones
    return model


def state_of(model: Decoder) -> dict[str, np.ndarray]:
    return {k: v.detach().numpy() for k, v in model.state_dict().items()}


def session_of(graph: Graph, tensors: dict[str, np.ndarray]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    names = [s.name for s in graph.tensors]
    assert {n: tensors[n].shape for n in names} == {s.name: s.shape for s in graph.tensors}
    values = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tensors[n])) for n in names]
    options.add_external_initializers(names, values)
    session = ort.InferenceSession(graph.model, options, providers=["CPUExecutionProvider"])
    session.keep_alive = values  # type: ignore[attr-defined]
    return session


def run_onnx(session: Any, shape: ModelShape, ids: np.ndarray) -> np.ndarray:
    """Logits of a prefill of PROMPT tokens and of a decode step for every later token."""
    rows = []
    cache = [
        np.zeros((1, shape.num_key_value_heads, 0, shape.head_dim), np.float32)
        for _ in range(2 * shape.num_hidden_layers)
    ]
    names = [i.name for i in session.get_inputs()][2:]
    for start, end in [(0, PROMPT), *((i, i + 1) for i in range(PROMPT, ids.shape[1]))]:
        feeds = {
            "input_ids": ids[:, start:end],
            "attention_mask": np.ones((1, end), np.int64),
            **dict(zip(names, cache, strict=True)),
        }
        logits, *cache = session.run(None, feeds)
        rows.append(logits[0])
    return np.concatenate(rows)


def run_torch(model: Decoder, ids: np.ndarray) -> np.ndarray:
    rows, past = [], None
    with torch.no_grad():
        for start, end in [(0, PROMPT), *((i, i + 1) for i in range(PROMPT, ids.shape[1]))]:
            logits, past = model(torch.from_numpy(ids[:, start:end]), past)
            rows.append(logits[0].numpy())
    return np.concatenate(rows)


def token_ids(shape: ModelShape) -> np.ndarray:
    return np.random.default_rng(3).integers(0, shape.vocab_size, (1, PROMPT + STEPS))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_decoder_onnx_graph_and_transformers_agree(shape: ModelShape) -> None:
    model, ids = trained_looking(shape), token_ids(shape)
    ours = run_torch(model, ids)
    assert ours.std() > 0.1
    precision = get_precision("fp32")
    graph = build_graph(shape, precision, logits="all", max_positions=64)
    session = session_of(graph, graph_tensors(graph, shape, precision, state_of(model)))
    np.testing.assert_allclose(run_onnx(session, shape, ids), ours, atol=1e-4, rtol=0)

    config_dict = None
    if not (shape.ffn == "plain" and (shape.qkv_bias or shape.qk_norm)):
        config_dict = to_hf_config(shape)
    assert config_dict is not None
    config = transformers.AutoConfig.for_model(**config_dict)
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)).logits[0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)


def dequantised(model: Decoder, shape: ModelShape, precision: Precision) -> Decoder:
    """The same decoder with every matrix replaced by what its quantised form stands for."""
    if precision.storage == "block":
        return quantised_copy(model, precision)
    state = state_of(model)
    for name, matrix in state.items():
        if matrix.ndim != 2:
            continue
        if precision.storage == "dynamic":
            scale = np.abs(matrix).max(1, keepdims=True) / 127
            state[name] = (np.rint(matrix / scale) // 2 * 2 * scale).astype(np.float32)
    copy = Decoder(shape).eval()
    copy.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    return copy


def seven_bits(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Signed bytes without their lowest bit.

    Processors without dot products of bytes (AVX2 alone) add products in 16 bits, which eight bits
    overflow; there the numerics gate refuses the scheme, and the graph can be checked all the same.
    """
    halved = dict(tensors)
    for name, array in tensors.items():
        if array.dtype == np.int8:
            halved[name] = array // 2
            scale = name.replace("weight_i8", "weight_scale")
            halved[scale] = 2 * tensors[scale]
    return halved


QUANTISED = [
    ("int4-b32", 0, 64),
    ("int8-b32", 0, 64),
    ("int4-b128", 0, 128),
    ("int4-b32", 4, 64),
    ("int8-b32", 4, 64),
    ("int4-b128", 4, 128),
    ("int8-dynamic", 4, 64),
]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize(("name", "level", "width"), QUANTISED)
def test_quantised_graph_agrees_with_its_dequantised_weights(
    name: str, level: int, width: int, tied: bool
) -> None:
    shape = shape_of(hidden_size=width, intermediate_size=168, tie_word_embeddings=tied)
    precision, ids = get_precision(name), token_ids(shape)
    model = trained_looking(shape)
    graph = with_accuracy(build_graph(shape, precision, logits="all", max_positions=64), level)
    tensors = seven_bits(graph_tensors(graph, shape, precision, state_of(model)))
    got, expected = (
        run_onnx(session_of(graph, tensors), shape, ids),
        run_torch(dequantised(model, shape, precision), ids),
    )
    if level == 0:
        np.testing.assert_allclose(got, expected, atol=1e-4, rtol=0)
    relative_rms = np.sqrt(np.square(got - expected).mean() / np.square(expected).mean())
    assert relative_rms <= 0.05
    # The quantisation itself must be visible, or the test compares nothing.
    assert np.abs(expected - run_torch(model, ids)).max() > 1e-3


@pytest.mark.parametrize("layers", [1, 3, 7])
def test_the_factors_of_training_fold_into_a_plain_llama(layers: int) -> None:
    shape, precision = shape_of(num_hidden_layers=layers), get_precision("fp32")
    ids = token_ids(shape)
    model = build_decoder(shape, seed=5).eval()
    assert model.scales.residual != 1
    assert model.scales.logits != 1
    before = run_torch(model, ids)
    model.fold()
    assert model.scales == Scales()
    after = run_torch(model, ids)
    np.testing.assert_allclose(after, before, atol=1e-5, rtol=0)
    # Nothing is left beside the weights: they alone give the same logits elsewhere.
    graph = build_graph(shape, precision, logits="all", max_positions=64)
    session = session_of(graph, graph_tensors(graph, shape, precision, state_of(model)))
    np.testing.assert_allclose(run_onnx(session, shape, ids), before, atol=1e-4, rtol=0)


def test_last_position_logits_are_the_last_row_of_all() -> None:
    shape, precision = shape_of(), get_precision("fp32")
    model, ids = trained_looking(shape), token_ids(shape)
    rows = {}
    for logits in ("all", "last"):
        graph = build_graph(shape, precision, logits=logits, max_positions=64)  # type: ignore[arg-type]
        session = session_of(graph, graph_tensors(graph, shape, precision, state_of(model)))
        rows[logits] = run_onnx(session, shape, ids)
    assert rows["last"].shape == (1 + STEPS, shape.vocab_size)
    np.testing.assert_allclose(rows["last"], rows["all"][PROMPT - 1 :], atol=1e-5)
