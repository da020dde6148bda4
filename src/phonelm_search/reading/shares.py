"""Times of many shapes as shares of the baseline's, some hundred shapes at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phonelm_search.core.statistics import Floats, middles_and_ends
from phonelm_search.measure import cached_doubles
from phonelm_search.reading.baseline import Baseline
from phonelm_search.reading.readings import Readings

_CHUNK = 500  # shapes at a time, for a bounded memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Times of shapes as shares of the baseline's, at the place where each is worst off."""

    extents: Floats
    """``[n, 3]``: with their 95 % intervals."""
    worst: npt.NDArray[np.intp]
    """``[n]``: number of the place."""
    middles: Floats
    """``[n, places]``: of each place its own share in the median."""


def share_draws(
    baseline: Baseline, readings: Sequence[Readings], shape_ids: Sequence[str]
) -> Floats:
    """``[n, draws]`` of shares; in every draw the place where a shape is worst off counts.

    Args:
        baseline: What they are shares of.
        readings: Of each place.
        shape_ids: Shapes that have a time at every place.
    """
    told = [baseline.shares(i, r, shape_ids) for i, r in enumerate(readings)]
    return told[0] if len(told) == 1 else np.max(told, axis=0)


def shares_of(
    baseline: Baseline,
    readings: Sequence[Readings],
    shape_ids: Sequence[str],
    *,
    digest: str,
    file: Path | None,
) -> Shares:
    """Shares of shapes.

    Args:
        baseline: What they are shares of.
        readings: Of each place.
        shape_ids: Shapes that have a time at every place.
        digest: Of all that the numbers depend on.
        file: Where they are kept for the next reading; None keeps none.
    """

    def told() -> dict[str, Floats]:
        chunks = range(0, len(shape_ids), _CHUNK)
        parts = [_chunk(baseline, readings, shape_ids[i : i + _CHUNK]) for i in chunks]
        parts = parts or [(np.empty((0, 3)), np.empty((0, len(readings))))]
        extents, middles = (np.concatenate(p) for p in zip(*parts, strict=True))
        return {"extents": extents, "middles": middles}

    found = cached_doubles(file, digest, told)
    return Shares(**found, worst=np.argmax(found["middles"], axis=1))


def _chunk(
    baseline: Baseline, readings: Sequence[Readings], shape_ids: Sequence[str]
) -> tuple[Floats, Floats]:
    """``[n, 3]`` and ``[n, places]``: extents and middles of some."""
    told = [baseline.shares(i, r, shape_ids) for i, r in enumerate(readings)]
    draws = told[0] if len(told) == 1 else np.max(told, axis=0)
    ends = middles_and_ends(draws)
    return ends, np.median(told, axis=2).T if len(told) > 1 else ends[:, :1]
