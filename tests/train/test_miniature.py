"""Miniatures: what they keep of a shape, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import small_shape
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.space import FeasibleSet, enumerate_space, load_space
from phonelm_search.train import make_candidates, too_narrow
from phonelm_search.train.miniature import NARROWEST

SPACES = {
    n: enumerate_space(load_space(n), get_precision("int4-b32"))
    for n in ("slm-100m", "phonelm-0.5b")
}


def widest(feasible: FeasibleSet) -> ModelShape:
    return feasible.shape(int(np.argmax(feasible.columns["hidden_size"])))


@given(st.data())
def test_miniatures_keep_what_they_promise(data: st.DataObject) -> None:
    feasible = SPACES[data.draw(st.sampled_from(sorted(SPACES)))]
    rows = data.draw(
        st.lists(st.integers(0, len(feasible) - 1), min_size=1, max_size=6, unique=True)
    )
    shapes = [feasible.shape(r) for r in rows]
    typical = int(np.median(feasible.columns["decoder_parameters"]))
    shapes = [s for s in shapes if not too_narrow(s, typical, 1_000_000)] or [widest(feasible)]
    found = make_candidates(shapes, vocab_size=512, typical=typical, budget=1_000_000)
    factors = []
    for candidate in found:
        full, mini = candidate.shape, candidate.trained
        assert candidate.miniature
        assert mini.num_hidden_layers == full.num_hidden_layers
        assert mini.kv_groups == full.kv_groups
        assert (mini.hidden_act, mini.ffn) == (full.hidden_act, full.ffn)
        assert mini.hidden_size >= NARROWEST
        assert mini.ffn_ratio == pytest.approx(full.ffn_ratio, rel=0.2)
        off = abs(mini.ffn_ratio / full.ffn_ratio - 1) > 0.02
        assert off == any("FFN ratio" in n for n in candidate.notes)
        changed = mini.num_attention_heads != full.num_attention_heads
        assert changed == any("heads of" in n for n in candidate.notes)
        if mini.head_dim < 16:  # only where one KV head is all there is, and said
            assert mini.num_key_value_heads == 1
            assert any("head dimension" in n for n in candidate.notes)
        factors.append(mini.hidden_size / full.hidden_size)
    # One common width factor, up to rounding to a multiple of 4.
    assert max(factors) / min(factors) < 1.07


@pytest.mark.parametrize("name", sorted(SPACES))
def test_miniatures_keep_the_order_of_sizes(name: str) -> None:
    feasible = SPACES[name]
    typical = int(np.median(feasible.columns["decoder_parameters"]))
    rows = np.random.default_rng(0).integers(0, len(feasible), 300)
    shapes = [feasible.shape(int(r)) for r in rows]
    shapes = [s for s in shapes if not too_narrow(s, typical, 1_000_000)]
    found = make_candidates(shapes, vocab_size=512, typical=typical, budget=1_000_000)
    full = np.array([f.shape.decoder_parameters for f in found])
    mini = np.array([f.trained.decoder_parameters for f in found])
    relative = mini / full / np.median(mini / full)
    assert np.abs(relative - 1).max() < 0.01
    # Any two sizes that differ by more than the rounding keep their order.
    first, second = np.triu_indices(len(full), 1)
    apart = np.abs(full[first] / full[second] - 1) > 0.02
    assert ((full[first] > full[second]) == (mini[first] > mini[second]))[apart].all()
    assert len(shapes) > 50


def test_small_shapes_are_trained_as_they_are() -> None:
    shape = small_shape(vocab_size=9999, tie_word_embeddings=False)
    (found,) = make_candidates([shape], vocab_size=512, typical=90_000, budget=1_000_000)
    assert not found.miniature
    assert found.trained == replace(shape, vocab_size=512, tie_word_embeddings=True)
    large = SPACES["slm-100m"].shape(0)
    (full,) = make_candidates([large], vocab_size=512, typical=85_000_000, budget=None)
    assert full.trained.decoder_parameters == full.shape.decoder_parameters
    with pytest.raises(TrainingError, match="at least one measured shape"):
        make_candidates([], vocab_size=512, typical=1, budget=None)


def test_a_miniature_that_would_be_too_narrow_is_refused_with_the_budget_that_would_do() -> None:
    feasible = SPACES["slm-100m"]
    narrow = feasible.shape(int(np.argmin(feasible.columns["hidden_size"])))
    with pytest.raises(TrainingError, match=r"would be 56; --proxy-parameters 1.33M would do"):
        make_candidates([narrow], vocab_size=512, typical=85_000_000, budget=1_000_000)
    assert too_narrow(narrow, 85_000_000, None) is None
    (found,) = make_candidates([narrow], vocab_size=512, typical=85_000_000, budget=1_340_000)
    assert found.trained.hidden_size == NARROWEST
