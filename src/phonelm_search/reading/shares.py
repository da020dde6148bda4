"""Times of many shapes as shares of the baseline's, some hundred shapes at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from phonelm_search.core.latency import Extent
from phonelm_search.core.statistics import Floats, middles_and_ends
from phonelm_search.reading.baseline import Baseline
from phonelm_search.reading.readings import Readings

_CHUNK = 500  # shapes at a time, for a bounded memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Time of one shape as a share of the baseline's, at the place where it is worst off."""

    extent: Extent
    """With its 95 % interval."""
    draws: Floats = field(repr=False, compare=False)
    """``[draws]`` of it; in every draw the place where it is worst counts."""
    worst: int
    """Number of the place."""
    middles: tuple[float, ...]
    """Of each place its own share in the median."""


def shares_of(
    baseline: Baseline, readings: Sequence[Readings], shape_ids: Sequence[str]
) -> Iterator[Share]:
    """Shares of shapes that have a time at every place.

    Args:
        baseline: What they are shares of.
        readings: Of each place.
        shape_ids: The shapes.

    Yields:
        One for each.
    """
    for start in range(0, len(shape_ids), _CHUNK):
        some = shape_ids[start : start + _CHUNK]
        told = [baseline.shares(i, r, some) for i, r in enumerate(readings)]
        draws = told[0] if len(told) == 1 else np.max(told, axis=0)
        ends = middles_and_ends(draws)
        middles = np.median(told, axis=2) if len(told) > 1 else ends[:, :1].T
        worst = np.argmax(middles, axis=0)
        for row, end, place, middle in zip(
            draws, ends.tolist(), worst.tolist(), middles.T.tolist(), strict=True
        ):
            yield Share(extent=Extent(*end), draws=row, worst=place, middles=tuple(middle))
