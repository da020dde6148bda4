"""How much speed and how much loss move with the shape at equal size, free of noise."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.statistics import Z_95, percentile_interval
from phonelm_search.core.units import format_count, format_counted
from phonelm_search.reading.row import StudyRow
from phonelm_search.reading.view import StudyView

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]
LEAST_SHAPES = 6
_RESAMPLES = 2000
_HEADS = "heads of"
_LOSS = "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How one quantity is spread over shapes of equal size."""

    name: str
    """``prefill speed``, ``decode speed`` or ``loss``; of several devices with the device's."""
    device: str | None
    """Where a speed was measured, in a study of several devices."""
    unit: str
    """Its unit."""
    lowest: float
    """Over the shapes."""
    highest: float
    """Likewise."""
    percent: float
    """Deviation between shapes in per cent of the value; noise is taken off what was measured."""
    interval: Interval
    """95 % interval of that: over resampled shapes, or over what the law holds possible."""
    noise_percent: float
    """Deviation of one shape's value between repeats, or of what the law tells."""

    @property
    def told(self) -> str:
        """The deviation in words; of one that noise may be, the most that it can be."""
        low, high = self.interval
        return f"{self.percent:.1f} %" if low > 0 else f"at most {high:.1f} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one dimension does to one quantity, the others held."""

    dimension: str
    """Name of the dimension."""
    low: str
    """Its smallest value among the shapes."""
    high: str
    """Its largest."""
    percent: Mapping[str, float]
    """Quantity → change from the smallest to the largest value, in per cent."""
    interval: Mapping[str, Interval | None]
    """Quantity → 95 % interval of that; None where the shapes are too few to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """PhoneLM's claim, measured: speed moves so far, loss so far."""

    shapes: tuple[ModelShape, ...]
    """What was compared."""
    spreads: tuple[Spread, ...]
    """Prefill speed and decode speed of each device, then loss."""
    effects: tuple[Effect, ...]
    """One a dimension; width stands in depth's place, as at equal size it follows from the
    others."""
    explained: Mapping[str, float]
    """Quantity → share of the variance that the additive model explains."""
    deviations: Mapping[str, tuple[float, ...]]
    """Quantity → per cent above the geometric mean, shape by shape."""
    errors: Mapping[str, float]
    """Quantity → half width of one shape's 95 % interval, in per cent."""
    told: str
    """What the loss is told from, in words."""
    suspect: int
    """Shapes whose latency is suspect."""

    @property
    def claim(self) -> str:
        """The headline."""
        *speeds, loss = self.spreads
        moves = [
            f"{prefill.told} (prefill) and {decode.told} (decode)"
            + (f" on {prefill.device}" if prefill.device else "")
            for prefill, decode in zip(speeds[::2], speeds[1::2], strict=True)
        ]
        return f"at equal size speed moves {', '.join(moves)}, loss moves {loss.told}"


def check_count(shapes: Sequence[ModelShape]) -> None:
    """Refuse fewer shapes than an additive model of their dimensions needs, with two to spare.

    Raises:
        TrainingError: If there are too few.
    """
    if refusal := too_few(shapes, "must be measured"):
        raise TrainingError(f"{refusal}; take more --shapes")


def too_few(shapes: Sequence[ModelShape], what: str) -> str | None:
    """Why shapes are too few for an additive model of their dimensions; None where they do.

    Args:
        shapes: The shapes.
        what: What must hold of them: "must be measured".
    """
    free = [d for d in _dimensions(shapes)[1:] if np.ptp(d.values) > 0] if shapes else []
    least = max(LEAST_SHAPES, len(free) + 3)
    if len(shapes) >= least:
        return None
    dimensions = format_counted(len(free), "dimension") if free else "any dimension"
    return f"at least {least} shapes {what} to tell the effects of {dimensions}, got {len(shapes)}"


