"""How the machine wandered: what each process did to all of its models."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from matplotlib.figure import Figure

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.core.latency import Extent
from phonelm_search.core.statistics import middles_and_ends
from phonelm_search.core.workload import Workload
from phonelm_search.measure import LatencyComparison
from phonelm_search.outputs.plots.canvas import (
    BLACK,
    CYCLE,
    add_footnote,
    legend_place,
    literally,
    new_figure,
    tidy,
)
from phonelm_search.reading import StudyView


@dataclass(frozen=True, slots=True, kw_only=True)
class Wandering:
    """Processes of one workload, in the order in which they ended."""

    label: str
    """Which workload."""
    minutes: tuple[float, ...]
    """Since the first one ended."""
    slower: tuple[Extent, ...]
    """How much slower than usual, in per cent: middle and ends of the 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessesInfo:
    """What the picture of processes shows."""

    title: str
    """Headline."""
    workloads: tuple[Wandering, ...]
    """One each."""
    footnote: str
    """What it comes to."""


def processes_info(view: StudyView) -> ProcessesInfo:
    """Collect the processes of a study's first device.

    Raises:
        ConfigurationError: If nothing was measured yet.
    """
    place = view.places[0]
    found = view.readings[0].comparisons if view.readings else {}
    if not found:
        raise ConfigurationError(
            f"study '{view.record.name}' must have measured something; run `phonelm-search search`"
        )
    spreads = ", ".join(
        f"{w.name} {np.median(c.effects.spread):.1%} between processes, "
        f"{np.median(c.effects.rest):.1%} between shapes in one"
        for w, c in found.items()
    )
    return ProcessesInfo(
        title=f"{view.record.name}: how {place.device.name} wandered",
        workloads=tuple(_wandering(w, c) for w, c in found.items()),
        footnote=f"what is common to a process is taken out of its shapes · deviations: {spreads}",
    )


def _wandering(workload: Workload, comparison: LatencyComparison) -> Wandering:
    ends = [datetime.fromisoformat(end) for end in comparison.rounds.ends]
    begin = min(ends)
    percent = 100 * np.expm1(np.ascontiguousarray(comparison.effects.processes.T))
    slower = [Extent(*told) for told in middles_and_ends(percent).tolist()]
    order = sorted(range(len(slower)), key=ends.__getitem__)
    return Wandering(
        label=workload.name,
        minutes=tuple((ends[i] - begin).total_seconds() / 60 for i in order),
        slower=tuple(slower[i] for i in order),
    )


@literally()
def draw_processes(info: ProcessesInfo) -> Figure:
    """Draw process effects over time."""
    figure = new_figure(8, 5)
    axes = figure.add_subplot()
    axes.axhline(0, color=BLACK, linewidth=0.8)
    for i, workload in enumerate(info.workloads):
        middle, low, high = np.array(workload.slower).T
        axes.errorbar(
            workload.minutes, middle, yerr=[middle - low, high - middle], fmt="o-", markersize=4,
            linewidth=0.8, capsize=2, color=CYCLE[i % len(CYCLE)], label=workload.label,
        )  # fmt: skip
    place = legend_place(max((len(w.minutes) for w in info.workloads), default=0), "upper right")
    axes.legend(frameon=False, fontsize=8, loc=place)
    axes.set(
        title=info.title,
        xlabel="time since the first process ended [min]",
        ylabel="slower than the usual process [%]",
    )
    tidy(axes)
    add_footnote(figure, info.footnote)
    return figure
