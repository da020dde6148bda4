"""Shapes as columns, and what a run of each costs in physical terms."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Workload
from phonelm_search.space import FeasibleSet

Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]

_OPERATORS_A_LAYER = 11  # norms, matrices, attention, activation of the optimised graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Decoder shapes, an entry each in every array, by the names of `ModelShape`'s fields."""

    hidden_size: Ints
    intermediate_size: Ints
    num_hidden_layers: Ints
    num_attention_heads: Ints
    num_key_value_heads: Ints
    head_dim: Ints
    vocab_size: Ints
    hidden_act: Strings
    ffn: Strings

    @classmethod
    def of(cls, shapes: Sequence[ModelShape]) -> "Columns":
        """Of shapes, in their order."""
        return cls(**{f.name: np.array([getattr(s, f.name) for s in shapes]) for f in fields(cls)})

    @classmethod
    def of_space(cls, feasible: FeasibleSet) -> "Columns":
        """Of all shapes of a space, in its order."""
        space, columns = feasible.space, feasible.columns
        named: dict[str, Any] = {
            **columns,
            "hidden_act": np.array(space.hidden_act)[columns["hidden_act"]],
            "ffn": np.array(space.ffn)[columns["ffn"]],
        }
        return cls(**{f.name: named[f.name] for f in fields(cls)})

    def __len__(self) -> int:
        """How many shapes there are."""
        return len(self.hidden_size)

    @property
    def gates(self) -> Ints:
        """Matrices that lead into the feed-forward network: 2 where it is gated, else 1."""
        return np.where(self.ffn == "gated", 2, 1)

    @property
    def q_size(self) -> Ints:
        """Width of all queries together."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> Ints:
        """Width of all keys (or values) together."""
        return self.num_key_value_heads * self.head_dim


def features(shapes: Columns, scheme: Precision, workload: Workload) -> Floats:
    """What one run costs: ``[n, 9]``, to be priced by a fit.

    Bytes of the weights of attention, of the feed-forward network and of the head; multiply-adds
    × 2 of the same three; attention over the context; operators; and one for the run itself. A
    prefill reads weights once for all its tokens and computes the head for the last one alone.
    """
    c, layers, tokens = shapes, shapes.num_hidden_layers, workload.tokens
    size: Any = scheme.matrix_bytes  # takes arrays as well as integers
    h, f, q, kv = c.hidden_size, c.intermediate_size, c.q_size, c.kv_size
    columns = (
        layers * (size(h, q + 2 * kv) + size(q, h)),
        layers * (c.gates * size(h, f) + size(f, h)),
        size(h, c.vocab_size),
        2 * tokens * layers * h * (2 * q + 2 * kv),
        2 * tokens * layers * h * f * (c.gates + 1),
        2 * h * c.vocab_size,
        layers * tokens * (workload.past_tokens + (tokens + 1) / 2) * (4 * q + 8 * kv),
        layers * _OPERATORS_A_LAYER,
        np.ones(len(c)),
    )
    found: Floats = np.stack([np.asarray(column, float) for column in columns], axis=1)
    return found


def coordinates(shapes: Columns) -> Floats:
    """Dimensions for a smooth residual: ``[n, d]``, doublings of sizes, and a column a name."""
    c = shapes
    sizes = (
        np.log2(c.hidden_size),
        np.log2(c.num_hidden_layers),
        np.log2(c.intermediate_size / c.hidden_size),
        np.log2(c.num_attention_heads / c.num_key_value_heads),
        np.log2(c.head_dim),
    )
    names = (c.hidden_act == "relu", c.hidden_act == "silu", c.ffn == "plain")
    return np.stack([*sizes, *(n.astype(float) for n in names)], axis=1)
