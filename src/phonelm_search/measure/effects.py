"""Effects of shapes and of processes on latency, from all rounds of a place together.

Rounds of one process share nine tenths of their noise: a process is slow or fast as a whole
(results/LOG.md). So the logarithm of a round's median is taken as

    shape + process + covariates + rest

with process effects normal around 0, and the rest Student-t, so that a round that was disturbed
alone counts less. All is sampled at once by Gibbs steps, the t as a mixture of normals (Geweke,
Bayesian Treatment of the Independent Student-t Linear Model, 1993) and the processes integrated out
where shapes are drawn (Henderson's equations). What is common to a process leaves no trace in the
difference of two shapes that shared it; shapes that never met are joined by those that both met.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats

Indices = npt.NDArray[np.intp]

DRAWS = 1000
_BURN_IN = 200
_FREEDOM = np.array([2.5, 4.0, 8.0, 16.0, 64.0])
_LOG_GAMMA = np.array([math.lgamma(f / 2) for f in _FREEDOM])
# Priors as weak as a few rounds; what they are worth where there is but one round is its interval.
_REST, _REST_WEIGHT = 0.012, 2.0  # deviation of the rest, as measured on shared machines
_PROCESS, _PROCESS_WEIGHT = 0.05, 1.0
_COVARIATE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Medians of rounds; all arrays are ``[rounds]``."""

    log_ms: Floats
    """Logarithm of each round's median."""
    shapes: Indices
    """Index of its shape."""
    processes: Indices
    """Index of its process."""
    covariates: Floats | None = None
    """``[rounds, k]``: what else may move a round, such as whether its session was made first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Draws from the joint posterior; the same row of all arrays belongs together."""

    shapes: Floats
    """``[draws, shapes]``: logarithm of milliseconds in the usual process."""
    processes: Floats
    """``[draws, processes]``: how much slower than usual, as a logarithm."""
    covariates: Floats
    """``[draws, k]``: their coefficients."""
    rest: Floats
    """``[draws]``: scale of the rest."""
    spread: Floats
    """``[draws]``: deviation between processes."""
    weights: Floats
    """``[rounds]``: how much each round counts; 1 usually, near 0 where it was disturbed alone."""


def fit_effects(rounds: Observations, *, draws: int = DRAWS, seed: int = 0) -> Effects:
    """Sample the effects of rounds.

    Args:
        rounds: At least one; every index from 0 on occurs.
        draws: How many to keep.
        seed: The same rounds and seed give the same draws.
    """
    sampler = _Sampler(rounds, np.random.default_rng(seed))
    for _ in range(_BURN_IN):
        sampler.step()
    kept = []
    weights = np.zeros_like(rounds.log_ms)
    for _ in range(draws):
        sampler.step()
        weights += sampler.weights / draws
        kept.append(sampler.state())
    shapes, processes, covariates, rest, spread = (np.array(x) for x in zip(*kept, strict=True))
    # The usual process is the median one: a few that were much disturbed don't move it.
    usual = np.median(processes, axis=1, keepdims=True)
    return Effects(
        shapes=shapes + usual, processes=processes - usual, covariates=covariates,
        rest=rest, spread=spread, weights=weights,
    )  # fmt: skip


class _Sampler:
    """One chain, from a start near the data."""

    def __init__(self, rounds: Observations, random: np.random.Generator) -> None:
        self._shapes, self._processes = rounds.shapes, rounds.processes
        self._count = int(self._shapes.max()) + 1, int(self._processes.max()) + 1
        self._middle = float(np.median(rounds.log_ms))
        self._y = rounds.log_ms - self._middle
        self._x = np.zeros((len(self._y), 0)) if rounds.covariates is None else rounds.covariates
        self._random = random
        self.weights = np.ones(len(self._y))
        self._freedom = 4.0
        self._rest2, self._spread2 = (2 * _REST) ** 2, (2 * _PROCESS) ** 2
        self._effects = np.zeros(self._count[0] + self._x.shape[1])
        self._process_effects = np.zeros(self._count[1])

    def state(self) -> tuple[Floats, Floats, Floats, float, float]:
        """Shapes, processes, covariates, scale of the rest, deviation between processes."""
        return (
            self._effects[: self._count[0]] + self._middle,
            self._process_effects,
            self._effects[self._count[0] :],
            float(np.sqrt(self._rest2)),
            float(np.sqrt(self._spread2)),
        )

    def step(self) -> None:
        """Draw everything once, each given all else."""
        precision = self.weights / self._rest2
        shared = np.bincount(self._processes, precision, self._count[1])
        of_process: Floats = np.asarray(shared, float) + 1 / self._spread2
        self._effects = self._draw_effects(precision, of_process)
        fixed = self._effects[self._shapes] + self._x @ self._effects[self._count[0] :]
        left = np.bincount(self._processes, precision * (self._y - fixed), self._count[1])
        noise = self._random.standard_normal(self._count[1])
        self._process_effects = left / of_process + noise / np.sqrt(of_process)
        squares = (self._y - fixed - self._process_effects[self._processes]) ** 2
        self._draw_scales(squares)

    def _draw_effects(self, precision: Floats, of_process: Floats) -> Floats:
        """Shapes and covariates, with the processes integrated out."""
        count, processes = self._count
        cells = np.bincount(
            self._processes * count + self._shapes, precision, processes * count
        ).reshape(processes, count)
        weighted = precision[:, None] * self._x
        crossed = np.zeros((processes, self._x.shape[1]))
        np.add.at(crossed, self._processes, weighted)
        beside = np.zeros((count, self._x.shape[1]))
        np.add.at(beside, self._shapes, weighted)
        inner = self._x.T @ weighted + np.eye(self._x.shape[1]) / _COVARIATE**2
        diagonal = np.diag(np.bincount(self._shapes, precision, count))
        matrix = np.block([[diagonal, beside], [beside.T, inner]])
        pulled = precision * self._y
        side = np.concatenate([np.bincount(self._shapes, pulled, count), self._x.T @ pulled])
        cells = np.hstack([cells, crossed])
        scaled = cells / of_process[:, None]
        matrix -= cells.T @ scaled
        side -= scaled.T @ np.bincount(self._processes, pulled, processes)
        from scipy.linalg import solve_triangular  # loaded where draws are not kept yet

        lower = np.linalg.cholesky(matrix)
        half = solve_triangular(lower, side, lower=True, check_finite=False)
        half += self._random.standard_normal(len(side))
        drawn: Floats = solve_triangular(lower.T, half, check_finite=False)
        return drawn

    def _draw_scales(self, squares: Floats) -> None:
        random, count = self._random, len(squares)
        rate = (self._freedom + squares / self._rest2) / 2
        self.weights = random.gamma((self._freedom + 1) / 2, 1 / rate)
        total = (_REST_WEIGHT * _REST**2) + float(self.weights @ squares) / 2
        self._rest2 = total / random.gamma(_REST_WEIGHT + count / 2)
        total = (
            _PROCESS_WEIGHT * _PROCESS**2 + float(self._process_effects @ self._process_effects) / 2
        )
        self._spread2 = total / random.gamma(_PROCESS_WEIGHT + self._count[1] / 2)
        half = _FREEDOM / 2
        score = count * (half * np.log(half) - _LOG_GAMMA)
        score += (half - 1) * np.log(self.weights).sum() - half * self.weights.sum()
        share = np.exp(score - score.max())
        self._freedom = float(random.choice(_FREEDOM, p=share / share.sum()))
