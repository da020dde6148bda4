"""How much faster one shape is than another, from all rounds that they shared or are joined by."""

from collections.abc import Iterable
from dataclasses import fields
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from phonelm_search.core.latency import Extent
from phonelm_search.core.statistics import Z_95, Floats, middles_and_ends, spread_over
from phonelm_search.measure.arrays_file import Singles, cached_arrays, kept_arrays
from phonelm_search.measure.effects import Effects, Observations, fit_effects
from phonelm_search.measure.round_columns import RoundColumns

_CHUNK = 500  # shapes at a time, for a bounded memory
MOST_PAIRED = 1000  # shapes all of whose pairs are looked at
_POWER_80 = 0.841621
"""Quantile of the normal distribution: a difference so much larger than its limit is told in 80 %
of trials."""


class LatencyComparison:
    """Shapes of one workload at one place beside each other.

    Args:
        rounds: Of one workload at one place, the reference's among them.
        file: Where draws are kept for the next reading; None keeps none.
    """

    def __init__(self, rounds: RoundColumns, *, file: Path | None = None) -> None:
        self.rounds, self.file = rounds, file
        self._index = {shape: i for i, shape in enumerate(rounds.shapes)}

    @cached_property
    def digest(self) -> str:
        """Of everything that the draws depend on."""
        found = sha256()
        for field in fields(Observations):
            array = getattr(self.rounds.observations, field.name)
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    @cached_property
    def effects(self) -> Effects:
        """Draws of all effects."""

        def fitted() -> dict[str, Floats]:
            # Workloads whose chains had the same random numbers would seem to err together.
            found = fit_effects(self.rounds.observations, seed=int(self.digest[:15], 16))
            return {f.name: getattr(found, f.name) for f in fields(Effects)}

        return Effects(**cached_arrays(self.file, self.digest, fitted))

    def __contains__(self, shape_id: str) -> bool:
        """Whether a shape has a round."""
        return (shape_id, False) in self._index

    @property
    def shape_ids(self) -> tuple[str, ...]:
        """Shapes that have a round; twins aside."""
        return tuple(shape_id for shape_id, twin in self._index if not twin)

    @property
    def twins(self) -> tuple[str, ...]:
        """Shapes that were measured twice, under two identities."""
        return tuple(i for i, twin in self._index if twin and i in self)

    def log_ms(self, shape_id: str, *, twin: bool = False) -> Floats:
        """``[draws]``: logarithm of a shape's milliseconds in the usual process.

        Raises:
            KeyError: If it has no round.
        """
        drawn: Floats = self._log_ms[:, self._index[shape_id, twin]].astype(float)
        return drawn

    def many_log_ms(self, shape_ids: Iterable[str]) -> Floats:
        """``[draws, shapes]``: the same of many."""
        rows = [self._index[i, False] for i in shape_ids]
        drawn: Floats = np.take(self._log_ms, rows, axis=1).astype(float)
        return drawn

    @cached_property
    def _log_ms(self) -> Floats | Singles:
        """``[draws, shapes]``: of kept ones, what is looked at is read."""
        kept = None if "effects" in vars(self) else kept_arrays(self.file, self.digest)
        found: Floats | Singles = self.effects.shapes if kept is None else kept["shapes"]
        return found

    @cached_property
    def _usual(self) -> Floats:
        """``[shapes, 3]``: of all shapes at once."""
        return _extents(self._log_ms, None)

    @cached_property
    def _relative(self) -> dict[str, Floats]:
        """The same over those shapes that were asked for."""
        return {}

    def ratio(self, shape_id: str, to: str) -> Extent:
        """A shape's latency over another's, with its 95 % interval."""
        if to not in self._relative:
            self._relative[to] = _extents(self._log_ms, self.log_ms(to))
        return Extent(*self._relative[to][self._index[shape_id, False]].tolist())

    def twin_ratio(self, shape_id: str) -> Extent:
        """A shape's latency over that of the same shape under another identity: 1, but for noise.

        Raises:
            KeyError: If it was not measured twice.
        """
        return extent(np.exp(self.log_ms(shape_id, twin=True) - self.log_ms(shape_id)))

    def usual_ms(self, shape_id: str) -> Extent:
        """A shape's latency on this machine as it usually is."""
        return Extent(*self._usual[self._index[shape_id, False]].tolist())


def extent(draws: Floats) -> Extent:
    """Median and 95 % interval of draws."""
    return Extent(*middles_and_ends(draws).tolist())


def _extents(log_ms: Floats | Singles, to: Floats | None) -> Floats:
    """``[shapes, 3]`` of ``[draws, shapes]``: milliseconds, or shares of another shape's."""
    told = []
    for start in range(0, log_ms.shape[1], _CHUNK):
        some: Any = np.ascontiguousarray(log_ms[:, start : start + _CHUNK].T)
        told.append(middles_and_ends(some if to is None else some - to, of_logarithms=True))
    return np.concatenate(told)


def smallest_difference(draws: Floats) -> float | None:
    """The difference of two latencies, as a share, that is told in 80 % of trials.

    Of the median pair of shapes, by the joint deviations of their differences; two-sided at 5 %. Of
    more than a thousand shapes, of the median pair of a thousand of them.

    Args:
        draws: ``[draws, shapes]`` of logarithms of latencies.

    Returns:
        None where there are fewer than two shapes.
    """
    count = draws.shape[1]
    if count < 2:
        return None
    if count > MOST_PAIRED:
        draws, count = draws[:, spread_over(count, MOST_PAIRED)], MOST_PAIRED
    covariance = np.cov(draws, rowvar=False)
    variances = np.diag(covariance)
    of_pairs = variances[:, None] + variances[None, :] - 2 * covariance
    deviation = float(np.sqrt(np.median(of_pairs[np.triu_indices(count, 1)])))
    return float(np.expm1((Z_95 + _POWER_80) * deviation))
