"""Effects of shapes and of processes on latency, from all rounds of a place together.

Rounds of one process share nine tenths of their noise: a process is slow or fast as a whole
(results/LOG.md). So the logarithm of a round's median is taken as

    shape + process + covariates + rest

with process effects normal around 0, and the rest Student-t, so that a round that was disturbed
alone counts less. All is sampled at once by Gibbs steps, the t as a mixture of normals (Geweke,
Bayesian Treatment of the Independent Student-t Linear Model, 1993) and the processes integrated out
where shapes are drawn (Henderson's equations). What is common to a process leaves no trace in the
difference of two shapes that shared it; shapes that never met are joined by those that both met.

Tails and scale of the rest are drawn with the mixture's weights integrated out (van Dyk & Park,
Partially Collapsed Gibbs Samplers, 2008): given the weights they stick.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats
from phonelm_search.measure.sparse_effects import SparseEffects

Indices = npt.NDArray[np.intp]

_CHAINS = 20
_BURN_IN, _KEPT = 50, 50  # steps of each chain
DRAWS = _CHAINS * _KEPT
_FREEDOM = np.array([2.5, 4.0, 8.0, 16.0, 64.0])
_LOG_T = np.array(
    [math.lgamma((f + 1) / 2) - math.lgamma(f / 2) - math.log(f) / 2 for f in _FREEDOM]
)
_QUARTILE2 = np.array([0.7845, 0.7407, 0.7064, 0.6901, 0.6785]) ** 2
_MOST_DENSE = 64
"""Shapes that are drawn by a matrix of all of them; more are drawn by conjugate gradients."""
# Priors as weak as a few rounds; what they are worth where there is but one round is its interval.
_REST, _REST_WEIGHT = 0.012, 2.0  # deviation of the rest, as measured on shared machines
_PROCESS, _PROCESS_WEIGHT = 0.05, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Medians of rounds; all arrays are ``[rounds]``."""

    log_ms: Floats
    """Logarithm of each round's median."""
    shapes: Indices
    """Index of its shape."""
    processes: Indices
    """Index of its process."""
    covariates: Floats
    """``[rounds, k]``: what else may move a round, such as whether its session was made first."""
    covariate_deviations: Floats
    """``[k]``: deviation of each covariate's coefficient before anything is seen."""


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


def fit_effects(rounds: Observations, *, seed: int = 0) -> Effects:
    """Sample the effects of rounds.

    Args:
        rounds: At least one; every index from 0 on occurs.
        seed: The same rounds and seed give the same draws.
    """
    sampler = _Sampler(rounds, np.random.default_rng(seed))
    for _ in range(_BURN_IN):
        sampler.step()
    kept = []
    weights = np.zeros(len(rounds.log_ms))
    for _ in range(_KEPT):
        sampler.step()
        kept.append(sampler.state())
        weights += sampler.weights.sum(axis=0) / DRAWS
    shapes, processes, covariates, rest, spread = (
        np.concatenate(x) for x in zip(*kept, strict=True)
    )
    kept.clear()
    # The usual process is the median one: a few that were much disturbed don't move it.
    usual = np.median(processes, axis=1, keepdims=True)
    return Effects(
        shapes=shapes + usual, processes=processes - usual, covariates=covariates,
        rest=rest, spread=spread, weights=weights,
    )  # fmt: skip


