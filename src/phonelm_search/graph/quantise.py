"""Given fp32 weights → the tensors of a graph, quantised as its precision stores them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.graph.builder import Graph
from phonelm_search.graph.weights import rotary_table

Floats = npt.NDArray[np.float32]


def quantise_blocks(weight: Floats, precision: Precision) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Symmetric round-to-nearest quantisation along the input dimension.

    Args:
        weight: ``[out, in]``.
        precision: A block scheme of 4 or 8 bits.

    Returns:
        Packed values ``[out, blocks, block_size·bits/8]``, low nibble first, and scales
        ``[out, blocks]``; a value is (stored − zero point) · scale, zero point 8 or 128.
    """
    out, inputs = weight.shape
    blocks, size = precision.blocks(inputs), precision.block_size
    padded = np.zeros((out, blocks * size), np.float32)
    padded[:, :inputs] = weight
    grouped = padded.reshape(out, blocks, size)
    zero = 1 << (precision.bits - 1)
    extreme = np.take_along_axis(grouped, np.abs(grouped).argmax(-1, keepdims=True), -1)
    scales = extreme / -zero  # the extreme keeps its sign and maps to the lowest code
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    codes = np.clip(np.rint(grouped * inverse) + zero, 0, 2 * zero - 1).astype(np.uint8)
    packed: npt.NDArray[np.uint8] = codes
    if precision.bits == 4:
        packed = (codes[..., 0::2] | (codes[..., 1::2] << 4)).astype(np.uint8)
    return packed, scales[..., 0].astype(np.float32)


def dequantise_blocks(
    packed: npt.NDArray[np.uint8], scales: Floats, precision: Precision, inputs: int
) -> Floats:
    """The inverse of `quantise_blocks`: fp32 ``[out, in]``."""
    codes = packed
    if precision.bits == 4:
        codes = np.stack((packed & 15, packed >> 4), -1).reshape(*packed.shape[:2], -1)
    values = (codes.astype(np.float32) - (1 << (precision.bits - 1))) * scales[..., None]
    flat: Floats = values.reshape(values.shape[0], -1)[:, :inputs]
    return flat


def quantise_rows(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Symmetric int8 codes ``[out, in]`` and a scale for each output ``[out, 1]``."""
    scale = np.abs(weight).max(1, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.rint(weight / scale).astype(np.int8), scale


def rounded(weight: Floats, precision: Precision) -> Floats:
    """What is left of a matrix ``[out, in]`` after it was stored in a precision."""
    if precision.storage == "float":
        return weight
    if precision.storage == "dynamic":
        codes, scale = quantise_rows(weight)
        return codes.astype(np.float32) * scale
    if precision.storage == "static":
        return _rounded_whole(weight)
    packed, scales = quantise_blocks(weight, precision)
    return dequantise_blocks(packed, scales, precision, weight.shape[1])


def _rounded_whole(weight: Floats) -> Floats:
    """Unsigned 8-bit codes with one scale and zero point for the whole matrix, and back."""
    low, high = min(0.0, float(weight.min())), max(0.0, float(weight.max()))
    if low == high:
        return weight
    scale = (high - low) / 255
    zero = round(-low / scale)
    codes = np.clip(np.rint(weight / scale) + zero, 0, 255)
    back: Floats = ((codes - zero) * scale).astype(np.float32)
    return back


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
