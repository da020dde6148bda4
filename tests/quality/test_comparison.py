"""When two scores differ: chunks, seeds, and what is known of them."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import score, small_shape
from phonelm_search.core.errors import TrainingError
from phonelm_search.core.records import ProxyScore
from phonelm_search.quality import Comparison, Score, SeedDeviation, gather
from phonelm_search.quality.comparison import (
    ASSUMED_SEED_DEVIATION,
    paired_bootstrap,
    resolved_pairs,
)


def of(layers: int, *bits: float | None, **changes: Any) -> Score:
    """A score over as many seeds as values."""
    shape = small_shape(num_hidden_layers=layers)
    return Score(runs=tuple(score(shape, b, seed=i, **changes) for i, b in enumerate(bits)))


def test_paired_differences_see_through_common_scatter() -> None:
    a, b = of(2, 2.50), of(3, 2.45)
    difference, deviation = Comparison([a, b]).difference(a, b)
    assert difference == pytest.approx(0.05)
    assert deviation == pytest.approx(math.sqrt(2) * ASSUMED_SEED_DEVIATION, rel=1e-3)
    # Alone, each is far less sure than their difference.
    assert a.interval == pytest.approx(1.96 * 0.2 / 8, rel=0.25)
    assert of(2, None).interval is None


def test_what_was_scored_in_another_way_does_not_compare() -> None:
    a, b = of(2, 2.50), of(3, 2.45)
    for changed in (
        Score(runs=(replace(b.first, settings_id="other"),)),
        Score(runs=(replace(b.first, seed=1),)),
        Score(runs=(replace(b.first, chunk_bytes=(1,) * 64),)),
        of(3, None),
    ):
        with pytest.raises(TrainingError, match="same settings, seed and validation text"):
            Comparison([a, b]).difference(a, changed)


def test_only_common_seeds_are_compared() -> None:
    # Seed 1 lies 0.3 above seed 0 for every shape; a has no score with it.
    a, b = of(2, 2.50), of(3, 2.45, 2.75)
    difference, _ = Comparison([a, b]).difference(a, b)
    assert difference == pytest.approx(0.05)
    assert b.bits_per_byte == pytest.approx(2.60)


def test_a_shift_common_to_a_seed_is_no_deviation_between_seeds() -> None:
    shifted = [of(i, 2.5 + i / 100, 2.9 + i / 100, 2.2 + i / 100) for i in range(1, 5)]
    found = SeedDeviation.of(shifted)
    assert found.freedom == 6
    assert found.value == pytest.approx(ASSUMED_SEED_DEVIATION * math.sqrt(3 / 9))
    assert "from 6 degrees of freedom and the assumed" in str(found)
    assert SeedDeviation.of([of(1, 2.5), of(2, 2.4)]) == SeedDeviation(
        value=ASSUMED_SEED_DEVIATION, freedom=0
    )


def test_the_deviation_between_seeds_is_the_one_that_was_put_in() -> None:
    rng = np.random.default_rng(0)
    values = (
        2.5 + rng.normal(0, 0.3, (40, 1)) + rng.normal(0, 0.2, 4) + rng.normal(0, 0.03, (40, 4))
    )
    found = SeedDeviation.of([of(i + 1, *row) for i, row in enumerate(values.tolist())])
    assert found.value == pytest.approx(0.03, rel=0.1)
    seen = SeedDeviation.seen([of(i + 1, *row) for i, row in enumerate(values.tolist())])
    assert seen.value > found.value
    assert seen.value == pytest.approx(0.03, rel=0.1)
    assert SeedDeviation.seen([of(1, 2.5), of(2, 2.4)]).value == ASSUMED_SEED_DEVIATION
    # With more seeds a mean is surer, and with two seeds by the root of two than with one.
    deviations = [
        Comparison([of(1, *[2.0] * n), of(2, *[2.1] * n)]).difference(
            of(1, *[2.0] * n), of(2, *[2.1] * n)
        )[1]
        for n in (1, 2)
    ]
    assert deviations[1] < deviations[0] / math.sqrt(2) + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 5))
def test_the_bootstrap_is_the_closed_form_of_a_ratio_of_sums(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    text_bytes = rng.integers(200, 600, n).astype(float)
    bits = rng.normal(0.02 * text_bytes, spread * 10)
    ratio = bits.sum() / text_bytes.sum()
    residuals = bits - ratio * text_bytes
    expected = math.sqrt(n / (n - 1) * np.square(residuals).sum()) / text_bytes.sum()
    assert paired_bootstrap(bits, text_bytes) == pytest.approx(expected, rel=0.12)


def test_resolved_pairs_are_those_beyond_two_deviations() -> None:
    scores = [of(1, 2.50), of(2, 2.48), of(3, 2.40)]
    found = resolved_pairs(scores, Comparison(scores))
    assert [(i, j) for i, j, _ in found] == [(0, 2), (1, 2)]
    assert all(d > 0 for *_, d in found)


def test_runs_are_gathered_by_shape_and_seed() -> None:
    a, b = small_shape(), small_shape(num_hidden_layers=3)
    runs: list[ProxyScore] = [score(a, 2.0, seed=1), score(b, None), score(a, 1.0, seed=0)]
    found = gather(runs)
    assert [r.seed for r in found[a.shape_id].runs] == [0, 1]
    assert found[a.shape_id].bits_per_byte == pytest.approx(1.5)
    assert found[b.shape_id].reason == "training diverged"
    assert found[b.shape_id].bits_per_byte is None


def test_rounded_weights_have_a_score_of_their_own() -> None:
    a = of(2, 2.0, 2.2, quantised={"int4-b32": 2.5})
    assert a.quantised("int4-b32") == pytest.approx(2.5)
    assert a.quantised("int8-b32") is None
