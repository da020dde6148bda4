"""Dominance and ranks against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from moocore import is_nondominated

from phonelm_search.core.pareto import (
    dominance_rank,
    front,
    membership_probability,
    non_dominated,
)


def tables(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[np.ndarray]:
    """``[n, objectives]`` of few distinct numbers, so that rows tie."""
    return st.integers(1, 4).flatmap(
        lambda m: arrays(float, st.tuples(st.integers(0, 25), st.just(m)), elements=numbers)
    )


points = tables(st.integers(0, 6).map(float))


@settings(deadline=None)  # the first example loads moocore
@given(tables(st.sampled_from([-np.inf, 0.0, 1.0, 2.0, 3.0, np.inf])))
def test_front_is_what_no_row_dominates(values: np.ndarray) -> None:
    expected = [not any((o <= row).all() and (o < row).any() for o in values) for row in values]
    assert non_dominated(values).tolist() == expected


@settings(deadline=None)
@given(points.filter(lambda values: values.shape[1] == 2 and len(values)))
def test_without_errors_the_probability_is_the_front(values: np.ndarray) -> None:
    found = membership_probability([values[:, 0]] * 2, values[:, 1])
    assert found.tolist() == non_dominated(values).astype(float).tolist()


def test_the_front_may_hold_what_is_no_number() -> None:
    first, second = [1.0, 2.0, 3.0], [np.nan, 3.0, 3.0]
    assert membership_probability([first], second).tolist() == [0, 1, 0]


@settings(deadline=None)
@given(tables(st.sampled_from([-np.inf, 0.0, 1.0, 2.0, 3.0, np.inf])))
def test_rank_peels_fronts(values: np.ndarray) -> None:
    rank = dominance_rank(values)
    assert (rank[non_dominated(values)] == 0).all()
    for i, row in enumerate(values):
        better = [rank[j] for j, o in enumerate(values) if (o <= row).all() and (o < row).any()]
        assert rank[i] == max(better, default=-1) + 1


def test_items_of_the_front_keep_their_order() -> None:
    places = {"slow": (3, 1), "bad": (3, 3), "fast": (1, 2)}
    assert front(list(places), lambda name: places[name]) == ["slow", "fast"]
    assert front([], lambda item: item) == []


def test_equal_rows_share_the_front_and_nan_never_enters_it() -> None:
    values = [[1.0, 2.0], [1.0, 2.0], [np.nan, 0.0], [2.0, 3.0]]
    assert non_dominated(values).tolist() == [True, True, False, False]
    assert dominance_rank(values).tolist() == [0, 0, 4, 1]


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"points must be \[n, objectives\]"):
        non_dominated([1.0, 2.0])


def test_membership_follows_the_draws_and_what_they_share() -> None:
    # Two points of equal size whose latencies differ by one deviation of the difference.
    random = np.random.default_rng(0)
    draws = np.tile([1.0, 2.0, 2.1, 9.0], (4000, 1))
    size = [5.0, 4.0, 4.0, 9.0]
    assert membership_probability(draws, size).tolist() == [1, 1, 0, 0]
    apart = draws.copy()
    apart[:, 1] += 0.1 * random.standard_normal(4000)
    first, second, third, last = membership_probability(apart, size)
    assert second == pytest.approx(0.8413, abs=0.02)
    assert third == pytest.approx(0.1587, abs=0.02)
    assert (first, last) == (1, 0)
    # An error that both share puts neither before the other.
    together = draws + 0.1 * random.standard_normal((4000, 1))
    assert membership_probability(together, size).tolist() == [1, 1, 0, 0]


def test_membership_refuses_what_has_another_length() -> None:
    for second in ([1.0], [[1.0, 2.0]] * 2):
        with pytest.raises(ValueError, match=r"second must be \(1, 2\) or \(2,\), got shape"):
            membership_probability([[1.0, 2.0]], second)


@settings(deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(1, 9))
def test_membership_with_both_drawn_is_what_brute_force_counts(
    data: st.DataObject, draws: int, n: int
) -> None:
    numbers = st.sampled_from([0.0, 1.0, 2.0, 3.0, np.inf])
    first, second = (data.draw(arrays(float, (draws, n), elements=numbers)) for _ in range(2))
    counts = np.zeros(n)
    for values in np.stack([first, second], axis=2):
        counts += [not any((o <= row).all() and (o < row).any() for o in values) for row in values]
    assert membership_probability(first, second).tolist() == (counts / draws).tolist()
    # A second objective without error is one whose draws are all the same.
    exact = np.broadcast_to(second[0], first.shape)
    assert (membership_probability(first, second[0]) == membership_probability(first, exact)).all()


def test_membership_follows_what_both_objectives_share() -> None:
    # One error of both axes, drawn jointly: what is faster in a draw is worse in it, or better.
    error = np.random.default_rng(0).standard_normal((4000, 1)) * [0.0, 1.0]
    assert membership_probability(error, -error).tolist() == [1, 1]
    assert membership_probability(error, error) == pytest.approx([0.5, 0.5], abs=0.03)
    nan = np.where([False, True], np.nan, error)
    assert membership_probability(error, nan).tolist() == [1, 0]
    assert membership_probability(nan, error).tolist() == [1, 0]


def test_membership_of_many_points_and_draws_is_what_each_draw_tells() -> None:
    # More of both than are looked at together; what all share is much more than what is theirs.
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 2100))
    draws = [
        values + 3 * random.normal(size=(120, 1)) + 0.05 * random.normal(size=(120, 2100))
        for values in (first, second)
    ]
    counts = sum(
        is_nondominated(np.transpose(d), keep_weakly=True).astype(int)
        for d in zip(*draws, strict=True)
    )
    found = membership_probability(*draws)
    assert found.tolist() == (counts / 120).tolist()
    assert 0 < (found > 0).sum() < 100
    lying_together = membership_probability(*(np.asfortranarray(d) for d in draws))
    assert found.tolist() == lying_together.tolist()
