"""``phonelm-search score``: short training of a study's front."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows, say

NAME = "score"
HELP = (
    "Train the front and near-front of a study for a short horizon. Example: "
    "phonelm-search score tiny.host-cpu --score-top 6 --tokens-per-parameter 2"
)


def command(
    study: o.StudyArgument,
    score_top: o.ScoreTopOption = o.DEFAULT_TOP,
    tokens_per_parameter: o.TokensOption = o.DEFAULT_TOKENS,
    proxy_parameters: o.BudgetOption = o.DEFAULT_BUDGET,
    seed: o.SeedOption = 0,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train what has a score already, too.")
    ] = False,
    results: o.ResultsOption = o.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Score a study."""
    from phonelm_search import pipeline
    from phonelm_search.cli.common import parse_score_settings
    from phonelm_search.cli.pareto import COLUMNS, title
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.export import write_tables
    from phonelm_search.store import Store
    from phonelm_search.tables import study_rows

    settings = parse_score_settings(tokens_per_parameter, proxy_parameters, seed)
    store = Store(results, url=storage, create=False)
    with ProgressReporter() as report:
        view = pipeline.run_score(
            store, study, settings, top=score_top, report=report, retrain=retrain
        )
    write_tables(view, store.results / study)
    rows = study_rows(view, view.scored)
    if as_json:
        print_json(rows)
        return
    print_rows(rows, COLUMNS, "table", title=title(view))
    say(f"next: `phonelm-search pareto {study}` or `plot {study}`")
