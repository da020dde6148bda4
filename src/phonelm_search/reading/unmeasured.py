"""Shapes that models tell and nothing measured, as rows beside the measured ones."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from phonelm_search.core.errors import ConfigurationError, UnknownNameError
from phonelm_search.core.latency import Extent, LatencyPrediction, ScenarioTime
from phonelm_search.core.prediction import Prediction
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95
from phonelm_search.measure import DRAWS
from phonelm_search.reading.losses import relative_losses
from phonelm_search.reading.models import PlaceModel
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.view import StudyView, find_row
from phonelm_search.space import Columns


def find_rows(view: StudyView, names: Sequence[str]) -> tuple[StudyView, list[StudyRow]]:
    """Rows by name, predicted where the shape was not measured but lies near the modelled front.

    Args:
        view: The study.
        names: As `find_row` takes them.

    Returns:
        The study, its losses drawn together with those of what is predicted; and a row a name.

    Raises:
        UnknownNameError: If no shape is called so.
        ConfigurationError: If several are.
    """
    found = [_measured_or_shape(view, name) for name in names]
    shapes = {f.shape_id: f for f in found if isinstance(f, ModelShape)}
    if not shapes:
        return view, [f for f in found if isinstance(f, StudyRow)]
    view, predicted = _predict(view, list(shapes.values()))
    by_id = {r.shape.shape_id: r for r in predicted}
    places = {pair: i for i, pair in enumerate(zip(view.table.names, view.table.ids, strict=True))}
    return view, [
        view.rows[places[f.name, f.shape.shape_id]]
        if isinstance(f, StudyRow)
        else by_id[f.shape_id]
        for f in found
    ]


def front_chance(view: StudyView, row: StudyRow) -> float | None:
    """How probable it is that a shape belongs to the front; None for what is beside the space.

    Of a shape that was not measured, to that of all shapes.
    """
    shape_id = row.shape.shape_id
    if row.name:
        return None
    if row.kind != "predicted":
        return view.front_probabilities.get(shape_id)
    modelled = view.modelled
    rows = modelled.kept.rows_of([shape_id]) if modelled else []
    inside = [i for i in rows if modelled and modelled.inside[i]]
    return float(modelled.chance[inside[0]]) if modelled and inside else None


def _measured_or_shape(view: StudyView, name: str) -> StudyRow | ModelShape:
    try:
        return find_row(view, name)
    except UnknownNameError:
        shape = _unmeasured(view, name)
        if shape is None:
            raise
        return shape


def _unmeasured(view: StudyView, name: str) -> ModelShape | None:
    """A shape that the modelled front or what is near it holds."""
    if view.modelled is None:
        return None
    kept = view.modelled.kept
    shapes = [kept.shape(i) for i in range(len(kept))]
    found = [s for s in shapes if s.shape_id == name]
    found = found or [s for s in shapes if s.label == name.replace("x", "×")]
    found = found or [s for s in shapes if s.shape_id.startswith(name)]
    if len(found) > 1:
        ids = ", ".join(sorted(s.shape_id for s in found)[:5])
        raise ConfigurationError(
            f"'{name}' must name one shape, several that were predicted are called so: {ids}"
        )
    return found[0] if found else None


def _predict(view: StudyView, shapes: Sequence[ModelShape]) -> tuple[StudyView, list[StudyRow]]:
    """A study whose losses are drawn anew, together with those of some shapes; and their rows."""
    models, columns = view.models, Columns.of(shapes)
    known = dict(zip(view.table.ids, view.table.shapes, strict=True))
    losses = relative_losses(
        {**known, **{s.shape_id: s for s in shapes}}, models.baseline, view.prior, view.evidence,
        tokens=view.train_tokens,
    )  # fmt: skip
    rows = view.table.redrawn(losses.draws)
    latency, draws = models.latency(columns), models.latency_draws(columns, DRAWS)
    worst = np.argmax([p.predict(columns).mean for p in models.places], axis=0)
    times = [_times(view, p, columns) for p in models.places]
    found = []
    for i, shape in enumerate(shapes):
        loss = losses[shape.shape_id]
        found.append(
            StudyRow(
                shape=shape,
                name=None,
                time=times[worst[i]][i],
                device=models.places[worst[i]].device,
                elsewhere={
                    p.device: t[i]
                    for n, (p, t) in enumerate(zip(models.places, times, strict=True))
                    if n != worst[i]
                },
                latency=_extent(latency, i),
                baseline=view.baseline,
                draw=partial(np.copy, draws[:, i]),
                loss=loss.share,
                draw_loss=partial(np.copy, loss.draws),
                prior_share=loss.prior_share,
                peak_bytes=None,
                score=None,
            )
        )
    return replace(view, rows=rows), found


def _times(view: StudyView, place: PlaceModel, columns: Columns) -> list[ScenarioTime]:
    """Of each shape at a place; the whole is its share of the baseline's time."""
    whole = place.predict(columns)
    parts = {}
    for workload, model in place.workloads.items():
        told = model.predict(columns)
        deviation = np.hypot(told.deviation, place.level_deviation)
        if workload.phase == "decode":
            # Steps err together, while a scenario adds their widths in squares.
            deviation = deviation * np.sqrt(len(view.scenario.contexts))
        parts[workload] = Prediction(mean=told.mean, deviation=deviation)
    found = []
    for i in range(len(columns)):
        latencies = {
            w: LatencyPrediction(latency_ms=e.value, ci_low_ms=e.low, ci_high_ms=e.high)
            for w, p in parts.items()
            for e in [_extent(p, i)]
        }
        time = ScenarioTime.of(view.scenario, latencies)
        assert time is not None, "a place's model tells all workloads"
        ms = float(np.exp(whole.mean[i])) * place.baseline_ms
        found.append(time.scaled(ms / time.end_to_end.ms))
    return found


def _extent(told: Prediction, row: int) -> Extent:
    """A value of a prediction of logarithms, with its 95 % interval."""
    ends = told.mean[row] + Z_95 * told.deviation[row] * np.array([0, -1, 1])
    return Extent(*np.exp(ends).tolist())
