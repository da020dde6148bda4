"""Where a space ends: counts as people write them, limits of numbers, heads that kernels refuse."""

import pytest

from phonelm_search.core.errors import ConfigurationError, EmptySpaceError
from phonelm_search.core.precision import get_precision
from phonelm_search.space import count_space, enumerate_space, load_space, nearest_heads
from space.test_space import space_of

INT4 = get_precision("int4-b32")


def test_counts_are_written_as_people_write_them() -> None:
    space = space_of(
        vocab_size="32k", hidden_size={"min": "1e2", "max": "2_00", "step": 20.0},
        parameters={"target": "6e5"}, limits={"weight_bytes": 1.5e8},
    )  # fmt: skip
    assert space.vocab_size == (32000,)
    assert space.hidden_size == (100, 120, 140, 160, 180, 200)
    assert space.parameters is not None
    assert space.parameters.target == 600_000
    assert space.limits.weight_bytes == 150_000_000


def test_a_space_is_multiplied_before_anything_is_made() -> None:
    many = {"min": 2, "max": 65536}
    space = space_of(
        hidden_size=many, num_hidden_layers=10, kv_groups=many, vocab_size=many, ffn_ratio=None,
        intermediate_size=many,
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="at most 100,000,000 combinations"):
        enumerate_space(space, INT4)


def test_shapes_that_64_bits_cannot_count_are_not_feasible() -> None:
    space = space_of(
        hidden_size=[64, 10**9], ffn_ratio=[1.0, 1e9], multiple_of=1, hidden_act="relu",
        ffn="gated", kv_groups=1, num_hidden_layers=[1, 10_000], vocab_size=2**21, head_dim=[64],
    )  # fmt: skip
    feasible = enumerate_space(space, INT4)
    assert feasible.columns["decoder_parameters"].min() > 0
    assert feasible.failures["at most 1e+15 parameters"] == 5
    assert [feasible.shape(r).hidden_size for r in range(len(feasible))] == [64, 64, 64]


def test_head_dimensions_that_the_kernel_refuses_are_left_out() -> None:
    heads = {"head_dim": None, "num_attention_heads": [2, 8], "hidden_size": [96, 128, 160]}
    space = space_of(**heads, kv_groups=1)
    found = enumerate_space(space, INT4).columns["head_dim"]
    assert set(found.tolist()) == {16, 48, 64, 80}
    counts = count_space(space, INT4)
    assert counts.refused_heads == (12, 20)
    assert nearest_heads(counts.refused_heads, 8).endswith("12: 8 or 16; 20: 16 or 24")
    chip = enumerate_space(space, get_precision("qdq-a16w8")).columns["head_dim"]
    assert {12, 20} <= set(chip.tolist())
    only = space_of(**{**heads, "hidden_size": 288, "num_attention_heads": 8}, kv_groups=1)
    with pytest.raises(EmptySpaceError, match="nearest that work: 36: 32 or 40"):
        enumerate_space(only, INT4)


@pytest.mark.parametrize("name", ["tiny", "slm-100m"])
def test_counting_says_what_enumerating_finds(name: str) -> None:
    space = load_space(name)
    counts, feasible = count_space(space, INT4), enumerate_space(space, INT4)
    assert (counts.combinations, counts.feasible) == (feasible.combinations, len(feasible))
    assert counts.failures == feasible.failures
    assert counts.num_hidden_layers == feasible.histogram("num_hidden_layers")
    assert counts.hidden_size == feasible.histogram("hidden_size")


def test_blocks_of_any_size_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    space = space_of(vocab_size=[1000, 2000])
    whole = enumerate_space(space, INT4)
    for size in (1, 7, 50):
        monkeypatch.setattr("phonelm_search.space.blocks._BLOCK", size)
        parts = enumerate_space(space, INT4)
        assert parts.failures == whole.failures
        assert all((parts.columns[k] == v).all() for k, v in whole.columns.items())
