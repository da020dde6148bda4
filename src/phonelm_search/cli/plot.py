"""``phonelm-search plot``: pictures of a study."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say
from phonelm_search.core import defaults as d

NAME = "plot"
HELP = (
    "Draw a study. Example: phonelm-search plot tiny.host-cpu --kind front -o front.svg "
    "(.png, .svg or .pdf), or --kind all for every picture there is"
)
Kind = Literal[
    "front",
    "training",
    "spread",
    "map",
    "latency-vs-depth",
    "bandwidth",
    "processes",
    "devices",
    "validation",
    "all",
]


def command(
    study: o.StudyArgument,
    kind: Annotated[
        Kind,
        typer.Option(
            "--kind",
            help="Front of latency and loss, training curves, speed over depth, width and depth of "
            "all shapes, a layer's price, bytes per second of decode, how the machine "
            "wandered, several devices, the largest trainings as told and as trained.",
        ),
    ] = "front",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File (default RESULTS/STUDY/plots/KIND.png); a folder for --kind all.",
        ),
    ] = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
) -> None:
    """Draw and save a picture, or all."""
    from phonelm_search.core.errors import ConfigurationError, ModelError, TrainingError
    from phonelm_search.outputs.plots import PICTURES, save
    from phonelm_search.reading import load_view
    from phonelm_search.store import Store

    store = Store(results, url=storage, create=False)
    view = load_view(store, study)
    folder = store.folder(study) / "plots"
    if kind != "all":
        path = save(PICTURES[kind](store, view), output or folder / f"{kind}.png")
        say(f"wrote {path}")
        return
    for name, draw in PICTURES.items():
        try:
            figure = draw(store, view)
        except (ConfigurationError, ModelError, TrainingError) as error:
            say(f"no {name}: {error}")
        else:
            say(f"wrote {save(figure, (output or folder) / f'{name}.png')}")
