"""How a study's scores agree with much longer runs: what the picture shows, and drawing it."""

import math
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from phonelm_search.core.errors import TrainingError
from phonelm_search.core.statistics import Z_95
from phonelm_search.outputs.plots.canvas import (
    BLACK,
    BLUE,
    CYCLE,
    GREY,
    add_footnote,
    new_figure,
    tidy,
)
from phonelm_search.quality import Comparison, Score, gather
from phonelm_search.reading import StudyView
from phonelm_search.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedShape:
    """One shape at both horizons."""

    label: str
    """Name."""
    short: float
    """Bits per byte at the study's horizon, mean of seeds."""
    long: float
    """At the long one."""
    seeds: tuple[tuple[float, float], ...]
    """(short, long) of each seed."""
    curve: tuple[tuple[int, float], ...]
    """Training curve of the long run with the first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationInfo:
    """What the picture of a validation shows."""

    title: str
    """Headline."""
    shapes: tuple[ValidatedShape, ...]
    """The sample, best long run first."""
    short_label: str
    """Horizontal axis with its unit."""
    long_label: str
    """Vertical axis with its unit."""
    short_tokens: int
    """Where the study's runs end."""
    short_error: float
    """Half width of a score's 95 % interval over seeds."""
    long_error: float
    """Likewise."""
    footnote: str
    """What it comes to."""


def validation_info(store: Store, view: StudyView) -> ValidationInfo:
    """Collect the scores of a validation.

    Raises:
        TrainingError: If the study was not validated.
    """
    found = view.validation
    name = view.record.name
    if found is None:
        raise TrainingError(
            f"study '{name}' must be validated to draw it; run `phonelm-search score {name} "
            "--validate`"
        )
    ids = list(found.shape_ids)
    short, long = (
        gather(s for s in store.scores(shape_ids=ids, settings_id=i) if s.seed in found.seeds)
        for i in (found.settings_id, found.long_settings_id)
    )
    shapes = store.shapes(ids)
    rows = []
    for shape_id in ids:
        shape, a, b = shapes[shape_id], short.get(shape_id), long.get(shape_id)
        seeds = len(found.seeds)
        if not a or not b or {len(a.finished), len(b.finished)} != {seeds}:
            raise TrainingError(
                f"all scores of a validation must be there to draw it, some of {shape_id} are "
                f"gone; run `phonelm-search score {name} --validate` again"
            )
        assert a.bits_per_byte is not None
        assert b.bits_per_byte is not None
        pairs = zip(a.finished, b.finished, strict=True)
        rows.append(
            ValidatedShape(
                label=shape.label,
                short=a.bits_per_byte,
                long=b.bits_per_byte,
                seeds=tuple((x.bits_per_byte or 0.0, y.bits_per_byte or 0.0) for x, y in pairs),
                curve=b.first.curve,
            )
        )
    rows.sort(key=lambda r: r.long)
    return ValidationInfo(
        title=f"{name}: the score against {found.long_tokens_per_parameter:.2g} tokens per "
        "parameter",
        shapes=tuple(rows),
        short_label=f"bits per byte after {found.tokens_per_parameter:.2g} tokens per parameter",
        long_label=f"after {found.long_tokens_per_parameter:.2g} tokens per parameter",
        short_tokens=short[ids[0]].first.tokens,
        short_error=_error(list(short.values())),
        long_error=_error(list(long.values())),
        footnote=f"{found.summary}; crosses: deviation between seeds, 95 %",
    )


def draw_validation(info: ValidationInfo) -> Figure:
    """Draw scores against long runs, and the curves of those."""
    figure = new_figure(10, 4.6)
    axes = figure.add_subplot(1, 2, 1)
    for i, shape in enumerate(info.shapes):
        colour = CYCLE[i % len(CYCLE)]
        axes.plot(*zip(*shape.seeds, strict=True), ".", color=colour, alpha=0.5, markersize=5)
        axes.errorbar(
            shape.short, shape.long, xerr=info.short_error, yerr=info.long_error, fmt="o",
            color=colour, elinewidth=0.8, capsize=2, markersize=6,
        )  # fmt: skip
        axes.annotate(
            shape.label, (shape.short, shape.long), xytext=(6, 5), textcoords="offset points",
            fontsize=8, color=BLACK,
        )  # fmt: skip
    axes.set(xlabel=info.short_label, ylabel=info.long_label)
    tidy(axes)
    axes = figure.add_subplot(1, 2, 2)
    for i, shape in enumerate(info.shapes):
        tokens, bits = zip(*shape.curve, strict=True)
        axes.plot(
            tokens, bits, color=CYCLE[i % len(CYCLE)], linewidth=1, label=shape.label,
            linestyle="-" if i < len(CYCLE) else "--",
        )  # fmt: skip
    axes.axvline(info.short_tokens, color=GREY, linestyle=":", linewidth=1)
    axes.annotate(
        "the study's horizon", (info.short_tokens, 0.98), xycoords=("data", "axes fraction"),
        rotation=90, va="top", ha="right", fontsize=8, color=GREY,
    )  # fmt: skip
    late = [b for s in info.shapes for n, b in s.curve if n >= info.short_tokens / 2]
    if late:
        axes.set_ylim(min(late) - 0.03, max(late) + 0.05)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set(xlabel="training tokens", ylabel="training bits per byte")
    axes.legend(fontsize=7, frameon=False, title="width×layers, best first", title_fontsize=7)
    tidy(axes)
    figure.suptitle(info.title, fontsize=11, color=BLUE)
    add_footnote(figure, info.footnote)
    return figure


def _error(scores: list[Score]) -> float:
    deviation = Comparison(scores).seed_deviation.value
    return Z_95 * deviation / math.sqrt(len(scores[0].finished))
