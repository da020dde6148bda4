"""How probable it is that shapes belong to the front, of thousands in a bounded memory."""

from collections.abc import Callable

import numpy as np

from phonelm_search.core.pareto import always_dominated, membership_probability
from phonelm_search.core.statistics import Floats, spread_over
from phonelm_search.reading.table import Rows

_CHUNK = 500
"""Shapes at a time; and such whose mean stands for what all have in common."""


def front_chances(
    latencies: Callable[[Rows], Floats], losses: Callable[[Rows], Floats], count: int
) -> Floats:
    """How probable it is that each of some shapes belongs to the front of latency and loss.

    What lies beyond another shape in every draw, as most of many do, is not drawn with the others.

    Args:
        latencies: ``[some, draws]`` of some.
        losses: Likewise, or ``[some]`` where they have no error.
        count: Of the shapes.

    Returns:
        ``[count]``
    """
    beyond = always_dominated(_ends(latencies, count), _ends(losses, count))
    left = np.flatnonzero(~beyond)
    told = losses(left)
    found = np.zeros(count)
    found[left] = membership_probability(latencies(left).T, told.T)
    return found


def _ends(draws: Callable[[Rows], Floats], count: int) -> tuple[Floats, Floats]:
    """``[count]``: least and largest draw of each, what is common to all taken out."""
    common = draws(spread_over(count, _CHUNK)).mean(axis=0)
    least, largest = np.empty((2, count))
    for start in range(0, count, _CHUNK):
        some = np.arange(start, min(start + _CHUNK, count))
        apart = (draws(some) - common).reshape(len(some), -1)
        least[some], largest[some] = apart.min(axis=1), apart.max(axis=1)
    return least, largest
