"""Hugging Face ``config.json`` ⇄ ModelShape."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phonelm_search.core.errors import ConfigurationError, ShapeError, UnsupportedConfigError, shown
from phonelm_search.core.hf_defaults import BY_HEADS, DEFAULTS
from phonelm_search.core.rotary import RotaryScaling, parse_scaling
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.textfile import parse_json, read_text

_ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu": "relu", "gelu": "gelu", "relu2": "relu2"}
_NULL_IS_DEFAULT = {
    "head_dim", "hidden_act", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
    "use_sliding_window", "max_window_layers", "max_position_embeddings",
}  # fmt: skip

MAX_POSITIONS = 4096
"""Longest text that an exported shape is set up for; nothing was measured or trained beyond it."""


def from_hf_config(config: dict[str, Any]) -> ModelShape:
    """Read the shape out of a Llama-family configuration.

    A key that is left out is what transformers takes for that type of model.

    Args:
        config: The content of a ``config.json``: llama, qwen2, qwen3, mistral, arcee or phonelm.

    Raises:
        UnsupportedConfigError: If a field is missing or holds what a ModelShape cannot represent;
            the field is named.
        ShapeError: If the dimensions contradict each other.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in DEFAULTS:
        raise UnsupportedConfigError(
            f"model_type must be one of {', '.join(DEFAULTS)}, got {shown(family)}"
        )
    fields = _Fields(config, family)
    _refuse_unrepresentable(config, fields)
    heads, hidden = fields.integer("num_attention_heads"), fields.integer("hidden_size")
    head_dim = fields.of("head_dim")
    if head_dim == BY_HEADS:
        if hidden % heads:
            raise UnsupportedConfigError(
                "hidden_size must be a multiple of num_attention_heads where head_dim is not "
                f"given, got {shown(hidden)} and {shown(heads)}"
            )
        head_dim = hidden // heads
    activation = fields.of("hidden_act")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise UnsupportedConfigError(
            f"hidden_act must be one of {', '.join(_ACTIVATIONS)}, got {shown(activation)}"
        )
    key_value_heads = fields.of("num_key_value_heads")
    theta, scaling = _rotary(config, fields)
    return ModelShape(
        hidden_size=hidden,
        intermediate_size=fields.integer("intermediate_size"),
        num_hidden_layers=fields.integer("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=heads
        if key_value_heads is None
        else _integer("num_key_value_heads", key_value_heads),
        head_dim=_integer("head_dim", head_dim),
        vocab_size=fields.integer("vocab_size"),
        hidden_act=_ACTIVATIONS[activation],  # type: ignore[arg-type]
        ffn="plain" if family == "arcee" else "gated",
        tie_word_embeddings=fields.flag("tie_word_embeddings"),
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        rope_theta=theta,
        rms_norm_eps=_number("rms_norm_eps", fields.of("rms_norm_eps")),
        rope_scaling=scaling,
    )


class _Fields:
    """Keys of a configuration, or what its type has for those that are left out."""

    def __init__(self, config: Mapping[str, Any], family: str) -> None:
        self._config, self._defaults = config, DEFAULTS[family]
        self.family = family

    def of(self, name: str) -> Any:
        """A key's value."""
        value = self._config.get(name)
        if name not in self._config or (value is None and name in _NULL_IS_DEFAULT):
            return self._defaults.get(name)
        return value

    def integer(self, name: str) -> int:
        """A size."""
        return _integer(name, self.of(name))

    def flag(self, name: str) -> bool:
        """What is true or false."""
        value = self.of(name)
        if not isinstance(value, bool):
            raise UnsupportedConfigError(f"{name} must be true or false, got {shown(value)}")
        return value


def _integer(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UnsupportedConfigError(f"{name} must be a positive integer, got {shown(value)}")
    return value


def _number(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnsupportedConfigError(f"{name} must be a number, got {shown(value)}")
    if not 0 < value < 1e300:  # nan, too, and integers that are no floats
        raise UnsupportedConfigError(f"{name} must be positive and finite, got {shown(value)}")
    return float(value)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of rotary positions; transformers, too, lets the older name win."""
    for name in ("rope_scaling", "rope_parameters"):
        rope = config.get(name)
        if rope is not None and not isinstance(rope, dict):
            raise UnsupportedConfigError(f"{name} must be an object, got {shown(rope)}")
        if rope:
            return rope
    return {}


def _rotary(config: Mapping[str, Any], fields: _Fields) -> tuple[float, str]:
    """Base of the frequencies, and how they are scaled."""
    rope = dict(_rope(config))
    theta = rope.pop("rope_theta", None)
    theta = _number("rope_theta", fields.of("rope_theta") if theta is None else theta)
    kind = rope.get("rope_type", rope.get("type"))
    if kind in (None, "default"):
        return theta, ""
    original = config.get("original_max_position_embeddings")
    if original is not None and kind in ("llama3", "yarn", "longrope"):
        rope["original_max_position_embeddings"] = original
    positions = fields.of("max_position_embeddings")
    try:
        return theta, RotaryScaling(parameters=rope, max_positions=positions).text
    except ShapeError as error:
        raise UnsupportedConfigError(
            f"rope_scaling must be one that transformers takes: {error}"
        ) from error


def _refuse_unrepresentable(config: Mapping[str, Any], fields: _Fields) -> None:
    rope = _rope(config)
    partial = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    layers = config.get("layer_types") or []
    if not isinstance(layers, list) or not all(isinstance(x, str) for x in layers):
        raise UnsupportedConfigError(f"layer_types must be a list of names, got {shown(layers)}")
    nested = any(isinstance(v, dict) for v in rope.values())
    window = _window(config, fields)
    checks = (
        ("rope_parameters", not nested, "one for each layer type", "the same for all layers"),
        ("partial_rotary_factor", partial in (None, 1, 1.0), partial, "1.0"),
        ("attention_bias", not config.get("attention_bias"), True, "false (or qwen2's)"),
        ("mlp_bias", not config.get("mlp_bias"), True, "false"),
        ("sliding_window", window is None, window, "null, or use_sliding_window false"),
        ("layer_types", set(layers) <= {"full_attention"}, layers, "full_attention everywhere"),
        ("quantization_config", not config.get("quantization_config"), "one", "absent"),
    )
    for field, holds, given, needed in checks:
        if not holds:
            raise UnsupportedConfigError(f"{field} must be {needed}, got {shown(given)}")


def _window(config: Mapping[str, Any], fields: _Fields) -> Any:
    """The window that some layers would attend to; None: none does."""
    if fields.family not in ("mistral", "qwen2", "qwen3"):
        return None
    window = fields.of("sliding_window") if fields.flag("use_sliding_window") else None
    if fields.family != "mistral" and not config.get("layer_types"):
        first = fields.of("max_window_layers")
        if isinstance(first, int) and first >= fields.integer("num_hidden_layers"):
            return None
    return window


def load_hf_config(path: Path) -> ModelShape:
    """Read the shape out of a ``config.json`` file, or of the folder that holds one.

    Raises:
        UnsupportedConfigError: If it cannot be read, is no JSON object or cannot be represented.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        content = parse_json(read_text(file))
    except ConfigurationError as error:
        raise UnsupportedConfigError(str(error)) from error
    except ValueError as error:
        raise UnsupportedConfigError(f"{file} {error}") from error
    if not isinstance(content, dict):
        given = "null" if content is None else type(content).__name__
        raise UnsupportedConfigError(f"{file} must hold a JSON object, got {given}")
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
        **_rotary_fields(shape),
        "attention_bias": False,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _rotary_fields(shape: ModelShape) -> dict[str, Any]:
    """How positions are told, for releases of transformers before 5 and since."""
    if not shape.rope_scaling:
        usual = {"rope_type": "default", "rope_theta": shape.rope_theta}
        return {"rope_parameters": usual, "max_position_embeddings": MAX_POSITIONS}
    scaling = parse_scaling(shape.rope_scaling)
    came = dict(scaling.parameters)
    return {
        "rope_scaling": came,
        "rope_parameters": {**came, "rope_type": scaling.kind, "rope_theta": shape.rope_theta},
        "max_position_embeddings": scaling.max_positions,
    }
