"""Decode in bytes per second, beside what the memory was seen to give."""

import statistics
from dataclasses import dataclass

from matplotlib.figure import Figure

from phonelm_search.core.latency import LatencySummary
from phonelm_search.core.memory import decode_bytes
from phonelm_search.outputs.plots.canvas import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MANY_LABELS,
    MANY_TO_AVOID,
    ORANGE,
    Mark,
    add_footnote,
    add_marks,
    literally,
    new_figure,
    place_labels,
    tidy,
)
from phonelm_search.reading import StudyView


@dataclass(frozen=True, slots=True, kw_only=True)
class BandwidthInfo:
    """What the picture of bandwidth shows."""

    title: str
    """Headline."""
    points: tuple[tuple[str, float, float, bool, bool], ...]
    """(name, megabytes a step, GB/s, suspect, reference) of each measured shape."""
    memory: tuple[float, float, float] | None
    """Median, least and most read bandwidth of the rounds, in GB/s; None where it is unknown."""
    footnote: str
    """What it comes to."""


def bandwidth_info(view: StudyView) -> BandwidthInfo:
    """Collect the rates at which decode steps read weights and KV cache."""
    points, speeds = [], []
    for row in view.rows:
        # Of the first device, where there are several.
        time = row.times[view.device.name]
        steps = list(zip(view.scenario.workloads[1:], time.steps, strict=True))
        if time.kind != "measured":
            continue
        scheme = view.device.scheme
        read = sum(decode_bytes(row.shape, scheme, w.past_tokens) for w, _ in steps)
        seconds = sum(found.latency_ms for _, found in steps) / 1000
        points.append(
            (
                row.label, read / len(steps) / 1e6, read / seconds / 1e9,
                time.verdict == "suspect", row.name is not None,
            )
        )  # fmt: skip
        speeds += [
            f.bandwidth_bytes_per_s / 1e9
            for _, f in steps
            if isinstance(f, LatencySummary) and f.bandwidth_bytes_per_s
        ]
    memory = (statistics.median(speeds), min(speeds), max(speeds)) if speeds else None
    footnote = "bytes: stored weights that a step reads, and the KV cache · hollow: suspect"
    if memory and points:
        share = statistics.median(p[2] for p in points) / memory[0]
        footnote = f"the median shape decodes at {share:.0%} of the read bandwidth · {footnote}"
    return BandwidthInfo(
        title=f"{view.record.name}: how fast decode reads memory on {view.device.name}",
        points=tuple(points),
        memory=memory,
        footnote=footnote,
    )


@literally()
def draw_bandwidth(info: BandwidthInfo) -> Figure:
    """Draw bytes per second over bytes."""
    figure = new_figure(8, 5)
    axes = figure.add_subplot()
    if info.memory:
        middle, low, high = info.memory
        axes.axhspan(low, high, color=ORANGE, alpha=0.12, linewidth=0)
        axes.axhline(middle, color=ORANGE, linewidth=1.2)
        axes.annotate(f"read bandwidth of the rounds: {middle:.1f} GB/s", (0.01, middle),
                      xycoords=("axes fraction", "data"), va="bottom", fontsize=8,
                      color=ORANGE)  # fmt: skip
    labels, marks = [], []
    for name, megabytes, speed, suspect, reference in info.points:
        colour = GREEN if reference else BLUE
        form = "D" if reference else "o"
        marks.append(Mark(x=megabytes, y=speed, form=form, colour=colour, hollow=suspect))
        if reference or len(info.points) <= MANY_LABELS:
            labels.append((megabytes, speed, name, colour))
    add_marks(axes, marks, size=6)
    if not info.points:
        axes.text(0.5, 0.5, "no measured shapes yet", ha="center", color=BLACK,
                  transform=axes.transAxes)  # fmt: skip
    axes.set(title=info.title, xlabel="bytes that a decode step reads [MB]", ylabel="GB/s")
    axes.set_ylim(bottom=0)
    tidy(axes)
    axes.tick_params(colors=BLACK)
    axes.yaxis.label.set_color(BLACK)
    axes.spines["left"].set_color(GREY)
    add_footnote(figure, info.footnote)
    if len(info.points) <= MANY_TO_AVOID:
        place_labels(axes, labels, [(p[1], p[2]) for p in info.points])
    else:
        place_labels(axes, labels, [(p[1], p[2]) for p in info.points if p[4]])
    return figure
