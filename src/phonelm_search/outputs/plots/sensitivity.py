"""Speed against loss at equal size: what the picture shows, and drawing it."""

from dataclasses import dataclass
from itertools import cycle

from matplotlib.figure import Figure

from phonelm_search.core.units import format_count, format_counted
from phonelm_search.outputs.plots.canvas import (
    BLACK,
    BLUE,
    CYCLE,
    GREY,
    ORANGE,
    SKY,
    add_footnote,
    literally,
    new_figure,
    tidy,
)
from phonelm_search.reading import Effect, Sensitivity, StudyView

_COLOURS = (SKY, BLUE, *(c for c in CYCLE if c not in (SKY, BLUE, ORANGE)))
"""Of speeds, two for each device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityInfo:
    """What the picture of a sensitivity shows."""

    title: str
    """Headline."""
    claim: str
    """The finding in one sentence."""
    strips: tuple[tuple[str, tuple[float, ...], float, str], ...]
    """(quantity, per cent above the mean of each shape, half width of an interval, spread): speeds,
    then loss."""
    effects: tuple[Effect, ...]
    """One a dimension."""
    footnote: str
    """What to keep in mind."""


def sensitivity_info(view: StudyView, found: Sensitivity) -> SensitivityInfo:
    """Collect what a picture shows of a sensitivity."""
    sizes = [s.decoder_parameters for s in found.shapes]
    precision = view.device.precision
    explained = ", ".join(f"{name} {share:.0%}" for name, share in found.explained.items())
    suspect = (
        f" · {format_counted(found.suspect, 'shape')} of suspect latency" if found.suspect else ""
    )
    return SensitivityInfo(
        title=f"{len(found.shapes)} shapes of {format_count(min(sizes))} to "
        f"{format_count(max(sizes))} decoder parameters on {', '.join(view.devices)} ({precision})",
        claim=found.claim,
        strips=tuple(
            (
                s.name,
                found.deviations[s.name],
                found.errors[s.name],
                f"{s.percent:.1f} % ({s.interval[0]:.1f} to {s.interval[1]:.1f})",
            )
            for s in found.spreads
        ),
        effects=found.effects,
        footnote=f"loss by {found.told} · left: bars are the 95 % "
        "interval of one shape, numbers the deviation between shapes, noise taken off · right: "
        f"additive model of logarithms, explains {explained}; at equal size width follows from "
        f"the others and stands in depth's place{suspect}",
    )


@literally()
def draw_sensitivity(info: SensitivityInfo) -> Figure:
    """Draw how far each quantity moves, and what moves it."""
    figure = new_figure(10.5, 5)
    axes = figure.add_subplot(1, 2, 1)
    names = [name for name, *_ in info.strips]
    colours = dict(zip(names, cycle(_COLOURS), strict=False)) | {names[-1]: ORANGE}
    for row, (name, values, error, spread) in enumerate(reversed(info.strips)):
        offsets = _spread_out(values)
        axes.errorbar(
            values, [row + o for o in offsets], xerr=error, fmt="o", color=colours[name],
            markersize=5, elinewidth=0.7, alpha=0.85,
        )  # fmt: skip
        axes.annotate(
            f"{name}: {spread}", (0.01, row + 0.34), xycoords=("axes fraction", "data"),
            fontsize=9, color=BLACK,
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylim(-0.5, len(info.strips) - 0.4)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="difference from the geometric mean of all shapes [%]")
    tidy(axes)
    axes = figure.add_subplot(1, 2, 2)
    height = 0.8 / len(names)
    for i, effect in enumerate(reversed(info.effects)):
        for k, name in enumerate(names):
            if name not in effect.percent:
                continue
            y = i + 0.4 - height * (k + 0.5)
            axes.barh(y, effect.percent[name], height=0.9 * height, color=colours[name], alpha=0.85)
            interval = effect.interval[name]
            if interval:
                axes.plot(interval, [y, y], color=BLACK, linewidth=0.9)
    axes.set_yticks(
        range(len(info.effects)),
        [f"{e.dimension}\n{e.low} → {e.high}" for e in reversed(info.effects)],
        fontsize=8,
    )
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="change from the smallest to the largest value [%]")
    handles = [axes.barh([0], [0], color=colours[n]) for n in names]
    axes.legend(handles, names, fontsize=8, frameon=False, loc="best")
    tidy(axes)
    figure.suptitle(f"{info.title}\n{info.claim}", fontsize=10.5)
    add_footnote(figure, info.footnote)
    return figure


def _spread_out(values: tuple[float, ...]) -> list[float]:
    """Offsets that keep neighbours apart, in the order of the values."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    steps = (-0.2, -0.1, 0.0, 0.1, 0.2)
    offsets = [0.0] * len(values)
    for place, i in enumerate(order):
        offsets[i] = steps[(place * 2) % len(steps)]
    return offsets
