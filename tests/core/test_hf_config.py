"""config.json ⇄ ModelShape."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from core.test_shape import PUBLIC
from helpers import small_shape
from phonelm_search.core.errors import UnsupportedConfigError
from phonelm_search.core.hf_config import from_hf_config, load_hf_config, to_hf_config


@pytest.mark.parametrize(
    "changes",
    [{}, {"ffn": "plain", "hidden_act": "relu2"}, {"ffn": "plain", "hidden_act": "relu"},
     {"qkv_bias": True}, {"qk_norm": True, "head_dim": 32}, {"tie_word_embeddings": False}],
)  # fmt: skip
def test_a_written_configuration_is_built_with_the_same_parameters(
    changes: dict[str, Any],
) -> None:
    shape = small_shape(**changes)
    written = to_hf_config(shape)
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(**written)
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    assert type(model).__name__ == written["architectures"][0]
    assert from_hf_config(written) == shape


def test_rope_theta_is_read_from_old_and_new_files() -> None:
    old = {**PUBLIC["SmolLM2-135M"]}
    new = {k: v for k, v in old.items() if k != "rope_theta"}
    new["rope_parameters"] = {"rope_type": "default", "rope_theta": 100000}
    assert from_hf_config(old) == from_hf_config(new)
    assert from_hf_config(old).rope_theta == 100000


def test_null_stands_for_the_default() -> None:
    config = {**PUBLIC["SmolLM2-135M"], "rope_theta": None, "rms_norm_eps": None, "head_dim": None}
    shape = from_hf_config(config)
    assert (shape.rope_theta, shape.rms_norm_eps, shape.head_dim) == (10000.0, 1e-6, 64)


def test_phonelm_is_read_as_a_llama() -> None:
    config = {**PUBLIC["SmolLM2-135M"], "model_type": "phonelm", "hidden_act": "relu"}
    assert from_hf_config(config).hidden_act == "relu"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type must be one of llama"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling must be .* got 'llama3'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_scaling"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1.0, got 0.5"),
        ({"attention_bias": True}, "attention_bias must be false"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding_window must be null"),
        ({"model_type": "qwen3", "layer_types": ["sliding_attention"]}, "layer_types"),
        ({"hidden_act": "gelu_pytorch_tanh"}, "hidden_act must be one of silu"),
        ({"hidden_size": "576"}, "hidden_size must be a positive integer, got '576'"),
        ({"vocab_size": None}, "vocab_size must be a positive integer, got None"),
        ({"num_attention_heads": 0}, "num_attention_heads must be a positive integer, got 0"),
        ({"head_dim": "64"}, "head_dim must be a positive integer"),
        ({"rope_theta": [1]}, "rope_theta must be a number"),
        ({"rms_norm_eps": "tiny"}, "rms_norm_eps must be a number, got 'tiny'"),
        ({"layer_types": 5}, "layer_types must be a list of names, got 5"),
        ({"num_attention_heads": 7, "num_key_value_heads": 7}, "hidden_size must be a multiple"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"rope_theta": float("inf")}, "rope_theta must be positive and finite, got inf"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps must be positive and finite, got nan"),
        ({"rope_theta": 10**400}, "rope_theta must be positive and finite, got an integer of"),
        ({"rms_norm_eps": 0}, "rms_norm_eps must be positive and finite, got 0"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings must be true or false, got 'fal"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedConfigError, match=message):
        from_hf_config({**PUBLIC["SmolLM2-135M"], **changes})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "valid JSON"),
        ("[]", "must hold a JSON object, got list"),
        ("null", "got null"),
        ("{}", "model_type"),
    ],
)
def test_malformed_files_name_themselves(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(UnsupportedConfigError, match=message) as caught:
        load_hf_config(file)
    assert str(file) in str(caught.value)
    with pytest.raises(UnsupportedConfigError, match="must be readable"):
        load_hf_config(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"model_type": ' + "[" * 100_000, "must be valid JSON; it is nested too deep"),
        ('{"vocab_size": ' + "9" * 5000 + "}", "must be valid JSON; a number in it has th"),
        (json.dumps({**PUBLIC["SmolLM2-135M"], "num_hidden_layers": 10**9}), "at most 10,000, got"),
        (json.dumps({**PUBLIC["SmolLM2-135M"], "vocab_size": 10**13}), "at most 1e.15 parameters"),
        (json.dumps({"model_type": "x" * 10**6}), "model_type must be one of llama"),
    ],
)
def test_files_without_end_are_refused_in_few_words(
    tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(content, encoding="utf-8-sig")
    with pytest.raises(UnsupportedConfigError, match=message) as caught:
        load_hf_config(file)
    assert len(str(caught.value).encode()) < 1000


def test_a_folder_stands_for_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLIC["SmolLM2-135M"]))
    assert load_hf_config(tmp_path).hidden_size == 576


def test_a_shape_that_no_architecture_fits_is_refused() -> None:
    with pytest.raises(UnsupportedConfigError, match="to fit an architecture"):
        to_hf_config(small_shape(ffn="plain", qkv_bias=True))
