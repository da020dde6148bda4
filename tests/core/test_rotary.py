"""Scaled rotary positions."""

import json
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from helpers import small_shape
from phonelm_search.core.decoder import Decoder
from phonelm_search.core.errors import ShapeError, UnsupportedConfigError
from phonelm_search.core.hf_config import from_hf_config, to_hf_config
from phonelm_search.core.shape import ModelShape

BASE: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 96,
    "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "rope_theta": 500.0,
    "max_position_embeddings": 12,
}  # fmt: skip
SCALED: dict[str, dict[str, Any]] = {
    "linear": {"type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 4},
    "llama3": {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "llama3-without-original": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    },
    "yarn": {
        "rope_type": "yarn", "type": "yarn", "factor": 20.0, "beta_fast": 32.0, "beta_slow": 1.0,
        "mscale": 1.0, "original_max_position_embeddings": 40,
    },
    "yarn-mscale": {
        "rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.3,
        "original_max_position_embeddings": 64, "truncate": False, "beta_slow": 2,
    },
    "yarn-factor-null": {
        "rope_type": "yarn", "factor": None, "original_max_position_embeddings": 4,
    },
    "longrope": {
        "rope_type": "longrope", "factor": 3.0, "original_max_position_embeddings": 14,
        "short_factor": [1.0 + i / 10 for i in range(8)], "long_factor": list(range(2, 10)),
    },
}  # fmt: skip


def scaled(name: str, **changes: Any) -> ModelShape:
    return from_hf_config({**BASE, "rope_scaling": SCALED[name], **changes})


@pytest.mark.parametrize("name", SCALED)
def test_the_decoder_computes_what_transformers_computes(name: str) -> None:
    torch.manual_seed(3)
    shape = scaled(name)
    model = Decoder(shape).eval()
    theirs = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**{**BASE, "rope_scaling": dict(SCALED[name])})
    ).eval()
    theirs.load_state_dict(model.state_dict(), strict=True)
    ids = torch.randint(0, shape.vocab_size, (1, 20))
    ours, past, cache = [], None, None
    expected = []
    with torch.no_grad():
        for start, end in [(0, 9), *((i, i + 1) for i in range(9, 20))]:
            logits, past = model(ids[:, start:end], past)
            ours.append(logits[0].numpy())
            answer = theirs(ids[:, start:end], past_key_values=cache, use_cache=True)
            cache = answer.past_key_values
            expected.append(answer.logits[0].numpy())
    np.testing.assert_allclose(np.concatenate(ours), np.concatenate(expected), atol=1e-4, rtol=0)
    plain = Decoder(from_hf_config(BASE)).eval()
    plain.load_state_dict(model.state_dict())
    assert not np.allclose(plain(ids)[0].detach().numpy(), np.concatenate(ours)[None], atol=1e-4)


@pytest.mark.parametrize("name", SCALED)
def test_what_is_written_is_what_came(name: str) -> None:
    shape = scaled(name)
    written = to_hf_config(shape)
    assert written["rope_scaling"] == SCALED[name]
    assert written["max_position_embeddings"] == 12
    assert from_hf_config(written) == shape
    newer = {k: v for k, v in written.items() if k not in ("rope_scaling", "rope_theta")}
    assert from_hf_config(newer).rope_theta == 500.0
    made = transformers.AutoConfig.for_model(**newer)
    assert made.rope_parameters["rope_theta"] == 500.0


def test_parameters_of_transformers_5_are_read_like_the_older_ones() -> None:
    older = scaled("llama3")
    newer = {**BASE, "rope_parameters": {**SCALED["llama3"], "rope_theta": 500.0}}
    del newer["rope_theta"]
    assert from_hf_config(newer) == older
    outside = {k: v for k, v in SCALED["llama3"].items() if not k.startswith("original")}
    assert from_hf_config(
        {**BASE, "rope_scaling": outside, "original_max_position_embeddings": 64}
    ) == older  # fmt: skip


def test_ids_of_shapes_without_scaling_are_as_ever() -> None:
    assert small_shape().shape_id == "w64-l2-f160-h4-kv2-silu-031598"
    assert "rope_scaling" not in small_shape().as_dict()
    shape = scaled("yarn")
    assert shape.shape_id != from_hf_config(BASE).shape_id
    assert ModelShape(**json.loads(json.dumps(shape.as_dict()))) == shape


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "su"}, "rope_type must be default or one of linear, dynamic, yarn"),
        ({"rope_type": ["yarn"]}, "rope_type must be default or one of"),
        ({"rope_type": "linear"}, "factor must be given, got 'linear' without it"),
        ({"rope_type": "linear", "factor": "two"}, "factor must be a positive number, got 'two'"),
        ({"rope_type": "linear", "factor": 10**400}, "factor must be .* about 40[01] digits"),
        ({**SCALED["llama3"], "high_freq_factor": 1}, "high_freq_factor must be larger"),
        ({**SCALED["longrope"], "long_factor": [1, -1]}, "long_factor must be a list of positive"),
        ({**SCALED["longrope"], "long_factor": [1]}, "long_factor must hold a number for each"),
        ({"rope_type": "yarn", "factor": 2, "rope_theta": 1}, "must give finite frequencies"),
        ({"full_attention": {"rope_type": "linear"}}, "rope_parameters must be the same for all"),
    ],
)
def test_a_scaling_that_cannot_be_is_refused_by_name(rope: dict[str, Any], message: str) -> None:
    with pytest.raises((UnsupportedConfigError, ShapeError), match=message):
        from_hf_config({**BASE, "rope_scaling": rope})
