"""Which shapes are worth measuring: expected gain of each, by draws of what models tell.

The gain is the hypervolume that a shape would add to the front (Emmerich, Giannakoglou &
Naujoks, Single- and Multiobjective Evolutionary Optimization Assisted by Gaussian Random Field
Metamodels, 2006), or, within budgets, by how much it would lower the lowest loss (or latency)
that keeps them. Several are chosen one after another, each taken to turn out as it is told
(Ginsbourger et al., Kriging is Well-Suited to Parallelize Optimization, 2010).
"""

from collections.abc import Iterator

import numpy as np

from phonelm_search.core.statistics import Floats


def front_gains(
    latency: Floats, loss: Floats, known: Floats, corner: tuple[float, float], seconds: Floats
) -> Iterator[tuple[int, float]]:
    """Shapes by what a second of measuring them is expected to add to a front.

    Args:
        latency: ``[draws, n]``, smaller is better.
        loss: ``[n]``, likewise; measuring does not change it.
        known: ``[m, 2]``: latency and loss of what was measured.
        corner: Latency and loss beyond which nothing counts.
        seconds: ``[n]``, to measure each.

    Yields:
        Row and expected hypervolume, until none is left that adds any.
    """
    points = np.asarray(known, float).reshape(-1, 2)
    left = np.arange(len(loss))
    middle = np.median(latency, axis=0)
    while len(left):
        gains = _added_volume(latency[:, left], loss[left], points, corner).mean(axis=0)
        best = int(np.argmax(gains / seconds[left]))
        if gains[best] <= 0:
            return
        row = int(left[best])
        yield row, float(gains[best])
        points = np.vstack([points, [middle[row], loss[row]]])
        left = np.delete(left, best)


def best_gains(
    kept: Floats, values: Floats, lowest: float, seconds: Floats
) -> Iterator[tuple[int, float]]:
    """Shapes by how much they lower the lowest value, times how probably they keep the budgets.

    As of `front_gains`, it is what a second of measuring is worth.

    Args:
        kept: ``[n]``: how probable it is that a shape keeps the budgets.
        values: ``[n]``, loss or latency.
        lowest: Of what was measured and keeps them; infinity where nothing does.
        seconds: ``[n]``, to measure each.

    Yields:
        Row and expected gain, the largest a second first, until none gains anything.
    """
    # Where nothing keeps them, any that does is better than none.
    level = float(values.max(initial=0.0)) * 1.01 if np.isinf(lowest) else lowest
    left = np.ones(len(values), bool)
    while left.any():
        gains = np.where(left, kept * np.maximum(level - values, 0.0), 0.0)
        row = int(np.argmax(gains / seconds))
        if gains[row] <= 0:
            return
        yield row, float(gains[row])
        left[row] = False
        level -= float(gains[row])


def _added_volume(
    latency: Floats, loss: Floats, points: Floats, corner: tuple[float, float]
) -> Floats:
    """``[draws, n]``: area that each point dominates, up to the corner, and no known one does."""
    order = np.lexsort((points[:, 1], points[:, 0]))
    times, losses = points[order, 0], np.minimum.accumulate(points[order, 1])
    # Between two known times the lowest known loss is that of the first; before all, the corner's.
    starts = np.concatenate([[-np.inf], times])
    ends = np.concatenate([times, [corner[0]]])
    levels = np.minimum(np.concatenate([[corner[1]], losses]), corner[1])
    added = np.zeros_like(latency)
    for start, end, level in zip(starts, ends, levels, strict=True):
        width = np.minimum(end, corner[0]) - np.maximum(latency, start)
        added += np.maximum(width, 0) * np.maximum(level - loss, 0)
    return added
