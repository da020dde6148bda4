"""``phonelm-search search``: sampling and measuring only."""

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import say
from phonelm_search.core import defaults as d

NAME = "search"
HELP = "Sample shapes and measure them. Example: phonelm-search search tiny --trials 20"


def command(
    context: typer.Context,
    space: o.SpaceArgument = d.DEFAULT_SPACE,
    device: o.DevicesOption = None,
    serial: o.SerialsOption = None,
    study: o.StudyOption = None,
    trials: o.TrialsOption = d.DEFAULT_TRIALS,
    scenario: o.ScenarioOption = d.DEFAULT_SCENARIO,
    objective: o.ObjectiveOption = None,
    minutes: o.MinutesOption = None,
    sampler: o.SamplerOption = d.DEFAULT_SAMPLER,
    seed: o.SeedOption = 0,
    vocab_size: o.VocabOption = None,
    precision: o.PrecisionOption = None,
    remeasure: o.RemeasureOption = False,
    engine: o.EngineOption = d.DEFAULT_ENGINE,
    address: o.AddressOption = None,
    artifacts: o.ArtifactsOption = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """Run the search."""
    from phonelm_search.cli.common import command_line, show_study
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.core.units import format_counted
    from phonelm_search.search import check_sampler
    from phonelm_search.stages import EnginePlan, SearchPlan, open_engine, prepare, run_search
    from phonelm_search.store import Store

    check_sampler(sampler)
    placing = EnginePlan(engine=engine, address=address, artifacts=artifacts)
    setup = prepare(
        space,
        device or [d.DEFAULT_DEVICE],
        study=study,
        scenario=scenario,
        objectives=objective or (),
        vocab_size=vocab_size,
        precision=precision,
        serials=placing.here(serial or ()),
        command=command_line(context),
    )
    store = Store(results, url=storage)
    with (
        open_engine(placing, devices=setup.devices, serials=serial or ()) as places,
        ProgressReporter() as report,
    ):
        plan = SearchPlan(
            trials=trials, sampler=sampler, seed=seed, remeasure=remeasure, minutes=minutes
        )
        view = run_search(store, setup, plan, report=report, engine=places)
    show_study(view, view.front, as_json=as_json, fmt=fmt)
    count = format_counted(len(view.measured), "shape")
    say(f"{count} measured; next: `phonelm-search score {setup.study}`")
