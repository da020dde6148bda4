"""Which shapes of a space are worth measuring next, by what the measured ones say of all."""

from typing import Any

import numpy as np

from phonelm_search.core.errors import ModelError
from phonelm_search.reading import (
    ShapeModels,
    StudyView,
    keeping_rows,
    modelled_keeping,
    wants_speed,
)
from phonelm_search.search import best_gains, front_gains
from phonelm_search.space import Columns
from phonelm_search.stages.affordable import all_round_seconds
from phonelm_search.stages.session import MeasuringSession

_DRAWS = 400
_LEAST_GAIN = 1e-4
"""Of the front's whole area, or of the lowest loss: less is not worth a round."""


def telling_shapes(session: MeasuringSession, count: int) -> list[str] | None:
    """Shapes of the space that are worth measuring, the most telling one first.

    Returns:
        An empty list where no shape is expected to tell more; None where no model holds, which is
        said.
    """
    view = session.view
    try:
        models = view.models
    except ModelError as error:
        session.report.note(f"shapes are sampled, not predicted: {error}")
        return None
    session.configure("prediction", describe(models, len(session.setup.feasible)))
    modelled = view.modelled
    if modelled is None or not view.sampled:
        return None
    known = {*view.table.ids, *(f.shape.shape_id for f in view.failed)}
    inside = np.flatnonzero(modelled.inside)
    rows = np.array([i for i in inside if modelled.shape(int(i)).shape_id not in known], int)
    if not len(rows):
        return []
    shapes, loss = modelled.kept.rows(rows), modelled.loss[rows]
    seconds = all_round_seconds(session, shapes)
    if view.budgets:
        fast = wants_speed(view.budgets)
        wanted = modelled.latency[rows] if fast else loss
        gains = best_gains(
            modelled_keeping(view, shapes), wanted, lowest := _lowest(view, fast=fast), seconds
        )
        least = 0.0 if np.isinf(lowest) else _LEAST_GAIN * lowest
    else:
        latency = models.latency_draws(Columns.of_space(shapes), _DRAWS)
        points = np.stack([view.sampled.latency[:, 0], view.sampled.loss[:, 0]], axis=1)
        corner = (max(points[:, 0].max(), latency.max()), max(points[:, 1].max(), loss.max()))
        gains = front_gains(latency, loss, points, corner, seconds)
        least = _LEAST_GAIN * float(np.prod(corner - points.min(axis=0)))
    found: list[str] = []
    for row, gain in gains:
        if len(found) == count or gain / seconds[row] < least / np.median(seconds):
            break
        found.append(shapes.shape(row).shape_id)
    return found


def _lowest(view: StudyView, *, fast: bool) -> float:
    """Lowest loss, or latency, of measured shapes that keep all budgets; infinity without any."""
    kept = keeping_rows(view)
    return float(np.min((kept.latency if fast else kept.loss)[:, 0], initial=np.inf))


def describe(models: ShapeModels, shapes: int) -> dict[str, Any]:
    """What a study keeps of its predictions, with their errors on shapes that were held out."""
    held = models.held_out
    return {
        "shapes": shapes,
        "measured": len(next(iter(held.values())).errors),
        "held_out": {
            name: {"median": h.median, "p95": h.p95, "noise": h.noise} for name, h in held.items()
        },
    }
