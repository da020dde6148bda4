"""A shape for LitGPT's ``pretrain --config``, where LitGPT can express it."""

from pathlib import Path
from typing import Any

import yaml

from phonelm_search.core.errors import ExportError, unwritable
from phonelm_search.core.hf_config import MAX_POSITIONS
from phonelm_search.core.shape import ModelShape

_MLP = {("gated", "silu"): "LLaMAMLP", ("plain", "gelu"): "GptNeoxMLP"}
"""Feed-forward layers that LitGPT has; its gated GELU is another approximation."""


def to_litgpt(shape: ModelShape, name: str) -> dict[str, Any]:
    """What ``litgpt pretrain --config`` takes.

    Raises:
        ExportError: If LitGPT has no such layer.
    """
    mlp = _MLP.get((shape.ffn, shape.hidden_act))
    if mlp is None:
        raise ExportError(
            "LitGPT expresses gated silu and plain gelu feed-forward layers, got "
            f"{shape.ffn} {shape.hidden_act}; train from config.json"
        )
    if shape.qk_norm:
        raise ExportError("LitGPT has other norms of queries and keys; train from config.json")
    if shape.rope_scaling:
        raise ExportError("LitGPT scales rotary positions otherwise; train from config.json")
    return {
        "model_name": name,
        "model_config": {
            "name": name,
            "block_size": MAX_POSITIONS,
            "vocab_size": shape.vocab_size,
            "padded_vocab_size": shape.vocab_size,
            "n_layer": shape.num_hidden_layers,
            "n_head": shape.num_attention_heads,
            "n_query_groups": shape.num_key_value_heads,
            "head_size": shape.head_dim,
            "n_embd": shape.hidden_size,
            "rotary_percentage": 1.0,
            "parallel_residual": False,
            "bias": False,
            "attn_bias": shape.qkv_bias,
            "norm_class_name": "RMSNorm",
            "norm_eps": shape.rms_norm_eps,
            "mlp_class_name": mlp,
            "intermediate_size": shape.intermediate_size,
            "rope_base": int(shape.rope_theta),
        },
        "train": {"tie_embeddings": shape.tie_word_embeddings},
    }


def export_litgpt(shape: ModelShape, folder: Path) -> Path:
    """Write ``litgpt.yaml``.

    Raises:
        ExportError: If LitGPT has no such layer, or the file cannot be written.
    """
    text = yaml.safe_dump(to_litgpt(shape, shape.shape_id), sort_keys=False)
    path = folder / "litgpt.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ExportError(unwritable(path, error)) from error
    return path
