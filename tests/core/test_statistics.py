"""Statistics are pure functions of samples: recorded ones and synthetic ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from phonelm_search.core.statistics import (
    middles_and_ends,
    paired_medians,
    percentile_interval,
    quantile_of_ordered,
    significant,
    spearman,
)

ROUND = st.lists(st.integers(1, 10**9), min_size=1, max_size=40)

# Decode of PhoneLM-0.5B (int4, context 512) on a virtual machine with two cores, one process a
# round, in microseconds; the hypervisor moved the cores before the last two.
RECORDED = [
    [17880, 17912, 17856, 18020, 17799, 17904],
    [17432, 17401, 17388, 17520, 17467, 17410],
    [16835, 16790, 16822, 17005, 16911, 16799],
    [15396, 15310, 15422, 15377, 15501, 15368],
    [14539, 14611, 14498, 14570, 14555, 14502],
]


def test_what_a_turn_does_to_all_leaves_no_trace_in_a_pair() -> None:
    rng = np.random.default_rng(0)
    turns = np.exp(rng.normal(0, 0.5, 9))  # the machine wanders by half between turns
    first, second = paired_medians([10e6 * turns, 25e6 * turns])
    assert second / first == pytest.approx(2.5)
    assert np.exp(np.log([10e6 * turns]).min()) < first < np.exp(np.log([10e6 * turns]).max())


def test_a_burst_in_one_sample_moves_no_pair() -> None:
    calm = np.full((3, 9), [[1e6], [2e6], [4e6]])
    burst = calm.copy()
    burst[1, 4] *= 5
    assert paired_medians(burst) == pytest.approx(paired_medians(calm), rel=1e-9)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=9))
def test_the_paired_median_of_one_alone_is_its_median(samples: list[int]) -> None:
    expected = np.exp(np.median(np.log(samples)))
    assert paired_medians([samples]) == pytest.approx([expected])


def test_the_ends_of_draws_hold_95_per_cent() -> None:
    draws = np.random.default_rng(0).normal(size=100_000)
    assert percentile_interval(draws) == pytest.approx((-1.96, 1.96), abs=0.03)


@settings(deadline=None)  # the first example loads scipy.stats
@given(st.permutations(range(8)))
def test_rank_correlation_of_orders_is_the_closed_form(order: list[int]) -> None:
    squares = sum((i - place) ** 2 for i, place in enumerate(order))
    expected = 1 - 6 * squares / (8 * (8**2 - 1))
    assert spearman(range(8), np.exp(order)) == pytest.approx(expected)


def test_what_does_not_vary_has_no_rank_correlation() -> None:
    assert spearman([1, 2, 3], [5, 5, 5]) is spearman([5, 5, 5], [1, 2, 3]) is None
    assert spearman([1, 2, 2, 3], [1, 2, 2, 3]) == pytest.approx(1)


@given(arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 60)), elements=st.floats(-9, 9)))
def test_middles_and_ends_are_numpys_to_the_bit(draws: np.ndarray) -> None:
    found = middles_and_ends(draws)
    for row, told in zip(draws, found, strict=True):
        assert told.tolist() == [np.median(row), *percentile_interval(row)]


@given(st.lists(st.floats(0, 9), min_size=1, max_size=40), st.floats(0, 1))
def test_a_quantile_of_what_is_ordered_is_numpys_to_the_bit(values: list[float], q: float) -> None:
    ordered = np.sort(values)
    assert float(quantile_of_ordered(ordered, q)) == np.quantile(ordered, q)


@pytest.mark.parametrize("precision", [np.float32, float])
@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 60)), seed=st.integers(0, 99))
def test_middles_and_ends_of_logarithms_are_those_of_the_raised_draws(
    shape: tuple[int, int], seed: int, precision: type
) -> None:
    logs = np.random.default_rng(seed).normal(size=shape).astype(precision)
    told = middles_and_ends(logs, of_logarithms=True)
    assert told.dtype == float
    np.testing.assert_allclose(told, middles_and_ends(np.exp(logs.astype(float))), rtol=4e-16)


@given(st.lists(st.floats(-1e15, 1e15).filter(lambda v: abs(v) > 1e-12), max_size=9))
def test_six_digits_are_those_that_are_written(values: list[float]) -> None:
    for given_value, found in zip(values, significant(values).tolist(), strict=True):
        assert found == float(f"{found:.6g}")
        assert found == pytest.approx(given_value, rel=5.01e-6)


def test_what_is_no_number_or_0_stays() -> None:
    found = significant([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 0.1, 123456.5, 999999.7])
    expected = [0, 0, np.inf, -np.inf, np.nan, 5e-324, 0.1, 123456, 1e6]
    np.testing.assert_array_equal(found, expected)


def test_draws_that_are_no_numbers_have_no_middle() -> None:
    assert np.isnan(middles_and_ends([1.0, np.nan, 2.0])).all()
    assert np.isnan(middles_and_ends([1.0, np.nan, 2.0], of_logarithms=True)).all()
