"""Bytes of memory that contexts take and that a decode step reads."""

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape

CONTEXTS = (2048, 8192, 32768)
"""Lengths of the context whose memory a person is told."""


def kv_cache_bytes(shape: ModelShape, scheme: Precision, context_tokens: int) -> int:
    """Bytes of the KV cache of a context."""
    return context_tokens * shape.kv_bytes_per_token(scheme.kv_bytes_per_element)


def decode_bytes(shape: ModelShape, scheme: Precision, context_tokens: int) -> int:
    """Bytes that one decode step reads from memory: weights, and the KV cache of the past."""
    return shape.weight_bytes(scheme).streamed + kv_cache_bytes(shape, scheme, context_tokens)
