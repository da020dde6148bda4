"""The smooth part of latency's residual: a Gaussian process over the dimensions of shapes.

Of many shapes it is told by some of them, to which all others are data: inducing points (Quiñonero-
Candela & Rasmussen, A Unifying View of Sparse Approximate Gaussian Process Regression, 2005, FITC).
Its cost grows as the number of shapes then, not as its cube.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats, spread_over

Rows = npt.NDArray[np.bool_]

Kept = Callable[[str, Callable[[], Mapping[str, Floats]]], Mapping[str, Floats]]
"""Takes a name and what makes arrays, and gives them made now or before."""
MOST_EXACT = 256
"""Measured shapes whose covariances are all reckoned with; of more, as many stand for all."""
LEAST_OWN = 0.01
"""Deviation of what a shape has for itself, which no smooth model tells: never less than this, for
a few noisy measurements cannot show that there is none."""
_CHUNK = 20_000  # shapes at a time, for a bounded memory
_FIRST = (0.03**2, 3.0, 0.01**2)
"""Hyperparameters from which a fit begins: variance, length, variance of what is a shape's own."""
_JITTER = 1e-8  # of the variance, so that near places can be told apart


class Smooth(Protocol):
    """What is told of residuals at any place."""

    middle: float
    """What residuals are told around."""

    @property
    def own_deviation(self) -> float:
        """Of what each shape has for itself."""
        ...

    def told_by(self, rows: Rows, residual: Floats) -> Floats:
        """Mean of the residual at the places of all other data, as these rows tell it.

        The hyperparameters are those of all.
        """
        ...

    def means(self, places: Floats) -> Floats:
        """Mean of the residual."""
        ...

    def joint(self, places: Floats) -> tuple[Floats, Floats]:
        """Mean and covariance of the residual, with what each shape has for itself."""
        ...

    def predict(self, places: Floats) -> tuple[Floats, Floats]:
        """Mean and deviation of the smooth part of the residual."""
        ...

    def measured_draws(
        self,
        draws: Floats,
        middle: Floats,
        own: Floats,
        noise: Floats,
        random: np.random.Generator,
    ) -> Floats:
        """``[draws, n]``: the data by themselves and by what all others say.

        Draws of the posterior by Matheron's rule (Wilson et al., Efficiently Sampling Functions
        from Gaussian Process Posteriors, 2020): those of the prior, moved to the data.

        Args:
            draws: ``[draws, n]`` as measured.
            middle: ``[n]``, what they are told around.
            own: ``[n]``, deviations of what each shape has for itself.
            noise: ``[n, n]``, covariance of the draws; of more than `MOST_EXACT` shapes ``[n]``,
                their variances: a thousand draws do not tell how ten thousand shapes err together.
            random: Of the prior's draws.
        """
        ...


def smooth(places: Floats, residual: Floats, noise: Floats, kept: Kept | None = None) -> Smooth:
    """Fit residuals; few exactly.

    Args:
        places: ``[n, d]``
        residual: ``[n]``
        noise: ``[n]``, variances.
        kept: Keeps what a fit comes to for the next one to the same.
    """
    if len(places) <= MOST_EXACT:
        if kept is None:
            return ExactSmooth(places, residual, noise)

        def found() -> dict[str, Floats]:
            return {"values": ExactSmooth(places, residual, noise).values}

        return ExactSmooth(places, residual, noise, values=kept("exact", found)["values"])
    some = spread_over(len(places), MOST_EXACT)
    data = places[some], residual[some], noise[some]

    def fitted() -> dict[str, Floats]:
        return {"theta": ExactSmooth(*data).theta}

    theta = (fitted() if kept is None else kept("kernel", fitted))["theta"]
    return InducedSmooth(SmoothKernel(places[some], theta), places, residual, noise, kept)


def _middle(residual: Floats, noise: Floats) -> float:
    """Mean of residuals, weighted by how well each is known."""
    weight = 1 / noise
    return float(residual @ weight / weight.sum())


