"""How well a cheap order of shapes agrees with that of a long training. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import percentile_interval, spearman
from phonelm_search.quality.comparison import RESAMPLES, resampled_counts

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A cheap order against the long run's; both lower is better."""

    spearman: float | None
    """Rank correlation; None where the cheap value is the same for all."""
    kendall: float | None
    """Kendall's τ-b."""
    kendall_interval: Interval | None
    """95 % interval of τ over resampled shapes."""
    concordance: float | None
    """Share of the resolved pairs that it orders as the long run does; a tie counts half."""
    concordance_interval: Interval | None
    """Likewise."""
    resolved: int
    """Pairs that the long run tells apart."""
    regret: dict[int, float]
    """k → bits per byte lost when the best of its first k shapes is taken."""


def agreement(
    cheap: Sequence[float],
    long: Sequence[float],
    resolved: Sequence[tuple[int, int]],
    *,
    tops: Sequence[int] = (1, 3),
) -> Agreement:
    """Compare an order with the long run's.

    Args:
        cheap: A value for each shape, lower is better.
        long: Bits per byte of the long run ``[n]``.
        resolved: Pairs of indices that the long run tells apart.
        tops: For which k the regret is told.
    """
    a, b = np.asarray(cheap, float), np.asarray(long, float)
    weights = np.concatenate([np.ones((1, len(a))), resampled_counts(len(a))])
    tau = kendall(a, b, weights)
    same = _concordance(a, b, resolved, weights)
    order = np.argsort(a, kind="stable")
    return Agreement(
        spearman=spearman(a, b),
        kendall=_number(tau[0]),
        kendall_interval=_interval(tau[1:]),
        concordance=_number(same[0]),
        concordance_interval=_interval(same[1:]),
        resolved=len(resolved),
        regret={k: float(_best_of_ties(a, b, order, k) - b.min()) for k in tops},
    )


def kendall(a: Floats, b: Floats, weights: Floats | None = None) -> Floats:
    """Kendall's τ-b under weights of the shapes.

    Args:
        a: Values ``[n]``.
        b: Values ``[n]``.
        weights: How often each shape counts ``[m, n]``; once by default.

    Returns:
        τ-b ``[m]``; NaN where one side does not vary.
    """
    counts = np.ones((1, len(a))) if weights is None else weights
    x, y = np.sign(a[:, None] - a), np.sign(b[:, None] - b)

    def total(pairs: Floats) -> Floats:
        found: Floats = np.einsum("mi,ij,mj->m", counts, pairs, counts, optimize=True)
        return found

    with np.errstate(invalid="ignore", divide="ignore"):
        return total(x * y) / np.sqrt(total(x * x) * total(y * y))


def _concordance(
    a: Floats, b: Floats, resolved: Sequence[tuple[int, int]], weights: Floats
) -> Floats:
    if not resolved:
        return np.full(len(weights), np.nan)
    i, j = np.asarray(resolved, int).T
    agree = (1 + np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])) / 2
    counts = weights[:, i] * weights[:, j]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = counts @ agree / counts.sum(1)
    return found


def _best_of_ties(a: Floats, b: Floats, order: npt.NDArray[np.intp], k: int) -> float:
    """The best of the first k, on average over draws among those tied for the last places."""
    k = min(k, len(order))
    limit = a[order[k - 1]]
    sure, tied = b[a < limit], np.sort(b[a == limit])
    drawn = k - len(sure)
    best = float(sure.min()) if len(sure) else np.inf
    # Expected minimum of so many draws without replacement: the i-th best is it where all others
    # drawn are worse.
    ways = [math.comb(len(tied) - 1 - i, drawn - 1) for i in range(len(tied))]
    return sum(w * min(best, float(t)) for w, t in zip(ways, tied, strict=True)) / sum(ways)


def _number(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)


def _interval(values: Floats) -> Interval | None:
    kept = values[~np.isnan(values)]
    return None if len(kept) < RESAMPLES / 2 else percentile_interval(kept)
