"""Rows of shapes that were not measured, as the models tell them."""

import numpy as np

from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95
from phonelm_search.outputs.rows import STUDY_COLUMNS, Row
from phonelm_search.reading import ModelledFront, StudyView


def predicted_rows(view: StudyView, limit: int) -> list[Row]:
    """Shapes of the space on or near the modelled front that were not measured, fastest first.

    Args:
        view: The study.
        limit: How many at most; the likeliest ones of the front.
    """
    found = view.modelled
    if found is None or not view.rows:
        return []
    known = set(view.table.ids)
    front = set(found.front().tolist())
    inside = np.flatnonzero(found.inside)
    order = sorted(inside.tolist(), key=lambda i: (i not in front, -found.chance[i], i))
    rows: list[tuple[int, ModelShape]] = []
    for i in order:
        if len(rows) == limit:
            break
        shape = found.shape(i)
        if shape.shape_id not in known:
            rows.append((i, shape))
    rows.sort(key=lambda pair: found.latency[pair[0]])
    return [_row(view, found, i, shape, on_front=i in front) for i, shape in rows]


def _row(
    view: StudyView, found: ModelledFront, row: int, shape: ModelShape, *, on_front: bool
) -> Row:
    latency, loss = float(found.latency[row]), float(found.loss[row])
    time = np.exp(Z_95 * found.latency_error[row])
    more = np.exp(Z_95 * found.loss_error[row])
    told = {
        **shape.columns(),
        "kind": "predicted",
        "precision": str(view.device.precision),
        "scenario": str(view.scenario),
        "relative_latency": latency,
        "relative_low": latency / time,
        "relative_high": latency * time,
        "relative_to": view.baseline,
        "relative_loss": loss,
        "relative_loss_low": loss / more,
        "relative_loss_high": loss * more,
        "train_tokens": view.train_tokens,
        "unaligned": list(shape.unaligned(view.tile)),
        "modelled_front": on_front,
        "front_probability": float(found.chance[row]),
        "pick": False,
        "reasons": [],
        "notes": [],
        "provisional": [],
        "score_notes": [],
    }
    if len(view.devices) == 1:  # of several a share does not tell whose milliseconds
        ms = latency * view.unit_ms
        told |= {
            "device": view.device.name, "latency_ms": ms, "ci_low_ms": ms / time,
            "ci_high_ms": ms * time,
        }  # fmt: skip
    return {name: told.get(name) for name in STUDY_COLUMNS}
