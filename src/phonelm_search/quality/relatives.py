"""Smaller relatives of a shape: narrower and shallower, and like it in all else.

A miniature that keeps the depth of a large shape stands where depth is worth nothing; a law over
sizes needs shapes that shrink as good shapes do. Head dimensions stay: a head of 16 costs several
per cent of loss by itself.
"""

from collections.abc import Iterator
from dataclasses import replace

from phonelm_search.core.shape import ModelShape

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
    fitting = None
    for width in range(_LEAST_WIDTH, shape.hidden_size + 1, _WIDTH_UNIT):
        relative = _of_width(shape, layers, width)
        if relative.decoder_parameters > parameters:
            break
        fitting = relative
    if fitting is None:
        return None
    # Widths are coarse; the feed-forward network, the finest dimension, takes the difference.
    wider = replace(fitting, intermediate_size=fitting.intermediate_size + _FFN_UNIT)
    step = wider.decoder_parameters - fitting.decoder_parameters
    more = round((parameters - fitting.decoder_parameters) / step)
    exact = replace(fitting, intermediate_size=fitting.intermediate_size + _FFN_UNIT * more)
    return exact if exact.ffn_ratio / shape.ffn_ratio <= _OFF else None


def _of_width(shape: ModelShape, layers: int, width: int) -> ModelShape:
    attention = shape.q_size * width / shape.hidden_size
    head_dim = shape.head_dim
    while head_dim > max(attention, _LEAST_HEAD_DIM) and head_dim % 2 == 0:
        head_dim //= 2
    groups = shape.kv_groups
    heads = max(1, round(attention / head_dim))
    if heads >= groups:
        heads -= heads % groups
        kv_heads = heads // groups
    else:  # too narrow for so many: all its heads are one group
        kv_heads = 1
    inner = round(shape.intermediate_size * width / shape.hidden_size / _FFN_UNIT) * _FFN_UNIT
    return replace(
        shape, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=head_dim, intermediate_size=max(_FFN_UNIT, inner),
    )  # fmt: skip
