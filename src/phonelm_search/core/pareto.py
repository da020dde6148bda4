"""Dominance, ranks and hypervolume. Every objective is minimised; callers negate at the edge."""

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def _checked(points: npt.ArrayLike) -> Points:
    values = np.asarray(points, np.float64)
    if values.ndim != 2:
        raise ValueError(f"points must be [n, objectives], got shape {values.shape}")
    return values


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
    usable = np.flatnonzero(~np.isnan(values).any(axis=1))
    order = usable[np.lexsort(values[usable].T[::-1])]  # a dominator sorts before what it dominates
    kept = np.empty((0, values.shape[1]))
    for i in order:
        row = values[i]
        dominated = ((kept <= row).all(axis=1) & (kept < row).any(axis=1)).any()
        if not dominated:
            kept = np.vstack((kept, row))
            front[i] = True
    return front


def _front_of_two(values: Points) -> Mask:
    """The same for two objectives, by sorting: thousands of points in a millisecond."""
    front = np.zeros(len(values), bool)
    usable = np.flatnonzero(~np.isnan(values).any(axis=1))
    order = usable[np.lexsort((values[usable, 1], values[usable, 0]))]
    first, second = values[order].T
    # The best second value of all points that are strictly better in the first.
    starts = np.searchsorted(first, first, side="left")
    best = np.concatenate(([np.inf], np.minimum.accumulate(second)))[starts]
    best_alike = second[starts]  # among equal first values the smallest second one comes first
    front[order] = (second < best) & (second == best_alike)
    return front


def membership_probability(
    points: npt.ArrayLike, deviations: npt.ArrayLike, *, draws: int = 1000, seed: int = 0
) -> Points:
    """How probable it is that each point belongs to the front, given the errors of its values.

    Args:
        points: ``[n, m]``, smaller is better.
        deviations: ``[n, m]``, standard deviations of independent normal errors; 0 for values
            that are exact.
        draws: Fronts that are drawn.
        seed: Seed of the draws.

    Returns:
        ``[n]``: the share of draws in which the point is not dominated.
    """
    values, errors = _checked(points), _checked(deviations)
    if errors.shape != values.shape or (errors < 0).any():
        raise ValueError(
            f"deviations must be non-negative {values.shape}, got shape {errors.shape}"
        )
    random = np.random.default_rng(seed)
    front = _front_of_two if values.shape[1] == 2 else non_dominated
    count = np.zeros(len(values))
    for _ in range(draws):
        count += front(values + errors * random.standard_normal(values.shape))
    share: Points = count / draws
    return share


def dominance_rank(points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Non-domination rank: 0 for the front, 1 for the front of what is left, and so on.

    Rows with a NaN get the number of points, behind all others.
    """
    values = _checked(points)
    rank = np.full(len(values), len(values), np.int64)
    left = np.flatnonzero(~np.isnan(values).any(axis=1))
    level = 0
    while left.size:
        front = non_dominated(values[left])
        rank[left[front]] = level
        left = left[~front]
        level += 1
    return rank


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Volume dominated by points and bounded by a reference point that they should dominate.

    Args:
        points: ``[n, m]``, smaller is better; rows with NaN and those not below the reference
            in every objective add nothing.
        reference: ``[m]``.

    Returns:
        The volume; 0 without points. By slicing along the last objective: exact, and fast for
        the few objectives and points of a study.
    """
    values, bound = _checked(points), np.asarray(reference, np.float64)
    if bound.shape != (values.shape[1],):
        raise ValueError(f"reference must be [{values.shape[1]}], got shape {bound.shape}")
    values = values[(values < bound).all(axis=1)]
    return _volume(values[non_dominated(values)], bound) if len(values) else 0.0


def _volume(front: Points, bound: Points) -> float:
    if front.shape[1] == 1:
        return float(bound[0] - front.min())
    order = np.argsort(front[:, -1], kind="stable")
    levels = np.append(front[order, -1], bound[-1])
    total = 0.0
    for i in range(len(order)):
        height = levels[i + 1] - levels[i]
        if height > 0:
            below = front[order[: i + 1], :-1]
            total += height * _volume(below[non_dominated(below)], bound[:-1])
    return total
