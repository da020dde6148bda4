"""``phonelm-search profile``: latencies of given shapes."""

from typing import Annotated, Any

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.options import Format
from phonelm_search.cli.output import print_json, print_rows
from phonelm_search.core import defaults as d

NAME = "profile"
HELP = (
    "Measure shapes: a reference's name (phonelm-0.5b), a study's shape id, or the path of a "
    "config.json. Examples: phonelm-search profile phonelm-0.5b --json; phonelm-search profile "
    "./config.json --precision int8-b32 --context-tokens 512 --context-tokens 2000; "
    "phonelm-search profile phonelm-0.5b --scenario chat=256:128"
)
COLUMNS = (
    ("name", "name"),
    ("shape_id", "shape"),
    ("parameters", "parameters"),
    ("device", "device"),
    ("precision", "precision"),
    ("test", "test"),
    ("kind", "kind"),
    ("latency_ms", "ms"),
    ("interval", "95 % interval"),
    ("tokens_per_s", "tokens/s"),
    ("gb_per_s", "GB/s"),
    ("share", "of bandwidth"),
    ("peak_bytes", "peak bytes"),
    ("verdict", "verdict"),
)

COMPILED_COLUMNS = (
    ("name", "name"),
    ("shape_id", "shape"),
    ("device", "device"),
    ("precision", "precision"),
    ("test", "test"),
    ("kind", "kind"),
    ("latency_ms", "ms"),
    ("layers", "layers"),
    ("covered", "coverage"),
    ("logits", "error of logits"),
    ("kv", "of keys and values"),
    ("context_bytes", "context bytes"),
    ("verdict", "verdict"),
)
_FIRST = (
    "shape_id", "test", "latency_ms", "interval", "layers", "logits", "verdict", "tokens_per_s",
    "device", "name", "precision",
)  # fmt: skip
"""What a narrow terminal shows longest."""

_TITLES = {"ttft": "TTFT", "tpot": "TPOT", "end-to-end": "end-to-end"}

ShapesArgument = Annotated[
    list[str] | None, typer.Argument(help="Names, shape ids, or paths of config.json files.")
]
DevicesOption = Annotated[
    list[str] | None, typer.Option("--device", help="A device profile; repeats.")
]
PromptsOption = Annotated[
    list[int] | None,
    typer.Option("--prompt-tokens", min=1, max=o.MOST_TOKENS, help="Prompt length; repeats."),
]
ContextsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--context-tokens", min=1, max=o.MOST_TOKENS, help="Past length at a decode step; repeats."
    ),
]
ScenariosOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scenario",
        help="TTFT, TPOT and end-to-end time of NAME=P:G, a prompt of P tokens and G generated "
        "ones; repeats.",
    ),
]


def command(
    shapes: ShapesArgument = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Measure a whole study's front as well.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With --study: all its measured shapes, not the front.")
    ] = False,
    device: DevicesOption = None,
    serial: o.SerialsOption = None,
    precision: o.PrecisionOption = None,
    prompt_tokens: PromptsOption = None,
    context_tokens: ContextsOption = None,
    scenario: ScenariosOption = None,
    remeasure: o.RemeasureOption = False,
    engine: o.EngineOption = d.DEFAULT_ENGINE,
    address: o.AddressOption = None,
    artifacts: o.ArtifactsOption = None,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """Measure shapes and print their latencies."""
    from phonelm_search.cli.progress import ProgressReporter
    from phonelm_search.core.workload import Scenario
    from phonelm_search.devices import load_device
    from phonelm_search.stages import EnginePlan, ProfilePlan, open_engine, profile_shapes
    from phonelm_search.store import Store

    placing = EnginePlan(engine=engine, address=address, artifacts=artifacts)
    profiles = [load_device(name) for name in device or [d.DEFAULT_DEVICE]]
    store = Store(results, url=storage)
    with (
        open_engine(placing, devices=profiles, serials=serial or ()) as places,
        ProgressReporter() as report,
    ):
        plan = ProfilePlan(
            shapes=shapes or (),
            study=study,
            everything=everything,
            devices=device or [d.DEFAULT_DEVICE],
            serials=serial or (),
            precision=precision,
            prompt_tokens=prompt_tokens or (),
            context_tokens=context_tokens or (),
            scenarios=[Scenario.parse(text) for text in scenario or []],
            remeasure=remeasure,
        )
        rows, failed = profile_shapes(store, plan, report=report, engine=places)
    if as_json:
        print_json(rows)
    else:
        _print_tables(rows, fmt)
    if failed:
        raise typer.Exit(1)


def _print_tables(rows: list[dict[str, Any]], fmt: Format) -> None:
    """What was measured, then what was compiled only."""
    if fmt not in ("table", "md"):
        print_rows(rows, COLUMNS, fmt)
        return
    compiled = [r for r in rows if r["kind"] == "simulated"]
    if measured := [r for r in rows if r["kind"] != "simulated"]:
        print_rows([_shown(r) for r in measured], COLUMNS, fmt, first=_FIRST)
    if compiled:
        print_rows([_shown(r) for r in compiled], COMPILED_COLUMNS, fmt, first=_FIRST)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    prompt, context = row["prompt_tokens"], row["context_tokens"]
    low, high = row["ci_low_ms"], row["ci_high_ms"]
    test = f"pp{prompt}" if prompt else f"tg @ d{context}"
    if row["scenario"]:
        test = f"{row['scenario']} {_TITLES[str(row['phase'])]}"
    return {
        **row,
        "test": test,
        "interval": None if low is None else f"{low:.4g} … {high:.4g}",
        "share": _percent(row["bandwidth_share"], 0),
        "layers": row["compiled_layers"]
        and f"{row['compiled_layers']} of {row['num_hidden_layers']}",
        "covered": _percent(row["coverage"], 1),
        "logits": _percent(row["logits_error"], 1),
        "kv": _percent(row["kv_error"], 1),
    }


def _percent(share: float | None, digits: int) -> str | None:
    return None if share is None else f"{share:.{digits}%}"
