"""What the pictures show, without drawing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phonelm_search.core.latency import Latency, Span
from phonelm_search.core.reason import in_one_line
from phonelm_search.core.records import ProxyScore
from phonelm_search.core.shape import ModelShape
from phonelm_search.core.units import format_count
from phonelm_search.reading import Pick, StudyRow, StudyView, current_pick, longest_trainings


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One shape in a picture."""

    x: float
    """Position along the horizontal axis."""
    y: float
    """Position along the vertical axis."""
    x_error: tuple[float, float]
    """Distance to the lower and upper end of the interval."""
    y_error: tuple[float, float]
    """Likewise; zeros without an interval."""
    label: str
    """Name."""
    front: bool
    """Whether it is on the front."""
    suspect: bool
    """Drawn hollow."""
    reference: bool
    """A known model beside the search."""
    pick: bool
    """The recommended shape."""
    estimated: bool = False
    """Told by blocks and not measured whole; drawn as a triangle."""


Panel = tuple[str, tuple[Point, ...]]
"""Axis label with unit, and points over depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledInfo:
    """What models tell of all shapes of a space."""

    label: str
    """What the curve is."""
    x: tuple[float, ...]
    """Of the front, fastest first."""
    y: tuple[float, ...]
    """Likewise."""
    x_low: tuple[float, ...]
    """Lower end of the 95 % interval."""
    x_high: tuple[float, ...]
    """Upper end."""
    counts: npt.NDArray[np.float64]
    """``[cells, cells]``: how many shapes lie where, x by y."""
    x_edges: npt.NDArray[np.float64]
    """``[cells + 1]``"""
    y_edges: npt.NDArray[np.float64]
    """``[cells + 1]``"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontInfo:
    """The front of latency against loss."""

    title: str
    """Headline."""
    x_label: str
    """Horizontal axis with its unit."""
    y_label: str
    """Vertical axis with its unit."""
    points: tuple[Point, ...]
    """All shapes."""
    modelled: ModelledInfo | None
    """All shapes of the space; None where no model holds."""
    x_limits: tuple[tuple[float, str], ...]
    """Budgets of latency, with their names."""
    y_limits: tuple[tuple[float, str], ...]
    """Budgets of loss."""
    pick_name: str
    """``pick`` or ``provisional pick``."""
    footnote: str
    """What to keep in mind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveInfo:
    """Training of one shape."""

    label: str
    """Name."""
    tokens: tuple[int, ...]
    """Tokens so far."""
    bits_per_byte: tuple[float, ...]
    """Training loss, averaged between points."""
    final: float | None
    """Validation score; None where it was stopped early or failed."""
    stopped: bool
    """Whether an earlier release stopped it early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInfo:
    """All trainings of a study."""

    title: str
    """Headline."""
    curves: tuple[CurveInfo, ...]
    """One a training, the longest one of each shape."""
    baseline: float
    """What lzma reaches on the validation text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadInfo:
    """How far speed is spread at (nearly) equal size, a panel a phase and device."""

    title: str
    """Headline."""
    panels: tuple[Panel, ...]
    """Prefill, then decode, of each device."""
    footnote: str
    """What to keep in mind."""


def front_info(view: StudyView) -> FrontInfo:
    """Collect the front of a study."""
    pick = current_pick(view)
    picked = pick.row.shape.shape_id if pick else None
    front = {r.shape.shape_id for r in view.front}
    points = []
    for row in view.rows:
        latency = row.latency
        middle, low, high = (100 * (share - 1) for share in row.loss)
        points.append(
            Point(
                x=latency.value,
                y=middle,
                x_error=(latency.value - latency.low, latency.high - latency.value),
                y_error=(middle - low, high - middle),
                label=row.label,
                front=row.name is None and row.shape.shape_id in front,
                suspect=row.verdict == "suspect",
                reference=row.name is not None,
                pick=row.name is None and row.shape.shape_id == picked,
                estimated=row.kind == "estimated",
            )
        )
    return FrontInfo(
        title=f"{view.record.name}: latency against loss",
        x_label=latency_label(view),
        y_label=loss_label(view),
        points=tuple(points),
        modelled=_modelled(view),
        x_limits=tuple(_latency_limits(view)),
        y_limits=tuple((100 * (b.limit - 1), b.text) for b in view.budgets if b.quantity == "loss"),
        pick_name=_pick_name(pick),
        footnote=_footnote(view),
    )


def _modelled(view: StudyView) -> ModelledInfo | None:
    found = view.modelled
    if found is None:
        return None
    front = found.front()
    low, high = found.latency_interval(front)
    return ModelledInfo(
        label=f"front of all {found.count:,} shapes, by models, with 95 %",
        x=tuple(found.latency[front].tolist()),
        y=tuple((100 * (found.loss[front] - 1)).tolist()),
        x_low=tuple(low.tolist()),
        x_high=tuple(high.tolist()),
        counts=found.density.counts,
        x_edges=found.density.latency,
        y_edges=100 * (found.density.loss - 1),
    )


def _latency_limits(view: StudyView) -> Iterator[tuple[float, str]]:
    """Budgets of the whole scenario as shares of the baseline's time; one device's alone."""
    for budget in view.budgets:
        if budget.quantity == "latency" and view.rows and len(view.devices) == 1:
            yield budget.limit / view.unit_ms, budget.text


def _pick_name(pick: Pick | None) -> str:
    return "provisional pick" if pick and pick.provisional else "pick"


def training_info(view: StudyView) -> TrainingInfo:
    """Collect the training curves of a study."""
    return TrainingInfo(
        title=f"{view.record.name}: what was trained for its law",
        curves=tuple(map(_curve, longest_trainings(view.trainings))),
        baseline=view.lzma_bits_per_byte,
    )


def _curve(training: ProxyScore) -> CurveInfo:
    tokens, bits = zip(*training.curve, strict=True)
    return CurveInfo(
        label=ModelShape(**training.trained).label,
        tokens=tokens,
        bits_per_byte=bits,
        final=training.bits_per_byte,
        stopped=training.stopped,
    )


def spread_info(view: StudyView) -> SpreadInfo:
    """Collect prefill and decode latency over depth, of each device apart."""
    sizes = [r.shape.decoder_parameters for r in view.sampled] or [0]
    estimated = sum(any(t.kind == "estimated" for t in r.times.values()) for r in view.rows)
    return SpreadInfo(
        title=f"{view.record.name}: speed at {format_count(min(sizes))} to "
        f"{format_count(max(sizes))} decoder parameters on {_place(view)}",
        panels=tuple(panel for device in view.devices for panel in _panels(view, device)),
        footnote=_estimated_note(estimated),
    )


def _panels(view: StudyView, device: str) -> Iterator[Panel]:
    """Prefill and decode on one device."""
    where = f" on {device}" if len(view.devices) > 1 else ""
    contexts = " and ".join(map(str, view.scenario.contexts))
    times = [r.times[device] for r in view.rows]
    yield (
        f"prefill of {view.scenario.prompt_tokens} tokens{where} [ms]",
        tuple(_over_depth(r, t.ttft, (t.prefill,)) for r, t in zip(view.rows, times, strict=True)),
    )
    yield (
        f"decode step at {contexts} tokens{where} [ms]",
        tuple(_over_depth(r, t.tpot, t.steps) for r, t in zip(view.rows, times, strict=True)),
    )


def _over_depth(row: StudyRow, span: Span, parts: Sequence[Latency]) -> Point:
    return Point(
        x=row.shape.num_hidden_layers,
        y=span.ms,
        x_error=(0.0, 0.0),
        y_error=(span.ms - span.low_ms, span.high_ms - span.ms),
        label=row.label,
        front=False,
        suspect=any(p.verdict == "suspect" for p in parts),
        reference=row.name is not None,
        pick=False,
        estimated=parts[0].kind == "estimated",
    )


def _estimated_note(estimated: int) -> str:
    return f"estimated from blocks: {estimated} (triangles)" if estimated else ""


def latency_label(view: StudyView) -> str:
    """Axis of the latency that shapes are compared by, with its unit."""
    where = "on" if len(view.devices) == 1 else "worst of"
    return f"end-to-end latency of {view.scenario} {where} {_place(view)} [× {view.baseline}]"


def loss_label(view: StudyView) -> str:
    """Axis of the loss that shapes are compared by, with its unit."""
    return (
        f"loss after {format_count(view.train_tokens)} tokens, by the law [% against "
        f"{view.baseline}]"
    )


def _place(view: StudyView) -> str:
    return f"{', '.join(view.devices)} ({view.device.precision})"


def _footnote(view: StudyView) -> str:
    parts = []
    suspect = [r for r in view.rows if r.verdict == "suspect"]
    if suspect:
        common = [x for x in suspect[0].reasons if all(x in r.reasons for r in suspect)]
        parts.append(f"hollow: suspect ({in_one_line(common) or 'reasons in trials.csv'})")
    drawn = ("latency", "loss") if len(view.devices) == 1 else ("loss",)
    others = [b.text for b in view.budgets if b.quantity not in drawn]
    if others:
        parts.append(f"budgets beside: {', '.join(others)}")
    count = len(view.evidence)
    parts.append(
        f"loss from published trainings and {count} of this study"
        if count
        else "loss from published trainings alone"
    )
    if note := _estimated_note(sum(r.kind == "estimated" for r in view.rows)):
        parts.append(note)
    return " · ".join(parts)


def step_line(points: Sequence[Point], right: float) -> tuple[list[float], list[float]]:
    """Corners of the front's step line: between two points nothing better is known.

    Args:
        points: All points of a picture.
        right: Where the line ends; nothing slower is better than the last point.
    """
    front = sorted((p for p in points if p.front), key=lambda p: p.x)
    xs: list[float] = []
    ys: list[float] = []
    for p in front:
        if ys:
            xs.append(p.x)
            ys.append(ys[-1])
        xs.append(p.x)
        ys.append(p.y)
    return ([*xs, right], [*ys, ys[-1]]) if xs else ([], [])