class ExactSmooth:
    """A Gaussian process on residuals; its few hyperparameters are fitted by their likelihood."""

    def __init__(
        self,
        places: Floats,
        residual: Floats,
        noise: Floats,
        *,
        kernel: Any = None,
        values: Floats | None = None,
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning  # takes a second to load
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self._places, self._noise = places, noise
        self._mean, self._scale = places.mean(axis=0), places.std(axis=0)
        self.middle = _middle(residual, noise)
        fitted = kernel is None and values is None
        if kernel is None:
            variance, length, own = _FIRST if values is None else values.tolist()
            smooth = ConstantKernel(variance, (1e-6, 0.1)) * Matern(length, (0.5, 50.0), nu=2.5)
            kernel = smooth + WhiteKernel(own, (LEAST_OWN**2, 0.1**2))
        self._model = GaussianProcessRegressor(
            kernel, alpha=noise, optimizer="fmin_l_bfgs_b" if fitted else None
        )
        with warnings.catch_warnings():
            # A hyperparameter at its bound says that the data want none of it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(self._scaled(places), residual - self.middle)

    def _scaled(self, places: Floats) -> Floats:
        return _scaled(places, self._mean, self._scale)

    @property
    def values(self) -> Floats:
        """The hyperparameters themselves: variance, length, variance of what is a shape's own."""
        kernel = self._model.kernel_
        smooth = kernel.k1
        return np.array([smooth.k1.constant_value, smooth.k2.length_scale, kernel.k2.noise_level])

    @property
    def theta(self) -> Floats:
        """Logarithms of the hyperparameters."""
        return np.asarray(self._model.kernel_.theta, float)

    @property
    def own_deviation(self) -> float:
        """Of what each shape has for itself."""
        return float(np.sqrt(self._model.kernel_.k2.noise_level))

    def covariance(self, a: Floats, b: Floats | None = None) -> Floats:
        """``[n, m]``: prior covariance of the smooth part at places."""
        other = None if b is None else self._scaled(b)
        found: Floats = self._model.kernel_.k1(self._scaled(a), other)
        return found

    def measured_draws(
        self,
        draws: Floats,
        middle: Floats,
        own: Floats,
        noise: Floats,
        random: np.random.Generator,
    ) -> Floats:
        """See `Smooth.measured_draws`."""
        prior: Floats = self.covariance(self._places) + np.diag(own**2)
        drawn = random.multivariate_normal(middle, prior, len(draws), method="cholesky")
        gain = np.linalg.solve(prior + noise, prior)
        found: Floats = drawn + (draws - drawn) @ gain
        return found

    def told_by(self, rows: Rows, residual: Floats) -> Floats:
        """See `Smooth.told_by`."""
        some = ExactSmooth(
            self._places[rows], residual[rows], self._noise[rows], kernel=self._model.kernel_
        )
        return some.means(self._places[~rows])

    def means(self, places: Floats) -> Floats:
        """Mean of the residual."""
        chunks = range(0, len(places), _CHUNK)
        told = [self._model.predict(self._scaled(places[i : i + _CHUNK])) for i in chunks]
        found: Floats = np.concatenate(told) + self.middle
        return found

    def joint(self, places: Floats) -> tuple[Floats, Floats]:
        """Mean and covariance of the residual, with what each shape has for itself."""
        mean, covariance = self._model.predict(self._scaled(places), return_cov=True)
        return mean + self.middle, covariance

    def predict(self, places: Floats) -> tuple[Floats, Floats]:
        """Mean and deviation of the smooth part of the residual."""
        own = self._model.kernel_.k2.noise_level
        means, deviations = [], []
        for start in range(0, len(places), _CHUNK):
            mean, deviation = self._model.predict(
                self._scaled(places[start : start + _CHUNK]), return_std=True
            )
            means.append(mean + self.middle)
            deviations.append(np.sqrt(np.maximum(deviation**2 - own, 0)))
        return np.concatenate(means), np.concatenate(deviations)


class SmoothKernel:
    """Covariances of the smooth part, where hyperparameters are known.

    As scikit-learn reckons them, whose loading takes longer than all else of a later reading.

    Args:
        places: ``[m, d]``, to whose residuals the hyperparameters were fitted.
        theta: Logarithms of variance, length, and variance of what each shape has for itself.
    """

    def __init__(self, places: Floats, theta: Floats) -> None:
        self.places = places
        self._mean, self._scale = places.mean(axis=0), places.std(axis=0)
        self.variance, self._length, own = (float(np.exp(t)) for t in theta)
        self.own_deviation = float(np.sqrt(own))

    def covariance(self, a: Floats, b: Floats | None = None) -> Floats:
        """``[n, m]``: prior covariance of the smooth part at places."""
        from scipy.spatial.distance import cdist, pdist, squareform  # takes a while to load

        one = _scaled(a, self._mean, self._scale) / self._length
        if b is None:
            found = squareform(_matern(pdist(one)))
            np.fill_diagonal(found, 1)
        else:
            found = _matern(cdist(one, _scaled(b, self._mean, self._scale) / self._length))
        found *= self.variance
        return np.asarray(found, float)


def _matern(distances: Floats) -> Floats:
    """Correlation at distances in lengths, of a field that can be derived twice."""
    far = distances * math.sqrt(5)
    found: Floats = (1.0 + far + far**2 / 3.0) * np.exp(-far)
    return found


def _scaled(places: Floats, mean: Floats, scale: Floats) -> Floats:
    """Dimensions in their own deviations; one that never moves says nothing."""
    moves = scale > 0
    scaled: Floats = np.where(moves, (places - mean) / np.where(moves, scale, 1), 0)
    return scaled


class InducedSmooth:
    """Many residuals, told at the places of some of them.

    Args:
        fitted: To those: their hyperparameters hold for all.
        places: ``[n, d]`` of all.
        residual: ``[n]``
        noise: ``[n]``, variances.
        kept: Keeps what the data come to for the next fit to the same.
    """

    def __init__(
        self,
        fitted: SmoothKernel,
        places: Floats,
        residual: Floats,
        noise: Floats,
        kept: Kept | None = None,
    ) -> None:
        self._fitted, self._places, self._noise = fitted, places, noise
        inducing = fitted.covariance(fitted.places)
        inducing[np.diag_indices_from(inducing)] += _JITTER * fitted.variance
        self._root = np.asarray(np.linalg.cholesky(inducing), float)
        self.middle = _middle(residual, noise)

        def solved() -> dict[str, Floats]:
            inner, weights = self._solved(slice(None), residual)
            return {"inner": np.asarray(np.linalg.cholesky(inner), float), "weights": weights}

        found = solved() if kept is None else kept("smooth", solved)
        self._inner, self._weights = found["inner"], found["weights"]
        # Of the inducing places' own covariances: means need no equations solved.
        self._pulls = np.linalg.solve(self._root.T, self._weights)

    @cached_property
    def _there(self) -> Floats:
        """``[m, n]``: as `_known`, of the data."""
        return self._known(self._places)

    @cached_property
    def _own_part(self) -> Floats:
        """``[n]``: variance that the inducing places do not tell."""
        left: Floats = np.maximum(self._fitted.variance - (self._there**2).sum(axis=0), 0)
        return left

    def _solved(self, rows: Rows | slice, residual: Floats) -> tuple[Floats, Floats]:
        """Equations ``[m, m]`` of the inducing places by some of the data; their solution."""
        known, noise = self._there[:, rows], self._noise[rows]
        apart = self._own_part[rows] + self._fitted.own_deviation**2 + noise
        inner = np.eye(len(known)) + (known / apart) @ known.T
        off = residual[rows] - _middle(residual[rows], noise)
        return inner, np.asarray(np.linalg.solve(inner, known @ (off / apart)), float)

    @property
    def own_deviation(self) -> float:
        """Of what each shape has for itself."""
        return self._fitted.own_deviation

    def _known(self, places: Floats) -> Floats:
        """``[m, n]``: the smooth part at places, in independent unit steps of the inducing ones."""
        from scipy.linalg import solve_triangular  # takes a while to load

        crossed = self._fitted.covariance(self._fitted.places, places)
        return np.asarray(solve_triangular(self._root, crossed, lower=True, overwrite_b=True))

    def told_by(self, rows: Rows, residual: Floats) -> Floats:
        """See `Smooth.told_by`; the inducing places are those of all, too."""
        _, weights = self._solved(rows, residual)
        told: Floats = weights @ self._there[:, ~rows]
        return told + _middle(residual[rows], self._noise[rows])

    def means(self, places: Floats) -> Floats:
        """Mean of the residual."""
        chunks = range(0, len(places), _CHUNK)
        inducing = self._fitted.places
        told = [
            self._pulls @ self._fitted.covariance(inducing, places[i : i + _CHUNK]) for i in chunks
        ]
        found: Floats = np.concatenate(told) + self.middle
        return found

    def joint(self, places: Floats) -> tuple[Floats, Floats]:
        """Mean and covariance of the residual, with what each shape has for itself."""
        known = self._known(places)
        left = np.linalg.solve(self._inner, known)
        covariance = self._fitted.covariance(places) - known.T @ known + left.T @ left
        own = self.own_deviation**2 * np.eye(len(places))
        return self._weights @ known + self.middle, covariance + own

    def predict(self, places: Floats) -> tuple[Floats, Floats]:
        """Mean and deviation of the smooth part of the residual."""
        from scipy.linalg import solve_triangular

        means, deviations = [], []
        for start in range(0, len(places), _CHUNK):
            known = self._known(places[start : start + _CHUNK])
            left = solve_triangular(self._inner, known, lower=True)
            variance = self._fitted.variance - (known**2).sum(axis=0) + (left**2).sum(axis=0)
            means.append(self._weights @ known + self.middle)
            deviations.append(np.sqrt(np.maximum(variance, 0)))
        return np.concatenate(means), np.concatenate(deviations)

    def measured_draws(
        self,
        draws: Floats,
        middle: Floats,
        own: Floats,
        noise: Floats,
        random: np.random.Generator,
    ) -> Floats:
        """See `Smooth.measured_draws`."""
        known = self._there
        apart = self._own_part + own**2
        drawn = random.standard_normal((len(draws), len(known))) @ known
        drawn += np.sqrt(apart) * random.standard_normal(draws.shape) + middle
        apart += noise
        off = draws - drawn
        # By Woodbury's identity; what the prior does not take of the distance is the noise's.
        inner = np.eye(len(known)) + (known / apart) @ known.T
        off /= apart
        off -= np.linalg.solve(inner, known @ off.T).T @ (known / apart)
        found: Floats = draws - noise * off
        return found
