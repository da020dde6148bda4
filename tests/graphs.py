"""Graphs filled with given weights, which tests hold against other implementations."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph import Graph
from phonelm_search.graph.quantise import Floats, quantise_blocks, quantise_rows
from phonelm_search.graph.weights import rotary_table


def with_accuracy(graph: Graph, level: int) -> Graph:
    """The same graph with another computation of MatMulNBits.

    Args:
        graph: As it was built.
        level: 4 quantises activations to int8, 0 keeps fp32.
    """
    model = onnx.load_from_string(graph.model)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = level
    return replace(graph, model=model.SerializeToString())


def graph_tensors(
    graph: Graph, shape: ModelShape, precision: Precision, state: Mapping[str, Floats]
) -> dict[str, npt.NDArray[Any]]:
    """Fill a graph with given weights.

    Args:
        graph: Built for the same shape and precision.
        shape: The decoder.
        precision: How matrices are quantised.
        state: fp32 arrays under their Hugging Face names, ``[out, in]`` as torch keeps them.

    Returns:
        Every external tensor of the graph by name.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    for spec in graph.tensors:
        if spec.kind in ("rotary_cos", "rotary_sin"):
            found[spec.name] = rotary_table(spec.kind, spec.shape, spec.scale)
            continue
        if spec.name in found:  # made together with its sibling
            continue
        base, _, suffix = spec.name.rpartition(".")
        matrix = _source(base, suffix, state, shape)
        match suffix:
            case "weight_q4" | "weight_q8":
                packed, scales = quantise_blocks(matrix, precision)
                found[spec.name], found[f"{base}.weight_scales"] = packed, scales
            case "weight_i8":
                codes, scale = quantise_rows(matrix)
                embedding = base == "model.embed_tokens"
                found[spec.name] = codes if embedding else np.ascontiguousarray(codes.T)
                found[f"{base}.weight_scale"] = scale if embedding else scale[:, 0]
            case _:
                stays = matrix.ndim == 1 or base == "model.embed_tokens"
                found[spec.name] = matrix if stays else np.ascontiguousarray(matrix.T)
    return found


def _source(base: str, suffix: str, state: Mapping[str, Floats], shape: ModelShape) -> Floats:
    """The fp32 array behind a graph tensor: a matrix, a norm weight or a bias."""
    hf = base.replace(".attn.", ".self_attn.")
    kind = "bias" if suffix == "bias" else "weight"
    if base == "lm_head" and shape.tie_word_embeddings:
        return state["model.embed_tokens.weight"]
    if base.endswith("qkv_proj"):
        parts = [hf.replace("qkv_proj", f"{p}_proj") for p in ("q", "k", "v")]
        return np.concatenate([state[f"{p}.{kind}"] for p in parts])
    return state[f"{hf}.{kind}"]
