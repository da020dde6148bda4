"""Latency of every shape, against a made-up truth: prices, and what each shape has for itself."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest

from phonelm_search.core.precision import get_precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import decode
from phonelm_search.space import Columns, enumerate_space, load_space
from phonelm_search.speed import LatencyModel
from phonelm_search.speed.features import coordinates, features
from phonelm_search.speed.prices import against_prices, far_off, fit_prices
from phonelm_search.speed.smooth import ExactSmooth, InducedSmooth, SmoothKernel, smooth

INT4 = get_precision("int4-b32")
FEASIBLE = enumerate_space(load_space("slm-100m"), INT4)
STEP = decode(320)
PRICES = np.array([1 / 12, 1 / 14, 1 / 13, 0, 0, 0, 1 / 90, 9000, 30_000])
OWN, NOISE, UNIT = 0.008, 0.02, 0.1


def truth(shapes: list[ModelShape], seed: int) -> np.ndarray:
    """Logarithm of latency: physical costs, and 0.8 % that a shape has for itself."""
    priced = np.log(features(Columns.of(shapes), INT4, STEP) @ PRICES / 1e6)
    return priced + OWN * np.random.default_rng(seed).standard_normal(len(shapes))


def measured(true: np.ndarray, seed: int, noise: float = NOISE) -> np.ndarray:
    """Draws as a comparison gives them: each shape's error, and the unit's, which all share."""
    random = np.random.default_rng(1000 + seed)
    middle = true + noise * random.standard_normal(len(true))
    draws = middle + noise * random.standard_normal((800, len(true)))
    return draws + UNIT * random.standard_normal((800, 1))


def drawn(seed: int, count: int) -> list[ModelShape]:
    rows = np.random.default_rng(seed).choice(len(FEASIBLE), count, replace=False)
    return [FEASIBLE.shape(int(row)) for row in rows]


def test_held_out_shapes_are_predicted_within_what_the_model_says() -> None:
    held, errors = [], []
    for seed in range(4):
        shapes = drawn(seed, 70)
        true = truth(shapes, seed)
        model = LatencyModel(
            Columns.of(shapes[:30]), partial(measured, true[:30], seed), INT4, STEP
        )  # fmt: skip
        found = model.predict(Columns.of(shapes[30:]))
        off = found.mean - true[30:]
        off -= np.median(off)  # the unit's own error is no shape's
        errors += list(np.abs(off))
        held += list(np.abs(off) < 1.96 * found.deviation)
    assert np.median(errors) < 0.012
    assert 0.9 < np.mean(held) <= 1.0


def test_shapes_are_told_better_by_all_than_by_their_own_rounds() -> None:
    own, pooled, held = [], [], []
    for seed in range(4):
        shapes = drawn(seed, 30)
        true = truth(shapes, seed)
        draws = measured(true, seed)
        told = LatencyModel(
            Columns.of(shapes), lambda draws=draws: draws, INT4, STEP
        ).measured_draws()
        i, j = np.triu_indices(30, 1)
        for kind, values in ((own, draws), (pooled, told)):
            difference = values[:, i] - values[:, j]
            off = difference.mean(axis=0) - (true[i] - true[j])
            kind += list(np.abs(off))
            if values is told:
                held += list(np.abs(off) < 1.96 * difference.std(axis=0))
    assert np.median(pooled) < 0.65 * np.median(own)
    assert np.mean(held) > 0.87  # prices are taken as they are found: a little too sure


def test_what_all_share_stays_in_the_draws() -> None:
    shapes = drawn(0, 20)
    draws = measured(truth(shapes, 0), 0)
    told = LatencyModel(Columns.of(shapes), lambda: draws, INT4, STEP).measured_draws()
    assert np.corrcoef(told.mean(axis=1), draws.mean(axis=1))[0, 1] > 0.99
    assert told.mean() == pytest.approx(draws.mean(), abs=0.01)


def test_a_shape_far_from_what_others_say_keeps_what_was_measured_of_it() -> None:
    shapes = drawn(1, 30)
    true = truth(shapes, 1)
    true[7] += np.log(1.3)  # a kernel off its fast path
    draws = measured(true, 1)
    told = LatencyModel(Columns.of(shapes), lambda: draws, INT4, STEP).measured_draws()
    relative = told - told.mean(axis=1, keepdims=True)
    measured_alone = draws - draws.mean(axis=1, keepdims=True)
    assert relative[:, 7].mean() == pytest.approx(measured_alone[:, 7].mean(), abs=0.05)


def test_held_out_errors_are_those_of_leaving_one_out() -> None:
    shapes = drawn(2, 24)
    draws = measured(truth(shapes, 2), 2)
    model = LatencyModel(Columns.of(shapes), lambda: draws, INT4, STEP)
    found = model.held_out
    assert len(found.errors) == 24
    assert found.noise == pytest.approx(NOISE, rel=0.15)
    assert found.median < 0.03
    assert found.median <= found.p95
    rest = [s for i, s in enumerate(shapes) if i != 5]
    without = LatencyModel(Columns.of(rest), lambda: np.delete(draws, 5, axis=1), INT4, STEP)
    told = without.predict(Columns.of([shapes[5]])).mean[0]
    assert np.expm1(told - draws[:, 5].mean()) == pytest.approx(found.errors[5], abs=0.01)


def test_too_few_shapes_are_refused() -> None:
    shapes = drawn(0, 7)
    with pytest.raises(ValueError, match="at least 8 shapes"):
        LatencyModel(Columns.of(shapes), lambda: measured(truth(shapes, 0), 0), INT4, STEP)


def test_prices_are_found_and_never_negative() -> None:
    costs = features(Columns.of(drawn(3, 60)), INT4, STEP)
    latencies = costs @ PRICES
    found = fit_prices(costs, latencies)
    assert (found >= 0).all()
    np.testing.assert_allclose(costs @ found, latencies, rtol=1e-3)


def test_prices_of_many_are_those_of_all_their_equations() -> None:
    from scipy.optimize import nnls

    costs = features(Columns.of(drawn(5, 400)), INT4, STEP)
    latencies = np.exp(truth(drawn(5, 400), 5))
    scale = costs.max(axis=0)
    expected, _ = nnls(costs / scale / latencies[:, None], np.ones(400))
    np.testing.assert_allclose(costs @ fit_prices(costs, latencies), costs / scale @ expected)


def test_what_some_of_many_tell_of_the_rest_is_a_fit_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phonelm_search.speed.smooth.MOST_EXACT", 40)
    places = coordinates(Columns.of(drawn(3, 120)))
    random = np.random.default_rng(3)
    residual, noise = random.normal(0, 0.02, 120), random.uniform(1e-4, 2e-4, 120)
    fitted = smooth(places, residual, noise)
    assert isinstance(fitted, InducedSmooth)
    rest = np.arange(120) % 10 != 4
    alone = InducedSmooth(fitted._fitted, places[rest], residual[rest], noise[rest])
    told = fitted.told_by(rest, residual)
    np.testing.assert_allclose(told, alone.predict(places[~rest])[0], rtol=0, atol=1e-9)


def test_measurements_are_held_against_prices_of_their_own_workload() -> None:
    shapes = drawn(4, 14)
    ms = np.exp(truth(shapes, 4))
    ms[3] *= 1.5
    found = [(s, STEP, float(t)) for s, t in zip(shapes, ms, strict=True)]
    ratios = against_prices(found, INT4)
    assert ratios is not None
    assert int(np.argmax(ratios)) == 3
    off = far_off(found, INT4)
    assert off[3] is not None
    assert off[3] > 1.25
    assert sum(r is not None for r in off) == 1
    assert against_prices(found[:11], INT4) is None
    assert far_off(found[:11], INT4) == [None] * 11


def test_many_shapes_are_told_by_some_of_them_as_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = drawn(5, 120)
    true = truth(shapes, 5)
    draws = measured(true, 6)
    columns, work = Columns.of(shapes), STEP
    exact = LatencyModel(columns, lambda: draws, INT4, work)
    monkeypatch.setattr("phonelm_search.speed.smooth.MOST_EXACT", 60)
    monkeypatch.setattr("phonelm_search.speed.latency_model.MOST_EXACT", 60)
    some = LatencyModel(columns, lambda: draws, INT4, work)
    others = Columns.of(drawn(7, 200))
    told, known = some.predict(others), exact.predict(others)
    assert np.abs(told.mean - known.mean).max() < 2 * np.median(known.deviation)
    assert np.median(told.deviation / known.deviation) == pytest.approx(1, abs=0.3)
    assert some.means(others) == pytest.approx(told.mean, abs=1e-6)
    joint = some.draws(others.rows(slice(0, 40)), 400)
    assert np.median(joint.std(axis=0) / told.deviation[:40]) == pytest.approx(1, abs=0.15)
    off = [float(np.abs(m.measured_draws().mean(axis=0) - true).mean()) for m in (some, exact)]
    assert off[0] < 1.25 * off[1]
    assert some.held_out.median == pytest.approx(exact.held_out.median, rel=0.5)


def test_covariances_are_those_of_the_fit() -> None:
    random = np.random.default_rng(0)
    places = coordinates(Columns.of(drawn(3, 60)))
    fitted = ExactSmooth(places, random.normal(0, 0.02, 60), random.uniform(1e-4, 2e-4, 60))
    known, others = SmoothKernel(places, fitted.theta), coordinates(Columns.of(drawn(4, 20)))
    np.testing.assert_array_equal(known.covariance(places), fitted.covariance(places))
    np.testing.assert_array_equal(
        known.covariance(places, others), fitted.covariance(places, others)
    )
    assert known.own_deviation == fitted.own_deviation


def test_a_fit_to_many_is_kept_without_their_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phonelm_search.speed.smooth.MOST_EXACT", 60)
    monkeypatch.setattr("phonelm_search.speed.latency_model.MOST_EXACT", 60)
    shapes, others, known = Columns.of(drawn(5, 120)), Columns.of(drawn(7, 50)), {}
    draws = measured(truth(drawn(5, 120), 5), 6)

    def kept(what: str, make: Callable[[], Mapping[str, Floats]]) -> Mapping[str, Floats]:
        return known[what] if what in known else known.setdefault(what, make())

    first = LatencyModel(shapes, lambda: draws, INT4, STEP, kept=kept)
    told, errors = first.predict(others), first.held_out.errors
    monkeypatch.setattr("phonelm_search.speed.smooth.ExactSmooth", None)
    again = LatencyModel(shapes, lambda: pytest.fail("draws are read"), INT4, STEP, kept=kept)
    np.testing.assert_array_equal(again.predict(others).mean, told.mean)
    np.testing.assert_array_equal(again.predict(others).deviation, told.deviation)
    np.testing.assert_array_equal(again.held_out.errors, errors)


def test_a_fit_to_few_is_kept_to_the_last_digit() -> None:
    shapes, others, known = Columns.of(drawn(5, 30)), Columns.of(drawn(7, 50)), {}
    draws = measured(truth(drawn(5, 30), 5), 6)

    def kept(what: str, make: Callable[[], Mapping[str, Floats]]) -> Mapping[str, Floats]:
        return known[what] if what in known else known.setdefault(what, make())

    alone = LatencyModel(shapes, lambda: draws, INT4, STEP)
    for _ in range(2):
        model = LatencyModel(shapes, lambda: draws, INT4, STEP, kept=kept)
        np.testing.assert_array_equal(model.predict(others).mean, alone.predict(others).mean)
        np.testing.assert_array_equal(model.held_out.errors, alone.held_out.errors)
    assert set(known) == {"exact", "held-out"}
