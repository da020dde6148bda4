"""``phonelm-search report``: one HTML file that a person decides from."""

from pathlib import Path
from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say
from phonelm_search.core import defaults as d

NAME = "report"
HELP = (
    "Write a study as one HTML file that opens without a network: front, shapes, trainings, "
    "devices. Example: phonelm-search report tiny.host-cpu -o report.html"
)


def command(
    study: o.StudyArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File (default RESULTS/STUDY/report.html)."),
    ] = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
) -> None:
    """Write the report."""
    from phonelm_search.outputs.report import write_report
    from phonelm_search.reading import load_view
    from phonelm_search.store import Store

    store = Store(results, url=storage, create=False)
    view = load_view(store, study)
    path = write_report(store, view, output)
    say(f"wrote {path}; open it in a browser")
