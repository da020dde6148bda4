"""Sizes that ONNX Runtime's kernels take; they refuse the others when a graph is run."""

from phonelm_search.core.precision import Precision

_HEAD_UNIT = 8  # of GroupQueryAttention
_ROTARY_HALVES = 2


def head_unit(precision: Precision) -> int:
    """What a head dimension must be a multiple of.

    Static graphs compute attention from plain products, which take any; rotary positions need
    halves.
    """
    return _ROTARY_HALVES if precision.storage == "static" else _HEAD_UNIT


def hidden_unit(precision: Precision) -> int:
    """What a hidden size must be a multiple of: embeddings are looked up by whole blocks."""
    return precision.block_size or 1


def nearest(size: int, unit: int) -> str:
    """The multiples of a unit around a size: ``96 or 104``."""
    below = size // unit * unit
    return " or ".join(str(n) for n in (below, below + unit) if n)
