"""``phonelm-search pareto``: a study's front as a table."""

from typing import TYPE_CHECKING, Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from phonelm_search.tables import StudyView

NAME = "pareto"
HELP = (
    "The front of a study. Examples: phonelm-search pareto tiny.host-cpu --format md; "
    "phonelm-search pareto tiny.host-cpu --all --json"
)
COLUMNS = (
    ("name", "reference"),
    ("shape_id", "shape"),
    ("decoder_parameters", "decoder parameters"),
    ("prefill_ms", "prefill ms"),
    ("decode_ms", "decode ms"),
    ("tokens_per_s", "tokens/s"),
    ("latency_ms", "end-to-end ms"),
    ("bits_per_byte", "bits/byte"),
    ("score_ci", "±"),
    ("verdict", "verdict"),
)


def title(view: "StudyView") -> str:
    """Headline of a study's table, with what bits per byte compare to."""
    from phonelm_search.proxy.corpus import LZMA_BITS_PER_BYTE

    device = view.record.config["device"]
    text = f"{view.record.name}: {view.scenario} on {device['name']}, {device['precision']}"
    if view.scored:
        text += f"; lzma on the validation text: {LZMA_BITS_PER_BYTE} bits per byte"
    return text


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
    from phonelm_search.store import Store
    from phonelm_search.tables import load_view, study_rows

    view = load_view(Store(results, url=storage, create=False), study)
    rows = study_rows(view, view.rows if everything else view.front)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS, fmt, title=title(view))
