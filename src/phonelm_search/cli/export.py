"""``phonelm-search export``: hand-off of a shape."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say

NAME = "export"
HELP = (
    "Write a shape for training (hf: config.json) or as the measured graph (onnx). Example: "
    "phonelm-search export tiny.host-cpu --to hf -o winner (default shape: the pick)"
)


def command(
    study: o.StudyArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write into.")],
    shape: Annotated[
        str | None, typer.Option("--shape", help="Shape id or its beginning; default: the pick.")
    ] = None,
    to: Annotated[Literal["hf", "onnx"], typer.Option("--to", help="What to write.")] = "hf",
    results: o.ResultsOption = o.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
) -> None:
    """Export a shape of a study."""
    from phonelm_search.cli.common import pick_line
    from phonelm_search.export import export_hf, export_onnx
    from phonelm_search.pick import choose
    from phonelm_search.store import Store
    from phonelm_search.tables import load_view

    store = Store(results, url=storage, create=False)
    view = load_view(store, study)
    chosen = store.shape(shape) if shape else choose(view).row.shape
    precision = view.device.scheme
    path = export_hf(chosen, output) if to == "hf" else export_onnx(chosen, precision, output)
    say(f"wrote {path} of {chosen.shape_id}")
    if not shape:
        say(pick_line(choose(view)))
