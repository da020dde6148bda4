"""``phonelm-search pareto``: a study's front as a table."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.core import defaults as d

NAME = "pareto"
HELP = (
    "The front of a study. Examples: phonelm-search pareto tiny.host-cpu --format md; "
    "phonelm-search pareto tiny.host-cpu --all --json; phonelm-search pareto tiny.host-cpu --regret"
)


def command(
    study: o.StudyArgument,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="All measured shapes, and shapes near the front as models predict them."
        ),
    ] = False,
    limit: Annotated[
        int,
        typer.Option("--limit", min=0, max=1_000_000, help="Predicted shapes at most, of --all."),
    ] = d.DEFAULT_LIMIT,
    regret: Annotated[
        bool,
        typer.Option(
            "--regret",
            help="Instead: how much slower each device's front is on each other device than that "
            "one's own. Measure elsewhere with `profile --study STUDY --all --device OTHER`.",
        ),
    ] = False,
    max_ttft: o.MaxTtftOption = None,
    max_tpot: o.MaxTpotOption = None,
    max_latency: o.MaxLatencyOption = None,
    max_memory: o.MaxMemoryOption = None,
    max_loss: o.MaxLossOption = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """Print the front."""
    from phonelm_search.cli.common import show_regret, show_study
    from phonelm_search.core.budget import parse_budgets
    from phonelm_search.reading import load_view, regret_matrix
    from phonelm_search.store import Store

    store = Store(results, url=storage, create=False)
    budgets = parse_budgets(
        ttft=max_ttft, tpot=max_tpot, latency=max_latency, memory=max_memory, loss=max_loss
    )
    view = load_view(store, study, budgets=budgets)
    if regret:
        show_regret(regret_matrix(store, view), as_json=as_json, fmt=fmt)
        return
    rows = view.rows if everything else view.front
    show_study(view, rows, predicted=limit if everything else 0, as_json=as_json, fmt=fmt)
