"""What the law tells of the largest trainings of a study, beside how they came out."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from phonelm_search.core.errors import TrainingError
from phonelm_search.outputs.plots.canvas import (
    BLACK,
    BLUE,
    GREY,
    add_footnote,
    literally,
    new_figure,
    place_labels,
    tidy,
)
from phonelm_search.reading import StudyView


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationInfo:
    """What the picture of a held-out rung shows."""

    title: str
    """Headline."""
    points: tuple[tuple[str, float, float, float], ...]
    """(name, loss told, half its 95 % interval, loss as trained), in % of the rung's mean."""
    footnote: str
    """What it comes to."""


def validation_info(view: StudyView) -> ValidationInfo:
    """Collect a study's held-out rung.

    Raises:
        TrainingError: If it has none.
    """
    rung, name = view.held_out, view.record.name
    if rung is None:
        raise TrainingError(
            f"study '{name}' must have two trainings of its largest size to hold the law against "
            f"them; run `phonelm-search score {name} --validate`"
        )
    return ValidationInfo(
        title=f"{name}: the largest trainings, told without them",
        points=tuple(
            (training.shape.label, 100 * told, 100 * error, 100 * trained)
            for training, told, error, trained in zip(
                rung.trainings, rung.told, rung.error, rung.trained, strict=True
            )
        ),
        footnote=rung.summary,
    )


@literally()
def draw_validation(info: ValidationInfo) -> Figure:
    """Draw told against trained losses."""
    figure = new_figure(6.5, 5)
    axes = figure.add_subplot()
    for _, told, error, trained in info.points:
        axes.errorbar(
            trained, told, yerr=error, fmt="o", color=BLUE, elinewidth=0.8, capsize=2, markersize=6
        )
    ends = [f(p[3] for p in info.points) for f in (min, max)]
    axes.plot(ends, ends, color=GREY, linestyle=":", linewidth=1)
    axes.set(
        title=info.title,
        xlabel="loss as trained [% of the rung's mean]",
        ylabel="loss by the law [% of the rung's mean]",
    )
    tidy(axes)
    places = [(trained, told) for _, told, _, trained in info.points]
    names = [name for name, *_ in info.points]
    labels = [(x, y, name, BLACK) for (x, y), name in zip(places, names, strict=True)]
    place_labels(axes, labels, places)
    add_footnote(figure, info.footnote)
    return figure
