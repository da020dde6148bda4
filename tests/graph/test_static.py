"""Static graphs compute what the torch decoder and the dynamic graph do."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from graph.test_parity import (
    PROMPT,
    SHAPES,
    run_onnx,
    run_torch,
    session_of,
    state_of,
    token_ids,
    trained_looking,
)
from graphs import graph_tensors
from helpers import small_shape
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph import (
    StaticGraph,
    build_graph,
    build_static_graph,
    empty_cache,
    feeds,
    node_flops,
    save_graph,
    write_columns,
)

CACHE = 32


def static_session(graph: StaticGraph, state: dict[str, np.ndarray], folder: Path) -> Any:
    path = save_graph(folder, graph.model, graph.tensors, state)
    onnx.checker.check_model(path, full_check=True)
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(session: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_prefill_and_ten_decode_steps_agree_with_torch_and_the_dynamic_graph(
    shape: ModelShape, tmp_path: Path
) -> None:
    model, ids = trained_looking(shape), token_ids(shape)
    state = state_of(model)
    expected = run_torch(model, ids)
    fp32 = get_precision("fp32")
    dynamic = build_graph(shape, fp32, logits="all", max_positions=64)
    theirs = run_onnx(session_of(dynamic, graph_tensors(dynamic, shape, fp32, state)), shape, ids)
    prefill = static_session(
        build_static_graph(shape, tokens=PROMPT, cache_tokens=0), state, tmp_path / "prefill"
    )
    step = static_session(
        build_static_graph(shape, tokens=1, cache_tokens=CACHE), state, tmp_path / "step"
    )
    cache = empty_cache(shape, CACHE)
    found = run(prefill, feeds(ids[0, :PROMPT], cache_tokens=0, past=0))
    rows = [found["logits"]]
    write_columns(cache, found, past=0)
    for past in range(PROMPT, ids.shape[1]):
        inputs = feeds(ids[0, past : past + 1], cache_tokens=CACHE, past=past, cache=cache)
        found = run(step, inputs)
        write_columns(cache, found, past=past)
        rows.append(found["logits"])
    ours = np.concatenate(rows)
    np.testing.assert_allclose(ours, expected[PROMPT - 1 :], atol=1e-4, rtol=0)
    np.testing.assert_allclose(ours, theirs[PROMPT - 1 :], atol=1e-4, rtol=0)


def test_a_prompt_in_chunks_is_a_prompt_at_once(tmp_path: Path) -> None:
    shape = SHAPES["gated-silu"]
    model, ids = trained_looking(shape), token_ids(shape)
    chunk = 4
    graph = build_static_graph(shape, tokens=chunk, cache_tokens=CACHE)
    session = static_session(graph, state_of(model), tmp_path)
    cache = empty_cache(shape, CACHE)
    for past in range(0, 16, chunk):
        inputs = feeds(ids[0, past : past + chunk], cache_tokens=CACHE, past=past, cache=cache)
        found = run(session, inputs)
        write_columns(cache, found, past=past)
        expected = run_torch(model, ids)[past + chunk - 1] if past + chunk >= PROMPT else None
        if expected is not None:
            np.testing.assert_allclose(found["logits"][0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("tokens", "cache"), [(16, 0), (1, 24), (8, 24)])
def test_nothing_is_dynamic_and_no_operator_is_foreign(tokens: int, cache: int) -> None:
    graph = build_static_graph(
        small_shape(qkv_bias=True, qk_norm=True), tokens=tokens, cache_tokens=cache
    )
    model = onnx.shape_inference.infer_shapes(
        onnx.load_model_from_string(graph.model), strict_mode=True
    )
    assert {n.domain for n in model.graph.node} == {""}
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    made = {o for n in model.graph.node for o in n.output}
    assert made <= {v.name for v in values}
    for value in values:
        dims = value.type.tensor_type.shape.dim
        assert all(d.HasField("dim_value") and d.dim_value > 0 for d in dims), value.name


def test_arithmetic_is_counted_as_the_shape_counts_it() -> None:
    shape = small_shape()
    tokens, cache = 8, 24
    flops = node_flops(build_static_graph(shape, tokens=tokens, cache_tokens=cache).model)
    products = sum(v for k, v in flops.items() if k.endswith(("_proj", ".scores", ".mixed")))
    matrices = 2 * tokens * sum(d.parameters for d in shape.layer_linears) * shape.num_hidden_layers
    attention = 4 * tokens * (cache + tokens) * shape.q_size * shape.num_hidden_layers
    assert products == matrices + attention
    assert flops["lm_head"] == 2 * shape.hidden_size * shape.vocab_size
    assert flops["model.layers.0.self_attn.q.heads"] == 0
