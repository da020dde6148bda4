"""``phonelm-search spaces``: search spaces."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows, say

HELP = "List, show, check and copy search spaces."
app = typer.Typer(no_args_is_help=True)


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
    from phonelm_search.space import SPACES

    typer.echo(SPACES.resolve(space).read_text(encoding="utf-8").rstrip())


@app.command("check")
def check_space(
    space: o.SpaceArgument,
    precision: Annotated[
        str, typer.Option("--precision", help="Scheme at which byte limits are counted.")
    ] = "int4-b32",
    as_json: o.JsonOption = False,
) -> None:
    """Count feasible shapes and say why others fall out. Example: spaces check slm-100m."""
    from phonelm_search.core.precision import get_precision
    from phonelm_search.space import enumerate_space, load_space

    loaded = load_space(space)
    feasible = enumerate_space(loaded, get_precision(precision))
    depth = feasible.histogram("num_hidden_layers")
    width = feasible.histogram("hidden_size")
    if as_json:
        print_json(
            [],
            space=loaded.name,
            combinations=feasible.combinations,
            feasible=len(feasible),
            failures=feasible.failures,
            num_hidden_layers=depth,
            hidden_size=width,
        )
        return
    typer.echo(
        f"{loaded.name}: {len(feasible):,} feasible shapes "
        f"of {feasible.combinations:,} combinations; of the others one may break several:"
    )
    for constraint, count in feasible.failures.items():
        typer.echo(f"  {count:>10,} break: {constraint}")
    for name, counts in (("layers", depth), ("width", width)):
        rows = [
            {name: str(k), "shapes": v, "": "█" * round(40 * v / max(counts.values()))}
            for k, v in counts.items()
        ]
        print_rows(rows, ((name, name), ("shapes", "shapes"), ("", "")), "table")


@app.command("copy")
def copy_space(space: o.SpaceArgument) -> None:
    """Copy a built-in space into ./search_spaces for editing."""
    from phonelm_search.space import SPACES

    say(f"wrote {SPACES.copy(space)}")
