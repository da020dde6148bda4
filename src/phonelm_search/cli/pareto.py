"""``phonelm-search pareto``: a study's front as a table."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o

NAME = "pareto"
HELP = (
    "The front of a study. Examples: phonelm-search pareto tiny.host-cpu --format md; "
    "phonelm-search pareto tiny.host-cpu --all --json"
)


def command(
    study: o.StudyArgument,
    everything: Annotated[
        bool, typer.Option("--all", help="All measured shapes, not only the front.")
    ] = False,
    results: o.ResultsOption = o.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """Print the front."""
    from phonelm_search.cli.common import show_study
    from phonelm_search.store import Store
    from phonelm_search.tables import load_view

    view = load_view(Store(results, url=storage, create=False), study)
    show_study(view, view.rows if everything else view.front, as_json=as_json, fmt=fmt)
