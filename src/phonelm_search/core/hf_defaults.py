"""What transformers takes for a key that a ``config.json`` leaves out, by type of model.

From the configuration classes of transformers 5; a test holds the table against those installed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

BY_HEADS = "hidden_size // num_attention_heads"
"""The head dimension where it follows from other keys."""

_COMMON: Mapping[str, Any] = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "head_dim": BY_HEADS,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "use_sliding_window": True,  # where there is no such key, a window that is given is used
    "sliding_window": None,
    "max_window_layers": 0,
}
_LLAMA: Mapping[str, Any] = {
    **_COMMON,
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_key_value_heads": None,  # as many as query heads
    "max_position_embeddings": 2048,
}
_QWEN: Mapping[str, Any] = {
    **_COMMON,
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "llama": _LLAMA,
        "qwen2": _QWEN,
        "qwen3": {**_QWEN, "head_dim": 128},
        "mistral": {
            **_COMMON,
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        "arcee": {
            **_LLAMA,
            "hidden_size": 2560,
            "intermediate_size": 18432,
            "hidden_act": "relu2",
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
        },
        # Transformers does not know it; its sizes must be given.
        "phonelm": {
            **{k: v for k, v in _COMMON.items() if not k.startswith("num_")},
            "num_key_value_heads": None,
            "max_position_embeddings": 2048,
        },
    }
)
"""Type of model → key → value; ``None``: none, or as the comment says."""
