"""The fp32 weights that a graph's generated tensors stand for, under Hugging Face names."""

from collections.abc import Mapping

import numpy as np

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph.builder import Graph
from phonelm_search.graph.quantise import Floats, dequantise_blocks
from phonelm_search.graph.weights import TensorSpec, WeightPool


def generated_state(
    graph: Graph, shape: ModelShape, precision: Precision, pool: WeightPool
) -> dict[str, Floats]:
    """What the tensors that a runner generates stand for.

    Args:
        graph: Built for the same shape and precision.
        shape: The decoder.
        precision: How its matrices are stored.
        pool: The generator that the runner uses.

    Returns:
        fp32 arrays, ``[out, in]`` as torch keeps them, of an *untied* decoder: the dynamic
        scheme stores head and table apart even where they are tied.
    """
    specs = {s.name: s for s in graph.tensors}
    found: dict[str, Floats] = {}
    for name, spec in specs.items():
        base, _, suffix = name.rpartition(".")
        if spec.kind in ("rotary_cos", "rotary_sin") or suffix in ("weight_scales", "weight_scale"):
            continue
        array = _array(spec, specs, precision, pool, _in_features(base, shape))
        hf = base.replace(".attn.", ".self_attn.")
        kind = "bias" if suffix == "bias" else "weight"
        if base.endswith("qkv_proj"):
            rows = np.cumsum([shape.q_size, shape.kv_size])
            for part, piece in zip(("q", "k", "v"), np.split(array, rows), strict=True):
                found[f"{hf.replace('qkv_proj', f'{part}_proj')}.{kind}"] = piece
        else:
            found[f"{hf}.{kind}"] = array
    table, head = "model.embed_tokens.weight", "lm_head.weight"
    if table not in found:
        found[table] = found[head]
    found.setdefault(head, found[table])
    return found


def _in_features(base: str, shape: ModelShape) -> int:
    if base.endswith("o_proj"):
        return shape.q_size
    return shape.intermediate_size if base.endswith("down_proj") else shape.hidden_size


def _array(
    spec: TensorSpec,
    specs: Mapping[str, TensorSpec],
    precision: Precision,
    pool: WeightPool,
    in_features: int,
) -> Floats:
    base, _, suffix = spec.name.rpartition(".")
    stored = pool.fill(spec)
    if suffix in ("weight_q4", "weight_q8"):
        scales = pool.fill(specs[f"{base}.weight_scales"])
        return dequantise_blocks(stored, scales, precision, in_features)
    # Matrices are multiplied from the right, so the graph keeps them transposed, but for tables.
    turned = stored.ndim == 2 and base != "model.embed_tokens"
    matrix = stored.T if turned else stored
    if suffix == "weight_i8":
        scale = pool.fill(specs[f"{base}.weight_scale"]).reshape(-1, 1)
        return np.ascontiguousarray(matrix.astype(np.float32) * scale)
    return np.ascontiguousarray(matrix, np.float32)
