"""Pure functions of samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_RESAMPLES = 1000
_CONFIDENCE = 0.95
Z_95 = 1.959964
"""Half width of a 95 % interval in standard deviations."""
_MEDIAN_EFFICIENCY = 1.2533  # deviation of a median over that of a mean, normal samples: √(π/2)
_MAD_TO_DEVIATION = 1.4826  # normal samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A median with its 95 % interval, all in the unit of the samples."""

    median: float
    low: float
    high: float

    @property
    def relative_width(self) -> float:
        """Width of the interval as a share of the median; 0 where the median is 0."""
        return (self.high - self.low) / self.median if self.median else 0.0


def bootstrap_rounds(rounds: Sequence[npt.ArrayLike], *, seed: int = 0) -> Floats:
    """Resampled medians of a measurement that was taken in rounds.

    Rounds differ by more than their samples do (placement in memory, bursts of seconds), so both
    are resampled: rounds with replacement, and samples within each (a hierarchical bootstrap;
    Davison & Hinkley, Bootstrap Methods, 3.8). The statistic is the median of the rounds' medians,
    which one bad round of three cannot move.

    Args:
        rounds: At least one round of at least one sample.
        seed: The same samples and seed give the same medians.

    Returns:
        ``[1000]``.

    Raises:
        ValueError: If there is no round or an empty one.
    """
    arrays = [np.asarray(r, float) for r in rounds]
    if not arrays or any(a.ndim != 1 or not a.size for a in arrays):
        raise ValueError(f"rounds must be non-empty sequences, got {[a.shape for a in arrays]}")
    random = np.random.default_rng(seed)
    medians = np.stack(
        [_row_medians(a[random.integers(0, a.size, (_RESAMPLES, a.size))]) for a in arrays]
    )
    chosen = random.integers(0, len(arrays), (_RESAMPLES, len(arrays)))
    return _row_medians(medians.T[np.arange(_RESAMPLES)[:, None], chosen])


def _row_medians(values: Floats) -> Floats:
    """What `numpy.median` gives for short rows, in a third of its time."""
    ordered = np.sort(values, axis=1)
    count = values.shape[1]
    middle: Floats = (ordered[:, (count - 1) // 2] + ordered[:, count // 2]) / 2
    return middle


def interval(rounds: Sequence[npt.ArrayLike]) -> Interval:
    """Median of the rounds' medians, and its interval by `bootstrap_rounds`.

    One sample has an interval without width: it says nothing about spread, and its verdict says
    so.
    """
    low, high = percentile_interval(bootstrap_rounds(rounds))
    return Interval(median=median_of_rounds(rounds), low=low, high=high)


def median_of_rounds(rounds: Sequence[npt.ArrayLike]) -> float:
    """The headline of a measurement."""
    return float(np.median([np.median(np.asarray(r, float)) for r in rounds]))


def percentile_interval(draws: npt.ArrayLike) -> tuple[float, float]:
    """Ends of the central 95 % of resampled values."""
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.asarray(draws, float), [tail, 1 - tail])
    return float(low), float(high)


def repetitions_for(samples: npt.ArrayLike, *, rounds: int, half_width: float) -> int:
    """Samples that each of several rounds needs for a wished interval.

    Args:
        samples: Of an earlier round.
        rounds: Number of rounds that share the work.
        half_width: Wished half-width of the 95 % interval, as a share of the median.

    Returns:
        At least 1; by the normal approximation of a median's error, with a deviation that bursts
        do not move (median absolute deviation).
    """
    values = np.asarray(samples, float)
    middle = float(np.median(values))
    if middle <= 0:
        return 1
    deviation = _MAD_TO_DEVIATION * float(np.median(np.abs(values - middle)))
    needed = (Z_95 * _MEDIAN_EFFICIENCY * deviation / (half_width * middle)) ** 2
    return max(1, math.ceil(needed / rounds))


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Rank correlation of two values of the same things; None where one of them is always equal."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    from scipy.stats import spearmanr  # takes a second to load

    return float(spearmanr(a, b).statistic)
