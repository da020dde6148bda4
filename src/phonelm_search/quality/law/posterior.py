"""The law after trainings: a prior of its coefficients, made narrower by what was observed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from phonelm_search.core.prediction import Prediction
from phonelm_search.core.statistics import Floats, stream
from phonelm_search.quality.law.discrepancy import Discrepancy, Points
from phonelm_search.quality.law.form import OWN, SHARED, log_loss

_CHUNK = 20_000  # shapes at a time, for a bounded memory
_MOST_JOINT = 1000  # shapes with draws from a covariance of all of them
_MOST_STEPS = 200  # of the solver; it takes about ten


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """A normal distribution of coefficients."""

    mean: Floats
    """``[k]``"""
    covariance: Floats
    """``[k, k]``"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """From where to where the trainings of a prior reach."""

    sizes: tuple[float, float]
    """Decoder parameters."""
    tokens: tuple[float, float]
    """Trained on."""
    aspects: tuple[float, float]
    """Effective width over depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LawPrior:
    """What is known of the law before a team's own trainings."""

    shared: Gaussian
    """Of the coefficients of all data sets, as `SHARED` names them."""
    own: Gaussian
    """Of those of a data set that was never seen, as `OWN` names them."""
    discrepancy: Discrepancy
    """How far the law may be off."""
    evidence: Evidence
    """What it was fitted to."""
    sources: tuple[str, ...]
    """Where the evidence comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Losses of trainings; all arrays are ``[n]``."""

    points: Points
    """What was trained on how much."""
    log_loss: Floats
    """Logarithm of loss, in any unit that a data set keeps."""
    datasets: npt.NDArray[np.str_]
    """Name of the text, with its tokenizer."""
    runs: Floats
    """Number of the training; values of one trunk share it."""

    def __len__(self) -> int:
        return len(self.log_loss)

    def rows(self, mask: npt.NDArray[np.bool_]) -> "Observations":
        """Those where a mask is true."""
        return replace(
            self, points=self.points.rows(mask), log_loss=self.log_loss[mask],
            datasets=self.datasets[mask], runs=self.runs[mask],
        )  # fmt: skip


