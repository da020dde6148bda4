"""Inputs of static graphs: positions, masks and a cache that holds what came before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from phonelm_search.core.shape import ModelShape
from phonelm_search.graph.static import MASKED

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]


def causal_mask(tokens: int, *, cache_tokens: int, past: int) -> Array:
    """Additive mask [1, 1, tokens, cache_tokens + tokens]: the past and no later token is seen."""
    mask = np.full((1, 1, tokens, cache_tokens + tokens), MASKED, np.float32)
    mask[..., :past] = 0
    mask[0, 0, :, cache_tokens:][np.tril_indices(tokens)] = 0
    return mask


def feeds(
    ids: Array, *, cache_tokens: int, past: int, cache: Feeds | None = None
) -> dict[str, Array]:
    """Inputs of a run on new tokens.

    Args:
        ids: Token ids ``[tokens]``.
        cache_tokens: Length of the cache.
        past: Positions of the cache that are filled; the new tokens come after them.
        cache: ``past_key_values.{i}.key|value`` where there is a cache.
    """
    tokens = len(ids)
    return {
        "input_ids": ids.astype(np.int32)[None],
        "position_ids": np.arange(past, past + tokens, dtype=np.int32)[None],
        "attention_mask": causal_mask(tokens, cache_tokens=cache_tokens, past=past),
        **(cache or {}),
    }


def empty_cache(shape: ModelShape, cache_tokens: int) -> dict[str, Array]:
    """A cache of zeros."""
    dims = (1, shape.num_key_value_heads, cache_tokens, shape.head_dim)
    return {
        f"past_key_values.{layer}.{part}": np.zeros(dims, np.float32)
        for layer in range(shape.num_hidden_layers)
        for part in ("key", "value")
    }


def write_columns(cache: Mapping[str, Array], outputs: Feeds, *, past: int) -> None:
    """Copy the new columns of a run into the cache, after ``past`` filled positions."""
    for name, array in cache.items():
        new = outputs[name.replace("past_key_values", "present")]
        array[:, :, past : past + new.shape[2]] = new


def save_feeds(path: Path, values: Feeds) -> None:
    """Write arrays by name as safetensors.

    Raises:
        OSError: If the disk is full; safetensors' own writer would raise an error of its own kind.
    """
    path.write_bytes(save({k: np.ascontiguousarray(v) for k, v in values.items()}))
