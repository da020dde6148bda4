"""The same shapes on several devices: do their orders agree?"""

import itertools
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.pareto import front
from phonelm_search.core.statistics import spearman
from phonelm_search.core.units import format_counted
from phonelm_search.outputs.plots.canvas import (
    BLUE,
    GREY,
    add_footnote,
    literally,
    new_figure,
    tidy,
)
from phonelm_search.reading import StudyView, times_by_device
from phonelm_search.store import Store

_LEAST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesInfo:
    """What the picture of several devices shows."""

    title: str
    """Headline."""
    devices: tuple[str, ...]
    """Names, from left to right."""
    shapes: tuple[tuple[str, tuple[float, ...], bool], ...]
    """(name, latency over the device's median for each device, on the first one's front)."""
    footnote: str
    """How far neighbours agree."""


def devices_info(store: Store, view: StudyView) -> DevicesInfo:
    """Collect the latencies of shapes that were measured on all devices.

    Raises:
        ConfigurationError: If they were measured on one device only, or share too few shapes.
    """
    rows = view.sampled
    times = times_by_device(store, view, rows)
    names = tuple(times)
    common = [r for r in rows if all(r.shape.shape_id in times[n] for n in names)]
    if len(common) < _LEAST:
        raise ConfigurationError(
            f"at least {_LEAST} shapes must be measured on all of {', '.join(names)} to compare "
            f"them, {len(common)} are; run `phonelm-search profile --study {view.record.name} "
            "--all --device B`"
        )
    table = np.array([[times[n][r.shape.shape_id] for n in names] for r in common])
    first = times[names[0]]
    best = {
        r.shape.shape_id for r in front(common, lambda r: (first[r.shape.shape_id], r.loss.value))
    }
    relative = table / np.median(table, 0)
    told = [
        f"{a} and {b}: Spearman {order:.2f}"
        for i, (a, b) in enumerate(itertools.pairwise(names))
        if len(common) >= 3 and (order := spearman(table[:, i], table[:, i + 1])) is not None
    ]
    return DevicesInfo(
        title=f"{view.record.name}: {format_counted(len(common), 'shape')} on {len(names)} devices",
        devices=names,
        shapes=tuple(
            (r.label, tuple(map(float, relative[i])), r.shape.shape_id in best)
            for i, r in enumerate(common)
        ),
        footnote=" · ".join([*told, f"blue: on the front of {names[0]}"]),
    )


@literally()
def draw_devices(info: DevicesInfo) -> Figure:
    """Draw a line a shape across devices."""
    figure = new_figure(max(6, 2 + 2 * len(info.devices)), 5)
    axes = figure.add_subplot()
    places = range(len(info.devices))
    for name, values, on_front in sorted(info.shapes, key=lambda s: s[2]):
        colour = BLUE if on_front else GREY
        axes.plot(places, values, "o-", color=colour, markersize=4, linewidth=1.2,
                  alpha=1.0 if on_front else 0.5)  # fmt: skip
        if on_front:
            axes.annotate(name, (places[-1], values[-1]), xytext=(6, 0), va="center",
                          textcoords="offset points", fontsize=8, color=colour)  # fmt: skip
    axes.set_xticks(list(places), info.devices)
    axes.set(title=info.title, ylabel="end-to-end latency [times the device's median shape]")
    axes.margins(x=0.15)
    tidy(axes)
    add_footnote(figure, info.footnote)
    return figure
