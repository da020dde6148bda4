"""Pure functions of samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.records import Measurement, Verdict

_RESAMPLES = 1000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """What the rounds of one measurement say together."""

    median_ms: float
    """Median of all samples."""
    ci_low_ms: float
    """Lower end of the 95 % bootstrap interval of the median."""
    ci_high_ms: float
    """Upper end."""
    samples: int
    """Number of samples."""
    verdict: Verdict
    """The worst of the rounds that count."""
    reasons: tuple[str, ...]
    """Why it is not valid."""
    notes: tuple[str, ...] = ()
    """What is unusual about the graph."""


def bootstrap_median(samples: npt.ArrayLike, *, seed: int = 0) -> tuple[float, float, float]:
    """Median and its percentile-bootstrap interval (95 %).

    Args:
        samples: At least one number.
        seed: Seed of the resampling, so that the same samples give the same interval.

    Returns:
        Median, lower and upper end, in the unit of the samples. One sample has an interval
        without width: it says nothing about spread, and its verdict says so.
    """
    values = np.asarray(samples, float)
    if values.ndim != 1 or not values.size:
        raise ValueError(f"samples must be a non-empty sequence, got shape {values.shape}")
    draws = np.random.default_rng(seed).integers(0, values.size, (_RESAMPLES, values.size))
    medians = np.median(values[draws], axis=1)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(np.median(values)), float(low), float(high)


def summarise(rounds: Sequence[Measurement]) -> LatencySummary:
    """Pool the rounds of one measurement, leaving rejected ones out where others exist.

    Raises:
        ValueError: If there is no round, or if they are not of one key.
    """
    if not rounds or len({m.key for m in rounds}) != 1:
        raise ValueError(
            f"rounds must be of one measurement, got {sorted({m.key for m in rounds})}"
        )
    counted = [m for m in rounds if m.verdict != "rejected"] or list(rounds)
    samples = np.concatenate([m.samples_ns for m in counted]) / 1e6
    median, low, high = bootstrap_median(samples)
    order: tuple[Verdict, ...] = ("valid", "suspect", "rejected")
    return LatencySummary(
        median_ms=median,
        ci_low_ms=low,
        ci_high_ms=high,
        samples=len(samples),
        verdict=max((m.verdict for m in counted), key=order.index),
        reasons=tuple(dict.fromkeys(r for m in counted for r in m.reasons)),
        notes=tuple(dict.fromkeys(n for m in counted for n in m.notes)),
    )
