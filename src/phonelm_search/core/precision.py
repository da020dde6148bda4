"""Precision schemes: how weights and the KV cache are stored and multiplied."""

from dataclasses import dataclass
from typing import Literal

from phonelm_search.core.errors import UnknownNameError

QUANTISED_LIMIT, FLOAT_LIMIT = 0.05, 1e-4
"""Largest relative RMS between a device's logits and the dequantised reference that passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """One scheme. ``block``: symmetric integers, one fp32 scale a block."""

    name: str
    """Name in profiles and records."""
    storage: Literal["float", "block", "dynamic", "static"]
    """``float``: fp32; ``block``: MatMulNBits; ``dynamic``: int8 with activations quantised as they
    come; ``static``: with activations quantised by ranges seen before, for accelerators."""
    bits: int
    """Bits of one stored weight."""
    block_size: int = 0
    """Weights along the input dimension that share a scale; 0 where there are no blocks."""
    activation_bits: int = 32
    """Bits of an activation; fewer than 32 in ``static`` schemes alone."""
    kv_bytes_per_element: int = 4
    """Bytes of one KV-cache element; ONNX Runtime's CPU kernels keep fp32."""

    def blocks(self, in_features: int) -> int:
        """Number of blocks along an input dimension, the last one padded."""
        return -(-in_features // self.block_size)

    def matrix_bytes(self, in_features: int, out_features: int) -> int:
        """Bytes of a weight matrix with its scales and zero points."""
        if self.storage == "float":
            return 4 * in_features * out_features
        if self.storage == "static":  # one scale and zero point for all
            return in_features * out_features + 8
        if self.storage == "dynamic":  # symmetric, a scale for each output column
            return (in_features + 4) * out_features
        block_bytes = self.block_size * self.bits // 8 + 4
        return out_features * self.blocks(in_features) * block_bytes

    def embedding_bytes(self, vocab_size: int, hidden_size: int, *, shared: bool) -> int:
        """Bytes of the embedding table beyond a head that it shares.

        The dynamic scheme never shares: its head is stored transposed.
        """
        if self.storage == "dynamic":
            return vocab_size * (hidden_size + 4)
        return 0 if shared else self.matrix_bytes(hidden_size, vocab_size)


PRECISIONS: dict[str, Precision] = {
    p.name: p
    for p in (
        Precision(name="fp32", storage="float", bits=32),
        Precision(name="int8-dynamic", storage="dynamic", bits=8),
        Precision(name="int8-b32", storage="block", bits=8, block_size=32),
        Precision(name="int4-b32", storage="block", bits=4, block_size=32),
        Precision(name="int4-b128", storage="block", bits=4, block_size=128),
        Precision(
            name="qdq-a16w8", storage="static", bits=8, activation_bits=16, kv_bytes_per_element=2
        ),
        Precision(
            name="qdq-a8w8", storage="static", bits=8, activation_bits=8, kv_bytes_per_element=1
        ),
    )
}


def get_precision(name: str) -> Precision:
    """Look a scheme up by name.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    try:
        return PRECISIONS[name]
    except KeyError:
        raise UnknownNameError("precision", name, list(PRECISIONS)) from None
