"""What a shape of a space must keep, on columns of shapes at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.kernels import head_unit
from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import MOST_PARAMETERS
from phonelm_search.core.units import format_bytes
from phonelm_search.space.schema import ParameterTarget, SearchSpace

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
HEAD_RULE = "head_dim is a multiple of {} (GroupQueryAttention)"


def decoder_parameters(
    hidden: Ints | int, intermediate: Ints, layers: Ints, q: Ints, kv: Ints, gates: Ints | int
) -> Ints:
    """`ModelShape.decoder_parameters` of many, without biases and norms of queries and keys."""
    layer: Any = 2 * hidden * (q + kv) + (gates + 1) * hidden * intermediate + 2 * hidden
    counts: Ints = layers * layer + hidden
    return counts


def with_parameters(c: Mapping[str, Ints], space: SearchSpace) -> dict[str, Ints]:
    """The same columns and ``decoder_parameters``."""
    gates = np.array([2 if name == "gated" else 1 for name in space.ffn], np.int64)[c["ffn"]]
    return {
        **c,
        "decoder_parameters": decoder_parameters(
            c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"],
            c["num_attention_heads"] * c["head_dim"], _kv_size(c), gates,
        ),
    }  # fmt: skip


def of_size(c: Mapping[str, Ints], target: ParameterTarget, *, tied: bool) -> Mask:
    """Where decoder or total parameters lie within bounds."""
    size = c["decoder_parameters"]
    if target.count == "total":
        size = size + c["hidden_size"] * c["vocab_size"] * (1 if tied else 2)
    low, high = target.bounds
    return np.asarray((size >= low) & (size <= high))


def broken_rules(
    c: Mapping[str, Ints], space: SearchSpace, precisions: Sequence[Precision]
) -> dict[str, Mask]:
    """Constraint → where it is broken.

    Args:
        c: Columns that broadcast with each other, from `with_parameters`.
        space: The search space.
        precisions: Schemes at which byte limits are counted, and whose kernels must take a shape.
    """
    h, heads = c["hidden_size"], c["num_attention_heads"]
    broken: dict[str, Mask] = {
        "hidden_size is a multiple of the head count": heads * c["head_dim"] != h,
        "head_dim is even": c["head_dim"] % 2 != 0,
        "num_attention_heads is a multiple of kv_groups": heads % c["kv_groups"] != 0,
    }
    if (unit := most_head_unit(precisions)) > 2:
        broken[HEAD_RULE.format(unit)] = c["head_dim"] % unit != 0
    for p in precisions:
        if p.storage == "block":
            # As `graph.check_kernels`: the kernel that looks embeddings up reads whole blocks.
            name = f"hidden_size is a multiple of {p.name}'s block of {p.block_size}"
            broken[name] = h % p.block_size != 0
    if space.parameters is not None:
        broken[f"{space.parameters}"] = ~of_size(
            c, space.parameters, tied=space.tie_word_embeddings
        )
    if space.limits.align is not None:
        for name, size in _matrix_sizes(c).items():
            broken[f"{name} is a multiple of {space.limits.align}"] = size % space.limits.align != 0
    if space.limits.weight_bytes is not None:
        limit = space.limits.weight_bytes
        name = f"weight_bytes ≤ {format_bytes(limit)} at {' + '.join(p.name for p in precisions)}"
        stored: Any = sum(_weight_bytes(c, space, p) for p in precisions)
        broken[name] = np.asarray(stored > limit)
    if space.limits.kv_bytes_per_token is not None:
        limit = space.limits.kv_bytes_per_token
        first = precisions[0]
        per_token = 2 * c["num_hidden_layers"] * _kv_size(c) * first.kv_bytes_per_element
        broken[f"kv_bytes_per_token ≤ {format_bytes(limit)} at {first.name}"] = per_token > limit
    if (large := _too_large(c)) is not None:
        broken[f"at most {MOST_PARAMETERS:.0e} parameters"] = large
    return broken


def most_head_unit(precisions: Sequence[Precision]) -> int:
    """What head dimensions must be multiples of, at all schemes."""
    return max(map(head_unit, precisions), default=1)


def _too_large(c: Mapping[str, Ints]) -> Mask | None:
    """Where parameters are so many that 64 bits would overflow; None where none can be."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
    h, f, layers, vocab = (int(c[n].max()) for n in names)
    q = int(c["num_attention_heads"].max()) * int(c["head_dim"].max())
    if layers * (4 * h * q + 3 * h * f + 2 * h) + 3 * h * vocab <= MOST_PARAMETERS:
        return None
    real = {n: c[n].astype(np.float64) for n in (*names, "num_attention_heads", "head_dim")}
    width = real["hidden_size"]
    layer = width * (4 * real["num_attention_heads"] * real["head_dim"] + 2)
    layer = layer + 3 * width * real["intermediate_size"]
    size = real["num_hidden_layers"] * layer + 3 * width * real["vocab_size"]
    return np.asarray(size > MOST_PARAMETERS)


def _kv_size(c: Mapping[str, Ints]) -> Ints:
    return c["num_key_value_heads"] * c["head_dim"]


def _matrix_sizes(c: Mapping[str, Ints]) -> dict[str, Ints]:
    """`ModelShape.matrix_sizes`, column-wise."""
    return {
        "hidden_size": c["hidden_size"],
        "intermediate_size": c["intermediate_size"],
        "head_dim": c["head_dim"],
        "num_attention_heads × head_dim": c["num_attention_heads"] * c["head_dim"],
        "num_key_value_heads × head_dim": _kv_size(c),
    }


def _weight_bytes(c: Mapping[str, Ints], space: SearchSpace, precision: Precision) -> Ints:
    """`ModelShape.weight_bytes(...).total`, column-wise; the scheme's arithmetic is elementwise."""
    size: Any = precision.matrix_bytes  # takes arrays as well as integers
    table: Any = precision.embedding_bytes
    h, f, vocab = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    q = c["num_attention_heads"] * c["head_dim"]
    ups = np.array([2 if name == "gated" else 1 for name in space.ffn], np.int64)[c["ffn"]]
    layer = size(h, q + 2 * _kv_size(c)) + size(q, h) + ups * size(h, f) + size(f, h) + 8 * h
    embedding = table(vocab, h, shared=space.tie_word_embeddings)
    total: Ints = c["num_hidden_layers"] * layer + 4 * h + size(h, vocab) + embedding
    return total
