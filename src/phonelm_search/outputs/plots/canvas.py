"""Figures, colours and files that all pictures share; PNG, SVG or PDF by the file's name."""

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from phonelm_search.core.errors import ExportError, unwritable

BLUE, ORANGE, GREEN, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#8a8a8a", "#222222"
"""Colour-blind-safe, of Okabe and Ito."""
SKY = "#56B4E9"
"""Likewise."""
CYCLE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A6D00", "#222222")
MANY_LABELS = 12
"""Beyond so many points only those that matter are labelled."""
MANY_POINTS = 3000
"""Beyond so many points they are drawn as an image, in files of lines, too."""
MANY_TO_AVOID = 200
"""Beyond so many points labels and legends do not keep off each of them: that takes a minute."""
_STEPS, _FEW_STEPS = 200, 50  # of labels that give way to each other; the second of many
LegendPlace = Literal["best", "upper left", "upper right"]
"""As matplotlib calls it."""
_SUFFIXES = (".png", ".svg", ".pdf")
_LETTERS = 14  # of small print to an inch


@contextmanager
def literally() -> Iterator[None]:
    """Text is drawn as it stands: ``$`` begins no formula, a letter that no font has is a box."""
    with mpl.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def save(figure: Figure, path: Path) -> Path:
    """Write a figure.

    Raises:
        ExportError: If the suffix is not .png, .svg or .pdf, or the file cannot be written.
    """
    if path.suffix not in _SUFFIXES:
        raise ExportError(f"a plot's file must end in {', '.join(_SUFFIXES)}, got '{path.name}'")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with literally(), mpl.rc_context({"svg.hashsalt": "phonelm-search"}):
            metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(path, dpi=160, metadata=metadata)
    except OSError as error:
        raise ExportError(unwritable(path, error)) from error
    return path


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any) -> None:
    """Take off what is no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point with the ends of its intervals."""

    x: float
    """Position along the horizontal axis."""
    y: float
    """Position along the vertical axis."""
    x_error: tuple[float, float] = (0.0, 0.0)
    """Distance to the lower and upper end."""
    y_error: tuple[float, float] = (0.0, 0.0)
    """Likewise."""
    form: str = "o"
    """As matplotlib calls it."""
    colour: str
    """Of point and interval."""
    hollow: bool
    """Whether the point is white inside."""
    alpha: float = 1.0
    """How opaque."""


def add_marks(axes: Any, marks: Sequence[Mark], *, size: float, **style: Any) -> None:
    """Draw points, those that look alike together: thousands one by one take minutes.

    Args:
        axes: Where.
        marks: The points.
        size: Of each.
        style: What matplotlib's errorbar takes besides.
    """
    alike: dict[tuple[str, str, bool, float], list[Mark]] = {}
    for mark in marks:
        alike.setdefault((mark.form, mark.colour, mark.hollow, mark.alpha), []).append(mark)
    for (form, colour, hollow, alpha), some in alike.items():
        axes.errorbar(
            [m.x for m in some], [m.y for m in some],
            xerr=_ends([m.x_error for m in some]), yerr=_ends([m.y_error for m in some]),
            fmt=form, markersize=size, color=colour, markerfacecolor="white" if hollow else colour,
            markeredgecolor=colour, ecolor=colour, capsize=2, alpha=alpha,
            rasterized=len(marks) > MANY_POINTS, **style,
        )  # fmt: skip


def _ends(errors: Sequence[tuple[float, float]]) -> Any:
    """As errorbar takes them; None where there are none."""
    return list(zip(*errors, strict=True)) if any(map(any, errors)) else None


def place_labels(
    axes: Any,
    labels: Sequence[tuple[float, float, str, str]],
    points: Sequence[tuple[float, float]],
) -> None:
    """Write labels ``(x, y, text, colour)`` beside their points, off each other and all points.

    Call it when the axes' limits are final.
    """
    from adjustText import adjust_text  # loads scipy

    if not labels:
        return
    texts = [axes.text(x, y, text, fontsize=8, color=colour) for x, y, text, colour in labels]
    xs, ys = zip(*points, strict=True)
    targets, heights, *_ = zip(*labels, strict=True)
    axes.figure.draw_without_rendering()  # the layout settles the axes' size
    steps = _FEW_STEPS if len(labels) > MANY_LABELS else _STEPS
    # By iterations, not seconds: the same picture on every machine.
    adjust_text(
        texts, x=list(xs), y=list(ys), target_x=list(targets), target_y=list(heights), ax=axes,
        iter_lim=steps, expand=(1.15, 1.6), force_static=(0.2, 0.4),
        arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5},
    )  # fmt: skip


def legend_place(points: int, otherwise: LegendPlace) -> LegendPlace:
    """Where a legend stands: where it covers least, which is found by a look at every point.

    Args:
        points: How many a picture has.
        otherwise: Where it stands in one of too many to look at.
    """
    return "best" if points <= MANY_TO_AVOID else otherwise


def add_footnote(figure: Figure, text: str) -> None:
    """Small print below the axes, in lines that the picture's width holds."""
    if text:
        inches = figure.get_size_inches()[0]
        figure.supxlabel(textwrap.fill(text, round(_LETTERS * inches)), fontsize=8, color=GREY)
