"""Blocks tell whole models: the fit, the roofline and the choice of depths against closed forms."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import small_shape
from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.precision import get_precision
from phonelm_search.core.workload import Workload, decode, prefill
from phonelm_search.measure import MeasureSettings
from phonelm_search.speed import Costs, Roofline
from phonelm_search.speed.block import Block, blocks_of, head_of, layer_of
from phonelm_search.speed.fit import Observation, fit_group
from phonelm_search.speed.plan import choose_depths
from phonelm_search.speed.roofline import features, fit_roofline

INT4 = get_precision("int4-b32")


def seen(block: str, depth: int, ms: float, deviation: float = 0.01, seed: int = 0) -> Observation:
    rng = np.random.default_rng([seed, depth, *block.encode()])
    return Observation(
        block=block,
        depth=depth,
        median_ms=ms,
        draws_ms=tuple((ms + deviation * rng.standard_normal(1000)).tolist()),
    )


@given(
    st.floats(0.1, 10),
    st.lists(st.floats(0.01, 5), min_size=1, max_size=5),
    st.integers(1, 3),
    st.integers(4, 12),
)
def test_exact_latencies_give_exact_estimates(
    intercept: float, slopes: list[float], low: int, high: int
) -> None:
    observations = [seen("b0", low, intercept + low * slopes[0], 0.0)]
    observations += [seen(f"b{i}", high, intercept + high * s, 0.0) for i, s in enumerate(slopes)]
    fit = fit_group(observations)
    assert fit.intercept_ms == pytest.approx(intercept, rel=1e-6, abs=1e-9)
    for i, slope in enumerate(slopes):
        assert fit.slope_ms(f"b{i}") == pytest.approx(slope, rel=1e-6)
        middle, lower, upper = fit.predict(f"b{i}", 40)
        assert middle == pytest.approx(intercept + 40 * slope, rel=1e-6)
        assert lower <= middle <= upper


def test_the_interval_is_the_closed_forms() -> None:
    deviation, low, high, depth = 0.02, 2, 8, 24
    fit = fit_group([seen("b", low, 2.0, deviation), seen("b", high, 5.0, deviation)])
    middle, lower, upper = fit.predict("b", depth)
    share = (depth - low) / (high - low)
    expected = deviation * np.hypot(share, 1 - share)
    assert middle == pytest.approx(13.0)
    assert (upper - lower) / (2 * 1.96) == pytest.approx(expected, rel=0.1)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        noise = 0.02 * rng.standard_normal(4)
        truth = {("a", 2): 3.0, ("a", 6): 5.0, ("b", 2): 4.0, ("b", 6): 8.0}
        fit = fit_group(
            [
                seen(b, k, ms + e, 0.02, trial)
                for ((b, k), ms), e in zip(truth.items(), noise, strict=True)
            ]
        )
        _, low, high = fit.predict("b", 12)
        hits += low <= 14.0 <= high
    assert 0.90 <= hits / 200 <= 0.99


def test_a_pooled_intercept_narrows_the_estimate() -> None:
    alone = fit_group([seen("a", 2, 3.0, 0.05), seen("a", 4, 4.0, 0.05)])
    others = [seen(f"o{i}", k, 2.0 + 0.5 * k, 0.05, i) for i in range(8) for k in (2, 4)]
    pooled = fit_group([seen("a", 2, 3.0, 0.05), seen("a", 4, 4.0, 0.05), *others])

    def width(interval: tuple[float, float, float]) -> float:
        return interval[2] - interval[1]

    assert width(pooled.predict("a", 12)) < 0.85 * width(alone.predict("a", 12))


def test_an_intercept_that_nothing_tells_is_refused() -> None:
    with pytest.raises(MeasurementError, match="one block of the width at two depths, got 2 blo"):
        fit_group([seen("a", 4, 3.0), seen("b", 4, 4.0)])


def test_blocks_are_shapes_without_their_depth() -> None:
    shapes = [small_shape(num_hidden_layers=n) for n in (3, 9, 3)]
    other = small_shape(num_key_value_heads=4)
    found = blocks_of([*shapes, other])
    assert [(b.layer, b.depths) for b in found] == [
        (layer_of(shapes[0]), (3, 9)),
        (layer_of(other), (2,)),
    ]
    assert found[0].at(9) == shapes[1]
    assert found[0].group == found[1].group == head_of(other)
    assert head_of(small_shape(vocab_size=640)) != found[0].group


PRICES = Roofline(ns_per_byte=0.05, ns_per_flop=0.01, ns_per_kv_byte=0.1, ns_per_operator=2000.0)


def test_the_roofline_finds_the_prices_that_made_the_latencies() -> None:
    work = [prefill(16), prefill(128), decode(64), decode(2000)]
    shapes = [small_shape(num_hidden_layers=n, hidden_size=h) for n in (1, 7) for h in (64, 256)]
    rows = [features(s, INT4, w) for s in shapes for w in work]
    found = fit_roofline(rows, [PRICES.milliseconds(s, INT4, w) for s in shapes for w in work])
    assert found.ns_per_byte == pytest.approx(0.05, rel=1e-3)
    assert found.ns_per_flop == pytest.approx(0.01, rel=1e-3)
    assert found.ns_per_kv_byte == pytest.approx(0.1, rel=1e-3)
    assert found.ns_per_operator == pytest.approx(2000, rel=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_prices_are_the_best_of_all_that_are_not_negative(seed: int) -> None:
    """Against every subset of prices, solved without the constraint."""
    rng = np.random.default_rng(seed)
    shapes = [small_shape(num_hidden_layers=int(n)) for n in rng.integers(1, 30, 4)]
    work = [prefill(16), prefill(128), decode(64), decode(2000)]
    rows = np.array([features(s, INT4, w) for s in shapes for w in work])
    exact = np.array([PRICES.milliseconds(s, INT4, w) for s in shapes for w in work])
    ms = exact * np.exp(0.5 * rng.standard_normal(len(exact)))
    design = rows / (1e6 * ms)[:, None]

    def error(columns: tuple[int, ...]) -> float:
        part, *_ = np.linalg.lstsq(design[:, columns], np.ones(len(ms)), rcond=None)
        if (part < 0).any():
            return np.inf
        return float(np.square(design[:, columns] @ part - 1).sum())

    found = fit_roofline(list(rows), ms.tolist())
    prices = [found.ns_per_byte, found.ns_per_flop, found.ns_per_kv_byte, found.ns_per_operator]
    subsets = (c for size in (1, 2, 3, 4) for c in combinations(range(4), size))
    assert np.square(design @ prices - 1).sum() == pytest.approx(min(map(error, subsets)))
    assert min(prices) >= 0


def test_no_price_is_negative_and_without_measurements_there_is_a_default() -> None:
    rows = [features(small_shape(num_hidden_layers=n), INT4, decode(8)) for n in (1, 2, 4)]
    found = fit_roofline(rows, [9.0, 5.0, 1.0])
    assert min(found.ns_per_byte, found.ns_per_flop, found.ns_per_kv_byte) >= 0
    assert found.ns_per_operator >= 0
    assert fit_roofline([], []) == Roofline()


def costs(cache_bytes: int = 2**16) -> Costs:
    return Costs(
        roofline=Roofline(), scheme=INT4, cache_bytes=cache_bytes, settings=MeasureSettings()
    )


BIG = small_shape(
    hidden_size=1024, intermediate_size=4096, num_attention_heads=16, num_key_value_heads=16,
    head_dim=64, vocab_size=32000,
)  # fmt: skip
WORK = (prefill(256), decode(320))


def test_a_deep_model_is_cut_and_a_shallow_one_measured_whole() -> None:
    deep = Block(layer=layer_of(BIG), depths=(40,))
    shallow = Block(layer=layer_of(BIG), depths=(2,))
    assert choose_depths(shallow, WORK, costs(), intercept_known=False) == (2,)
    chosen = choose_depths(deep, WORK, costs(), intercept_known=False)
    assert len(chosen) == 2
    assert chosen[0] < chosen[1] < 40


def test_the_chosen_depths_have_the_narrowest_estimate_for_their_seconds() -> None:
    """Against the variance of a line through two points, written out."""
    deep, price = Block(layer=layer_of(BIG), depths=(40,)), costs()

    def ms(depth: int, work: Workload) -> float:
        return price.roofline.milliseconds(deep.at(depth), INT4, work)

    def worth(low: int, high: int) -> float:
        seconds = sum(price.seconds(deep.at(k), WORK, truncated=True) for k in (low, high))
        variances = []
        for w in WORK:
            estimate = [ms(low, w) * (40 - high), ms(high, w) * (40 - low)]
            variances.append((np.hypot(*estimate) / (high - low) / ms(40, w)) ** 2)
        return float(max(variances)) * seconds

    chosen = choose_depths(deep, WORK, price, intercept_known=False)
    best = min(combinations(range(1, 40), 2), key=lambda pair: worth(*pair))
    assert worth(*chosen) == pytest.approx(worth(*best), rel=1e-6)


def test_a_known_intercept_saves_a_depth() -> None:
    for depths in ((24,), tuple(range(4, 25))):
        block = Block(layer=layer_of(BIG), depths=depths)
        assert len(choose_depths(block, WORK, costs(), intercept_known=False)) == 2
        assert len(choose_depths(block, WORK, costs(), intercept_known=True)) == 1


def test_a_truncated_model_costs_less() -> None:
    assert costs().seconds(BIG, WORK, truncated=True) < 0.7 * costs().seconds(BIG, WORK)
