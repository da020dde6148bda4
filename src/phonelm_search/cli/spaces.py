"""``phonelm-search spaces``: search spaces."""

import sys
from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows, say, show_file, tell, terminal_width
from phonelm_search.core import defaults as d

HELP = "List, show, check and copy search spaces."
app = typer.Typer(no_args_is_help=True)
_BAR = 40  # letters of the longest bar
_NUMBERS = 18  # letters beside it
_WIDE = 80


@app.command("list")
def list_spaces(as_json: o.JsonOption = False, fmt: o.FormatOption = "table") -> None:
    """All search spaces, those of ./search_spaces before the built-in ones."""
    from phonelm_search.space import SPACES

    rows = [{"space": name, "file": str(path)} for name, path in SPACES.names().items()]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, (("space", "space"), ("file", "file")), fmt)


@app.command("show")
def show_space(space: o.SpaceArgument) -> None:
    """A search space's file. Example: phonelm-search spaces show tiny."""
    from phonelm_search.core.textfile import read_text
    from phonelm_search.space import SPACES

    show_file(read_text(SPACES.resolve(space)).rstrip())


@app.command("check")
def check_space(
    space: o.SpaceArgument,
    precision: Annotated[
        str, typer.Option("--precision", help="Scheme at which byte limits are counted.")
    ] = d.DEFAULT_PRECISION,
    as_json: o.JsonOption = False,
) -> None:
    """Count feasible shapes and say why others fall out. Example: spaces check slm-100m."""
    from phonelm_search.outputs import space_document

    document = space_document(space, precision)
    if as_json:
        print_json([], **document)
        return
    tell(
        f"{document['space']}: {document['feasible']:,} feasible shapes "
        f"of {document['combinations']:,} combinations; of the others one may break several:"
    )
    for constraint, count in document["failures"].items():
        tell(f"  {count:>10,} break: {constraint}")
    for remedy in document["remedies"]:
        tell(f"  {remedy}")
    bar = min(_BAR, (terminal_width(sys.stdout) or _WIDE) - _NUMBERS)
    for name, key in (("layers", "num_hidden_layers"), ("width", "hidden_size")):
        counts = document[key]
        rows = [
            {name: str(k), "shapes": v, "": "█" * round(bar * v / max(counts.values()))}
            for k, v in counts.items()
        ]
        columns = ((name, name), ("shapes", "shapes"), ("", ""))
        print_rows(rows, columns, "table", ways="`--json`")


@app.command("copy")
def copy_space(space: o.SpaceArgument) -> None:
    """Copy a built-in space into ./search_spaces for editing."""
    from phonelm_search.space import SPACES

    say(f"wrote {SPACES.copy(space)}")
