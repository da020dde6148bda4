"""``phonelm-search score``: small trainings for a study's front."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say
from phonelm_search.core import defaults as d

NAME = "score"
HELP = (
    "Train small relatives of a study's front, chosen to tell its shapes apart. Example: "
    "phonelm-search score tiny.host-cpu --minutes 10 --train-tokens 300B"
)


def command(
    context: typer.Context,
    study: o.StudyArgument,
    score_top: o.ScoreTopOption = d.DEFAULT_TOP,
    tokens_per_parameter: o.TokensOption = d.DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: o.BudgetOption = o.DEFAULT_BUDGET_TEXT,
    minutes: o.TrainingMinutesOption = d.DEFAULT_SCORE_MINUTES,
    train_tokens: o.TrainTokensOption = None,
    law: o.StudyLawOption = None,
    max_ttft: o.MaxTtftOption = None,
    max_tpot: o.MaxTpotOption = None,
    max_latency: o.MaxLatencyOption = None,
    max_memory: o.MaxMemoryOption = None,
    max_loss: o.MaxLossOption = None,
    data: o.DataOption = None,
    seed: o.SeedOption = 0,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Drop what was trained for the study, begin anew.")
    ] = False,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate",
            help="Also train eight relatives of twice the largest size, and tell how the law "
            "orders them without having seen them. Takes as long as they take.",
        ),
    ] = False,
    engine: o.EngineOption = d.DEFAULT_ENGINE,
    address: o.AddressOption = None,
    artifacts: o.ArtifactsOption = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """Score a study."""
    from phonelm_search.cli.common import (
        command_line,
        parse_score_settings,
        parse_train_tokens,
        show_pick,
    )
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.core.budget import parse_budgets
    from phonelm_search.stages import EnginePlan, open_engine, run_score
    from phonelm_search.store import Store

    settings = parse_score_settings(tokens_per_parameter, proxy_parameters, seed, minutes=minutes)
    tokens = parse_train_tokens(train_tokens)
    budgets = parse_budgets(
        ttft=max_ttft, tpot=max_tpot, latency=max_latency, memory=max_memory, loss=max_loss
    )
    placing = EnginePlan(engine=engine, address=address, artifacts=artifacts)
    store = Store(results, url=storage, create=False, upgrade=True)
    with open_engine(placing, trains=True) as places, ProgressReporter() as report:
        pick, view = run_score(
            store,
            study,
            settings,
            top=score_top,
            report=report,
            data=data or (),
            retrain=retrain,
            validate=validate,
            train_tokens=tokens,
            budgets=budgets,
            law=law,
            command=command_line(context),
            engine=places,
        )
    show_pick(view, pick, as_json=as_json, fmt=fmt)
    if validate:
        say(f"picture: `phonelm-search plot {study} --kind validation`")
    say(f"files: {store.folder(study)}; next: `phonelm-search pareto {study}`")
