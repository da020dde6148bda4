"""``phonelm-search devices``: device profiles."""

from typing import Annotated

import typer

from phonelm_search.cli import options as o
from phonelm_search.cli.output import print_json, print_rows, say

HELP = "List, show, check and copy device profiles."
app = typer.Typer(no_args_is_help=True)
DeviceArgument = Annotated[str, typer.Argument(help="A device profile by name or path.")]


@app.command("list")
def list_devices(as_json: o.JsonOption = False, fmt: o.FormatOption = "table") -> None:
    """All device profiles, those of ./device_profiles before the built-in ones."""
    from phonelm_search.devices import DEVICES

    rows = [{"device": name, "file": str(path)} for name, path in DEVICES.names().items()]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, (("device", "device"), ("file", "file")), fmt)


@app.command("show")
def show_device(device: DeviceArgument) -> None:
    """A device profile's file. Example: phonelm-search devices show host-cpu."""
    from phonelm_search.devices import DEVICES

    typer.echo(DEVICES.resolve(device).read_text(encoding="utf-8").rstrip())


@app.command("check")
def check_device(device: DeviceArgument, as_json: o.JsonOption = False) -> None:
    """Read a profile and show the environment that its measurements would carry."""
    from phonelm_search.devices import load_device
    from phonelm_search.runtimes import get_runtime

    profile = load_device(device)
    runtime = get_runtime(profile)
    rows = [{"key": k, "value": v} for k, v in runtime.environment().items()]
    rows.append({"key": "last_level_cache_bytes", "value": str(runtime.cache_bytes())})
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, (("key", "key"), ("value", "value")), "table")


@app.command("copy")
def copy_device(device: DeviceArgument) -> None:
    """Copy a built-in profile into ./device_profiles for editing."""
    from phonelm_search.devices import DEVICES

    say(f"wrote {DEVICES.copy(device)}")
