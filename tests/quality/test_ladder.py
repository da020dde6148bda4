"""Relatives, and which of them tell candidates apart for the time they take."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phonelm_search.core.shape import ModelShape
from phonelm_search.quality import (
    Rung,
    larger_rung,
    plan_ladder,
    possible_rungs,
    training_seconds,
)
from phonelm_search.quality.ladder import _joint_covariance
from phonelm_search.quality.law import QualityLaw, load_prior
from phonelm_search.quality.relatives import _of_size, relatives

TOKENS = 8.5e9


def shape(width: int, layers: int, **changes: object) -> ModelShape:
    base: dict[str, object] = {
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
        "num_attention_heads": width // 64, "num_key_value_heads": width // 64, "head_dim": 64,
        "vocab_size": 49152, "hidden_act": "silu",
    }  # fmt: skip
    return ModelShape(**{**base, **changes})  # type: ignore[arg-type]


def rungs(*candidates: ModelShape, largest: int | None = 250_000) -> list[Rung]:
    return possible_rungs(
        candidates, largest=largest, tokens_per_parameter=2, vocab_size=512, step_tokens=2048
    )


def narrowed(of: ModelShape, layers: int, width: int) -> ModelShape:
    """One relative by numbers alone: whole heads, and whole groups of them where they suffice."""
    attention, head_dim, groups = of.q_size * width / of.hidden_size, of.head_dim, of.kv_groups
    while head_dim > max(attention, 64) and head_dim % 2 == 0:
        head_dim //= 2
    heads = max(1, round(attention / head_dim))
    if heads >= groups:
        heads -= heads % groups
    inner = round(of.intermediate_size * width / of.hidden_size / 2) * 2
    return replace(
        of, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads // groups if heads >= groups else 1, head_dim=head_dim,
        intermediate_size=max(2, inner),
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    width=st.sampled_from([96, 512, 576, 1536]),
    layers=st.integers(1, 12),
    groups=st.sampled_from([1, 2, 4]),
    ratio=st.floats(1.5, 6),
    head_dim=st.sampled_from([32, 64, 96, 128, 256]),
    kinds=st.fixed_dictionaries(
        {"ffn": st.sampled_from(["gated", "plain"]), "qkv_bias": st.booleans(),
         "qk_norm": st.booleans()}
    ),
    parameters=st.sampled_from([62_500, 250_000, 10**7]),
)  # fmt: skip
def test_a_relative_is_the_widest_that_is_no_larger(
    width: int, layers: int, groups: int, ratio: float, head_dim: int, kinds: dict[str, object],
    parameters: int,
) -> None:  # fmt: skip
    """Held against widths that are looked at one after another, until one is too large."""
    heads = max(groups, width // head_dim // groups * groups)
    of = shape(
        width, layers, num_attention_heads=heads, num_key_value_heads=heads // groups,
        head_dim=head_dim, intermediate_size=round(ratio * width / 64) * 64, **kinds,
    )  # fmt: skip
    fitting = None
    for narrow in range(32, width + 1, 4):
        relative = narrowed(of, layers, narrow)
        if relative.decoder_parameters > parameters:
            break
        fitting = relative
    found = _of_size(of, layers, parameters)
    if found is not None:
        assert fitting is not None
        assert found.hidden_size == fitting.hidden_size
        assert found == replace(fitting, intermediate_size=found.intermediate_size)
    assert fitting is not None or found is None


@settings(max_examples=60, deadline=None)
@given(
    width=st.sampled_from([512, 576, 768, 1024, 1536]),
    layers=st.integers(2, 32),
    groups=st.sampled_from([1, 2, 4]),
    ratio=st.floats(1.5, 6),
    head_dim=st.sampled_from([64, 128]),
    act=st.sampled_from(["silu", "relu"]),
    parameters=st.sampled_from([62_500, 250_000, 1_000_000]),
)
def test_relatives_are_smaller_in_width_and_depth_and_alike_in_all_else(
    width: int, layers: int, groups: int, ratio: float, head_dim: int, act: str, parameters: int
) -> None:
    heads = max(groups, width // head_dim // groups * groups)
    of = shape(
        width, layers, num_attention_heads=heads, num_key_value_heads=heads // groups,
        head_dim=head_dim, intermediate_size=round(ratio * width / 64) * 64, hidden_act=act,
    )  # fmt: skip
    found = list(relatives(of, parameters, vocab_size=512))
    assert len({r.num_hidden_layers for r in found}) == len(found)
    for relative in found:
        assert relative.decoder_parameters == pytest.approx(parameters, rel=0.03)
        assert relative.hidden_size < of.hidden_size
        assert relative.num_hidden_layers < of.num_hidden_layers
        assert relative.head_dim >= 64
        assert relative.hidden_act == act
        assert relative.vocab_size == 512
        assert relative.kv_groups == min(groups, relative.num_attention_heads)
        assert 0.85 < relative.ffn_ratio / of.ffn_ratio < 1.15


def test_what_is_no_larger_is_trained_itself() -> None:
    small = shape(128, 2, intermediate_size=256)
    assert list(relatives(small, 1_000_000, vocab_size=512)) == [
        shape(128, 2, intermediate_size=256, vocab_size=512)
    ]
    full = {r.shape for r in rungs(shape(128, 3), shape(192, 1), largest=None)}
    assert shape(128, 3, vocab_size=512) in full
    assert shape(192, 1, vocab_size=512) in full


def test_the_first_training_tells_most_for_its_time_and_more_time_tells_more() -> None:
    law = QualityLaw(load_prior())
    candidates = [shape(640, 13), shape(1152, 4), shape(640, 13, hidden_act="relu")]
    possible = rungs(*candidates)
    left = []
    for seconds in (100, 1000, 10_000):
        plan = plan_ladder(law, candidates, possible, tokens=TOKENS, seconds=seconds)
        spent = sum(training_seconds(r.shape, r.tokens) for r in plan)
        assert len({(r.shape, r.tokens) for r in plan}) == len(plan)
        assert spent < 2 * seconds  # trunks are shared: what is trained twice counts once
        left.append(variance_left(law, candidates, possible, plan))
    assert left[0] > left[1] > left[2] > 0
    # By brute force no other first training shrinks more for a second.
    (first, *_) = plan
    gains = {
        r: (left_of([]) - left_of([r])) / training_seconds(r.shape, r.tokens)
        for left_of in [lambda p: variance_left(law, candidates, possible, p)]
        for r in possible
    }
    assert gains[first] == pytest.approx(max(gains.values()), rel=1e-9)


def variance_left(
    law: QualityLaw, candidates: list[ModelShape], possible: list[Rung], plan: list[Rung]
) -> float:
    """Of all differences between candidates after trainings, by the formula of conditioning."""
    covariance = _joint_covariance(law, candidates, possible, TOKENS)
    n = len(candidates)
    rows = [n + possible.index(r) for r in plan]
    asked = covariance[:n, :n]
    if rows:
        cross = covariance[:n, rows]
        asked = asked - cross @ np.linalg.solve(covariance[np.ix_(rows, rows)], cross.T)
    differences = [asked[i, i] + asked[j, j] - 2 * asked[i, j] for i in range(n) for j in range(i)]
    return float(sum(differences))


def test_where_candidates_differ_by_activation_alone_relatives_differ_by_it() -> None:
    law = QualityLaw(load_prior())
    candidates = [shape(640, 13), shape(640, 13, hidden_act="relu")]
    plan = plan_ladder(law, candidates, rungs(*candidates), tokens=TOKENS, seconds=200)
    assert {r.shape.hidden_act for r in plan} == {"silu", "relu"}
    pairs = {(r.shape.hidden_size, r.shape.num_hidden_layers) for r in plan[:2]}
    assert len(pairs) == 1  # and by nothing else
    before = variance_left(law, candidates, rungs(*candidates), [])
    after = variance_left(law, candidates, rungs(*candidates), plan)
    assert after < before


def test_a_larger_rung_is_of_one_size_and_spread_over_depth() -> None:
    candidates = [shape(640, 13), shape(1152, 4), shape(64, 2)]
    found = larger_rung(
        candidates, 500_000, tokens_per_parameter=2, vocab_size=512, step_tokens=2048, count=4
    )
    assert len(found) == 4
    for rung in found:
        assert rung.shape.decoder_parameters == pytest.approx(500_000, rel=0.03)
        assert rung.tokens == pytest.approx(1_000_000, rel=0.04)
        assert rung.tokens >= 2 * rung.shape.decoder_parameters
    depths = [r.shape.num_hidden_layers for r in found]
    assert depths == sorted(depths)
    assert depths[-1] >= 6
    none = larger_rung(
        candidates[2:], 500_000, tokens_per_parameter=2, vocab_size=512, step_tokens=2048, count=4
    )
    assert none == []


def test_one_shape_alone_is_trained_for_too() -> None:
    alone = [shape(640, 13)]
    assert plan_ladder(QualityLaw(load_prior()), alone, rungs(*alone), tokens=TOKENS, seconds=60)
