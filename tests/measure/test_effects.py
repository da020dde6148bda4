"""The comparison of shapes on simulated rounds, whose truth is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phonelm_search.core.statistics import Floats
from phonelm_search.measure.effects import Effects, Observations, fit_effects
from phonelm_search.measure.sparse_effects import SparseEffects

SHAPES, TOGETHER = 16, 4


def simulated(
    random: np.random.Generator, *, rounds: int = 3, disturbed: float = 0.05, first: float = 0.0
) -> tuple[Floats, Observations]:
    """Shapes in changing company, an anchor in every process, processes 5 to 20 % apart.

    Returns:
        The shapes' true logarithms, the anchor's last; and what was seen of them.
    """
    truth = random.normal(0, 0.3, SHAPES + 1)
    y, shapes, processes, made_first = [], [], [], []
    for _ in range(rounds):
        for part in random.permutation(SHAPES).reshape(-1, TOGETHER):
            process = processes[-1] + 1 if processes else 0
            slower = 0.1 * random.standard_t(3)
            for place, shape in enumerate([*part, SHAPES]):
                rest = 0.01 * random.standard_t(4) / np.sqrt(2)
                burst = abs(random.normal(0, 0.1)) * (random.random() < disturbed)
                y.append(truth[shape] + slower + rest + burst + first * (place == 0))
                shapes.append(shape)
                processes.append(process)
                made_first.append(float(place == 0))
    return truth, Observations(
        log_ms=np.array(y),
        shapes=np.array(shapes),
        processes=np.array(processes),
        covariates=np.array(made_first)[:, None],
        covariate_deviations=np.array([0.1]),
    )


def alone(log_ms: Floats, shapes: list[int], processes: list[int]) -> Observations:
    """Rounds without covariates."""
    return Observations(
        log_ms=log_ms,
        shapes=np.array(shapes),
        processes=np.array(processes),
        covariates=np.zeros((len(log_ms), 0)),
        covariate_deviations=np.zeros(0),
    )


def differences(found: Effects) -> Floats:
    """``[draws, pairs]``."""
    a, b = np.triu_indices(found.shapes.shape[1], 1)
    drawn: Floats = found.shapes[:, a] - found.shapes[:, b]
    return drawn


@pytest.mark.parametrize("options", [{}, {"disturbed": 0.2}, {"rounds": 2}], ids=str)
def test_intervals_of_differences_hold_the_truth_as_often_as_they_say(
    options: dict[str, Any],
) -> None:
    random = np.random.default_rng(0)
    held, width = [], []
    for seed in range(6):
        truth, rounds = simulated(random, **options)
        drawn = differences(fit_effects(rounds, seed=seed))
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        a, b = np.triu_indices(len(truth), 1)
        held.append(((low <= truth[a] - truth[b]) & (truth[a] - truth[b] <= high)).mean())
        width.append(np.median(high - low))
    assert 0.9 <= np.mean(held) <= 0.995
    # Processes are 10 to 20 % apart; what they share is taken out.
    assert np.median(width) < 0.15


def test_what_a_process_shares_is_no_difference_of_its_shapes() -> None:
    _, rounds = simulated(np.random.default_rng(1), disturbed=0.0)
    shift = np.random.default_rng(2).normal(0, 0.5, rounds.processes.max() + 1)
    moved = replace(rounds, log_ms=rounds.log_ms + shift[rounds.processes])
    before, after = (differences(fit_effects(r)) for r in (rounds, moved))
    assert np.abs(before.mean(0) - after.mean(0)).max() < 0.02


def test_a_round_that_was_disturbed_alone_counts_less_and_moves_little() -> None:
    truth, rounds = simulated(np.random.default_rng(3), disturbed=0.0)
    spoilt = rounds.log_ms.copy()
    spoilt[7] += 0.7
    found = fit_effects(replace(rounds, log_ms=spoilt))
    assert found.weights[7] < 0.05 < 0.3 < np.median(found.weights)
    error = found.shapes.mean(0) - truth
    assert abs(error[rounds.shapes[7]] - np.median(error)) < 0.03


def test_a_session_that_is_made_first_is_told_apart_from_its_shape() -> None:
    random = np.random.default_rng(4)
    truth, rounds = simulated(random, rounds=4, first=0.12, disturbed=0.0)
    found = fit_effects(rounds)
    assert found.covariates.mean() == pytest.approx(0.12, abs=0.02)
    error = found.shapes.mean(0) - truth
    assert np.ptp(error) < 0.06


def test_shapes_that_never_met_are_joined_by_the_anchor() -> None:
    # Two processes of other shapes; the second is twice as slow as a whole.
    y = np.log([1.0, 2.0, 4.0, 2 * 3.0, 2 * 5.0, 2 * 4.0])
    rounds = alone(y, [0, 1, 4, 2, 3, 4], [0, 0, 0, 1, 1, 1])
    shapes = np.exp(fit_effects(rounds).shapes)
    ratios = np.median(shapes / shapes[:, [4]], axis=0)
    assert ratios[:4] == pytest.approx([0.25, 0.5, 0.75, 1.25], rel=0.03)


def test_one_round_alone_has_an_interval_all_the_same() -> None:
    rounds = alone(np.log([10.0, 20.0]), [0, 1], [0, 0])
    drawn = np.exp(differences(fit_effects(rounds))[:, 0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert low < 0.5 < high
    assert 0.02 < (high - low) / 0.5 < 0.3


def test_the_same_rounds_give_the_same_draws() -> None:
    _, rounds = simulated(np.random.default_rng(5))
    first, again = (fit_effects(rounds) for _ in range(2))
    assert (first.shapes == again.shapes).all()
    assert (first.shapes != fit_effects(rounds, seed=1).shapes).any()


def test_draws_without_a_matrix_of_all_have_the_mean_and_covariance_of_the_equations() -> None:
    """Against the dense normal equations, whose inverse is the covariance."""
    _, rounds = simulated(np.random.default_rng(3), first=0.03)
    random, chains, spread2 = np.random.default_rng(1), 4000, 0.05**2
    precision = random.gamma(2, 0.5 / 0.012**2, len(rounds.log_ms))
    information = 1 / rounds.covariate_deviations**2
    counts = [int(index.max()) + 1 for index in (rounds.shapes, rounds.processes)]
    design = np.concatenate(
        [np.eye(counts[0])[rounds.shapes], rounds.covariates, np.eye(counts[1])[rounds.processes]],
        axis=1,
    )
    prior = np.concatenate([np.zeros(counts[0]), information, np.full(counts[1], 1 / spread2)])
    matrix = design.T @ (precision[:, None] * design) + np.diag(prior)
    mean = np.linalg.solve(matrix, design.T @ (precision * rounds.log_ms))
    covariance = np.linalg.inv(matrix)
    sparse = SparseEffects(
        rounds.shapes, rounds.processes, rounds.covariates, information, chains
    )  # fmt: skip
    start = (
        np.zeros((chains, counts[0])), np.zeros((chains, 1)), np.zeros((chains, counts[1])),
    )  # fmt: skip
    weighted = np.tile(precision, (chains, 1))
    drawn = sparse.draw(rounds.log_ms, weighted, np.full(chains, spread2), start, random)
    found = np.concatenate(drawn, axis=1)
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs(found.mean(axis=0) - mean).max() < 4.5 * deviation.max() / np.sqrt(chains)
    off = (np.cov(found, rowvar=False) - covariance) / np.outer(deviation, deviation)
    assert np.abs(off).max() < 0.12  # the deviation of a covariance of 4000 draws is 0.02


def test_many_shapes_are_told_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rounds = simulated(np.random.default_rng(3), first=0.03)
    dense = fit_effects(rounds, seed=1)
    monkeypatch.setattr("phonelm_search.measure.effects._MOST_DENSE", 2)
    sparse = fit_effects(rounds, seed=1)
    one, other = differences(sparse), differences(dense)
    width = other.std(axis=0)
    assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) < 0.5 * width).all()
    assert np.median(one.std(axis=0) / width) == pytest.approx(1, abs=0.1)
    for name in ("rest", "spread"):
        told = [np.median(getattr(e, name)) for e in (sparse, dense)]
        assert told[0] == pytest.approx(told[1], rel=0.2), name
