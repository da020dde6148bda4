"""Statistics are pure functions of samples: recorded ones and synthetic ones."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import measurement
from phonelm_search.core.statistics import interval, repetitions_for, spearman
from phonelm_search.core.workload import decode, prefill
from phonelm_search.measure.anchor import Anchor, drift

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


@given(st.lists(ROUND, min_size=1, max_size=5))
def test_the_interval_stays_within_the_samples_and_repeats(rounds: list[list[int]]) -> None:
    found = interval(rounds)
    samples = [s for r in rounds for s in r]
    assert min(samples) <= found.low <= found.high <= max(samples)
    assert found.median == np.median([np.median(r) for r in rounds])
    assert interval(rounds) == found


@given(ROUND)
def test_the_interval_of_one_round_holds_its_median(samples: list[int]) -> None:
    found = interval([samples])
    assert found.low <= found.median <= found.high


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = interval([rng.lognormal(size=40)])
        hits += found.low <= 1.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_rounds_that_differ_widen_the_interval_and_more_samples_do_not_narrow_it() -> None:
    rng = np.random.default_rng(1)
    levels = (1.0, 1.04, 0.97)
    few = interval([level * rng.normal(1, 0.001, 20) for level in levels])
    many = interval([level * rng.normal(1, 0.001, 2000) for level in levels])
    assert few.relative_width == pytest.approx(0.07, abs=0.01)
    assert many.relative_width == pytest.approx(0.07, abs=0.01)


def test_one_bad_round_of_three_does_not_move_the_median() -> None:
    quiet, burst = [10.0, 10.1, 9.9], [25.0, 26.0, 24.0]
    assert interval([quiet, quiet, burst]).median == 10.0
    assert interval([quiet, quiet, burst]).high > 20  # but the interval tells of it


def test_recorded_rounds() -> None:
    found = interval(RECORDED)
    assert found.median == pytest.approx(16828.5)
    assert found.relative_width > 0.10
    assert interval(RECORDED[:1]).relative_width < 0.01


@pytest.mark.parametrize(
    ("rounds", "median", "width"),
    [
        ([[5.0]], 5.0, 0.0),  # one sample
        ([[7.0] * 9], 7.0, 0.0),  # ties
        ([[0.0, 0.0, 0.0]], 0.0, 0.0),  # a broken clock
        ([[1.0] * 10 + [2.0] * 11], 2.0, 0.5),  # two modes
    ],
)
def test_degenerate_samples(rounds: list[list[float]], median: float, width: float) -> None:
    found = interval(rounds)
    assert (found.median, found.relative_width) == (median, pytest.approx(width))


def test_bursts_inside_a_round_are_ignored_and_drift_is_not() -> None:
    rng = np.random.default_rng(2)
    samples = rng.normal(100, 1, 100)
    bursts = samples.copy()
    bursts[30:40] *= 4
    assert interval([bursts]).median == pytest.approx(100, abs=1)
    drifting = interval([samples, samples * 1.1, samples * 1.2])
    assert drifting.relative_width == pytest.approx(0.2 / 1.1, abs=0.02)


@pytest.mark.parametrize("rounds", [[], [[]], [[1.0], []]])
def test_empty_rounds_are_refused(rounds: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="non-empty"):
        interval(rounds)


def test_repetitions_follow_the_spread() -> None:
    rng = np.random.default_rng(3)
    narrow, wide = rng.normal(100, 1, 500), rng.normal(100, 10, 500)
    few = repetitions_for(narrow, rounds=3, half_width=0.01)
    many = repetitions_for(wide, rounds=3, half_width=0.01)
    assert many == pytest.approx(100 * few, rel=0.5)
    # That many samples do give the wished interval.
    found = interval([rng.normal(100, 10, 3 * many)])
    assert found.relative_width / 2 == pytest.approx(0.01, rel=0.3)
    assert repetitions_for([0, 0], rounds=3, half_width=0.01) == 1
    assert repetitions_for([5, 5, 5], rounds=3, half_width=0.01) == 1


def test_drift_of_the_reference() -> None:
    assert drift(10.0, [10.0]) == 0  # nothing to hold the first one against
    assert drift(12.0, [10.0, 10.0, 12.0]) == pytest.approx(0.2)
    assert drift(8.0, [10.0, 10.0, 8.0]) == pytest.approx(-0.2)  # faster than usual
    assert drift(10.0, [10.0, 30.0, 11.0, 20.0, 10.0]) == pytest.approx(10 / 11 - 1)
    assert drift(0.0, [0.0, 0.0]) == 0


def test_the_anchor_holds_each_workload_against_its_own_latest_readings() -> None:
    def reading(step: int, gigabytes: float) -> list[Any]:
        return [
            measurement([ns] * 5, workload=w, bandwidth_bytes_per_s=gigabytes * 1e9)
            for w, ns in ((prefill(16), 10 * step), (decode(8), step))
        ]

    anchor = Anchor([m for step in (100, 100, 100) for m in reading(step, 20 + step / 1e6)])
    found = anchor.read(reading(130, 10))
    assert found.drifts == {prefill(16): pytest.approx(0.3), decode(8): pytest.approx(0.3)}
    assert found.bandwidth_drift == pytest.approx(0.33, abs=0.01)
    for _ in range(6):
        found = anchor.read(reading(130, 10))
    assert set(found.drifts.values()) == {0.0}
    complete = found.complete(measurement([1], workload=decode(8)))
    assert (complete.drift, complete.bandwidth_bytes_per_s) == (0.0, 10e9)
    assert found.complete(measurement([1], workload=decode(99))).drift is None
    silent = Anchor().read([measurement([5], workload=prefill(16))])
    assert (silent.bandwidth_bytes_per_s, silent.bandwidth_drift) == (None, None)


@settings(deadline=None)  # the first example loads scipy.stats
@given(st.permutations(range(8)))
def test_rank_correlation_of_orders_is_the_closed_form(order: list[int]) -> None:
    squares = sum((i - place) ** 2 for i, place in enumerate(order))
    expected = 1 - 6 * squares / (8 * (8**2 - 1))
    assert spearman(range(8), np.exp(order)) == pytest.approx(expected)


def test_what_does_not_vary_has_no_rank_correlation() -> None:
    assert spearman([1, 2, 3], [5, 5, 5]) is spearman([5, 5, 5], [1, 2, 3]) is None
    assert spearman([1, 2, 2, 3], [1, 2, 2, 3]) == pytest.approx(1)
