"""``phonelm-search run``: everything, ends with the pick."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say
from phonelm_search.core import defaults as d

NAME = "run"
HELP = (
    "Search, measure, train small relatives of the front, and pick a shape. Example: "
    "phonelm-search run tiny --trials 12. Stopped runs continue where they were."
)


def command(
    context: typer.Context,
    space: o.SpaceArgument = d.DEFAULT_SPACE,
    device: o.DevicesOption = None,
    serial: o.SerialsOption = None,
    study: o.StudyOption = None,
    trials: o.TrialsOption = d.DEFAULT_TRIALS,
    score_top: o.ScoreTopOption = d.DEFAULT_TOP,
    tokens_per_parameter: o.TokensOption = d.DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: o.BudgetOption = o.DEFAULT_BUDGET_TEXT,
    train_tokens: o.TrainTokensOption = None,
    law: o.StudyLawOption = None,
    max_ttft: o.MaxTtftOption = None,
    max_tpot: o.MaxTpotOption = None,
    max_latency: o.MaxLatencyOption = None,
    max_memory: o.MaxMemoryOption = None,
    max_loss: o.MaxLossOption = None,
    data: o.DataOption = None,
    scenario: o.ScenarioOption = d.DEFAULT_SCENARIO,
    objective: o.ObjectiveOption = None,
    minutes: o.MinutesOption = d.DEFAULT_MINUTES,
    sampler: o.SamplerOption = d.DEFAULT_SAMPLER,
    pick: o.PickOption = d.DEFAULT_RULE,
    seed: o.SeedOption = 0,
    vocab_size: o.VocabOption = None,
    precision: o.PrecisionOption = None,
    remeasure: o.RemeasureOption = False,
    engine: o.EngineOption = d.DEFAULT_ENGINE,
    address: o.AddressOption = None,
    artifacts: o.ArtifactsOption = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be measured and trained.")
    ] = False,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """Run the whole thread."""
    from phonelm_search.cli.common import (
        command_line,
        parse_score_settings,
        parse_train_tokens,
        show_dry_run,
        show_pick,
    )
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.core.budget import check_budgets, parse_budgets
    from phonelm_search.reading import check_rule
    from phonelm_search.search import check_sampler
    from phonelm_search.stages import (
        EnginePlan,
        SearchPlan,
        finished_shapes,
        open_engine,
        plan_run,
        prepare,
        run_all,
    )
    from phonelm_search.store import Store

    rule = check_rule(pick)
    check_sampler(sampler)
    settings = parse_score_settings(
        tokens_per_parameter, proxy_parameters, seed, minutes=d.training_minutes(minutes)
    )
    tokens = parse_train_tokens(train_tokens)
    budgets = parse_budgets(
        ttft=max_ttft, tpot=max_tpot, latency=max_latency, memory=max_memory, loss=max_loss
    )
    placing = EnginePlan(engine=engine, address=address, artifacts=artifacts)
    setup = prepare(
        space, device or [d.DEFAULT_DEVICE], study=study, scenario=scenario,
        objectives=objective or (), vocab_size=vocab_size, precision=precision,
        serials=placing.here(serial or ()), command=command_line(context),
    )  # fmt: skip
    if dry_run:
        check_budgets(budgets, [p.name for p in setup.devices], str(setup.goals.scenario))
        dry = plan_run(
            setup, trials, score_top, settings,
            finished=finished_shapes(results, storage, setup), train_tokens=tokens, law=law,
            data=data or (),
        )  # fmt: skip
        show_dry_run(setup, dry, trials, as_json=as_json)
        return
    plan = SearchPlan(
        trials=trials, sampler=sampler, seed=seed, remeasure=remeasure, minutes=minutes,
    )  # fmt: skip
    store = Store(results, url=storage)
    with (
        open_engine(placing, devices=setup.devices, serials=serial or (), trains=True) as places,
        ProgressReporter() as report,
    ):
        chosen, view = run_all(
            store, setup, plan, settings, top=score_top, rule=rule, report=report,
            data=data or (), train_tokens=tokens, budgets=budgets, law=law, engine=places,
        )  # fmt: skip
    show_pick(view, chosen, as_json=as_json, fmt=fmt)
    say(f"files: {store.folder(setup.study)}; next: `phonelm-search pareto {setup.study}`")
