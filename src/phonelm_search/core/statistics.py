"""Pure functions of samples."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CONFIDENCE = 0.95
_NEXT_TO_0 = 1e-300
Z_95 = 1.959964
"""Half width of a 95 % interval in standard deviations."""


def median_of_rounds(rounds: Sequence[npt.ArrayLike]) -> float:
    """The headline of a measurement."""
    return float(np.median([np.median(np.asarray(r, float)) for r in rounds]))


def percentile_interval(draws: npt.ArrayLike) -> tuple[float, float]:
    """Ends of the central 95 % of resampled values."""
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(np.asarray(draws, float), [tail, 1 - tail])
    return float(low), float(high)


def middles_and_ends(draws: npt.ArrayLike, *, of_logarithms: bool = False) -> Floats:
    """Median and ends of the central 95 % along the last axis: ``[..., 3]`` of ``[..., draws]``.

    The same numbers as `numpy.median` and `percentile_interval`, by one sort for all three.

    Args:
        draws: In double or single precision; they are put in order as they are.
        of_logarithms: Whether they are logarithms of what is asked for. The few that are needed
            are raised after the sort: the same numbers for a tenth of the work.
    """
    ordered = np.sort(draws, axis=-1)
    count = ordered.shape[-1]
    tail = (1 - _CONFIDENCE) / 2
    middles = ordered[..., [(count - 1) // 2, count // 2]]
    ends = [_beside(share, count) for share in (tail, 1 - tail)]
    needed = np.concatenate([middles, *(ordered[..., [a, b]] for a, b, _ in ends)], axis=-1)
    values = np.exp(needed.astype(float)) if of_logarithms else needed.astype(float)
    found: Floats = np.stack(
        [
            (values[..., 0] + values[..., 1]) / 2,
            *(
                _between(values[..., k], values[..., k + 1], part)
                for k, (_, _, part) in zip((2, 4), ends, strict=True)
            ),
        ],
        axis=-1,
    )
    found[np.isnan(ordered[..., -1])] = np.nan
    return found


def significant(values: npt.ArrayLike, digits: int = 6) -> Floats:
    """Rounded to so many significant digits; what is not finite or next to 0 stays as it is."""
    found = np.array(values, float)
    some = np.isfinite(found) & (np.abs(found) > _NEXT_TO_0)
    places = digits - 1 - np.floor(np.log10(np.abs(found[some]))).astype(int)
    # A whole number over a power of ten is the float that is nearest to that decimal.
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    found[some] = np.round(found[some] * up / down) * down / up
    return found


def quantile_of_ordered(ordered: Floats, share: float) -> Floats:
    """A quantile along the last axis of ascending numbers: that of `numpy.quantile`, to the bit."""
    before, after, part = _beside(share, ordered.shape[-1])
    return _between(ordered[..., before], ordered[..., after], part)


def _beside(share: float, count: int) -> tuple[int, int, float]:
    """Places of the two of so many ordered numbers beside a quantile, and the part between."""
    at = share * (count - 1)
    before = int(at)
    return before, min(before + 1, count - 1), at - before


def _between(low: Floats, high: Floats, part: float) -> Floats:
    span = high - low
    found: Floats = low + span * part if part < 0.5 else high - span * (1 - part)
    return found


def paired_medians(samples: npt.ArrayLike) -> Floats:
    """Medians of things that were sampled in turn, without what a turn does to all of them.

    Each turn's mean distance from the medians is taken out of its samples before their median is
    taken again (one sweep of a median polish; Tukey, Exploratory Data Analysis, 1977).

    Args:
        samples: ``[things, turns]``, positive.

    Returns:
        ``[things]``, in the unit of the samples.
    """
    logs = np.log(np.asarray(samples, float))
    of_turns = (logs - np.median(logs, axis=1, keepdims=True)).mean(axis=0)
    medians: Floats = np.exp(np.median(logs - of_turns, axis=1) + np.median(of_turns))
    return medians


def less_probability(a: Floats, b: Floats) -> float:
    """How probable it is, by joint draws, that a is less than b; equals count half."""
    return float(less_probabilities(a, b))


def less_probabilities(many: Floats, one: Floats) -> Floats:
    """``[n]``: the same of each of ``[n, draws]``."""
    found: Floats = np.mean((many < one) + 0.5 * (many == one), axis=-1)
    return found


def stream(*names: str | int) -> np.random.Generator:
    """Random numbers of their own for each purpose and seed.

    Two generators of one seed draw the same errors, which then seem to go together.
    """
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Rank correlation of two values of the same things; None where one of them is always equal."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    from scipy.stats import spearmanr  # takes a second to load

    return float(spearmanr(a, b).statistic)


def spread_over(length: int, count: int) -> npt.NDArray[np.int_]:
    """Indices of at most so many items of a sequence, evenly apart, its ends among them."""
    places = np.linspace(0, length - 1, min(count, length))
    return np.unique(np.round(places).astype(int))
