"""Counts agree with transformers' own models, and with the tensors of the graph."""

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from helpers import small_shape
from phonelm_search.core.errors import ShapeError
from phonelm_search.core.hf_config import from_hf_config
from phonelm_search.core.precision import PRECISIONS, get_precision
from phonelm_search.core.shape import ModelShape, sizes_in
from phonelm_search.graph import build_graph

# Public configurations, as their config.json files state them.
PUBLIC: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "vocab_size": 49152, "tie_word_embeddings": True, "hidden_act": "silu",
        "rope_theta": 100000,
    },
    "TinyLlama-1.1B": {
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632,
        "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
        "vocab_size": 32000, "tie_word_embeddings": False, "hidden_act": "silu",
    },
    "Qwen2.5-0.5B": {
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "vocab_size": 151936, "tie_word_embeddings": True, "hidden_act": "silu",
        "use_sliding_window": False, "sliding_window": 32768, "rope_theta": 1000000.0,
    },
    "Qwen3-0.6B": {
        "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True,
        "hidden_act": "silu", "rope_theta": 1000000,
    },
    "Mistral-7B-v0.3": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 32768, "tie_word_embeddings": False, "hidden_act": "silu",
        "sliding_window": None,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_counts_equal_transformers_own_model(name: str) -> None:
    shape = from_hf_config(PUBLIC[name])
    config = transformers.AutoConfig.for_model(**PUBLIC[name])
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    parameters = {n: p.numel() for n, p in model.named_parameters()}
    embedding = sum(v for n, v in parameters.items() if "embed_tokens" in n or "lm_head" in n)
    assert shape.parameters == sum(parameters.values())
    assert shape.embedding_parameters == embedding
    assert shape.decoder_parameters == sum(parameters.values()) - embedding


@pytest.mark.parametrize(
    "precision", [p.name for p in PRECISIONS.values() if p.storage != "static"]
)
@pytest.mark.parametrize("tied", [True, False])
def test_weight_bytes_are_those_of_the_graphs_tensors(precision: str, tied: bool) -> None:
    shape = small_shape(hidden_size=128, tie_word_embeddings=tied, qkv_bias=True, qk_norm=True)
    scheme = get_precision(precision)
    graph = build_graph(shape, scheme)
    stored = sum(t.nbytes for t in graph.tensors if not t.kind.startswith("rotary"))
    assert shape.weight_bytes(scheme).total == stored


def test_flops_follow_the_closed_form() -> None:
    shape = small_shape()
    matrices = sum(m.parameters for m in shape.layer_linears) * shape.num_hidden_layers
    head = shape.hidden_size * shape.vocab_size
    # One token that sees itself only: every weight once, one score and one sum a head.
    one = 2 * matrices + 4 * shape.q_size * shape.num_hidden_layers + 2 * head
    assert shape.prefill_flops(1) == one
    assert shape.decode_flops(0) == one
    # A prompt is its tokens decoded one after another, but for the head.
    steps = sum(shape.decode_flops(c) for c in range(5))
    assert shape.prefill_flops(5) == steps - 4 * 2 * head


def test_kv_cache_grows_with_heads_and_layers() -> None:
    assert small_shape().kv_bytes_per_token(4) == 2 * 2 * 2 * 16 * 4


@given(
    layers=st.integers(1, 9),
    groups=st.sampled_from([1, 2, 4]),
    act=st.sampled_from(["relu", "silu"]),
)
def test_shape_survives_its_dictionary_and_ids_are_unique(
    layers: int, groups: int, act: str
) -> None:
    shape = small_shape(num_hidden_layers=layers, num_key_value_heads=4 // groups, hidden_act=act)
    assert ModelShape(**shape.as_dict()) == shape
    assert sizes_in(shape.shape_id).items() <= shape.as_dict().items()
    assert shape.shape_id != small_shape(num_hidden_layers=layers + 1).shape_id
    assert shape.shape_id != small_shape(**{**shape.as_dict(), "vocab_size": 999}).shape_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be a positive integer, got 0"),
        ({"hidden_size": 64.0}, "hidden_size must be a positive integer"),
        ({"num_key_value_heads": 3}, "multiple of num_key_value_heads, got 4 and 3"),
        ({"head_dim": 15}, "head_dim must be even"),
        ({"hidden_act": "mish"}, "hidden_act must be one of relu, silu, gelu, relu2, got 'mish'"),
        ({"ffn": "moe"}, "ffn must be one of gated, plain"),
        ({"rms_norm_eps": 0.0}, "must be positive"),
    ],
)
def test_contradicting_dimensions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        small_shape(**changes)


def test_sizes_that_leave_a_tile_partly_empty_are_named() -> None:
    shape = small_shape(hidden_size=576, intermediate_size=1500, num_attention_heads=9,
                        num_key_value_heads=3, head_dim=48)  # fmt: skip
    assert shape.unaligned(64) == (
        "intermediate_size 1500", "head_dim 48", "num_attention_heads × head_dim 432",
        "num_key_value_heads × head_dim 144",
    )  # fmt: skip
    assert shape.unaligned(4) == ()
