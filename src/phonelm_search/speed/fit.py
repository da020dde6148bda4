"""Latency = intercept + layers × slope, fitted to truncated models with resampled medians."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import MeasurementError
from phonelm_search.core.statistics import percentile_interval

Floats = npt.NDArray[np.float64]

_LEAST_RELATIVE_DEVIATION = 0.003  # equal samples do not make a latency exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One truncated model's latency in one workload."""

    block: Hashable
    """Which block."""
    depth: int
    """Its number of layers."""
    median_ms: float
    """Its latency."""
    draws_ms: tuple[float, ...]
    """Resampled medians; equally many for every observation."""

    @property
    def deviation_ms(self) -> float:
        """Standard deviation of the resampled medians, never quite 0."""
        return max(float(np.std(self.draws_ms)), _LEAST_RELATIVE_DEVIATION * self.median_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Intercept and slopes of the blocks of one group, with their resampled values."""

    blocks: tuple[Hashable, ...]
    """Order of the slopes."""
    coefficients: Floats
    """``[1 + blocks]``: intercept, then slopes, in ms."""
    draws: Floats
    """``[1 + blocks, resamples]``: the same for every resample."""

    @property
    def intercept_ms(self) -> float:
        """Head, embedding and loop."""
        return float(self.coefficients[0])

    def slope_ms(self, block: Hashable) -> float:
        """One layer of a block."""
        return float(self.coefficients[1 + self.blocks.index(block)])

    def predict(self, block: Hashable, depth: int) -> tuple[float, float, float]:
        """Latency at a depth with the ends of its 95 % interval, in ms."""
        row = 1 + self.blocks.index(block)
        low, high = percentile_interval(self.draws[0] + depth * self.draws[row])
        middle = float(self.coefficients[0] + depth * self.coefficients[row])
        return middle, min(low, middle), max(high, middle)


def fit_group(observations: Sequence[Observation]) -> Fit:
    """Weighted least squares over the blocks that share an intercept.

    The unknowns are one intercept and a slope for each block; an observation counts by the
    inverse of its variance. The same solution is applied to every resample of the medians, so
    the intervals of predictions follow from the samples and from nothing else.

    Args:
        observations: Of one width, vocabulary and workload. At least one block must have two
            depths; each other one needs a single depth.

    Raises:
        MeasurementError: If the intercept cannot be told from the slopes.
    """
    blocks = tuple(dict.fromkeys(o.block for o in observations))
    depths = {b: {o.depth for o in observations if o.block == b} for b in blocks}
    if not any(len(d) > 1 for d in depths.values()):
        raise MeasurementError(
            "a block estimate needs one block of the width at two depths, "
            f"got {len(blocks)} blocks at one depth each",
            stage="estimate",
        )
    design = np.zeros((len(observations), 1 + len(blocks)))
    design[:, 0] = 1
    for row, o in enumerate(observations):
        design[row, 1 + blocks.index(o.block)] = o.depth
    weights = np.array([1 / o.deviation_ms for o in observations])[:, None]
    targets = np.array([(o.median_ms, *o.draws_ms) for o in observations])
    solved, *_ = np.linalg.lstsq(design * weights, targets * weights, rcond=None)
    return Fit(blocks=blocks, coefficients=solved[:, 0], draws=solved[:, 1:])
