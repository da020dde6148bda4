"""Shapes of equal size that lie far apart: what a comparison of other dimensions needs."""

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import EmptySpaceError
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_count
from phonelm_search.space.feasible import FeasibleSet

_TRIED = 20_000
_TOLERANCE = 0.02  # of decoder parameters


def spread_at_equal_size(feasible: FeasibleSet, count: int, *, target: int) -> list[ModelShape]:
    """Choose shapes of nearly equal decoder size, spread over the space.

    Greedily the one farthest from all that are chosen, with every dimension scaled to [0, 1],
    sizes in logarithms; the first is the one nearest to the middle.

    Args:
        feasible: The space.
        count: How many to choose; fewer where there are fewer.
        target: Decoder parameters, from which none differs by more than 2 %.

    Raises:
        EmptySpaceError: If no shape is of that size.
    """
    sizes = feasible.columns["decoder_parameters"]
    rows = np.flatnonzero(np.abs(sizes / target - 1) <= _TOLERANCE)
    if len(rows) > _TRIED:
        rows = rows[:: -(-len(rows) // _TRIED)]
    if not len(rows):
        raise EmptySpaceError(
            f"the space must hold shapes within {_TOLERANCE:.0%} of {format_count(target)} decoder "
            "parameters, it holds none; take another space"
        )
    points = _points(feasible, rows)
    chosen = [int(np.argmin(np.square(points - points.mean(0)).sum(1)))]
    nearest = np.full(len(rows), np.inf)
    while len(chosen) < min(count, len(rows)):
        nearest = np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(1))
        nearest[chosen] = -1
        chosen.append(int(np.argmax(nearest)))
    return [feasible.shape(int(rows[i])) for i in chosen]


def _points(feasible: FeasibleSet, rows: npt.NDArray[np.int_]) -> npt.NDArray[np.float64]:
    columns = {k: v[rows].astype(float) for k, v in feasible.columns.items()}
    values = np.stack(
        [
            np.log(columns["num_hidden_layers"]),
            np.log(columns["head_dim"]),
            np.log(columns["num_attention_heads"] / columns["num_key_value_heads"]),
            np.log(columns["intermediate_size"] / columns["hidden_size"]),
            columns["hidden_act"],
            columns["ffn"],
        ],
        1,
    )
    span = np.ptp(values, axis=0)
    scaled: npt.NDArray[np.float64] = (values - values.min(0)) / np.where(span > 0, span, 1)
    return scaled
