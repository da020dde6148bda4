"""Dominance and ranks. Every objective is minimised; callers negate at the edge."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Item = TypeVar("Item")


def _checked(points: npt.ArrayLike) -> Points:
    values = np.asarray(points, np.float64)
    if values.ndim != 2:
        raise ValueError(f"points must be [n, objectives], got shape {values.shape}")
    return values


def _comparable(values: Points) -> tuple[npt.NDArray[np.intp], Points]:
    """Numbers of the rows without a NaN, and those rows without infinities."""
    rows = np.flatnonzero(~np.isnan(values).any(axis=1))
    # moocore marks ends with infinities of its own: one in three objectives ends the process.
    return rows, np.nan_to_num(values[rows])


def non_dominated(points: npt.ArrayLike) -> Mask:
    """Which points no other dominates.

    A point dominates another when it is nowhere larger and somewhere smaller.

    Args:
        points: ``[n, m]``, smaller is better. A row with a NaN is never in the front and
            dominates nothing. Equal rows are all in the front or all out of it.

    Returns:
        ``[n]`` booleans.
    """
    from moocore import is_nondominated  # here, as few commands need a front

    values = _checked(points)
    front = np.zeros(len(values), bool)
    rows, usable = _comparable(values)
    front[rows] = is_nondominated(usable, keep_weakly=True)
    return front


def front(items: Sequence[Item], point: Callable[[Item], Sequence[float]]) -> list[Item]:
    """The items whose points no other's dominates, in their order; see `non_dominated`."""
    if not items:
        return []
    kept = non_dominated([point(item) for item in items])
    return [item for item, on_front in zip(items, kept, strict=True) if on_front]


def membership_probability(first: npt.ArrayLike, second: npt.ArrayLike) -> Points:
    """How probable it is that each point belongs to the front of two objectives.

    Args:
        first: ``[draws, n]`` of the first objective, smaller is better; a row is drawn jointly.
            A point with a NaN is never in the front.
        second: ``[draws, n]`` of the second, or ``[n]`` where it has no error.

    Returns:
        ``[n]``: the share of draws in which the point is not dominated.
    """
    from moocore import is_nondominated

    one, two = _checked(first), np.asarray(second, np.float64)
    if two.shape not in (one.shape, one.shape[1:]):
        raise ValueError(f"second must be {one.shape} or {one.shape[1:]}, got shape {two.shape}")
    two = np.broadcast_to(two, one.shape)
    rows, usable = _comparable(np.stack([one.mean(axis=0), two.mean(axis=0)], axis=1))
    rows = rows[~_always_dominated(one[:, rows], two[:, rows])]
    usable = np.empty((len(rows), 2))
    count = np.zeros(one.shape[1])
    for drawn in zip(one[:, rows], two[:, rows], strict=True):
        usable[:] = np.transpose(drawn)
        count[rows] += is_nondominated(usable, keep_weakly=True)
    share: Points = count / len(one)
    return share


def _always_dominated(first: Points, second: Points) -> Mask:
    """Which points lie beyond the ends of all draws of one other point, in both objectives.

    Who is dominated by such a point is by that other one, too: they can be left out.
    """
    worst, least = first.max(axis=0), second.max(axis=0)
    order = np.argsort(worst)
    reached = np.minimum.accumulate(least[order])
    before = np.searchsorted(worst[order], first.min(axis=0))  # strictly faster in all draws
    best = np.concatenate([[np.inf], reached])[before]
    beyond: Mask = best < second.min(axis=0)
    return beyond


def dominance_rank(points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Non-domination rank: 0 for the front, 1 for the front of what is left, and so on.

    Rows with a NaN get the number of points, behind all others.
    """
    from moocore import pareto_rank

    values = _checked(points)
    rank = np.full(len(values), len(values), np.int64)
    rows, usable = _comparable(values)
    rank[rows] = pareto_rank(usable)
    return rank
