"""Which shapes a search begins with, where some are too large for its time."""

import numpy as np

from phonelm_search.core.statistics import Floats
from phonelm_search.space import Columns, FeasibleSet
from phonelm_search.speed import round_seconds
from phonelm_search.stages.session import SETTINGS, MeasuringSession

_SHARE = 0.4
"""Of the time that the first shapes may take; as much is for those that tell most."""
_FEWEST = 64
"""Shapes at least that the first are drawn from, the smallest ones."""


def affordable_shapes(
    session: MeasuringSession, count: int, minutes: float, *, seed: int
) -> list[str]:
    """Draw the first shapes among those that a share of the time is enough for.

    Args:
        session: Of the study.
        count: Shapes that a search begins with.
        minutes: Its time, as it was given: a search that was stopped begins with the same shapes.
        seed: Of the draw.

    Returns:
        Ids of shapes; nothing where the time is enough for all of the space.
    """
    feasible = session.setup.feasible
    seconds = SETTINGS.rounds * all_round_seconds(session, feasible)
    allowed = seconds <= _SHARE * 60 * minutes / count
    if allowed.all():
        return []
    cheapest = np.argsort(seconds, kind="stable")[: max(_FEWEST, int(allowed.sum()))]
    drawn = np.random.default_rng(seed).permutation(cheapest)[:count]
    return [feasible.shape(int(row)).shape_id for row in drawn]


def all_round_seconds(session: MeasuringSession, shapes: FeasibleSet) -> Floats:
    """``[n]`` seconds of a round of each shape, on one device after another."""
    columns, workloads = Columns.of_space(shapes), session.setup.goals.workloads
    found: Floats = np.sum(
        [round_seconds(columns, workloads, d, settings=SETTINGS) for d in session.setup.devices],
        axis=0,
    )
    return found