class _Sampler:
    """Chains side by side, from starts near the data that differ in their tails.

    Arrays have the chains first: a step of twenty costs little more than that of one.
    """

    def __init__(self, rounds: Observations, random: np.random.Generator) -> None:
        x = rounds.covariates
        self._x, self._random = x, random
        self._information = 1 / rounds.covariate_deviations**2
        self._shapes, self._processes = rounds.shapes, rounds.processes
        self._of_shape = _Groups(rounds.shapes)
        self._of_process = _Groups(rounds.processes)
        self._sparse: SparseEffects | None = None
        if self._of_shape.count > _MOST_DENSE:
            self._sparse = SparseEffects(
                rounds.shapes, rounds.processes, x, self._information, _CHAINS
            )
        else:
            self._of_cell = _Groups(
                rounds.processes * self._of_shape.count + rounds.shapes,
                self._of_process.count * self._of_shape.count,
            )
        self._middle = float(np.median(rounds.log_ms))
        self._y = rounds.log_ms - self._middle
        self._weights = np.ones((_CHAINS, len(self._y)))
        self._indices = np.resize(np.arange(len(_FREEDOM)), _CHAINS)
        self._rest2 = np.full(_CHAINS, (2 * _REST) ** 2)
        self._spread2 = np.full(_CHAINS, (2 * _PROCESS) ** 2)
        self._effects = np.zeros((_CHAINS, self._of_shape.count + x.shape[1]))
        self._process_effects = np.zeros((_CHAINS, self._of_process.count))

    def state(self) -> tuple[Floats, ...]:
        """Shapes, processes, covariates, scale of the rest, deviation between processes.

        A row for each chain.
        """
        count = self._of_shape.count
        return (
            self._effects[:, :count] + self._middle,
            self._process_effects,
            self._effects[:, count:],
            np.sqrt(self._rest2),
            np.sqrt(self._spread2),
        )

    @property
    def weights(self) -> Floats:
        """``[chains, rounds]``: how much each round counts."""
        return self._weights

    def step(self) -> None:
        """Draw everything once, each given all else."""
        precision = self._weights / self._rest2[:, None]
        if self._sparse is None:
            self._draw_in_turn(precision)
        else:
            self._draw_at_once(self._sparse, precision)
        count = self._of_shape.count
        fixed = self._effects[:, self._shapes] + self._effects[:, count:] @ self._x.T
        self._draw_scales((self._y - fixed - self._process_effects[:, self._processes]) ** 2)

    def _draw_at_once(self, sparse: SparseEffects, precision: Floats) -> None:
        count = self._of_shape.count
        shapes, coefficients, self._process_effects = sparse.draw(
            self._y, precision, self._spread2,
            (self._effects[:, :count], self._effects[:, count:], self._process_effects),
            self._random,
        )  # fmt: skip
        self._effects = np.concatenate([shapes, coefficients], axis=1)

    def _draw_in_turn(self, precision: Floats) -> None:
        """Shapes and covariates, then processes."""
        of_process = self._of_process.sums(precision) + 1 / self._spread2[:, None]
        self._effects = self._draw_effects(precision, of_process)
        count = self._of_shape.count
        fixed = self._effects[:, self._shapes] + self._effects[:, count:] @ self._x.T
        left = self._of_process.sums(precision * (self._y - fixed))
        noise = self._random.standard_normal(left.shape)
        self._process_effects = left / of_process + noise / np.sqrt(of_process)

    def _draw_effects(self, precision: Floats, of_process: Floats) -> Floats:
        """Shapes and covariates, with the processes integrated out."""
        count = self._of_shape.count
        cells = self._of_cell.sums(precision).reshape(_CHAINS, -1, count)
        matrix = np.zeros((_CHAINS, *2 * (count + self._x.shape[1],)))
        matrix[:, range(count), range(count)] = self._of_shape.sums(precision)
        pulled = precision * self._y
        side = [self._of_shape.sums(pulled), pulled @ self._x]
        crossed = []
        for k, (column, known) in enumerate(zip(self._x.T, self._information, strict=True), count):
            beside = precision * column
            matrix[:, k, :count] = matrix[:, :count, k] = self._of_shape.sums(beside)
            matrix[:, k, count:] = beside @ self._x
            matrix[:, k, k] += known
            crossed.append(self._of_process.sums(beside)[:, :, None])
        cells = np.concatenate([cells, *crossed], axis=2)
        turned = (cells / of_process[:, :, None]).swapaxes(1, 2)
        matrix -= turned @ cells
        common = turned @ self._of_process.sums(pulled)[:, :, None]
        wanted = np.concatenate(side, axis=1)[:, :, None] - common
        lower = np.linalg.cholesky(matrix)
        half = np.asarray(np.linalg.solve(lower, wanted), float)
        half += self._random.standard_normal(half.shape)
        return np.asarray(np.linalg.solve(lower.swapaxes(1, 2), half), float)[:, :, 0]

    def _draw_scales(self, squares: Floats) -> None:
        random, count = self._random, squares.shape[1]
        self._draw_tails(squares)
        freedom = _FREEDOM[self._indices][:, None]
        rate = (freedom + squares / self._rest2[:, None]) / 2
        self._weights = random.standard_gamma((freedom + 1) / 2, rate.shape) / rate
        total = _REST_WEIGHT * _REST**2 + (self._weights * squares).sum(axis=1) / 2
        self._rest2 = total / random.standard_gamma(_REST_WEIGHT + count / 2, _CHAINS)
        total = _PROCESS_WEIGHT * _PROCESS**2 + (self._process_effects**2).sum(axis=1) / 2
        processes = self._of_process.count
        self._spread2 = total / random.standard_gamma(_PROCESS_WEIGHT + processes / 2, _CHAINS)

    def _draw_tails(self, squares: Floats) -> None:
        """Degrees of freedom and the scale, with the weights integrated out.

        Given the weights both would hardly move. A change of the tails keeps the quartiles.
        """
        random = self._random
        rest2 = (self._rest2 / _QUARTILE2[self._indices])[:, None] * _QUARTILE2
        score = _log_density(squares[:, None, :], _FREEDOM, _LOG_T, rest2)
        # The largest of sums with Gumbel noise is a draw by their exponentials.
        self._indices = np.argmax(score + random.gumbel(size=score.shape), axis=1)
        chains = range(_CHAINS)
        now, self._rest2 = score[chains, self._indices], rest2[chains, self._indices]
        step = 3 / math.sqrt(squares.shape[1])  # a Metropolis step as wide as what it looks for
        moved = self._rest2 * np.exp(step * random.standard_normal(_CHAINS))
        then = _log_density(squares, _FREEDOM[self._indices], _LOG_T[self._indices], moved)
        taken = np.log(random.random(_CHAINS)) < then - now
        self._rest2 = np.where(taken, moved, self._rest2)


def _log_density(squares: Floats, freedom: Floats, log_t: Floats, rest2: Floats) -> Floats:
    """Of squares of t-distributed rests and of the prior, by the logarithm of their scale."""
    far = np.log1p(squares / (freedom * rest2)[..., None]).sum(axis=-1)
    density: Floats = squares.shape[-1] * (log_t - np.log(rest2) / 2) - (freedom + 1) / 2 * far
    density -= _REST_WEIGHT * (np.log(rest2) + _REST**2 / rest2)  # the prior
    return density


class _Groups:
    """Rounds by an index: sums of each group, in every chain."""

    def __init__(self, index: Indices, count: int | None = None) -> None:
        self.count = int(index.max()) + 1 if count is None else count
        self._index = (np.arange(_CHAINS)[:, None] * self.count + index).ravel()

    def sums(self, values: Floats) -> Floats:
        """``[chains, groups]`` of ``[chains, rounds]``."""
        found = np.bincount(self._index, values.ravel(), _CHAINS * self.count)
        return np.asarray(found, float).reshape(_CHAINS, self.count)
