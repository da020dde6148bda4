"""``phonelm-search export``: hand-off of a shape."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say
from phonelm_search.core import defaults as d

NAME = "export"
HELP = (
    "Hand a shape off: config.json, litgpt.yaml, the measured graph and a README. "
    "Example: phonelm-search export tiny.host-cpu -o winner (default shape: the pick)"
)


def command(
    study: o.StudyArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape", help="Shape id, its beginning, or a reference's name; default: the pick."
        ),
    ] = None,
    to: Annotated[
        Literal["all", "hf", "onnx"],
        typer.Option("--to", help="Everything, config.json alone, or the measured graph alone."),
    ] = "all",
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
) -> None:
    """Export a shape of a study."""
    from phonelm_search.cli.common import pick_line
    from phonelm_search.outputs.export import export_shape
    from phonelm_search.reading import choose, load_view
    from phonelm_search.store import Store

    store = Store(results, url=storage, create=False)
    view = load_view(store, study)
    path, row, notes = export_shape(view, output, shape=shape, to=to)
    for note in notes:
        say(note)
    say(f"wrote {path} of {row.shape.shape_id}")
    if not shape:
        say(pick_line(choose(view)))