def analyse(view: StudyView, shape_ids: Collection[str]) -> Sensitivity:
    """Spread and effects of shapes of equal size that were measured.

    Args:
        view: Their study.
        shape_ids: The shapes; those that were not measured are left out.

    Raises:
        TrainingError: If too few are left.
    """
    rows = [
        r
        for r in view.sampled
        if r.shape.shape_id in shape_ids and all(t.kind == "measured" for t in r.times.values())
    ]
    check_count([r.shape for r in rows])
    quantities = [*_speeds(view, rows), _loss(rows)]
    values = {q.name: q.values for q in quantities}
    effects, explained = additive_effects([r.shape for r in rows], values)
    return Sensitivity(
        shapes=tuple(r.shape for r in rows),
        spreads=tuple(map(_spread, quantities)),
        effects=effects,
        explained=explained,
        deviations={
            n: tuple((100 * (np.log(v) - np.log(v).mean())).tolist()) for n, v in values.items()
        },
        errors={q.name: 100 * Z_95 * float(np.median(q.noise)) for q in quantities},
        told=_told(view),
        suspect=sum(r.verdict == "suspect" for r in rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantity:
    """What moves, a value for each shape."""

    name: str
    device: str | None
    unit: str
    values: Floats
    noise: Floats
    """Deviations of the values between repeats, or of what is told of them, as shares."""
    draws: Floats | None = None
    """``[draws, shapes]`` of the logarithms, where the values are told and not measured."""


def _speeds(view: StudyView, rows: Sequence[StudyRow]) -> Iterator[_Quantity]:
    """Of each device apart: two devices' milliseconds are no spread of shapes."""
    for readings in view.readings:
        name = readings.place.device.name
        device = name if len(view.devices) > 1 else None
        # By own rounds: what all shapes say of one draws them together.
        told = [readings.own_time(r.shape.shape_id) for r in rows]
        times = [t for t in told if t is not None]
        for phase, tokens, spans in (
            ("prefill", view.scenario.prompt_tokens, [t.ttft for t in times]),
            ("decode", 1, [t.tpot for t in times]),
        ):
            yield _Quantity(
                name=f"{phase} speed on {device}" if device else f"{phase} speed",
                device=device,
                unit="tokens/s",
                values=np.array([1000 * tokens / s.ms for s in spans]),
                noise=np.array([s.deviation_ms / s.ms for s in spans]),
            )


def _loss(rows: Sequence[StudyRow]) -> _Quantity:
    """As the law tells it; what all shapes share of its error is no noise between them."""
    draws = np.log(np.stack([r.loss_draws for r in rows], axis=1))
    centred = draws - draws.mean(axis=1, keepdims=True)
    return _Quantity(
        name=_LOSS,
        device=None,
        unit="of the baseline's",
        values=np.array([r.loss.value for r in rows]),
        noise=centred.std(axis=0),
        draws=draws,
    )


def _spread(quantity: _Quantity) -> Spread:
    values = quantity.values
    if quantity.draws is None:
        percent, interval = _measured_spread(np.log(values), np.square(quantity.noise))
    else:  # each draw is a world of its own, and has its spread
        spreads = 100 * quantity.draws.std(axis=1, ddof=1)
        percent, interval = float(spreads.mean()), percentile_interval(spreads)
    return Spread(
        name=quantity.name,
        device=quantity.device,
        unit=quantity.unit,
        lowest=float(values.min()),
        highest=float(values.max()),
        percent=percent,
        interval=interval,
        noise_percent=float(100 * np.sqrt(np.square(quantity.noise).mean())),
    )


def _measured_spread(logs: Floats, squares: Floats) -> tuple[float, Interval]:
    """Deviation of measured values in per cent, their noise taken off, and its interval.

    Args:
        logs: ``[shapes]``, logarithms of the values.
        squares: ``[shapes]``, variances of their noise.
    """
    rng = np.random.default_rng(0)
    draws = rng.integers(len(logs), size=(_RESAMPLES, len(logs)))
    # A resample repeats shapes, which makes its variance smaller by (n − 1)/n on average.
    correction = len(logs) / (len(logs) - 1)
    found = correction * logs[draws].var(1, ddof=1) - squares[draws].mean(1)
    variance = logs.var(ddof=1) - squares.mean()
    deviation = float(100 * math.sqrt(max(0.0, variance)))
    return deviation, percentile_interval(100 * np.sqrt(np.maximum(found, 0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dimension:
    name: str
    values: Floats
    low: str
    high: str


def additive_effects(
    shapes: Sequence[ModelShape],
    values: Mapping[str, Floats],
) -> tuple[tuple[Effect, ...], dict[str, float]]:
    """An additive model of each quantity's logarithm, by least squares.

    Args:
        shapes: The shapes.
        values: Quantity → value of each.
    """
    width, *others = _dimensions(shapes)
    free = [d for d in others if np.ptp(d.values) > 0]

    def fit(dimensions: Sequence[_Dimension]) -> dict[str, _Fit]:
        return {n: _fit(dimensions, np.log(v)) for n, v in values.items()}

    fits = fit(free)
    effects = [_effect(d, fits) for d in free]
    depth_at = next((i for i, d in enumerate(free) if d.name == "depth"), None)
    if depth_at is not None and np.ptp(width.values) > 0:
        swapped = [*free[:depth_at], width, *free[depth_at + 1 :]]
        effects.insert(depth_at + 1, _effect(width, fit(swapped)))
    return tuple(effects), {n: f.explained for n, f in fits.items()}


def _dimensions(shapes: Sequence[ModelShape]) -> list[_Dimension]:
    """Width first; logarithms of sizes, 0 or 1 for kinds."""

    def size(name: str, found: Sequence[float], style: str = ".0f") -> _Dimension:
        numbers = np.array(found, float)
        return _Dimension(
            name=name,
            values=np.log2(numbers),
            low=format(numbers.min(), style),
            high=format(numbers.max(), style),
        )

    def kind(name: str, found: Sequence[str]) -> list[_Dimension]:
        first, *rest = sorted(set(found))
        return [
            _Dimension(
                name=name if len(rest) == 1 else f"{name} {other}",
                values=np.array([f == other for f in found], float),
                low=first,
                high=other,
            )
            for other in rest
        ]

    return [
        size("width", [s.hidden_size for s in shapes]),
        size("depth", [s.num_hidden_layers for s in shapes]),
        size(_HEADS, [s.head_dim for s in shapes]),
        size("KV groups", [s.kv_groups for s in shapes]),
        size("FFN ratio", [s.ffn_ratio for s in shapes], ".2f"),
        *kind("activation", [s.hidden_act for s in shapes]),
        *kind("FFN", [s.ffn for s in shapes]),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    slopes: Mapping[str, tuple[float, float]]
    """Dimension → coefficient and half width of its 95 % interval."""
    explained: float


def _fit(dimensions: Sequence[_Dimension], target: Floats) -> _Fit:
    """Least squares with an intercept; intervals by Student's t, NaN where nothing is left free."""
    from scipy.special import stdtrit  # takes half a second to load

    design = np.stack([np.ones_like(target), *(d.values for d in dimensions)], 1)
    solve = np.linalg.pinv(design)
    coefficients = solve @ target
    left = target - design @ coefficients
    rank = int(np.linalg.matrix_rank(design))
    free = len(target) - rank
    known = free > 0 and rank == design.shape[1]
    # solve @ solveᵀ is the inverse of designᵀ @ design.
    errors = np.sqrt(float(left @ left) / max(1, free) * np.square(solve).sum(1))
    halves = errors * stdtrit(free, 0.975) if known else np.full_like(errors, np.nan)
    total = float(np.square(target - target.mean()).sum())
    pairs = zip(coefficients[1:].tolist(), halves[1:].tolist(), strict=True)
    return _Fit(
        slopes=dict(zip((d.name for d in dimensions), pairs, strict=True)),
        explained=1 - float(left @ left) / total if total else 0.0,
    )


def _effect(dimension: _Dimension, fits: Mapping[str, _Fit]) -> Effect:
    span = float(np.ptp(dimension.values))
    percent: dict[str, float] = {}
    interval: dict[str, Interval | None] = {}
    for name, fit in fits.items():
        slope, half = fit.slopes[dimension.name]
        percent[name] = 100 * math.expm1(span * slope)
        interval[name] = (
            None
            if math.isnan(half)
            else (100 * math.expm1(span * (slope - half)), 100 * math.expm1(span * (slope + half)))
        )
    return Effect(
        dimension=dimension.name,
        low=dimension.low,
        high=dimension.high,
        percent=percent,
        interval=interval,
    )


def _told(view: StudyView) -> str:
    count = len(view.evidence)
    own = f" and {format_counted(count, 'training')} of this study" if count else ""
    return (
        f"a law over sizes, from published trainings{own}, after "
        f"{format_count(view.train_tokens)} tokens"
    )
