"""`ModelShape`: the dimensions of a decoder-only transformer, and what follows from them."""

import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Literal, Protocol, get_args

from phonelm_search.core.errors import ShapeError, shown

HiddenAct = Literal["relu", "silu", "gelu", "relu2"]
Ffn = Literal["gated", "plain"]

TILE = 64
"""Multiple that accelerators like sizes of matrix products to be."""
MOST_LAYERS = 10_000
"""A graph has a dozen nodes for each."""
MOST_PARAMETERS = 10**15
"""So that no count of bytes leaves 64 bits."""
SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size",
)  # fmt: skip
"""Fields of a shape that are positive integers."""
_SIZES_OF = attrgetter(*SIZES)
_NAMES = (("hidden_act", get_args(HiddenAct)), ("ffn", get_args(Ffn)))
"""Fields that are one of some names."""
_ID = re.compile(
    r"w(?P<hidden_size>\d+)-l(?P<num_hidden_layers>\d+)-f(?P<intermediate_size>\d+)"
    r"-h(?P<num_attention_heads>\d+)-kv(?P<num_key_value_heads>\d+)-"
)


class StorageScheme(Protocol):
    """How matrices are stored; `precision.Precision` is one."""

    def matrix_bytes(self, in_features: int, out_features: int) -> int:
        """Bytes of a weight matrix with its scales."""
        ...

    def embedding_bytes(self, vocab_size: int, hidden_size: int, *, shared: bool) -> int:
        """Bytes of the embedding table beyond the head that it may share."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearDims:
    """One weight matrix as the graph multiplies it: y = x · W, W of ``[in, out]``."""

    name: str
    """Name within its layer, for example ``mlp.down_proj``."""
    in_features: int
    """Length of x, the K of a matrix product."""
    out_features: int
    """Length of y, the N of a matrix product."""

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return self.in_features * self.out_features


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightBytes:
    """Stored bytes of a model's weights, by part."""

    body: int
    """All layers: matrices with scales, norms and biases in fp32."""
    head: int
    """The output projection."""
    embedding: int
    """The embedding table, where it is not the head's."""

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return self.body + self.head + self.embedding

    @property
    def streamed(self) -> int:
        """What one decode step reads: everything but the embedding table."""
        return self.body + self.head


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A Llama-family decoder's dimensions under their Hugging Face names.

    Raises:
        ShapeError: If a dimension is not positive, if query heads are no multiple of
            key-value heads, if the head dimension is odd, or if a name is unknown.
    """

    hidden_size: int
    """Width of the residual stream."""
    intermediate_size: int
    """Inner width of the feed-forward network."""
    num_hidden_layers: int
    """Number of decoder layers."""
    num_attention_heads: int
    """Query heads."""
    num_key_value_heads: int
    """Key-value heads; fewer than query heads is grouped-query attention."""
    head_dim: int
    """Length of one head's query, key and value."""
    vocab_size: int
    """Rows of the embedding table."""
    hidden_act: HiddenAct = "silu"
    """Activation of the feed-forward network; ``relu2`` is the squared ReLU."""
    ffn: Ffn = "gated"
    """``gated``: down(act(gate(x)) · up(x)); ``plain``: down(act(up(x)))."""
    tie_word_embeddings: bool = True
    """Whether the output projection is the embedding table."""
    qkv_bias: bool = False
    """Whether the query, key and value projections have a bias (Qwen2)."""
    qk_norm: bool = False
    """Whether queries and keys are RMS-normalised per head (Qwen3)."""
    rope_theta: float = 10000.0
    """Base of the rotary frequencies."""
    rms_norm_eps: float = 1e-6
    """Added to the mean square in each RMSNorm."""
    rope_scaling: str = ""
    """How rotary positions are scaled, as `rotary.RotaryScaling.text`; empty: they are not."""

    def __post_init__(self) -> None:
        sizes = _SIZES_OF(self)
        if set(map(type, sizes)) != {int} or min(sizes) < 1:
            for name, value in zip(SIZES, sizes, strict=True):
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    raise ShapeError(f"{name} must be a positive integer, got {shown(value)}")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ShapeError(
                "num_attention_heads must be a multiple of num_key_value_heads, "
                f"got {self.num_attention_heads} and {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ShapeError(f"head_dim must be even for rotary positions, got {self.head_dim}")
        for name, allowed in _NAMES:
            if getattr(self, name) not in allowed:
                raise ShapeError(
                    f"{name} must be one of {', '.join(allowed)}, got {shown(getattr(self, name))}"
                )
        for name in ("rope_theta", "rms_norm_eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ShapeError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if self.rope_scaling != "":
            from phonelm_search.core.rotary import check_scaling  # loads numpy

            check_scaling(self.rope_scaling, head_dim=self.head_dim, theta=self.rope_theta)
        if self.num_hidden_layers > MOST_LAYERS:
            raise ShapeError(
                f"num_hidden_layers must be at most {MOST_LAYERS:,}, got "
                f"{shown(self.num_hidden_layers)}"
            )
        if self.parameters > MOST_PARAMETERS:
            raise ShapeError(
                f"a shape must have at most {MOST_PARAMETERS:.0e} parameters, this one would have "
                f"more; its vocab_size is {shown(self.vocab_size)}, hidden_size "
                f"{shown(self.hidden_size)}, intermediate_size {shown(self.intermediate_size)}"
            )

    @property
    def q_size(self) -> int:
        """Width of all queries together."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all keys (or values) together."""
        return self.num_key_value_heads * self.head_dim

    @property
    def matrix_sizes(self) -> dict[str, int]:
        """Inner and outer sizes of the matrix products of a layer, by what decides them."""
        return {
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "head_dim": self.head_dim,
            "num_attention_heads × head_dim": self.q_size,
            "num_key_value_heads × head_dim": self.kv_size,
        }

    def unaligned(self, multiple: int) -> tuple[str, ...]:
        """Sizes of matrix products that leave a part of an accelerator's last tile empty."""
        return tuple(
            f"{name} {size}" for name, size in self.matrix_sizes.items() if size % multiple
        )

    @property
    def kv_groups(self) -> int:
        """Query heads per key-value head."""
        return self.num_attention_heads // self.num_key_value_heads

    @property
    def ffn_ratio(self) -> float:
        """``intermediate_size / hidden_size``."""
        return self.intermediate_size / self.hidden_size

    @property
    def layer_linears(self) -> tuple[LinearDims, ...]:
        """The matrices of one layer, queries, keys and values packed as the graph runs them."""
        return tuple(
            LinearDims(name=name, in_features=inputs, out_features=outputs)
            for name, inputs, outputs in self._layer_linears
        )

    @property
    def _layer_linears(self) -> tuple[tuple[str, int, int], ...]:
        """Name, inputs and outputs of each: thousands of shapes need no objects of theirs."""
        h, f = self.hidden_size, self.intermediate_size
        up = ("mlp.up_proj", h, f)
        return (
            ("attn.qkv_proj", h, self.q_size + 2 * self.kv_size),
            ("attn.o_proj", self.q_size, h),
            *((("mlp.gate_proj", h, f), up) if self.ffn == "gated" else (up,)),
            ("mlp.down_proj", f, h),
        )

    @property
    def _layer_vectors(self) -> int:
        bias = self.q_size + 2 * self.kv_size if self.qkv_bias else 0
        return 2 * self.hidden_size + bias + (2 * self.head_dim if self.qk_norm else 0)

    @property
    def embedding_parameters(self) -> int:
        """Embedding table, and the output projection where it is not tied."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def decoder_parameters(self) -> int:
        """Everything but the embedding table and output projection."""
        # The sum over `layer_linears`, of which thousands of shapes need no list.
        inputs = 2 if self.ffn == "gated" else 1
        attention = 2 * self.hidden_size * (self.q_size + self.kv_size)
        forward = (inputs + 1) * self.hidden_size * self.intermediate_size
        layer = attention + forward + self._layer_vectors
        return self.num_hidden_layers * layer + self.hidden_size

    @property
    def parameters(self) -> int:
        """All parameters, tied ones counted once."""
        return self.embedding_parameters + self.decoder_parameters

    def weight_bytes(self, scheme: StorageScheme) -> WeightBytes:
        """Bytes of the stored weights under a precision scheme."""
        layer = sum(scheme.matrix_bytes(i, o) for _, i, o in self._layer_linears)
        return WeightBytes(
            body=self.num_hidden_layers * (layer + 4 * self._layer_vectors) + 4 * self.hidden_size,
            head=scheme.matrix_bytes(self.hidden_size, self.vocab_size),
            embedding=scheme.embedding_bytes(
                self.vocab_size, self.hidden_size, shared=self.tie_word_embeddings
            ),
        )

    def kv_bytes_per_token(self, bytes_per_element: int) -> int:
        """Bytes that one token adds to the KV cache of all layers."""
        return 2 * self.num_hidden_layers * self.kv_size * bytes_per_element

    def prefill_flops(self, tokens: int) -> int:
        """Multiply-adds × 2 of a causal prefill: matrices, scores and weighted sums, one head."""
        matrices = 2 * tokens * sum(m.parameters for m in self.layer_linears)
        attention = 2 * self.q_size * tokens * (tokens + 1)
        head = 2 * self.hidden_size * self.vocab_size
        return self.num_hidden_layers * (matrices + attention) + head

    def decode_flops(self, context_tokens: int) -> int:
        """Multiply-adds × 2 of one decode step after ``context_tokens`` past tokens."""
        matrices = 2 * sum(m.parameters for m in self.layer_linears)
        attention = 4 * self.q_size * (context_tokens + 1)
        head = 2 * self.hidden_size * self.vocab_size
        return self.num_hidden_layers * (matrices + attention) + head

    def as_dict(self) -> dict[str, Any]:
        """All fields, in order; ``ModelShape(**shape.as_dict()) == shape``.

        A scaling that there is none of is left out: ids are older than the field.
        """
        # Plain values: asdict copies deeply, which was a third of the time that a study is read in.
        found = dict(zip(self.__slots__, _FIELDS(self), strict=True))
        if not self.rope_scaling:
            del found["rope_scaling"]
        return found

    def columns(self) -> dict[str, str | int]:
        """What describes a shape in tables and trials: id, searched dimensions, sizes."""
        return {
            "shape_id": self.shape_id,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "hidden_act": self.hidden_act,
            "ffn": self.ffn,
            "parameters": self.parameters,
            "decoder_parameters": self.decoder_parameters,
        }

    @property
    def label(self) -> str:
        """Short, and not unique: width × depth."""
        return f"{self.hidden_size}×{self.num_hidden_layers}"

    @property
    def shape_id(self) -> str:
        """A readable, unique name: the searched dimensions and a digest of all fields."""
        values = _FIELDS(self)
        digest = _digest(*(values if self.rope_scaling else values[:-1]))
        ffn = "" if self.ffn == "gated" else "-plain"
        return (
            f"w{self.hidden_size}-l{self.num_hidden_layers}-f{self.intermediate_size}"
            f"-h{self.num_attention_heads}-kv{self.num_key_value_heads}"
            f"-{self.hidden_act}{ffn}-{digest}"
        )


_JSON = json.JSONEncoder(sort_keys=True)
_FIELDS: Callable[[ModelShape], tuple[Any, ...]] = attrgetter(*ModelShape.__slots__)
"""Values of all fields, in order; the scaling of rotary positions is the last one."""


@lru_cache(maxsize=65_536, typed=True)  # typed: 64 and 64.0 are written differently
def _digest(*values: Any) -> str:
    """Of fields, in order; the last one is left out where it says nothing."""
    canonical = _JSON.encode(dict(zip(ModelShape.__slots__, values)))  # noqa: B905
    return hashlib.sha256(canonical.encode()).hexdigest()[:6]


def sizes_in(shape_id: str) -> dict[str, int]:
    """The fields that a shape's id names; empty where it is none."""
    match = _ID.match(shape_id)
    return {name: int(value) for name, value in match.groupdict().items()} if match else {}
