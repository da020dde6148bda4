"""Which shapes of a study its trainings shall tell apart."""

from collections.abc import Iterable

import numpy as np

from phonelm_search.core.pareto import dominance_rank
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import spread_over
from phonelm_search.reading.table import Table
from phonelm_search.reading.view import StudyView
from phonelm_search.space import SearchSpace


def typical_size(space: SearchSpace, sizes: Iterable[int]) -> int | None:
    """Decoder parameters of a study's shapes: the space's target, else the median of ``sizes``."""
    if space.parameters and space.parameters.target and space.parameters.count == "decoder":
        return space.parameters.target
    ordered = sorted(sizes)
    return ordered[len(ordered) // 2] if ordered else None


def candidates(view: StudyView, count: int) -> list[ModelShape]:
    """The front and near-front of a study, and what its losses are shares of."""
    baseline = view.table.only([name == view.baseline for name in view.table.names])
    return [*near_front(view.sampled, count).shapes, *baseline.shapes]


def near_front(rows: Table, count: int) -> Table:
    """Rows of lowest dominance rank by latency and loss, fastest first; of one rank spread over it.

    Args:
        rows: Measured shapes.
        count: How many to take; fewer where there are fewer.
    """
    if not len(rows):
        return rows
    found = rows.at(np.lexsort((np.array(rows.ids, str), rows.latency[:, 0])).tolist())
    ranks = dominance_rank(np.stack([found.latency[:, 0], found.loss[:, 0]], axis=1))
    chosen: list[int] = []
    for rank in np.unique(ranks):
        members = np.flatnonzero(ranks == rank)
        left = count - len(chosen)
        if left <= 0:
            break
        chosen += members[spread_over(len(members), left)].tolist()
    return found.at(sorted(chosen))
