"""An explanation as the document that programs read."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from phonelm_search.outputs.rows import Row, study_rows
from phonelm_search.reading import Explanation, Neighbour, Pick, StudyView, Versus, Worth


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
        "budgets_probability": explanation.kept,
        "equals": explanation.equals,
        "front_probability": explanation.chance,
        "faster": _neighbours(explanation.faster),
        "better": _neighbours(explanation.better),
        "effects": [asdict(e) for e in explanation.effects],
        "effects_missing": explanation.missing,
        "cliffs": list(explanation.cliffs),
        "memory": [asdict(m) for m in explanation.memory],
        "memory_bytes": explanation.memory_bytes,
        "worth": _worth(explanation.worth),
        "why": pick.why if pick else None,
    }


def versus_document(view: StudyView, found: Versus) -> dict[str, Any]:
    """What ``explain --json`` prints of two shapes."""
    return {
        "rows": study_rows(view, [found.one, found.other]),
        "ratios": [
            {
                "quantity": r.quantity,
                "ratio": r.ratio.value,
                "low": r.ratio.low,
                "high": r.ratio.high,
                "less_probability": r.less_probability,
            }
            for r in found.ratios
        ],
        "memory_bytes": list(found.memory),
        "kv_bytes_per_token": list(found.kv_bytes),
        "crossing_context": found.crossing,
    }


def _worth(found: Worth | None) -> Row | None:
    if found is None:
        return None
    named = {"fastest": found.fastest, "best": found.best}
    plain = asdict(replace(found, fastest=None, best=None))
    return {
        **plain, **{n: s.shape_id if s else None for n, s in named.items()}, "text": found.text,
    }  # fmt: skip


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
            "loss_ratio": n.loss_ratio.value,
            "loss_ratio_interval": [n.loss_ratio.low, n.loss_ratio.high],
            "loss_differs": n.loss_differs,
        }
        for n in neighbours
    ]
