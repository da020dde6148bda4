"""Latency of every shape of a space, from the few that were measured.

The logarithm of latency is taken as that of a sum of physical costs with prices that are not
negative (non-negative least squares), and a Gaussian process over the shape's dimensions for what
the sum misses (Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, chapter 2).
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from phonelm_search.core.precision import Precision
from phonelm_search.core.prediction import Prediction
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats, stream
from phonelm_search.core.workload import Workload
from phonelm_search.measure import LatencyComparison
from phonelm_search.space import Columns
from phonelm_search.speed.features import coordinates, features
from phonelm_search.speed.prices import fit_prices

Rows = npt.NDArray[np.bool_]

LEAST_SHAPES = 8
"""Measured shapes without which nothing is predicted."""
_LEAST_OWN = 0.01
"""Deviation of what a shape has for itself, which no smooth model tells: never less than this, for
a few noisy measurements cannot show that there is none."""
_SURPRISING = 3.0  # deviations
_BEYOND = 0.035
"""Deviation of all shapes of one size together for each doubling of size from the nearest one that
was measured: shapes of 170M were told 0.7 % (prefill) and 3.5 % (decode) off from such of 85M
(results/LOG.md)."""
_CHUNK = 200_000  # shapes at a time, for a bounded memory


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """How far predictions are off where the shape was measured, but not told to the model."""

    errors: Floats
    """``[n]``: predicted over measured, less 1."""
    noise: float
    """Median deviation of what was measured: a part of the errors is its own."""

    @property
    def median(self) -> float:
        """Median absolute error."""
        return float(np.median(np.abs(self.errors)))

    @property
    def p95(self) -> float:
        """95th percentile of absolute errors."""
        return float(np.quantile(np.abs(self.errors), 0.95))


class LatencyModel:
    """Tells latency of one workload on one device.

    Args:
        shapes: Measured ones, at least `LEAST_SHAPES`.
        draws: ``[draws, n]``, joint draws of the logarithm of their latency, in one unit.
        scheme: How weights are stored.
        workload: What was timed.

    Raises:
        ValueError: If there are too few.
    """

    def __init__(
        self, shapes: Columns, draws: Floats, scheme: Precision, workload: Workload
    ) -> None:
        if len(shapes) < LEAST_SHAPES:
            raise ValueError(f"at least {LEAST_SHAPES} shapes must be given, got {len(shapes)}")
        self._places = coordinates(shapes)
        self._sizes = np.sort(np.log2(shapes.decoder_parameters))
        self._costs = features(shapes, scheme, workload)
        self._scheme, self._workload = scheme, workload
        # What all share, as the unit's own error, is no shape's.
        self._level = draws.mean(axis=1, keepdims=True)
        self._draws = draws - self._level + draws.mean()
        self._targets = self._draws.mean(axis=0)
        self._noise: Floats = np.cov(self._draws, rowvar=False)
        self._prices = fit_prices(self._costs, np.exp(self._targets))
        self._residual = self._targets - np.log(self._costs @ self._prices)
        self._smooth = _Smooth(self._places, self._residual, np.diag(self._noise))

    @classmethod
    def of(
        cls,
        comparison: LatencyComparison,
        shapes: Mapping[str, ModelShape],
        scheme: Precision,
        workload: Workload,
    ) -> "LatencyModel":
        """Of shapes by id, each of which has rounds in a comparison."""
        draws = np.stack([comparison.log_ms(i) for i in shapes], axis=1)
        return cls(Columns.of(list(shapes.values())), draws, scheme, workload)

    def predict(self, shapes: Columns) -> Prediction:
        """Predict any number of shapes, with what each has for itself as a part of the error."""
        mean, deviation = self._smooth.predict(coordinates(shapes))
        own = np.hypot(self._smooth.own_deviation, _BEYOND * self._doublings_beyond(shapes))
        return Prediction(mean=self._priced(shapes) + mean, deviation=np.hypot(deviation, own))

    def means(self, shapes: Columns) -> Floats:
        """``[n]``: the middle of `predict`, at a fraction of its cost."""
        found: Floats = self._priced(shapes) + self._smooth.means(coordinates(shapes))
        return found

    def draws(self, shapes: Columns, count: int, *, seed: int = 0) -> Floats:
        """``[count, n]``: joint draws of the logarithm of latency, for some hundred shapes."""
        mean, covariance = self._smooth.joint(coordinates(shapes))
        random = stream("latency", self._workload.name, seed)
        drawn = random.multivariate_normal(
            self._priced(shapes) + mean, covariance, count, method="eigh"
        )
        level = _BEYOND * random.standard_normal((count, 1))
        found: Floats = drawn + level * self._doublings_beyond(shapes)
        return found

    def _priced(self, shapes: Columns) -> Floats:
        """``[n]``: logarithm of the sum of costs."""
        priced: Floats = np.log(features(shapes, self._scheme, self._workload) @ self._prices)
        return priced

    def _doublings_beyond(self, shapes: Columns) -> Floats:
        """``[n]``: how far a size lies from the nearest one that was measured."""
        sizes, known = np.log2(shapes.decoder_parameters), self._sizes
        after = np.clip(np.searchsorted(known, sizes), 1, len(known) - 1)
        distances = np.abs(np.stack([sizes - known[after - 1], sizes - known[after]]))
        found: Floats = distances.min(axis=0)
        return found

    def measured_draws(self, *, seed: int = 0) -> Floats:
        """``[draws, n]``: the measured shapes by their own rounds and by what all others say.

        Draws of the posterior by Matheron's rule (Wilson et al., Efficiently Sampling Functions
        from Gaussian Process Posteriors, 2020): those of the prior, moved to the data.
        """
        own = np.maximum(self._smooth.own_deviation, self._surprise())
        prior: Floats = self._smooth.covariance() + np.diag(own**2)
        random = stream("measured latency", self._workload.name, seed)
        middle = self._targets - self._residual + self._smooth.middle
        drawn = random.multivariate_normal(middle, prior, len(self._draws), method="cholesky")
        gain = np.linalg.solve(prior + self._noise, prior)
        found: Floats = drawn + (self._draws - drawn) @ gain + self._level - self._draws.mean()
        return found

    def _surprise(self) -> Floats:
        """``[n]``: distance from what is expected, of shapes that are too far to be noise; else 0.

        A kernel off its fast path is such a shape: it keeps what was measured of it.
        """
        told, deviation = self._smooth.predict(self._places)
        distance: Floats = np.abs(self._residual - told)
        error = np.sqrt(np.diag(self._noise) + deviation**2 + self._smooth.own_deviation**2)
        return np.where(distance > _SURPRISING * error, distance, 0.0)

    @cached_property
    def held_out(self) -> HeldOut:
        """Each measured shape as the others tell it."""
        count = len(self._targets)
        errors = np.empty(count)
        for i in range(count):
            rest = np.arange(count) != i
            prices = fit_prices(self._costs[rest], np.exp(self._targets[rest]))
            residual = self._targets - np.log(self._costs @ prices)
            told, _ = self._smooth.without(rest, residual).predict(self._places[[i]])
            errors[i] = np.expm1(told[0] - residual[i])
        noise = float(np.median(np.sqrt(np.diag(self._noise))))
        return HeldOut(errors=errors, noise=noise)


class _Smooth:
    """A Gaussian process on residuals; its few hyperparameters are fitted by their likelihood."""

    def __init__(
        self, places: Floats, residual: Floats, noise: Floats, *, kernel: object = None
    ) -> None:
        from sklearn.exceptions import ConvergenceWarning  # takes a second to load
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self._places, self._noise = places, noise
        self._mean, self._scale = places.mean(axis=0), places.std(axis=0)
        weight = 1 / noise
        self.middle = float(residual @ weight / weight.sum())
        fitted = kernel is None
        if kernel is None:
            smooth = ConstantKernel(0.03**2, (1e-6, 0.1)) * Matern(3.0, (0.5, 50.0), nu=2.5)
            kernel = smooth + WhiteKernel(0.01**2, (_LEAST_OWN**2, 0.1**2))
        self._model = GaussianProcessRegressor(
            kernel, alpha=noise, optimizer="fmin_l_bfgs_b" if fitted else None
        )
        with warnings.catch_warnings():
            # A hyperparameter at its bound says that the data want none of it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(self._scaled(places), residual - self.middle)

    def _scaled(self, places: Floats) -> Floats:
        """Dimensions in their own deviations; one that never moves says nothing."""
        moves = self._scale > 0
        scaled: Floats = np.where(moves, (places - self._mean) / np.where(moves, self._scale, 1), 0)
        return scaled

    @property
    def own_deviation(self) -> float:
        """Of what each shape has for itself."""
        return float(np.sqrt(self._model.kernel_.k2.noise_level))

    def covariance(self) -> Floats:
        """``[n, n]``: prior covariance of the smooth part at the places of the data."""
        found: Floats = self._model.kernel_.k1(self._scaled(self._places))
        return found

    def without(self, rows: Rows, residual: Floats) -> "_Smooth":
        """The same hyperparameters on a part of the data."""
        return _Smooth(
            self._places[rows], residual[rows], self._noise[rows], kernel=self._model.kernel_
        )

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
