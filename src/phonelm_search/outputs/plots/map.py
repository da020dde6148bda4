"""Latency and loss over width and depth, as models tell them of all shapes of a space."""

import textwrap
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from phonelm_search.core.statistics import Floats
from phonelm_search.core.units import format_count
from phonelm_search.outputs.plots.canvas import BLACK, add_footnote, literally, new_figure, tidy
from phonelm_search.outputs.plots.info import latency_label, loss_label
from phonelm_search.reading import StudyView, cells_of

_LABEL = 44  # letters of a line along the axis
_MANY = 3000  # cells beyond which points are drawn as an image


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPanel:
    """One quantity over width and depth."""

    label: str
    """Its name with its unit."""
    values: Floats
    """``[cells]``: of the shape of a cell whose own value is lowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapInfo:
    """What the map shows."""

    title: str
    """Headline."""
    width: npt.NDArray[np.int64]
    """``[cells]``"""
    depth: npt.NDArray[np.int64]
    """``[cells]``"""
    panels: tuple[MapPanel, ...]
    """Latency, then loss."""
    line: tuple[tuple[int, int], ...]
    """Width and depth of the front's shapes, fastest first."""
    footnote: str
    """What to keep in mind."""


def map_info(view: StudyView) -> MapInfo:
    """Tell all shapes of a study's space.

    Raises:
        ModelError: If nothing tells them.
    """
    found, modelled = cells_of(view), view.modelled
    front = [modelled.shape(int(i)) for i in modelled.front()] if modelled else []
    smallest, largest = map(format_count, found.sizes)
    return MapInfo(
        title=f"{view.record.name}: {found.count:,} shapes of {smallest} to {largest} decoder "
        "parameters",
        width=found.width,
        depth=found.depth,
        panels=(
            MapPanel(label=latency_label(view), values=found.latency),
            MapPanel(label=loss_label(view), values=100 * (found.loss - 1)),
        ),
        line=tuple((s.hidden_size, s.num_hidden_layers) for s in front),
        footnote="each square: the lowest value over feed-forward sizes, heads and activations of "
        "its width and depth · line: the front of all shapes, by models, fastest first",
    )


@literally()
def draw_map(info: MapInfo) -> Figure:
    """Draw a panel for each quantity, with the front's shapes joined by a line."""
    figure = new_figure(11, 4.8)
    size = 60 if len(info.width) < _MANY else 8
    for i, panel in enumerate(info.panels):
        axes = figure.add_subplot(1, 2, i + 1)
        marks = axes.scatter(
            info.width, info.depth, c=panel.values, s=size, marker="s", cmap="viridis_r",
            linewidths=0, rasterized=True,
        )  # fmt: skip
        figure.colorbar(marks, ax=axes, label=textwrap.fill(panel.label, _LABEL))
        if info.line:
            xs, ys = zip(*info.line, strict=True)
            axes.plot(xs, ys, color=BLACK, linewidth=1, marker="o", markersize=4, label="front")
            axes.plot(xs[:1], ys[:1], color=BLACK, marker="s", linestyle="", label="fastest of it")
            axes.legend(framealpha=0.8, edgecolor="none", fontsize=8)
        axes.set(xlabel="width", ylabel="layers")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
    figure.suptitle(info.title, fontsize=11)
    add_footnote(figure, info.footnote)
    return figure
