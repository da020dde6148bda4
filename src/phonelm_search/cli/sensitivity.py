"""``phonelm-search sensitivity``: how far speed and loss move at equal size."""

from typing import TYPE_CHECKING, Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows, say, tell
from phonelm_search.core import defaults as d

if TYPE_CHECKING:
    from phonelm_search.reading import Sensitivity

NAME = "sensitivity"
HELP = (
    "Measure shapes of equal decoder size and tell how far speed moves, and how far "
    "loss. Example: phonelm-search sensitivity slm-100m --shapes 12. Stopped runs continue."
)


def command(
    context: typer.Context,
    space: o.SpaceArgument = d.DEFAULT_SPACE,
    device: o.DevicesOption = None,
    serial: o.SerialsOption = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="Name of the study (default SPACE.DEVICE.sensitivity)."),
    ] = None,
    shapes: Annotated[
        int,
        typer.Option(
            "--shapes", min=8, max=1_000_000, help="Shapes to compare, spread over the space."
        ),
    ] = d.COMPARED_SHAPES,
    tokens_per_parameter: o.TokensOption = d.DEFAULT_TOKENS_PER_PARAMETER,
    proxy_parameters: o.BudgetOption = o.DEFAULT_BUDGET_TEXT,
    minutes: o.TrainingMinutesOption = d.DEFAULT_SCORE_MINUTES,
    data: o.DataOption = None,
    scenario: o.ScenarioOption = d.DEFAULT_SCENARIO,
    seed: o.SeedOption = 0,
    vocab_size: o.VocabOption = None,
    precision: o.PrecisionOption = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """Measure, train, compare."""
    from phonelm_search.cli.common import command_line, parse_score_settings
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.stages import SENSITIVITY_SUFFIX, prepare, run_sensitivity
    from phonelm_search.store import Store

    settings = parse_score_settings(tokens_per_parameter, proxy_parameters, seed, minutes=minutes)
    devices = device or [d.DEFAULT_DEVICE]
    setup = prepare(
        space,
        devices,
        study=study,
        scenario=scenario,
        vocab_size=vocab_size,
        precision=precision,
        serials=serial or (),
        command=command_line(context),
        suffix=SENSITIVITY_SUFFIX,
    )
    store = Store(results, url=storage)
    with ProgressReporter() as report:
        found, _ = run_sensitivity(
            store, setup, settings, count=shapes, report=report, data=data or ()
        )
    _show(found, as_json=as_json, fmt=fmt)
    say(f"files: {store.folder(setup.study)}, with plots/sensitivity.png")


def _show(found: "Sensitivity", *, as_json: bool, fmt: o.Format) -> None:
    """Print spreads and effects."""
    from phonelm_search.outputs import sensitivity_rows

    rows = sensitivity_rows(found)
    if as_json:
        print_json(rows, claim=found.claim, told=found.told)
        return
    if fmt in ("csv", "jsonl"):
        print_rows(rows, (), fmt)
        return
    texts = [
        {
            **row,
            "what": row["dimension"] or "between shapes",
            "range": f"{row['low']} → {row['high']}",
            "percent": f"{row['percent']:+.1f} %"
            if row["dimension"]
            else f"{row['percent']:.1f} %",
            "interval": "–"
            if row["ci_low_percent"] is None
            else f"{row['ci_low_percent']:.1f} to {row['ci_high_percent']:.1f}",
        }
        for row in rows
    ]
    columns = (
        ("quantity", "quantity"), ("what", "moved by"), ("range", "from → to"),
        ("percent", "moves"), ("interval", "95 %"),
    )  # fmt: skip
    print_rows(
        texts, columns, fmt,
        title=f"{len(found.shapes)} shapes of equal decoder size; loss by {found.told}",
    )  # fmt: skip
    aloud = tell if fmt == "table" else say
    aloud("")
    aloud(found.claim)
