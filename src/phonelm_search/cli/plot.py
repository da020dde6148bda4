"""``phonelm-search plot``: pictures of a study."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say

NAME = "plot"
HELP = (
    "Draw a study. Example: phonelm-search plot tiny.host-cpu --kind front -o front.svg "
    "(.png, .svg or .pdf)"
)
Kind = Literal["front", "training", "spread", "validation"]


def command(
    study: o.StudyArgument,
    kind: Annotated[
        Kind,
        typer.Option(
            "--kind",
            help="Latency–quality front, training curves, speed, or scores against longer runs.",
        ),
    ] = "front",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File (default RESULTS/STUDY/plots/KIND.png)."),
    ] = None,
    results: o.ResultsOption = o.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
) -> None:
    """Draw and save a picture."""
    from phonelm_search.plots import draw, info
    from phonelm_search.plots.canvas import save
    from phonelm_search.plots.validation import draw_validation, validation_info
    from phonelm_search.store import Store
    from phonelm_search.tables import load_view

    store = Store(results, url=storage, create=False)
    view = load_view(store, study)
    match kind:
        case "front":
            figure = draw.draw_front(info.front_info(view))
        case "training":
            figure = draw.draw_training(info.training_info(view))
        case "spread":
            figure = draw.draw_spread(info.spread_info(view))
        case "validation":
            figure = draw_validation(validation_info(store, view))
    say(f"wrote {save(figure, output or store.results / study / 'plots' / f'{kind}.png')}")
