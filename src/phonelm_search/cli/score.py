"""``phonelm-search score``: short training of a study's front."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say
from phonelm_search.core import defaults as d

NAME = "score"
HELP = (
    "Train the front and near-front of a study for a short horizon. Example: "
    "phonelm-search score tiny.host-cpu --score-top 6 --tokens-per-parameter 2"
)


def command(
    context: typer.Context,
    study: o.StudyArgument,
    score_top: o.ScoreTopOption = d.DEFAULT_TOP,
    tokens_per_parameter: o.TokensOption = d.DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: o.BudgetOption = o.DEFAULT_BUDGET_TEXT,
    finalists: o.FinalistsOption = d.DEFAULT_FINALISTS,
    seeds: o.SeedsOption = None,
    data: o.DataOption = None,
    seed: o.SeedOption = 0,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train what has a score already, too.")
    ] = False,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate",
            help="Also train a sample of the study's shapes 8 times as long, with two seeds, and "
            "tell how far the score's order is theirs. Takes about 40 times as long.",
        ),
    ] = False,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """Score a study."""
    from phonelm_search.cli.common import command_line, parse_score_settings, show_pick
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.cli.trust import show_validation
    from phonelm_search.stages import run_score
    from phonelm_search.store import Store

    settings = parse_score_settings(
        tokens_per_parameter, proxy_parameters, seed, seeds=seeds, finalists=finalists
    )
    store = Store(results, url=storage, create=False)
    with ProgressReporter() as report:
        pick, view = run_score(
            store,
            study,
            settings,
            top=score_top,
            report=report,
            data=data or (),
            retrain=retrain,
            validate=validate,
            command=command_line(context),
        )
    if validate:
        show_validation(view, as_json=as_json, fmt=fmt)
        say(f"picture: `phonelm-search plot {study} --kind validation`")
        return
    show_pick(view, pick, as_json=as_json, fmt=fmt)
    say(f"files: {store.results / study}; next: `phonelm-search pareto {study}`")
