"""Latency of every shape of a space, from the few that were measured.

The logarithm of latency is taken as that of a sum of physical costs with prices that are not
negative (non-negative least squares), and a Gaussian process over the shape's dimensions for what
the sum misses (Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, chapter 2).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from phonelm_search.core.precision import Precision
from phonelm_search.core.prediction import Prediction
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats, stream
from phonelm_search.core.workload import Workload
from phonelm_search.measure import LatencyComparison
from phonelm_search.space import Columns
from phonelm_search.speed.features import coordinates, features
from phonelm_search.speed.prices import fit_prices
from phonelm_search.speed.smooth import MOST_EXACT, Kept, smooth

LEAST_SHAPES = 8
"""Measured shapes without which nothing is predicted."""
_SURPRISING = 3.0  # deviations
_BEYOND = 0.035
"""Deviation of all shapes of one size together for each doubling of size from the nearest one that
was measured: shapes of 170M were told 0.7 % (prefill) and 3.5 % (decode) off from such of 85M
(results/LOG.md)."""
_FOLDS = 10


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
        draws: Makes ``[draws, n]``, joint draws of the logarithm of their latency, in one unit.
        scheme: How weights are stored.
        workload: What was timed.
        kept: Keeps what a fit comes to for the next reading; None keeps nothing.

    Raises:
        ValueError: If there are too few.
    """

    def __init__(
        self,
        shapes: Columns,
        draws: Callable[[], Floats],
        scheme: Precision,
        workload: Workload,
        *,
        kept: Kept | None = None,
    ) -> None:
        if len(shapes) < LEAST_SHAPES:
            raise ValueError(f"at least {LEAST_SHAPES} shapes must be given, got {len(shapes)}")
        self._draw = draws
        self._places = coordinates(shapes)
        self._sizes = np.sort(np.log2(shapes.decoder_parameters))
        self._costs = features(shapes, scheme, workload)
        self._scheme, self._workload = scheme, workload
        # A thousand draws do not tell how ten thousand shapes err together.
        self._many = len(shapes) > MOST_EXACT
        self._kept = kept
        moments = self._once("moments", self._moments) if self._many else self._moments()
        self._targets, self._noise = moments["targets"], moments["noise"]
        self._prices = fit_prices(self._costs, np.exp(self._targets))
        self._residual = self._targets - np.log(self._costs @ self._prices)
        self._smooth = smooth(self._places, self._residual, self._noise, self._kept)

    @classmethod
    def of(
        cls,
        comparison: LatencyComparison,
        shapes: Mapping[str, ModelShape],
        scheme: Precision,
        workload: Workload,
        *,
        kept: Kept | None = None,
    ) -> "LatencyModel":
        """Of shapes by id, each of which has rounds in a comparison."""

        def draws() -> Floats:
            return comparison.many_log_ms(shapes)

        return cls(Columns.of(list(shapes.values())), draws, scheme, workload, kept=kept)

    def _once(self, what: str, make: Callable[[], Mapping[str, Floats]]) -> Mapping[str, Floats]:
        """Arrays that were kept, or are made."""
        return make() if self._kept is None else self._kept(what, make)

    @cached_property
    def _drawn(self) -> tuple[Floats, Floats]:
        """``[draws, n]`` of each shape, and ``[draws, 1]`` of what all share, which is no shape's.

        The unit's own error is such.
        """
        draws = self._draw()
        level = draws.mean(axis=1, keepdims=True)
        return draws - level + draws.mean(), level

    def _moments(self) -> dict[str, Floats]:
        """Mean and variance of each shape's draws."""
        draws, _ = self._drawn
        noise: Floats = draws.var(axis=0, ddof=1) if self._many else np.diag(self._noise_of_all)
        return {"targets": draws.mean(axis=0), "noise": noise}

    @cached_property
    def _noise_of_all(self) -> Floats:
        """How measured shapes err together, of few: ``[n, n]``."""
        return np.cov(self._drawn[0], rowvar=False)

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

        See `Smooth.measured_draws`.
        """
        own = np.maximum(self._smooth.own_deviation, self._surprise())
        random = stream("measured latency", self._workload.name, seed)
        middle = self._targets - self._residual + self._smooth.middle
        noise = self._noise if self._many else self._noise_of_all
        draws, level = self._drawn
        drawn = self._smooth.measured_draws(draws, middle, own, noise, random)
        found: Floats = drawn + level - draws.mean()
        return found

    def _surprise(self) -> Floats:
        """``[n]``: distance from what is expected, of shapes that are too far to be noise; else 0.

        A kernel off its fast path is such a shape: it keeps what was measured of it.
        """
        told, deviation = self._smooth.predict(self._places)
        distance: Floats = np.abs(self._residual - told)
        error = np.sqrt(self._noise + deviation**2 + self._smooth.own_deviation**2)
        return np.where(distance > _SURPRISING * error, distance, 0.0)

    @cached_property
    def held_out(self) -> HeldOut:
        """Each measured shape as the others tell it; of many, as nine tenths tell the rest."""
        noise = float(np.median(np.sqrt(self._noise)))
        return HeldOut(errors=self._once("held-out", self._held_out)["errors"], noise=noise)

    def _held_out(self) -> dict[str, Floats]:
        count = len(self._targets)
        errors = np.empty(count)
        folds = np.arange(count) % (_FOLDS if self._many else count)
        for fold in range(int(folds.max()) + 1):
            rest, own = folds != fold, np.flatnonzero(folds == fold)
            prices = fit_prices(self._costs[rest], np.exp(self._targets[rest]))
            residual = self._targets - np.log(self._costs @ prices)
            told = self._smooth.told_by(rest, residual)
            errors[own] = np.expm1(told - residual[own])
        return {"errors": errors}
