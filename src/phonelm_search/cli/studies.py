"""``phonelm-search studies``: what is in the database."""

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows, say
from phonelm_search.core import defaults as d

HELP = "List and show studies."
app = typer.Typer(no_args_is_help=True)
COLUMNS = (
    ("study", "study"),
    ("space", "space"),
    ("device", "device"),
    ("scenario", "scenario"),
    ("measured", "measured"),
    ("failed", "failed"),
    ("trained", "trainings"),
)


@app.command("list")
def list_studies(
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """All studies of a results folder. Example: phonelm-search studies list --json."""
    from phonelm_search.outputs import count_rows
    from phonelm_search.store import Store

    rows = count_rows(Store(results, url=storage, create=False))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, COLUMNS, fmt, first=("study", "measured", "trained", "failed"))


@app.command("show")
def show_study(
    study: o.StudyArgument,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
) -> None:
    """A study's configuration and environment as JSON. Example: studies show tiny.host-cpu."""
    from dataclasses import asdict

    from phonelm_search.store import Store

    record = Store(results, url=storage, create=False).study(study)
    print_json([asdict(record)])


@app.command("upgrade")
def upgrade_studies(
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
) -> None:
    """Bring up an older release's database, as what measures does. Example: studies upgrade."""
    from phonelm_search.store import Store

    store = Store(results, url=storage, create=False, upgrade=True)
    say(f"{store.name} is as this release writes it")
    if store.kept_copy is not None:
        say(f"{store.kept_copy} is the file as it was")


@app.command("check")
def check_study(
    study: o.StudyArgument,
    results: o.ResultsOption = d.DEFAULT_RESULTS,
    storage: o.StorageOption = None,
    as_json: o.JsonOption = False,
    fmt: o.FormatOption = "table",
) -> None:
    """What is doubtful in a study and why. Example: studies check tiny.host-cpu."""
    from phonelm_search.core.units import format_counted
    from phonelm_search.outputs import doubtful_rows, resolution_row, resolution_sentences
    from phonelm_search.reading import load_view
    from phonelm_search.store import Store

    view = load_view(Store(results, url=storage, create=False), study)
    rows = doubtful_rows(view)
    if as_json:
        print_json(rows, resolution=resolution_row(view))
        return
    if rows or fmt != "table":
        print_rows(rows, (("shape_id", "shape"), ("verdict", "verdict"), ("why", "why")), fmt)
    say(format_counted(len({r["shape_id"] for r in rows}), "doubtful shape"))
    for line in resolution_sentences(view):
        say(line)
    say(f"how the machine wandered: `phonelm-search plot {study} --kind processes`")
