"""Decoder shapes as columns: what is known of a million of them at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from phonelm_search.core.shape import ModelShape
from phonelm_search.space.constraints import decoder_parameters
from phonelm_search.space.feasible import FeasibleSet

Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]
Rows = npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice


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

    def rows(self, index: Rows) -> "Columns":
        """Those of an index."""
        return Columns(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def chunks(self, size: int) -> Iterator["Columns"]:
        """All, some at a time."""
        for start in range(0, len(self), size):
            yield self.rows(slice(start, start + size))

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

    @property
    def decoder_parameters(self) -> Ints:
        """As `ModelShape.decoder_parameters`, without biases and norms of queries and keys."""
        return decoder_parameters(
            self.hidden_size, self.intermediate_size, self.num_hidden_layers, self.q_size,
            self.kv_size, self.gates,
        )  # fmt: skip
