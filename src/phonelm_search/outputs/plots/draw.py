"""Drawing a study's front, its training and its spread of speed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from phonelm_search.core.statistics import spread_over
from phonelm_search.outputs.plots.canvas import (
    BLACK,
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    MANY_LABELS,
    MANY_TO_AVOID,
    ORANGE,
    SKY,
    Mark,
    add_footnote,
    add_marks,
    legend_place,
    literally,
    new_figure,
    place_labels,
    tidy,
)
from phonelm_search.outputs.plots.info import (
    FrontInfo,
    ModelledInfo,
    Point,
    SpreadInfo,
    TrainingInfo,
    step_line,
)

_MOST_LABELS = 40  # of the front; more are not read


def _mark(p: Point, colour: str, *, alpha: float = 1.0) -> Mark:
    return Mark(
        x=p.x, y=p.y, x_error=p.x_error, y_error=p.y_error, colour=colour, alpha=alpha,
        form="D" if p.reference else "^" if p.estimated else "o", hollow=p.suspect,
    )  # fmt: skip


@literally()
def draw_front(info: FrontInfo) -> Figure:
    """Draw a front: a step line, dominated points faint, references labelled."""
    figure = new_figure(8, 5)
    axes = figure.add_subplot()
    right = max((p.x + p.x_error[1] for p in info.points), default=0.0)
    if info.modelled:
        _draw_modelled(axes, info.modelled)
    xs, ys = step_line(info.points, right)
    axes.plot(xs, ys, color=BLUE, linewidth=1.4, zorder=2, label="front of what was measured")
    labels, marks, named = [], [], _labelled(info.points)
    for i, p in enumerate(info.points):
        colour = GREEN if p.reference else BLUE if p.front else GREY
        marks.append(_mark(p, colour, alpha=1.0 if p.front or p.reference else 0.5))
        if p.reference:  # what is as good as it
            axes.axhline(p.y, color=GREEN, linestyle=":", linewidth=1, zorder=1)
        if p.pick:
            axes.plot(
                [p.x], [p.y], marker="*", markersize=17, linestyle="", zorder=4,
                markerfacecolor="white" if p.suspect else ORANGE, markeredgecolor=ORANGE,
                markeredgewidth=1.6, label=f"{info.pick_name}: {p.label}",
            )  # fmt: skip
        if i in named:
            labels.append((p.x, p.y, p.label, colour if p.reference else BLACK))
    add_marks(axes, marks, size=6, elinewidth=0.9, zorder=3)
    if not info.points:
        axes.text(0.5, 0.5, "no measured shapes yet", ha="center", transform=axes.transAxes)
    for value, name in info.x_limits:
        axes.axvline(value, color=ORANGE, linestyle="--", linewidth=1, label=name)
    for value, name in info.y_limits:
        axes.axhline(value, color=ORANGE, linestyle="--", linewidth=1, label=name)
    _look_at_front(axes, info)
    axes.set(title=info.title, xlabel=info.x_label, ylabel=info.y_label)
    add_footnote(figure, info.footnote)
    if axes.get_legend_handles_labels()[0]:
        place = legend_place(len(info.points), "upper right")
        axes.legend(framealpha=0.8, edgecolor="none", fontsize=8, loc=place)
    tidy(axes)
    many = len(info.points) > MANY_TO_AVOID  # labels keep off the front's then
    beside = [p for p in info.points if p.front or p.reference] if many else info.points
    place_labels(axes, labels, [(p.x, p.y) for p in beside])
    return figure


def _labelled(points: Sequence[Point]) -> set[int]:
    """Which points are named: all of few; else references, the pick and the front or some of it."""
    if len(points) <= MANY_LABELS:
        return set(range(len(points)))
    front = [i for i, p in enumerate(points) if p.front]
    some = {front[i] for i in spread_over(len(front), _MOST_LABELS)} if front else set()
    return some | {i for i, p in enumerate(points) if p.reference or p.pick}


def _draw_modelled(axes: Any, info: ModelledInfo) -> None:
    """All shapes as a density behind, their front as a line with its band."""
    cells = np.where(info.counts.T > 0, np.log1p(info.counts.T), np.nan)
    axes.pcolormesh(
        info.x_edges, info.y_edges, cells, cmap="Greys", alpha=0.35, zorder=0,
        rasterized=True, linewidth=0,
    )  # fmt: skip
    axes.plot(
        info.x, info.y, color=SKY, linewidth=1.2, drawstyle="steps-post", zorder=2, label=info.label
    )
    axes.fill_betweenx(
        info.y, info.x_low, info.x_high, color=SKY, alpha=0.25, linewidth=0, zorder=1
    )


def _look_at_front(axes: Any, info: FrontInfo) -> None:
    """Limits that hold all points and the front; the slow ones of a density may be beyond."""
    ends = [(p.x - p.x_error[0], p.x + p.x_error[1]) for p in info.points]
    heights = [(p.y - p.y_error[0], p.y + p.y_error[1]) for p in info.points]
    if info.modelled:
        ends += zip(info.modelled.x_low, info.modelled.x_high, strict=True)
        heights += [(y, y) for y in info.modelled.y]
    ends += [(x, x) for x, _ in info.x_limits]
    heights += [(y, y) for y, _ in info.y_limits]
    if not ends:
        return
    for setter, pairs in ((axes.set_xlim, ends), (axes.set_ylim, heights)):
        low, high = min(p[0] for p in pairs), max(p[1] for p in pairs)
        margin = 0.05 * (high - low) or 0.05
        setter(low - margin, high + margin)


def _draw_baseline(axes: Any, bits_per_byte: float) -> None:
    """What a model must beat."""
    axes.axhline(bits_per_byte, color=BLACK, linestyle=":", linewidth=1)
    axes.annotate(
        f"lzma on the whole validation text: {bits_per_byte:.2f}", (0.01, bits_per_byte),
        xycoords=("axes fraction", "data"), va="bottom", fontsize=8,
    )  # fmt: skip


@literally()
def draw_training(info: TrainingInfo) -> Figure:
    """Draw training curves; validation scores stand in the legend and at the end."""
    figure = new_figure(8, 5)
    axes = figure.add_subplot()
    for i, curve in enumerate(info.curves):
        colour = CYCLE[i % len(CYCLE)]
        missing = "stopped early" if curve.stopped else "failed"
        final = missing if curve.final is None else f"{curve.final:.3f}"
        axes.plot(
            curve.tokens,
            curve.bits_per_byte,
            color=colour,
            linewidth=1.1,
            label=f"{curve.label}: {final}",
        )
        if curve.final is not None:
            axes.plot(curve.tokens[-1:], [curve.final], "o", color=colour, markersize=5)
    _draw_baseline(axes, info.baseline)
    if info.curves:
        # The first steps fall from 8 bits per byte and would flatten everything else.
        late = [b for c in info.curves for b in c.bits_per_byte[len(c.bits_per_byte) // 10 :]]
        axes.set_ylim(min([*late, info.baseline]) - 0.05, max(late) + 0.05)
        axes.set_xlim(left=0)
        axes.legend(
            framealpha=0.9, edgecolor="none", fontsize=8, title="width×layers: validation",
            title_fontsize=8,
        )  # fmt: skip
    else:
        axes.text(0.5, 0.5, "nothing was trained yet", ha="center", transform=axes.transAxes)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set(
        title=info.title,
        xlabel="training tokens",
        ylabel="bits per byte, lines: training, dots: validation",
    )
    tidy(axes)
    return figure


@literally()
def draw_spread(info: SpreadInfo) -> Figure:
    """Draw latency over depth, a panel a phase and a row of them a device."""
    rows = len(info.panels) // 2
    figure = new_figure(9, 0.6 + 3.6 * rows)
    for i, (label, points) in enumerate(info.panels):
        axes = figure.add_subplot(rows, 2, i + 1)
        middle = sum(f(p.x for p in points) for f in (min, max)) / 2 if points else 0.0
        marks = [_mark(p, GREEN if p.reference else BLUE) for p in points]
        add_marks(axes, marks, size=5, elinewidth=0.9, zorder=3)
        for p in points:
            if p.reference:
                right = p.x > middle
                axes.annotate(
                    p.label,
                    (p.x, p.y),
                    xytext=(-6 if right else 6, 6),
                    textcoords="offset points",
                    fontsize=8,
                    color=GREEN,
                    ha="right" if right else "left",
                )
        axes.set(xlabel="layers", ylabel=label)
        axes.set_ylim(bottom=0)
        tidy(axes)
    figure.suptitle(info.title, fontsize=11)
    add_footnote(figure, info.footnote)
    return figure
