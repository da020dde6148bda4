"""Latency over depth, a line a width: what one more layer costs."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from phonelm_search.outputs.plots.canvas import (
    BLACK,
    CYCLE,
    Mark,
    add_footnote,
    add_marks,
    legend_place,
    literally,
    new_figure,
    tidy,
)
from phonelm_search.outputs.plots.info import latency_label
from phonelm_search.reading import StudyRow, StudyView

_MOST_WIDTHS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthInfo:
    """Shapes of one width, or of neighbouring ones."""

    label: str
    """The widths."""
    points: tuple[tuple[int, float, float, float, bool, bool], ...]
    """(layers, latency, lower, upper end, suspect, estimated) of each shape."""
    line: tuple[float, float, float] | None
    """Intercept, price of a layer and half its 95 % interval, by least squares; None with fewer
    than three depths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthInfo:
    """What the picture of latency over depth shows."""

    title: str
    """Headline."""
    y_label: str
    """Vertical axis with its unit."""
    unit: str
    """That unit."""
    widths: tuple[WidthInfo, ...]
    """Narrow ones first."""
    references: tuple[tuple[str, int, float, bool], ...]
    """(name, layers, latency, suspect) of known models."""
    footnote: str
    """What to keep in mind."""


def depth_info(view: StudyView) -> DepthInfo:
    """Collect latency over depth."""
    widths = sorted({r.shape.hidden_size for r in view.sampled})
    groups = np.array_split(widths, min(_MOST_WIDTHS, len(widths))) if widths else []
    found = [_width(list(map(int, g)), view.sampled) for g in groups]
    return DepthInfo(
        title=f"{view.record.name}: latency over depth",
        y_label=latency_label(view),
        unit=f"of {view.baseline}",
        widths=tuple(found),
        references=tuple(
            (r.label, r.shape.num_hidden_layers, r.latency.value, r.verdict == "suspect")
            for r in view.rows
            if r.name
        ),
        footnote=" · ".join(_notes(view, lines=any(w.line for w in found))),
    )


def _notes(view: StudyView, *, lines: bool) -> Iterator[str]:
    """What to keep in mind of that which is drawn."""
    if lines:
        yield (
            "lines: least squares over shapes of these widths, ± 95 %; where sizes are equal, a "
            "layer more is a smaller FFN"
        )
    if any(r.verdict == "suspect" for r in view.rows):
        yield "hollow: suspect"
    if any(r.kind == "estimated" for r in view.rows):
        yield "triangles: estimated from blocks"


def _width(widths: Sequence[int], rows: Sequence[StudyRow]) -> WidthInfo:
    mine = [r for r in rows if r.shape.hidden_size in widths]
    points = [
        (
            r.shape.num_hidden_layers, *r.latency, r.verdict == "suspect", r.kind == "estimated",
        )
        for r in mine
    ]  # fmt: skip
    label = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    line = None
    if len({p[0] for p in points}) >= 3:
        from scipy.stats import linregress  # takes a second to load
        from scipy.stats import t as student_t

        fitted = linregress([p[0] for p in points], [p[1] for p in points])
        half = student_t.ppf(0.975, len(points) - 2) * fitted.stderr
        line = float(fitted.intercept), float(fitted.slope), float(half)
    return WidthInfo(label=label, points=tuple(points), line=line)


@literally()
def draw_depth(info: DepthInfo) -> Figure:
    """Draw latency over depth."""
    figure = new_figure(8, 5)
    axes = figure.add_subplot()
    for i, width in enumerate(info.widths):
        colour = CYCLE[i % len(CYCLE)]
        marks = [
            Mark(
                x=layers, y=ms, y_error=(ms - low, high - ms), form="^" if estimated else "o",
                colour=colour, hollow=suspect,
            )
            for layers, ms, low, high, suspect, estimated in width.points
        ]  # fmt: skip
        add_marks(axes, marks, size=5, elinewidth=0.8)
        depths = [p[0] for p in width.points]
        label = width.label
        if width.line:
            intercept, slope, half = width.line
            ends = np.array([min(depths), max(depths)])
            axes.plot(ends, intercept + slope * ends, color=colour, linewidth=1)
            label += f": {slope:+.3g} ± {half:.2g} {info.unit} a layer"
        axes.plot([], [], "o", color=colour, label=label)
    for name, layers, ms, suspect in info.references:
        # Not green as elsewhere: here that is a width's colour.
        axes.plot(layers, ms, "D", color=BLACK, markersize=6,
                  markerfacecolor="white" if suspect else BLACK)  # fmt: skip
        axes.annotate(name, (layers, ms), xytext=(6, 6), textcoords="offset points", fontsize=8,
                      color=BLACK)  # fmt: skip
    if info.widths:
        place = legend_place(sum(len(w.points) for w in info.widths), "upper left")
        axes.legend(frameon=False, fontsize=8, title="width", title_fontsize=8, loc=place)
    else:
        axes.text(0.5, 0.5, "no measured shapes yet", ha="center", color=BLACK,
                  transform=axes.transAxes)  # fmt: skip
    axes.set(title=info.title, xlabel="layers", ylabel=textwrap.fill(info.y_label, 40))
    axes.set_ylim(bottom=0)
    tidy(axes)
    add_footnote(figure, info.footnote)
    return figure
