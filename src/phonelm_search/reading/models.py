"""Latency and loss of shapes that a study never measured, as shares of its baseline's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from phonelm_search.core.errors import ModelError
from phonelm_search.core.prediction import Prediction
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Floats, stream
from phonelm_search.core.workload import Workload
from phonelm_search.quality.law import Dimensions, Points, QualityLaw
from phonelm_search.reading.readings import Readings
from phonelm_search.space import Columns
from phonelm_search.speed import LEAST_SHAPES, HeldOut, LatencyModel

_CHUNK = 500_000  # shapes at a time, for a bounded memory
_MOST_ERROR = 0.05
"""Median error on shapes that were held out beyond which a model of latency is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceModel:
    """Latency of a scenario at one place."""

    device: str
    """Name of its profile."""
    workloads: Mapping[Workload, LatencyModel]
    """In the scenario's order: the prefill, then decode steps."""
    weights: tuple[float, ...]
    """How often each counts."""
    baseline_ms: float
    """Time of the baseline's whole scenario."""
    baseline_deviation: float
    """Of its logarithm against the measured shapes' mean: it is in every share."""
    level_deviation: float
    """Of the logarithm of that mean: it is in all milliseconds, and in no share."""
    number: int
    """Which of several places it is."""

    def means(self, shapes: Columns) -> Floats:
        """``[n]``: shares of the baseline's time, without their errors."""
        found: Floats = np.sum(
            [
                weight * np.exp(model.means(shapes)) / self.baseline_ms
                for weight, model in zip(self.weights, self.workloads.values(), strict=True)
            ],
            axis=0,
        )
        return found

    def predict(self, shapes: Columns) -> Prediction:
        """Logarithms of shares of the baseline's time."""
        found = self._told(shapes)["latency"]
        return Prediction(
            mean=found.mean - np.log(self.baseline_ms),
            deviation=np.hypot(found.deviation, self.baseline_deviation),
        )

    def times(self, shapes: Columns) -> dict[str, Prediction]:
        """Logarithms of milliseconds: ``ttft``, ``tpot``, and ``latency`` of the whole."""
        return {
            name: replace(t, deviation=np.hypot(t.deviation, self.level_deviation))
            for name, t in self._told(shapes).items()
        }

    def _told(self, shapes: Columns) -> dict[str, Prediction]:
        """The same beside the mean of measured shapes."""
        first, *steps = [m.predict(shapes) for m in self.workloads.values()]
        # Steps at two contexts err together, prefill and steps apart.
        step = np.mean([np.exp(s.mean) for s in steps], axis=0)
        off = np.mean([np.exp(s.mean) * s.deviation for s in steps], axis=0)
        count = sum(self.weights[1:])
        ms = np.exp(first.mean)
        whole = ms + count * step
        error = np.hypot(ms * first.deviation, count * off) / whole
        return {
            "ttft": first,
            "tpot": Prediction(mean=np.log(step), deviation=off / step),
            "latency": Prediction(mean=np.log(whole), deviation=error),
        }

    def draws(self, shapes: Columns, count: int) -> Floats:
        """``[count, n]``: joint draws of shares of the baseline's time."""
        noise = stream("baseline", self.number).standard_normal((count, 1))
        whole = self.time_draws(shapes, count)["latency"] / self.baseline_ms
        found: Floats = whole * np.exp(self.baseline_deviation * noise)
        return found

    def time_draws(self, shapes: Columns, count: int) -> dict[str, Floats]:
        """``[count, n]`` of milliseconds: of `times`, which belong together."""
        models = self.workloads.values()
        drawn = [np.exp(m.draws(shapes, count, seed=self.number)) for m in models]
        whole = [w * d for w, d in zip(self.weights, drawn, strict=True)]
        return {
            "ttft": drawn[0],
            "tpot": np.mean(drawn[1:], axis=0),
            "latency": np.sum(whole, axis=0),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeModels:
    """What a study's measurements and trainings tell of any shape."""

    places: tuple[PlaceModel, ...]
    """Where it measures; of several a shape counts as where it is worst off."""
    law: QualityLaw
    """After the study's trainings."""
    baseline: ModelShape
    """What shares are of."""
    tokens: float
    """That all are trained on."""

    @property
    def held_out(self) -> dict[str, HeldOut]:
        """Errors on measured shapes that were held out at the first place, by workload."""
        return {w.name: m.held_out for w, m in self.places[0].workloads.items()}

    def latency_means(self, shapes: Columns) -> Floats:
        """``[n]``: shares of the baseline's latency."""
        told = [np.max([p.means(c) for p in self.places], axis=0) for c in shapes.chunks(_CHUNK)]
        return np.concatenate(told)

    def latency(self, shapes: Columns) -> Prediction:
        """Logarithms of shares of the baseline's latency."""
        told = [p.predict(shapes) for p in self.places]
        means = np.stack([t.mean for t in told])
        worst = means.argmax(axis=0)[None]
        deviations = np.stack([t.deviation for t in told])
        return Prediction(
            mean=np.take_along_axis(means, worst, 0)[0],
            deviation=np.take_along_axis(deviations, worst, 0)[0],
        )

    def latency_draws(self, shapes: Columns, count: int) -> Floats:
        """``[count, n]``: joint draws of shares of the baseline's latency."""
        found: Floats = np.max([p.draws(shapes, count) for p in self.places], axis=0)
        return found

    def loss_means(self, shapes: Columns) -> Floats:
        """``[n]``: shares of the baseline's loss."""
        told = [self.law.means(self._points(c)) for c in shapes.chunks(_CHUNK)]
        found: Floats = np.exp(np.concatenate(told) - self.law.means(self._baseline_point))
        return found

    def loss(self, shapes: Columns) -> Prediction:
        """Logarithms of shares of the baseline's loss."""
        return self.law.log_ratio(self._points(shapes), self._baseline_point)

    def loss_ratio(self, shapes: Columns, to: ModelShape) -> Prediction:
        """Logarithms of losses over that of another shape."""
        return self.law.log_ratio(self._points(shapes), self._points(Columns.of([to])))

    def loss_draws(self, shapes: Columns, count: int) -> Floats:
        """``[count, n]``: joint draws of shares of the baseline's loss."""
        drawn = self.law.ratio_draws(self._points(shapes), self._baseline_point, count)
        found: Floats = np.exp(drawn)
        return found

    @property
    def _baseline_point(self) -> Points:
        return self._points(Columns.of([self.baseline]))

    def _points(self, shapes: Columns) -> Points:
        return Points(shapes=Dimensions.of(shapes), tokens=np.full(len(shapes), self.tokens))


def place_models(readings: Sequence[Readings], baseline: ModelShape) -> tuple[PlaceModel, ...]:
    """What tells latency of any shape at each place.

    Args:
        readings: What was measured at each place.
        baseline: What shares are of; measured at all of them.

    Raises:
        ModelError: If too little was measured, or it tells held-out shapes too badly.
    """
    return tuple(_place_model(r, baseline, number) for number, r in enumerate(readings))


def _place_model(readings: Readings, baseline: ModelShape, number: int) -> PlaceModel:
    workloads, scenario, ids = {}, readings.scenario, list[str]()
    for workload in scenario.workloads:
        known = readings.models.get(workload)
        ids = known.ids if known else []
        if known is None or len(ids) < LEAST_SHAPES:
            raise ModelError(
                f"{LEAST_SHAPES} shapes must be measured to predict others, got {len(ids)}"
            )
        model = known.fitted
        error = model.held_out.median
        if error > _MOST_ERROR:
            raise ModelError(
                f"measured shapes tell {workload.name} of one another within {error:.1%} only, "
                f"more than {_MOST_ERROR:.0%}"
            )
        workloads[workload] = model
    drawn = readings.end_to_end_draws(baseline.shape_id)
    if drawn is None:
        raise ModelError("latencies that an earlier release estimated tell no other shape")
    level = readings.level(ids)
    return PlaceModel(
        device=readings.place.device.name,
        workloads=workloads,
        weights=scenario.weights,
        baseline_ms=float(np.median(drawn)),
        baseline_deviation=float(np.std(np.log(drawn) - level)),
        level_deviation=float(np.std(level)),
        number=number,
    )
