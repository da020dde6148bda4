"""Prices of physical costs, fitted to what was measured; and what is far from them."""

from collections.abc import Sequence

import numpy as np

from phonelm_search.core.precision import Precision
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Workload
from phonelm_search.space import Columns
from phonelm_search.speed.features import features

_LEAST_FOR_A_FIT = 12  # measurements; some prices are fitted to them
_FAR = 0.25
_MANY = 256  # measurements beyond which as many equations as there are prices stand for all
_MOST_STEPS = 1000  # of the solver; it takes a few


def fit_prices(costs: Floats, latencies: Floats) -> Floats:
    """Prices that fit latencies best, by relative squares and none negative.

    Args:
        costs: ``[n, k]``, as `features` of each measurement.
        latencies: ``[n]``.

    Returns:
        ``[k]``; fewer measurements than prices leave some at 0.
    """
    from scipy.optimize import nnls  # takes half a second to load

    scale = costs.max(axis=0)  # bytes and operators differ by nine orders
    scale[scale == 0] = 1.0
    asked, wanted = costs / scale / latencies[:, None], np.ones(len(latencies))
    if len(asked) > _MANY:
        rotated, asked = np.linalg.qr(asked)
        wanted = rotated.T @ wanted
    prices, _ = nnls(asked, wanted, maxiter=_MOST_STEPS)
    found: Floats = prices / scale
    return found


def against_prices(
    found: Sequence[tuple[ModelShape, Workload, float]], scheme: Precision
) -> list[float] | None:
    """Measured over predicted by costs whose prices are fitted to the same measurements.

    Args:
        found: Shapes with a workload and its latency in ms, all of one device.
        scheme: How weights are stored.

    Returns:
        One for each; None where fewer than 12 measurements of a workload say nothing about any.
    """
    ratios = np.ones(len(found))
    for workload in dict.fromkeys(w for _, w, _ in found):
        rows = [i for i, (_, w, _) in enumerate(found) if w == workload]
        if len(rows) < _LEAST_FOR_A_FIT:
            return None
        costs = features(Columns.of([found[i][0] for i in rows]), scheme, workload)
        latencies = np.array([found[i][2] for i in rows])
        ratios[rows] = latencies / (costs @ fit_prices(costs, latencies))
    return [float(r) for r in ratios]


def far_off(
    found: Sequence[tuple[ModelShape, Workload, float]], scheme: Precision
) -> list[float | None]:
    """Measurements that are far from what physical costs predict.

    Args:
        found: As of `against_prices`.
        scheme: How weights are stored.

    Returns:
        For each, measured over predicted where that is 25 % from 1 or more; None where it is
        nearer, or where there are too few to tell.
    """
    ratios = against_prices(found, scheme)
    if ratios is None:
        return [None] * len(found)
    return [r if abs(r - 1) >= _FAR else None for r in ratios]
