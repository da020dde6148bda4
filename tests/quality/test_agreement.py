"""Rank agreement against scipy, and against answers known beforehand."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from phonelm_search.quality.agreement import agreement, kendall

VALUES = st.lists(
    st.tuples(st.integers(0, 6), st.floats(0, 9).map(lambda x: round(x, 1))),
    min_size=3,
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_correlations_are_scipys(pairs: list[tuple[int, float]]) -> None:
    a, b = map(list, zip(*pairs, strict=True))
    found = agreement(a, b, [])
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert (found.kendall, found.spearman) == (None, None)
        return
    assert found.kendall == pytest.approx(scipy.stats.kendalltau(a, b).statistic)
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(a, b).statistic)


def test_concordance_counts_resolved_pairs_only_and_ties_half() -> None:
    long = [1.0, 2.0, 3.0, 3.01]
    resolved = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]
    right = agreement([10, 20, 40, 30], long, resolved)
    assert right.concordance == 1.0
    assert right.resolved == 5
    assert right.kendall == pytest.approx(4 / 6)
    assert agreement([20, 10, 40, 30], long, resolved).concordance == pytest.approx(4 / 5)
    blind = agreement([7, 7, 7, 7], long, resolved)
    assert blind.concordance == 0.5
    assert (blind.kendall, blind.spearman) == (None, None)
    assert agreement([1, 2, 3, 4], long, []).concordance is None


def test_regret_is_what_the_best_of_the_first_k_loses() -> None:
    long = [2.0, 1.5, 1.0, 3.0]
    found = agreement([1, 2, 3, 4], long, [], tops=(1, 2, 3, 9))
    assert found.regret == {1: 1.0, 2: 0.5, 3: 0.0, 9: 0.0}
    # An order that cannot tell is as good as a draw.
    assert agreement([5, 5, 5, 5], long, [], tops=(1,)).regret == {1: pytest.approx(0.875)}
    # Three of four tied ones: the best is left out once in four, and then 0.1 is lost.
    ties = agreement([5, 5, 5, 5], [2.0, 2.1, 2.2, 2.3], [], tops=(3, 4))
    assert ties.regret == {3: pytest.approx(0.025), 4: 0.0}
    assert agreement([1, 5, 5], [2.0, 1.0, 3.0], [], tops=(2,)).regret == {2: pytest.approx(0.5)}


def test_intervals_are_wider_with_fewer_shapes() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (8, 60):
        long = rng.normal(size=n)
        low, high = agreement(long + rng.normal(size=n), long, []).kendall_interval or (0, 0)
        assert -1 <= low <= high <= 1
        widths.append(high - low)
    assert widths[0] > 2 * widths[1]


def test_weights_count_a_shape_more_than_once() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    assert kendall(a, b)[0] == pytest.approx(1 / 3)
    assert kendall(a, b, np.array([[2.0, 1.0, 0.0]]))[0] == pytest.approx(1.0)
