"""Dominance and ranks. Every objective is minimised; callers negate at the edge."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Item = TypeVar("Item")
_DRAWS_AT_ONCE, _POINTS_AT_ONCE = 100, 1000  # for a bounded memory


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
    values = _checked(points)
    front = np.zeros(len(values), bool)
    rows, usable = _comparable(values)
    if usable.shape[1] == 2:  # as nearly always: a sort is quicker than to load the library
        front[rows] = _fronts(usable[None, :, 0], usable[None, :, 1])[0]
    else:
        from moocore import is_nondominated

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
    one, two = _checked(first), np.asarray(second, np.float64)
    if two.shape not in (one.shape, one.shape[1:]):
        raise ValueError(f"second must be {one.shape} or {one.shape[1:]}, got shape {two.shape}")
    two = np.broadcast_to(two, one.shape)
    rows, _ = _comparable(np.stack([one.mean(axis=0), two.mean(axis=0)], axis=1))
    count = np.zeros(one.shape[1])
    if len(rows) < len(count):
        one, two = one.T[rows].T, two.T[rows].T  # draws of one point may lie together
    left = np.flatnonzero(~always_dominated(_ends(one), _ends(two)))
    rows, one, two = rows[left], one.T[left].T, two.T[left].T
    for start in range(0, len(one) if len(rows) else 0, _DRAWS_AT_ONCE):
        some = slice(start, start + _DRAWS_AT_ONCE)
        count[rows] += _fronts(*map(np.ascontiguousarray, (one[some], two[some]))).sum(axis=0)
    share: Points = count / len(one)
    return share


def _fronts(first: Points, second: Points) -> Mask:
    """``[draws, n]``: which points no other dominates in a draw; as of `non_dominated`."""
    order = np.argsort(first, axis=1)
    times, losses = (np.take_along_axis(v, order, axis=1) for v in (first, second))
    if (times[:, 1:] == times[:, :-1]).any():  # of equally fast ones the best comes first
        order = np.lexsort((second, first), axis=1)
        times, losses = (np.take_along_axis(v, order, axis=1) for v in (first, second))
    places = np.arange(first.shape[1])
    begins = np.ones(first.shape, bool)
    begins[:, 1:] = times[:, 1:] != times[:, :-1]
    start = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    lowest = np.minimum.accumulate(losses, axis=1)
    before = np.take_along_axis(lowest, np.maximum(start - 1, 0), axis=1)
    kept = (start == 0) | (losses < before)
    kept &= losses == np.take_along_axis(losses, start, axis=1)
    found: Mask = np.empty_like(kept)
    np.put_along_axis(found, order, kept, axis=1)
    return found


def always_dominated(first: tuple[Points, Points], second: tuple[Points, Points]) -> Mask:
    """Which points lie beyond the ends of all draws of one other point, in both objectives.

    Who is dominated by such a point is by that other one, too: they can be left out.

    Args:
        first: ``[n]`` and ``[n]``: least and largest draw of the first objective. A number less
            for all points of a draw puts none before another, so what they have in common may be
            taken out.
        second: Likewise of the second.
    """
    (fastest, worst), (best, least) = first, second
    order = np.argsort(worst)
    reached = np.minimum.accumulate(least[order])
    before = np.searchsorted(worst[order], fastest)  # strictly faster in all draws
    beyond: Mask = np.concatenate([[np.inf], reached])[before] < best
    return beyond


def _ends(draws: Points) -> tuple[Points, Points]:
    """``[n]``: least and largest of ``[draws, n]``, what all have in common taken out.

    A number less for all points of a draw puts none before another.
    """
    common = draws.mean(axis=1, keepdims=True) if draws.size else np.zeros((1, 1))
    if not np.isfinite(common).all():
        common = np.zeros_like(common)
    least, largest = np.empty((2, draws.shape[1]))
    for start in range(0, draws.shape[1], _POINTS_AT_ONCE):
        some = slice(start, start + _POINTS_AT_ONCE)
        apart = draws[:, some] - common
        least[some], largest[some] = apart.min(axis=0), apart.max(axis=0)
    return least, largest


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
