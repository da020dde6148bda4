"""Expected gains against hypervolumes of a library."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from moocore import hypervolume

from phonelm_search.search import best_gains, front_gains

CORNER = (10.0, 10.0)
coordinates = st.floats(0.1, 12.0).map(lambda x: round(x, 3))
points = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=6)


def volume(of: np.ndarray) -> float:
    inside = np.minimum(of, CORNER)
    return float(hypervolume(inside, ref=CORNER))


@given(known=points, candidates=points)
def test_the_first_shape_adds_most_and_as_much_as_the_hypervolume_grows(
    known: list[tuple[float, float]], candidates: list[tuple[float, float]]
) -> None:
    before, new = np.array(known), np.array(candidates)
    gains = list(front_gains(new[None, :, 0], new[:, 1], before, CORNER, np.ones(len(new))))
    grown = [volume(np.vstack([before, p])) - volume(before) for p in new]
    if max(grown) <= 1e-9:
        assert all(gain < 1e-6 for _, gain in gains)
        return
    row, gain = gains[0]
    np.testing.assert_allclose(gain, max(grown), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(grown[row], max(grown), rtol=1e-6, atol=1e-9)


@given(known=points, candidates=points)
def test_all_that_are_chosen_add_up_to_the_whole(
    known: list[tuple[float, float]], candidates: list[tuple[float, float]]
) -> None:
    before, new = np.array(known), np.array(candidates)
    gains = sum(
        g for _, g in front_gains(new[None, :, 0], new[:, 1], before, CORNER, np.ones(len(new)))
    )
    whole = volume(np.vstack([before, new])) - volume(before)
    np.testing.assert_allclose(gains, whole, rtol=1e-6, atol=1e-6)


def test_what_is_open_gains_more_than_what_is_known() -> None:
    random = np.random.default_rng(0)
    latency = np.stack([np.full(500, 5.0), 5.0 + random.normal(0, 1, 500)], axis=1)
    gains = front_gains(latency, np.array([5.0, 5.0]), np.array([[5.0, 5.0]]), CORNER, np.ones(2))
    row, gain = next(gains)
    assert row == 1
    # Half of the draws are faster, by 0.8 deviations on average, over the five left of loss.
    np.testing.assert_allclose(gain, 5 * 0.3989, rtol=0.15)


def test_within_budgets_the_loss_that_is_probably_gained_counts() -> None:
    kept, loss = np.array([0.95, 0.1, 0.9]), np.array([1.02, 0.9, 1.0])
    # What is expected of the first one leaves nothing to a worse one that keeps them as well.
    assert [row for row, _ in best_gains(kept, loss, 1.05, np.ones(len(loss)))] == [2, 1]
    assert list(best_gains(kept, loss, 0.8, np.ones(len(loss)))) == []
    # Where nothing keeps them yet, whatever probably does is worth a try.
    assert next(best_gains(kept, loss, np.inf, np.ones(len(loss))))[0] == 2


def test_of_equal_gains_the_cheaper_shape_comes_first() -> None:
    latency, loss = np.array([[1.0, 4.0]]), np.array([4.0, 1.0])
    known = np.array([[5.0, 5.0]])
    rows = [r for r, _ in front_gains(latency, loss, known, (5.0, 5.0), np.array([2.0, 1.0]))]
    assert rows == [1, 0]
    kept, values = np.ones(2), np.array([0.9, 0.9])
    assert next(best_gains(kept, values, 1.0, np.array([2.0, 1.0])))[0] == 1
