"""``phonelm-search law``: the quality law by itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows, say

if TYPE_CHECKING:
    from phonelm_search.stages import LawTable

HELP = "The quality law: show it, fit it to own trainings, check it on trainings it has not seen."
app = typer.Typer(no_args_is_help=True)
LawOption = Annotated[
    Path | None, typer.Option("--law", help="File of a law (default: the one that is shipped).")
]
ObservationsOption = Annotated[
    Path,
    typer.Option(
        "--observations",
        help="CSV of trainings: hidden_size, intermediate_size, num_hidden_layers, "
        "num_attention_heads, tokens, loss or bits_per_byte; optional num_key_value_heads, "
        "head_dim, hidden_act, ffn, seed, dataset, tokenizer.",
    ),
]
_COLUMNS = (
    ("name", "coefficient"), ("value", "value"), ("low", "low"), ("high", "high"),
    ("meaning", "meaning"),
)  # fmt: skip


@app.command("show")
def show_law(law: LawOption = None, as_json: o.JsonOption = False) -> None:
    """Coefficients with 95 % intervals, sources, and where the law is an extrapolation."""
    from phonelm_search.stages import show_law as shown

    _print(shown(law), as_json=as_json)


@app.command("fit")
def fit_law(
    observations: ObservationsOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the new law.")] = Path(
        "law.json"
    ),
    law: LawOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Add own trainings to a law. Example: phonelm-search law fit --observations runs.csv."""
    from phonelm_search.stages import fit_law as fitted

    _print(fitted(observations, output, law=law), as_json=as_json)
    say(f"wrote {output}; try it with `phonelm-search law check --law {output} --observations …`")


@app.command("check")
def check_law(
    observations: ObservationsOption, law: LawOption = None, as_json: o.JsonOption = False
) -> None:
    """How a law orders trainings that it has not seen, beside what needs no law."""
    from phonelm_search.stages import check_trainings

    rows = check_trainings(observations, law=law)
    if as_json:
        print_json(rows)
        return
    columns = (
        ("dataset", "data set"), ("trainings", "trainings"), ("pairs", "pairs"),
        ("rightly_ordered", "rightly ordered"), ("pairs_width_depth", "differ in depth"),
        ("rightly_ordered_width_depth", "rightly ordered"), ("shallow_first", "shallow first"),
        ("deep_first", "deep first"), ("rightly_ordered_any_size", "any size"),
        ("size_alone", "size alone"), ("tau", "tau"), ("held", "95 % hold"),
        ("median_error", "median error"), ("largest_error", "largest"),
    )  # fmt: skip
    counts = {"dataset", "trainings", "pairs", "pairs_width_depth"}
    shown = [
        {k: v if k in counts or v is None else f"{v:.3g}" for k, v in row.items()} for row in rows
    ]
    first = ("dataset", "pairs", "rightly_ordered", "tau", "held")
    print_rows(shown, columns, "table", first=first, ways="`--json`")
    say(
        "pairs: equal size (15 %) and tokens (30 %), losses more than 0.3 % apart; errors after "
        "one shift for the data set"
    )


def _print(table: "LawTable", *, as_json: bool) -> None:
    if as_json:
        print_json(table.rows, sources=table.sources, evidence=table.evidence)
        return
    numbers = ("value", "low", "high")
    rows = [{**row, **{k: f"{row[k]:.3g}" for k in numbers}} for row in table.rows]
    print_rows(rows, _COLUMNS, "table", ways="`--json`")
    for source in table.sources:
        say(f"source: {source}")
    (small, large), (short, long), (deep, shallow) = (
        table.evidence[k] for k in ("sizes", "tokens", "aspects")
    )
    say(
        f"an extrapolation beyond {small / 1e6:,.0f}M to {large / 1e6:,.0f}M decoder parameters, "
        f"{short / 1e9:.2g}B to {long / 1e9:.3g}B tokens, effective width over depth {deep:.0f} "
        f"to {shallow:.0f}"
    )
