"""Smaller relatives of a shape: narrower and shallower, and like it in all else.

A miniature that keeps the depth of a large shape stands where depth is worth nothing; a law over
sizes needs shapes that shrink as good shapes do. Head dimensions stay: a head of 16 costs several
per cent of loss by itself.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.shape import ModelShape
from phonelm_search.space import Columns

Ints = npt.NDArray[np.int64]

_LEAST_WIDTH, _WIDTH_UNIT, _FFN_UNIT = 32, 4, 2
_LEAST_HEAD_DIM = 64
"""A larger one is halved down to this where a narrow relative could not hold one head of it."""
_DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
_OFF = 1.1  # most that a relative's feed-forward ratio may be over that of the shape


def relatives(shape: ModelShape, parameters: int, *, vocab_size: int) -> Iterator[ModelShape]:
    """Relatives of a shape, of several depths, all of one size.

    Args:
        shape: A candidate.
        parameters: Decoder parameters of each relative.
        vocab_size: Of the short training; embeddings are tied.

    Yields:
        The shape itself where it has no more parameters; else relatives, shallowest first.
    """
    plain = replace(shape, vocab_size=vocab_size, tie_word_embeddings=True)
    if shape.decoder_parameters <= parameters:
        yield plain
        return
    for layers in _DEPTHS:
        if layers >= shape.num_hidden_layers and layers > 1:
            return
        relative = _of_size(plain, layers, parameters)
        if relative is not None:
            yield relative


def _of_size(shape: ModelShape, layers: int, parameters: int) -> ModelShape | None:
    """The relative of so many layers; None where width or feed-forward ratio would be far off."""
    widths = np.arange(_LEAST_WIDTH, shape.hidden_size + 1, _WIDTH_UNIT)
    too_large = np.flatnonzero(_sizes(shape, layers, widths) > parameters)
    fits = int(too_large[0]) if len(too_large) else len(widths)
    if fits == 0:
        return None
    fitting = _of_width(shape, layers, int(widths[fits - 1]))
    # Widths are coarse; the feed-forward network, the finest dimension, takes the difference.
    wider = replace(fitting, intermediate_size=fitting.intermediate_size + _FFN_UNIT)
    step = wider.decoder_parameters - fitting.decoder_parameters
    more = round((parameters - fitting.decoder_parameters) / step)
    exact = replace(fitting, intermediate_size=fitting.intermediate_size + _FFN_UNIT * more)
    return exact if exact.ffn_ratio / shape.ffn_ratio <= _OFF else None


def _of_width(shape: ModelShape, layers: int, width: int) -> ModelShape:
    one = _columns(shape, layers, np.array([width]))
    return replace(
        shape, hidden_size=width, num_hidden_layers=layers,
        num_attention_heads=int(one.num_attention_heads[0]),
        num_key_value_heads=int(one.num_key_value_heads[0]),
        head_dim=int(one.head_dim[0]), intermediate_size=int(one.intermediate_size[0]),
    )  # fmt: skip


def _sizes(shape: ModelShape, layers: int, widths: Ints) -> Ints:
    """``[n]``: decoder parameters of relatives of some widths."""
    columns = _columns(shape, layers, widths)
    biases = columns.q_size + 2 * columns.kv_size if shape.qkv_bias else 0
    norms = 2 * columns.head_dim if shape.qk_norm else 0
    sizes: Ints = columns.decoder_parameters + layers * (biases + norms)
    return sizes


def _columns(shape: ModelShape, layers: int, widths: Ints) -> Columns:
    """Relatives of some widths."""
    attention = shape.q_size * widths / shape.hidden_size
    head_dim = np.full(len(widths), shape.head_dim)
    while (wide := (head_dim > np.maximum(attention, _LEAST_HEAD_DIM)) & (head_dim % 2 == 0)).any():
        head_dim = np.where(wide, head_dim // 2, head_dim)
    groups = shape.kv_groups
    heads = np.maximum(1, np.round(attention / head_dim).astype(int))
    enough = heads >= groups  # else it is too narrow for so many: all its heads are one group
    heads = np.where(enough, heads - heads % groups, heads)
    inner = np.round(shape.intermediate_size * widths / shape.hidden_size / _FFN_UNIT).astype(int)

    def alike(value: object) -> Any:
        return np.full(len(widths), value)

    return Columns(
        hidden_size=widths,
        intermediate_size=np.maximum(_FFN_UNIT, _FFN_UNIT * inner),
        num_hidden_layers=alike(layers),
        num_attention_heads=heads,
        num_key_value_heads=np.where(enough, heads // groups, 1),
        head_dim=head_dim,
        vocab_size=alike(shape.vocab_size),
        hidden_act=alike(shape.hidden_act),
        ffn=alike(shape.ffn),
    )
