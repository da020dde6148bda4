"""The table of defaults against the configurations of the installed transformers."""

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from phonelm_search.core.errors import UnsupportedConfigError
from phonelm_search.core.hf_config import from_hf_config
from phonelm_search.core.hf_defaults import DEFAULTS
from phonelm_search.core.shape import ModelShape

KNOWN = [name for name in DEFAULTS if name != "phonelm"]
FULL: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "vocab_size": 320,
    "hidden_act": "relu",
    "rms_norm_eps": 1e-3,
    "rope_theta": 5000.0,
    "tie_word_embeddings": True,
    "sliding_window": None,
    "use_sliding_window": False,
}


def read_by_transformers(config: dict[str, Any]) -> dict[str, Any]:
    """What transformers makes of a configuration, by the names of a shape's fields."""
    made = transformers.AutoConfig.for_model(**config)
    found = {name: getattr(made, name, None) for name in ModelShape.__slots__}
    found["head_dim"] = found["head_dim"] or made.hidden_size // made.num_attention_heads
    found["rope_theta"] = made.rope_parameters["rope_theta"]
    return {k: v for k, v in found.items() if v is not None and k != "rope_scaling"}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KNOWN), st.sets(st.sampled_from(sorted(FULL)), max_size=8))
def test_a_key_that_is_left_out_is_what_transformers_takes(family: str, gone: set[str]) -> None:
    config = {"model_type": family, **{k: v for k, v in FULL.items() if k not in gone}}
    theirs = read_by_transformers(dict(config))
    if family == "mistral" and {"sliding_window", "use_sliding_window"} <= gone:
        with pytest.raises(UnsupportedConfigError, match=r"sliding_window must be null.* got 4096"):
            from_hf_config(config)
        return
    ours = from_hf_config(config).as_dict()
    assert {k: ours[k] for k in theirs} == theirs


@pytest.mark.parametrize("family", KNOWN)
def test_a_model_of_defaults_has_as_many_parameters(family: str) -> None:
    config = {"model_type": family, "num_hidden_layers": 1, "sliding_window": None}
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(**config)
        )
    assert from_hf_config(config).parameters == sum(p.numel() for p in model.parameters())


def test_key_value_heads_of_mistral_are_eight_where_none_are_told() -> None:
    config = {**FULL, "model_type": "mistral"}
    del config["num_key_value_heads"]
    assert from_hf_config(config).num_key_value_heads == 8
    assert from_hf_config({**config, "num_key_value_heads": None}).num_key_value_heads == 32
    assert from_hf_config({**config, "model_type": "llama"}).num_key_value_heads == 32


def test_windows_of_qwen_count_only_where_they_are_used() -> None:
    config = {**FULL, "model_type": "qwen2", "sliding_window": 4096}
    del config["use_sliding_window"]
    assert from_hf_config(config).qkv_bias
    windowed = {**config, "use_sliding_window": True, "max_window_layers": 1}
    with pytest.raises(UnsupportedConfigError, match="sliding_window must be null"):
        from_hf_config(windowed)
    assert from_hf_config({**windowed, "max_window_layers": 2}).qkv_bias


def test_sizes_of_phonelm_must_be_given() -> None:
    with pytest.raises(UnsupportedConfigError, match=r"vocab_size must be .* got None"):
        from_hf_config({"model_type": "phonelm", **FULL, "vocab_size": None})
    with pytest.raises(UnsupportedConfigError, match="num_attention_heads must be a positive"):
        from_hf_config({"model_type": "phonelm", "hidden_size": 64})