class QualityLaw:
    """Tells loss of shapes on one data set.

    A linear Gaussian approximation at the most probable coefficients, with the discrepancy as a
    Gaussian process beside it: universal kriging (Rasmussen & Williams, Gaussian Processes for
    Machine Learning, 2006, section 2.7).

    Args:
        prior: What is known before.
        observations: Trainings; none leaves the prior.
        dataset: Whose losses are told; one that no observation is of has the prior's own
            coefficients.
    """

    def __init__(
        self, prior: LawPrior, observations: Observations | None = None, *, dataset: str = ""
    ) -> None:
        self.prior, self.observations, self.dataset = prior, observations, dataset
        names = [] if observations is None else list(dict.fromkeys(observations.datasets.tolist()))
        self.datasets = tuple(dict.fromkeys([dataset, *names]))
        blocks = [prior.shared, *[prior.own] * len(self.datasets)]
        self._start = np.concatenate([b.mean for b in blocks])
        covariance = _block_diagonal([b.covariance for b in blocks])
        self._information = np.linalg.inv(covariance)
        self.coefficients = Gaussian(mean=self._start, covariance=covariance)
        self._root: Floats | None = None
        if observations is not None and len(observations):
            self._fit(observations)

    def _fit(self, observed: Observations) -> None:
        from scipy.linalg import solve_triangular  # takes a while to load
        from scipy.optimize import least_squares

        root = np.asarray(np.linalg.cholesky(self._covariance(observed)), float)
        prior_root = np.linalg.cholesky(self._information).T

        def whitened(values: Floats) -> Floats:
            return np.asarray(solve_triangular(root, values, lower=True))

        def residuals(x: Floats) -> Floats:
            told, _ = self._forward(x, observed)
            return np.concatenate(
                [whitened(observed.log_loss - told), prior_root @ (x - self._start)]
            )

        def slopes(x: Floats) -> Floats:
            return np.concatenate([-whitened(self._forward(x, observed)[1]), prior_root])

        start = self._near(observed)
        found = least_squares(residuals, start, slopes, max_nfev=_MOST_STEPS).x
        told, by = self._forward(found, observed)
        white = whitened(by)
        covariance = np.linalg.inv(white.T @ white + self._information)
        self.coefficients = Gaussian(mean=found, covariance=covariance)
        self._root, self._white = root, white
        self._misfit = whitened(observed.log_loss - told)
        self._weights = solve_triangular(root, self._misfit, lower=True, trans="T")
        self._step = prior_root @ (found - self._start)

    def _near(self, observed: Observations) -> Floats:
        """The prior's mean, each data set moved to the level of its losses: units differ."""
        start = self._start.copy()
        for name in self.datasets:
            mask = observed.datasets == name
            if mask.any():
                told, _ = self._forward(start, observed.rows(mask))
                start[self._own(name)] += np.median(observed.log_loss[mask] - told)
        return start

    def _own(self, dataset: str) -> slice:
        first = len(SHARED) + len(OWN) * self.datasets.index(dataset)
        return slice(first, first + len(OWN))

    def _covariance(self, observed: Observations) -> Floats:
        """Of losses given the coefficients."""
        same = np.equal.outer(observed.datasets, observed.datasets)
        smooth = self.prior.discrepancy.smooth(observed.points, observed.points)
        found: Floats = same * smooth
        return found + self.prior.discrepancy.of_runs(observed.points, observed.runs)

    def _forward(self, x: Floats, observed: Observations) -> tuple[Floats, Floats]:
        told = np.empty(len(observed))
        by = np.zeros((len(observed), len(x)))
        for name in self.datasets:
            mask = observed.datasets == name
            if mask.any():
                told[mask], by[mask] = self._at(x, observed.points.rows(mask), name)
        return told, by

    def _at(self, x: Floats, points: Points, dataset: str) -> tuple[Floats, Floats]:
        """The law on one data set, with derivatives by all coefficients."""
        shared, own = slice(0, len(SHARED)), self._own(dataset)
        told, slopes = log_loss(x[shared], x[own], points.shapes, points.tokens)
        by = np.zeros((len(points), len(x)))
        by[:, shared], by[:, own] = slopes[:, : len(SHARED)], slopes[:, len(SHARED) :]
        return told, by

    def _parts(self, points: Points) -> tuple[Floats, Floats, Floats]:
        """Mean; what coefficients and what misfits move it by, in independent unit steps."""
        told, by = self._at(self.coefficients.mean, points, self.dataset)
        known = np.zeros((len(points), 0))
        if self._root is not None and self.observations is not None:
            from scipy.linalg import solve_triangular

            cross = self.prior.discrepancy.smooth(points, self.observations.points)
            cross *= self.observations.datasets == self.dataset
            known = solve_triangular(self._root, cross.T, lower=True).T
            told = told + known @ self._misfit
            by = by - known @ self._white
        return told, by @ np.linalg.cholesky(self.coefficients.covariance), known

    def log_loss(self, points: Points) -> Prediction:
        """Logarithm of loss, in the unit of the data set."""
        return self._predicted(points, None)

    def means(self, points: Points) -> Floats:
        """``[n]``: the middle of `log_loss`, at a fraction of its cost."""
        told = []
        for part in points.chunks(_CHUNK):
            mean, _ = self._at(self.coefficients.mean, part, self.dataset)
            if self.observations is not None and self._root is not None:
                cross = self.prior.discrepancy.smooth(part, self.observations.points)
                cross *= self.observations.datasets == self.dataset
                mean = mean + cross @ self._weights
            told.append(mean)
        return np.concatenate(told)

    def log_ratio(self, points: Points, to: Points) -> Prediction:
        """Logarithm of losses over another one's: what all share drops out.

        Args:
            points: ``[n]``.
            to: One.
        """
        return self._predicted(points, to)

    def _predicted(self, points: Points, to: Points | None) -> Prediction:
        zero = np.zeros((1, 1))
        other = (zero[0], zero, zero) if to is None else self._parts(to)
        discrepancy = self.prior.discrepancy
        means, deviations = [], []
        for part in points.chunks(_CHUNK):
            mean, by, known = map(np.subtract, self._parts(part), other)
            variance = (by**2).sum(axis=1) + discrepancy.variance(part) - (known**2).sum(axis=1)
            if to is not None:
                variance += discrepancy.variance(to) - 2 * discrepancy.smooth(part, to)[:, 0]
            means.append(mean)
            deviations.append(np.sqrt(np.maximum(variance, 0)))
        return Prediction(mean=np.concatenate(means), deviation=np.concatenate(deviations))

    @property
    def log_evidence(self) -> float:
        """Logarithm of the probability of the observations, all coefficients integrated out.

        By Laplace's approximation, less a constant; 0 without observations.
        """
        if self._root is None:
            return 0.0
        squares = float(self._misfit @ self._misfit + self._step @ self._step)
        _, posterior = np.linalg.slogdet(self.coefficients.covariance)
        _, information = np.linalg.slogdet(self._information)
        volume = (posterior + information) / 2 - np.log(np.diag(self._root)).sum()
        return float(volume) - squares / 2

    def joint(self, points: Points) -> tuple[Floats, Floats]:
        """Mean and covariance of the logarithm of loss, for some hundred shapes at most."""
        mean, by, known = self._parts(points)
        smooth = self.prior.discrepancy.smooth(points, points)
        return mean, by @ by.T + smooth - known @ known.T

    def ratio_draws(self, points: Points, to: Points, count: int, *, seed: int = 0) -> Floats:
        """Joint draws of the logarithm of losses over another one's.

        Of more than a thousand shapes only what coefficients cause is drawn jointly; what the law
        is off by is each shape's own, which overstates differences.

        Args:
            points: ``[n]``.
            to: One.
            count: Draws.
            seed: Of the draws.

        Returns:
            ``[count, n]``
        """
        random = stream("loss", seed)
        mean, by, known = map(np.subtract, self._parts(points), self._parts(to))
        discrepancy = self.prior.discrepancy
        if len(points) > _MOST_JOINT:
            found = self.log_ratio(points, to)
            rest = np.sqrt(np.maximum(found.deviation**2 - (by**2).sum(axis=1), 0))
            drawn = mean + random.standard_normal((count, by.shape[1])) @ by.T
            return np.asarray(drawn + rest * random.standard_normal((count, len(points))))
        beside = discrepancy.smooth(points, to)
        smooth = discrepancy.smooth(points, points) + discrepancy.variance(to) - beside - beside.T
        values, vectors = np.linalg.eigh(by @ by.T + smooth - known @ known.T)
        root = vectors * np.sqrt(np.maximum(values, 0))
        noise = random.standard_normal((count, len(values)))
        return np.asarray(mean + noise @ root.T)


def _block_diagonal(blocks: Sequence[Floats]) -> Floats:
    from scipy.linalg import block_diag

    return np.asarray(block_diag(*blocks))
