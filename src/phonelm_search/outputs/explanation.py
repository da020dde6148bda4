"""An explanation as the document that programs read."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from phonelm_search.outputs.rows import Row, study_rows
from phonelm_search.reading import Explanation, Neighbour, Pick, StudyView


def explanation_document(
    view: StudyView, explanation: Explanation, pick: Pick | None
) -> dict[str, Any]:
    """What ``explain --json`` prints.

    Args:
        view: The study.
        explanation: Of one of its shapes.
        pick: The study's, where the shape is it.
    """
    (row,) = study_rows(view, [explanation.row])
    return {
        "rows": [row],
        "equals": explanation.equals,
        "scored_equals": explanation.scored_equals,
        "front_probability": explanation.chance,
        "faster": _neighbours(explanation.faster),
        "better": _neighbours(explanation.better),
        "time_effects": [asdict(e) for e in explanation.time_effects],
        "loss_effects": [asdict(e) for e in explanation.loss_effects],
        "effects_missing": list(explanation.missing),
        "cliffs": list(explanation.cliffs),
        "memory": [asdict(m) for m in explanation.memory],
        "why": pick.why if pick else None,
    }


def _neighbours(neighbours: Sequence[Neighbour]) -> list[Row]:
    return [
        {
            "shape_id": n.row.shape.shape_id,
            "kind": n.row.kind,
            "verdict": n.row.verdict,
            "changes": list(n.changes),
            "latency_ratio": n.latency_ratio.value,
            "latency_ratio_interval": [n.latency_ratio.low, n.latency_ratio.high],
            "latency_differs": n.latency_differs,
            "bits_per_byte_difference": n.bits,
            "bits_per_byte_tied": n.bits_tied if n.bits is not None else None,
        }
        for n in neighbours
    ]
