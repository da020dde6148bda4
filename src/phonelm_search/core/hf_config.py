"""Hugging Face ``config.json`` ⇄ ModelShape."""

import json
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import UnsupportedConfigError
from phonelm_search.core.shape import ModelShape

_FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "arcee", "phonelm")
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu": "relu", "gelu": "gelu", "relu2": "relu2"}

MAX_POSITIONS = 4096
"""Longest text that an exported shape is set up for; nothing was measured or trained beyond it."""


def from_hf_config(config: dict[str, Any]) -> ModelShape:
    """Read the shape out of a Llama-family configuration.

    Args:
        config: The content of a ``config.json``: llama, qwen2, qwen3, mistral, arcee or phonelm.

    Raises:
        UnsupportedConfigError: If a field is missing or holds what a ModelShape cannot represent;
            the field is named.
        ShapeError: If the dimensions contradict each other.
    """
    family = config.get("model_type")
    if family not in _FAMILIES:
        raise UnsupportedConfigError(
            f"model_type must be one of {', '.join(_FAMILIES)}, got {family!r}"
        )
    _refuse_unrepresentable(config, family)
    heads = _integer(config, "num_attention_heads")
    hidden = _integer(config, "hidden_size")
    usual = 128 if family == "qwen3" else max(1, hidden // heads)
    head_dim = _integer(config, "head_dim", default=usual)
    if config.get("head_dim") is None and family != "qwen3" and hidden % heads:
        raise UnsupportedConfigError(
            "hidden_size must be a multiple of num_attention_heads where head_dim is not given, "
            f"got {hidden} and {heads}"
        )
    activation = str(config.get("hidden_act", "relu2" if family == "arcee" else "silu"))
    if activation not in _ACTIVATIONS:
        raise UnsupportedConfigError(
            f"hidden_act must be one of {', '.join(_ACTIVATIONS)}, got '{activation}'"
        )
    return ModelShape(
        hidden_size=hidden,
        intermediate_size=_integer(config, "intermediate_size"),
        num_hidden_layers=_integer(config, "num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=_integer(config, "num_key_value_heads", default=heads),
        head_dim=head_dim,
        vocab_size=_integer(config, "vocab_size"),
        hidden_act=_ACTIVATIONS[activation],  # type: ignore[arg-type]
        ffn="plain" if family == "arcee" else "gated",
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        rope_theta=_number(_rope(config), "rope_theta", _number(config, "rope_theta", 10000.0)),
        rms_norm_eps=_number(config, "rms_norm_eps", 1e-6),
    )


def _integer(config: dict[str, Any], name: str, default: int | None = None) -> int:
    value = default if config.get(name) is None else config[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnsupportedConfigError(f"{name} must be a positive integer, got {value!r}")
    return value


def _number(config: dict[str, Any], name: str, default: float) -> float:
    value = default if config.get(name) is None else config[name]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnsupportedConfigError(f"{name} must be a number, got {value!r}")
    return float(value)


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise UnsupportedConfigError(f"rope_parameters must be an object, got {rope!r}")
    return rope


def _refuse_unrepresentable(config: dict[str, Any], family: str) -> None:
    rope = _rope(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    partial = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    layers = config.get("layer_types") or []
    if not isinstance(layers, list) or not all(isinstance(x, str) for x in layers):
        raise UnsupportedConfigError(f"layer_types must be a list of names, got {layers!r}")
    sliding = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if family not in ("mistral", "qwen2", "qwen3"):
        sliding = None
    checks = (
        ("rope_scaling", kind == "default", kind, "the default rotary positions"),
        ("partial_rotary_factor", partial in (None, 1, 1.0), partial, "1.0"),
        ("attention_bias", not config.get("attention_bias"), True, "false (or qwen2's)"),
        ("mlp_bias", not config.get("mlp_bias"), True, "false"),
        ("sliding_window", sliding is None, sliding, "null, or use_sliding_window false"),
        ("layer_types", set(layers) <= {"full_attention"}, layers, "full_attention everywhere"),
        ("quantization_config", not config.get("quantization_config"), "one", "absent"),
    )
    for field, holds, given, needed in checks:
        if not holds:
            raise UnsupportedConfigError(f"{field} must be {needed}, got {given!r}")


def load_hf_config(path: Path) -> ModelShape:
    """Read the shape out of a ``config.json`` file, or of the folder that holds one.

    Raises:
        UnsupportedConfigError: If it cannot be read, is no JSON object or cannot be represented.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnsupportedConfigError(f"{file} must be readable: {error.strerror}") from error
    except ValueError as error:
        raise UnsupportedConfigError(f"{file} must be valid JSON; {error}") from error
    if not isinstance(content, dict):
        raise UnsupportedConfigError(
            f"{file} must hold a JSON object, got {type(content).__name__}"
        )
    try:
        return from_hf_config(content)
    except ValueError as error:
        raise UnsupportedConfigError(f"{file}: {error}") from error


def to_hf_config(shape: ModelShape) -> dict[str, Any]:
    """A configuration that ``transformers.AutoConfig`` builds with the same parameters.

    A gated shape is a llama (qwen2 with QKV bias, qwen3 with q/k-norm), a plain one an arcee.

    Raises:
        UnsupportedConfigError: If no architecture of transformers fits.
    """
    extras = (shape.qkv_bias, shape.qk_norm)
    if (shape.ffn == "plain" and any(extras)) or all(extras):
        raise UnsupportedConfigError(
            "a shape must be gated with at most one of qkv_bias and qk_norm, or plain with neither,"
            f" to fit an architecture of transformers; got ffn {shape.ffn}, qkv_bias "
            f"{shape.qkv_bias}, qk_norm {shape.qk_norm}"
        )
    family, architecture = ("llama", "LlamaForCausalLM")
    if shape.ffn == "plain":
        family, architecture = ("arcee", "ArceeForCausalLM")
    elif shape.qkv_bias:
        family, architecture = ("qwen2", "Qwen2ForCausalLM")
    elif shape.qk_norm:
        family, architecture = ("qwen3", "Qwen3ForCausalLM")
    return {
        "architectures": [architecture],
        "model_type": family,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab_size,
        "hidden_act": shape.hidden_act,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_theta": shape.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "max_position_embeddings": MAX_POSITIONS,
        "attention_bias": False,
        "bos_token_id": None,
        "eos_token_id": None,
    }
