"""Which shapes of a space are worth measuring, by what the measured ones say of all."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from phonelm_search.core.pareto import membership_probability
from phonelm_search.core.statistics import Floats
from phonelm_search.core.workload import Workload
from phonelm_search.measure import REFERENCE
from phonelm_search.quality.law import Dimensions, Points
from phonelm_search.reading import comparisons, law_of
from phonelm_search.space import Columns
from phonelm_search.speed import LEAST_SHAPES, LatencyModel
from phonelm_search.stages.session import MeasuringSession

_CANDIDATES = 300
"""Shapes whose place is drawn: those that are fastest for their loss within two deviations."""
_DRAWS = 400
_LIKELY = 0.05


def likely_shapes(session: MeasuringSession, count: int) -> list[str]:
    """Shapes of the space that were not measured and may belong to the front, likeliest first.

    Of several devices the first one's latencies count, whose front the others' resemble most of
    the time; what is measured is measured on all.

    Returns:
        Nothing where too few shapes were measured to predict the others.
    """
    feasible, workloads = session.setup.feasible, session.setup.goals.workloads
    models = latency_models(session)
    if models is None:
        return []
    session.configure("prediction", describe(models, len(feasible)))
    columns = Columns.of_space(feasible)
    told = {w: models[w].predict(columns) for w in workloads}
    weights = zip(workloads, session.setup.goals.scenario.weights, strict=True)
    parts = {w: weight * np.exp(told[w].mean) for w, weight in weights}
    latency: Floats = np.sum(list(parts.values()), axis=0)
    error = np.sqrt(sum((parts[w] * told[w].deviation) ** 2 for w in workloads))
    view = session.view
    points = Points(shapes=Dimensions.of(columns), tokens=np.full(len(feasible), view.train_tokens))
    loss = law_of(view.prior, view.evidence).log_loss(points).mean
    near = _near_front(latency - 2 * error, latency, loss)
    random = np.random.default_rng(0)
    draws = latency[near] + error[near] * random.standard_normal((_DRAWS, len(near)))
    chance = membership_probability(draws, loss[near])
    known = {r.shape.shape_id for r in view.rows} | {f.shape.shape_id for f in view.failed}
    found: list[str] = []
    for i in np.argsort(-chance, kind="stable"):
        if chance[i] < _LIKELY or len(found) == count:
            break
        shape_id = feasible.shape(int(near[i])).shape_id
        if shape_id not in known:
            found.append(shape_id)
    return found


def latency_models(session: MeasuringSession) -> dict[Workload, LatencyModel] | None:
    """A model of each workload on the study's first device; None where too little was measured."""
    view, store = session.view, session.store
    place, goals = view.places[0], session.setup.goals
    beside = comparisons(store, place, goals.scenario, [r.shape.shape_id for r in view.rows])
    told = [set(c.shape_ids) for c in beside.values()]
    # The reference of the rounds has another vocabulary than the space.
    ids = sorted(set.intersection(*told) - {REFERENCE.shape_id}) if told else []
    if len(told) < len(goals.workloads) or len(ids) < LEAST_SHAPES:
        return None
    shapes = store.shapes(ids)
    known = {i: shapes[i] for i in ids}
    return {
        w: LatencyModel.of(c, known, place.device.scheme_of(w.phase), w) for w, c in beside.items()
    }


def describe(models: Mapping[Workload, LatencyModel], shapes: int) -> dict[str, Any]:
    """What a study keeps of its predictions, with their errors on shapes that were held out."""
    held = {w.name: m.held_out for w, m in models.items()}
    return {
        "shapes": shapes,
        "measured": len(next(iter(held.values())).errors),
        "held_out": {
            name: {"median": h.median, "p95": h.p95, "noise": h.noise} for name, h in held.items()
        },
    }


def _near_front(lowest: Floats, latency: Floats, loss: Floats) -> np.ndarray:
    """Rows that no better shape is faster than by more than their error, the fastest first."""
    order = np.lexsort((latency, loss))
    best = np.minimum.accumulate(latency[order])
    kept = order[lowest[order] <= best]
    return kept[np.argsort(latency[kept], kind="stable")][:_CANDIDATES]
